package audit

import (
	"math"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/sequence"
)

// Remaining is how many values the sequence can still give that the column can hold.
func (c *Column) Remaining() int64 { return c.remainingTo(c.Limit()) }

func (c *Column) remainingTo(limit int64) int64 {
	if c.Sequence.Reached(c.Last, limit) {
		return 0
	}
	return int64(min(sequence.Distance(c.Last, limit)/sequence.Magnitude(c.Sequence.Increment), math.MaxInt64))
}

// LimitedByColumn reports whether the column's type ends before the sequence does.
func (c *Column) LimitedByColumn() bool {
	end := c.Sequence.Max
	if c.Sequence.Descending() {
		end = c.Sequence.Min
	}
	return c.Limit() != end
}

// Narrow is a foreign key that ends before the column that it points to.
type Narrow struct {
	catalog.Reference
	Limit int64
	// Used is the share of its range that the sequence has gone through, Remaining how
	// many values the sequence gives until the key can hold none.
	Used      float64
	Remaining int64
}

// Narrow lists the foreign keys that cannot hold every value of the column.
func (c *Column) Narrow() []Narrow {
	var keys []Narrow
	for _, r := range c.References {
		if limit := r.Limit(c.Sequence); limit != c.Limit() && c.Sequence.Reached(c.Limit(), limit) {
			keys = append(keys, Narrow{Reference: r, Limit: limit, Used: c.usedUpTo(limit), Remaining: c.remainingTo(limit)})
		}
	}
	return keys
}

// inFront reports whether a row lies in front of the sequence.
func (c *Column) inFront() bool {
	return c.Furthest.Found && !c.Sequence.Reached(c.Last, c.Furthest.Value)
}

// CycleAhead is how many values a sequence that cycles gives until one is that of a row
// in front of it, 0 where there is none.
func (c *Column) CycleAhead() int64 {
	if !c.Next.Found {
		return 0
	}
	return sequence.Steps(c.Last, c.Next.Value, c.Sequence.Increment)
}

package audit

import (
	"github.com/seqheal/seqheal/internal/sequence"
)

// State is how a sequence compares with the rows of the column that it feeds.
type State string

const (
	InSync          State = "in_sync"
	Behind          State = "behind"
	NearlyExhausted State = "nearly_exhausted"
	Exhausted       State = "exhausted"
	Unreadable      State = "unreadable"
)

// nearly is the share of its range from which on a sequence is nearly exhausted: an
// integer key then has 214 million values left.
const nearly = 0.9

// Judge compares the column with its sequence. A sequence that cycles is never
// behind and never at its end: it gives its values again over its own rows.
func (c *Column) Judge() State {
	switch {
	case !c.read:
		return Unreadable
	case c.Sequence.Cycle:
		return InSync
	case !c.hasNext():
		return Exhausted
	case c.Behind() > 0:
		return Behind
	case c.Used() >= c.nearly || c.narrowUsed() >= c.nearly:
		return NearlyExhausted
	}
	return InSync
}

// narrowUsed is the largest share of the range of a narrower foreign key that the
// sequence has gone through.
func (c *Column) narrowUsed() float64 {
	most := 0.0
	for _, key := range c.Narrow() {
		most = max(most, key.Used)
	}
	return most
}

// Behind is how many values the sequence has to give until it is past the rows.
func (c *Column) Behind() int64 {
	if !c.read || c.Sequence.Cycle || !c.Furthest.Found || c.Sequence.Reached(c.Last, c.Furthest.Value) {
		return 0
	}
	return sequence.Steps(c.Last, c.Furthest.Value, c.Sequence.Increment)
}

// hasNext reports whether the column can hold a value beyond the last one and the
// rows.
func (c *Column) hasNext() bool {
	seq, limit := c.Sequence, c.Limit()
	at := c.Last
	if c.Furthest.Found {
		at = seq.Further(at, c.Furthest.Value)
	}
	return !seq.Reached(at, limit) && sequence.Distance(at, limit) >= sequence.Magnitude(seq.Increment)
}

// Used is the share of the range that the sequence has used up.
func (c *Column) Used() float64 {
	return c.usedUpTo(c.Limit())
}

// usedUpTo is Used in a range that ends at limit.
func (c *Column) usedUpTo(limit int64) float64 {
	seq := c.Sequence
	first := seq.First()
	whole := float64(sequence.Distance(first, limit)) + 1
	switch {
	case !c.read || seq.Reached(first, c.Last) && first != c.Last:
		return 0
	case seq.Reached(c.Last, limit):
		return 1
	}
	return (float64(sequence.Distance(first, c.Last)) + 1) / whole
}

package audit

import (
	"errors"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/resync"
)

// State is how a column stands to its sequence.
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

// Judge says how the column stands to its sequence. A sequence that cycles is never
// behind and never at its end: it gives its values again over its own rows.
func (c *Column) Judge() State {
	switch {
	case !c.read || c.Err != nil && c.Move == nil && !c.moveRefused():
		return Unreadable
	case c.Sequence.Cycle:
		return InSync
	case !c.hasNext():
		return Exhausted
	case c.Behind() > 0:
		return Behind
	case c.Used() >= nearly:
		return NearlyExhausted
	}
	return InSync
}

// moveRefused tells a column that was read, and could not be moved.
func (c *Column) moveRefused() bool {
	var refused *moveError
	return errors.As(c.Err, &refused)
}

// moveError is why a sequence that is behind was not moved.
type moveError struct{ *resync.Refusal }

func (e *moveError) Unwrap() error { return e.Refusal }

// Behind is how many values the sequence has to give until it is past the rows.
func (c *Column) Behind() int64 {
	seq := c.Sequence
	if !c.read || seq.Cycle || !c.Furthest.Found || seq.Reached(c.Last, c.Furthest.Value) {
		return 0
	}
	return resync.Steps(c.Last, c.Furthest.Value, seq.Increment)
}

// hasNext reports whether the column can hold a value beyond the last one and the
// rows.
func (c *Column) hasNext() bool {
	seq, limit := c.Sequence, c.Limit()
	at := c.Last
	if c.Furthest.Found {
		at = seq.Further(at, c.Furthest.Value)
	}
	return !seq.Reached(at, limit) && resync.Distance(at, limit) >= resync.Magnitude(seq.Increment)
}

// Used is the share of the range that the sequence has used up.
func (c *Column) Used() float64 {
	seq, limit := c.Sequence, c.Limit()
	first := first(seq)
	whole := float64(resync.Distance(first, limit)) + 1
	switch {
	case !c.read || seq.Reached(first, c.Last) && first != c.Last:
		return 0
	case seq.Reached(c.Last, limit):
		return 1
	}
	return (float64(resync.Distance(first, c.Last)) + 1) / whole
}

// first is where the sequence's range begins in its own direction.
func first(seq catalog.Sequence) int64 {
	if seq.Descending() {
		return seq.Max
	}
	return seq.Min
}

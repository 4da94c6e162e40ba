// Package report keeps a herd of inserts on one drifted table from flooding the log.
package report

import (
	"slices"
	"sync"
	"time"
)

const (
	// quiet is how long incidents of one kind have no line of their own after one
	// that had.
	quiet = time.Minute
	// maxKinds bounds what is summarised: an incident of a further kind has a line
	// of its own.
	maxKinds = 4_096
)

// Kind is what makes incidents repeats of each other. An error is never a repeat of a
// warning, nor one reason of another.
type Kind struct{ Table, Outcome, Reason string }

// Line is one entry of the log: an incident, and those that have none of their own.
type Line[T any] struct {
	Incident T
	// Count is how many incidents the line stands for, this one included, and
	// Since when the first of them began.
	Count int
	Since time.Time
	// Late is true when another incident, or Flush, writes the line.
	Late bool
}

// Repeats gives the first incident of a kind a line at once, and later ones one line a
// minute with their number. There is no timer: what is held back is written by the
// next incident, of any kind, that comes after the minute, or by Flush. The counts of
// all lines add up to the number of incidents. The zero value is ready; it is safe for
// concurrent use.
type Repeats[T any] struct {
	mutex sync.Mutex
	kinds map[Kind]*heldBack[T]
}

// heldBack is what has no line yet of one kind.
type heldBack[T any] struct {
	logged  time.Time // when the kind had its latest line
	Line[T]           // of the latest incident; Count is 0 when all have a line
}

// Add takes an incident that began at a time and returns the lines that are due, its
// own last.
func (r *Repeats[T]) Add(now time.Time, kind Kind, began time.Time, incident T) []Line[T] {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	due := r.sweep(now, kind)
	h := r.kinds[kind]
	if h == nil && len(r.kinds) >= maxKinds {
		return append(due, Line[T]{Incident: incident, Count: 1, Since: began})
	}
	if h == nil {
		if r.kinds == nil {
			r.kinds = map[Kind]*heldBack[T]{}
		}
		h = &heldBack[T]{logged: now.Add(-quiet)}
		r.kinds[kind] = h
	}
	if h.Count == 0 || began.Before(h.Since) {
		h.Since = began
	}
	h.Incident = incident
	h.Count++
	if now.Sub(h.logged) >= quiet {
		due = append(due, h.take(false))
		h.logged = now
	}
	return due
}

// Flush returns a line for all that is held back, and starts afresh.
func (r *Repeats[T]) Flush() []Line[T] {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	var lines []Line[T]
	for _, h := range r.kinds {
		if h.Count > 0 {
			lines = append(lines, h.take(true))
		}
	}
	r.kinds = nil
	return inOrder(lines)
}

// sweep returns the lines of the kinds, but for one, whose minute is over and that
// hold something back. One that holds nothing back is as good as new.
func (r *Repeats[T]) sweep(now time.Time, except Kind) []Line[T] {
	var lines []Line[T]
	for k, h := range r.kinds {
		switch {
		case k == except || now.Sub(h.logged) < quiet:
		case h.Count == 0:
			delete(r.kinds, k)
		default:
			lines = append(lines, h.take(true))
			h.logged = now
		}
	}
	return inOrder(lines)
}

func (h *heldBack[T]) take(late bool) Line[T] {
	taken := h.Line
	taken.Late = late
	h.Line = Line[T]{}
	return taken
}

// inOrder sorts lines by when the first of their incidents began.
func inOrder[T any](lines []Line[T]) []Line[T] {
	slices.SortFunc(lines, func(a, b Line[T]) int { return a.Since.Compare(b.Since) })
	return lines
}

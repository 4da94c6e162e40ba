package plugin

import (
	"slices"
	"sync"
	"time"

	"gorm.io/gorm/logger"
)

const (
	// quiet is how long incidents of one kind have no line of their own after one
	// that had.
	quiet = time.Minute
	// maxKinds bounds what is summarised: an incident of a further kind has a line
	// of its own.
	maxKinds = 4_096
)

// kind is what makes incidents repeats of each other. An error is never a repeat
// of a warning, nor one reason of another.
type kind struct {
	table   string
	outcome Outcome
	reason  Reason
}

// line is one entry of the log: an incident, and those that have none of their own.
type line struct {
	incident Incident
	// count is how many incidents the line stands for, this one included, and
	// since when the first of them began.
	count int
	since time.Time
	// logger is GORM's, as the incident's insert used it.
	logger logger.Interface
	// foreign is true when another insert's incident writes the line.
	foreign bool
}

// digest keeps a herd of inserts on one drifted table from flooding the log: the
// first incident of a kind has its line at once, later ones one line a minute
// with their number. There is no timer: what is held back is written by the next
// incident, of any kind, that comes after the minute, or by Plugin.Flush. The
// counts of all lines add up to the number of incidents.
type digest struct {
	mutex sync.Mutex
	kinds map[kind]*heldBack
}

// heldBack is what has no line yet of one kind.
type heldBack struct {
	logged time.Time // when the kind had its latest line
	line             // of the latest incident; count is 0 when all have a line
}

// admit takes in an incident and returns the lines that are due, its own last.
func (d *digest) admit(now time.Time, gormLogger logger.Interface, i Incident) []line {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	own := kind{i.Table, i.Outcome, i.Reason}
	due := d.sweep(now, own)
	h := d.kinds[own]
	if h == nil && len(d.kinds) >= maxKinds {
		return append(due, line{incident: i, count: 1, since: i.Time, logger: gormLogger})
	}
	if h == nil {
		if d.kinds == nil {
			d.kinds = map[kind]*heldBack{}
		}
		h = &heldBack{logged: now.Add(-quiet)}
		d.kinds[own] = h
	}
	if h.count == 0 || i.Time.Before(h.since) {
		h.since = i.Time
	}
	h.incident, h.logger = i, gormLogger
	h.count++
	if now.Sub(h.logged) >= quiet {
		due = append(due, h.take(false))
		h.logged = now
	}
	return due
}

// flush returns a line for all that is held back, and starts afresh.
func (d *digest) flush() []line {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	var lines []line
	for _, h := range d.kinds {
		if h.count > 0 {
			lines = append(lines, h.take(true))
		}
	}
	d.kinds = nil
	return inOrder(lines)
}

// sweep returns the lines of the kinds, but for one, whose minute is over and that
// hold something back. One that holds nothing back is as good as new.
func (d *digest) sweep(now time.Time, except kind) []line {
	var lines []line
	for k, h := range d.kinds {
		switch {
		case k == except || now.Sub(h.logged) < quiet:
		case h.count == 0:
			delete(d.kinds, k)
		default:
			lines = append(lines, h.take(true))
			h.logged = now
		}
	}
	return inOrder(lines)
}

func (h *heldBack) take(foreign bool) line {
	taken := h.line
	taken.foreign = foreign
	h.line = line{}
	return taken
}

// inOrder sorts lines by when the first of their incidents began.
func inOrder(lines []line) []line {
	slices.SortFunc(lines, func(a, b line) int { return a.since.Compare(b.since) })
	return lines
}

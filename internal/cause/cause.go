// Package cause says what made a sequence drift, from what the process remembers of it and
// from the rows in front of it. It proves or says unknown, and decides nothing.
package cause

import (
	"fmt"
	"time"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/facts"
)

// Kind is what made a sequence drift. The codes are stable.
type Kind string

const (
	SetBack     Kind = "set_back"    // the sequence had given higher values before
	NamedIDs    Kind = "named_ids"   // this process stored rows with ids of its own
	Replication Kind = "replication" // a replication worker stores the table's rows
	Bulk        Kind = "bulk"        // the rows in front came all at once
	Unknown     Kind = "unknown"     // nothing proves one
)

// Cause is a kind and a sentence that says what proves it.
type Cause struct {
	Kind     Kind
	Evidence string
}

// Front are the rows that lie in front of a sequence.
type Front struct {
	// First and Last are the ids of the first and the furthest row; both are 0 when Rows is.
	First, Last int64
	// Rows is how many there are, at most [MaxRows]; More is true where there are more. It
	// is 0 where they were not looked at.
	Rows int64
	More bool
	// Select shows these rows, empty where it is not known where they are.
	Select string
}

// Question is what is asked of one sequence.
type Question struct {
	Table *catalog.Table
	// Limit is what the server may spend on each statement, and wait for a lock.
	Limit time.Duration
	// At is the last value that the sequence gave before it was looked at.
	At int64
	// From and To are the first value that may be taken, and the furthest one that is, in
	// the sequence's direction.
	From, To int64
	// Path is the search_path under which the statement's name stood for the table, empty for
	// a name with a schema. What the process remembers is remembered by name, and counts
	// only under the path that its connections begin with: under another one the name may
	// have stood for another table.
	Path string
	// Given is the highest value that the process had seen of the sequence before, and
	// when; zero without one. It counts only if a row holds it.
	Given   int64
	GivenAt time.Time
	// Named is the last statement of the process that named ids, nil without one. It counts
	// only if a row in front holds the highest of them.
	Named *facts.Named
}

// given reports whether a value that was seen before lies in front. A session with CACHE
// gives values out of order, and a trigger ones of its own.
func (q Question) given() bool {
	t := q.Table
	return t.Sequence.Increment > 0 && t.Sequence.Cache <= 1 && !t.Triggers.BeforeInsertRow && q.Given > q.At
}

// named reports whether an id that was named lies in front.
func (q Question) named() bool {
	return q.Named != nil && q.Table.Sequence.Reached(q.Named.Highest, q.From) && q.Table.Sequence.Reached(q.To, q.Named.Highest)
}

// low and high are the bounds of what lies in front.
func (q Question) low() int64  { return min(q.From, q.To) }
func (q Question) high() int64 { return max(q.From, q.To) }

// Select is a statement that shows the rows in front.
func (q Question) Select() string {
	order := ""
	if q.Table.Sequence.Descending() {
		order = " DESC"
	}
	column := catalog.Quote(q.Table.FedColumn())
	return fmt.Sprintf("SELECT * FROM %s WHERE %s BETWEEN %d AND %d ORDER BY %[2]s%[5]s",
		q.Table.QuotedName(), column, q.low(), q.high(), order)
}

// Front is what a look has seen of the rows in front.
func (q Question) Front(seen Seen) Front {
	front := Front{Select: q.Select()}
	if seen.rows == 0 {
		return front
	}
	front.First, front.Last, front.Rows = seen.first, seen.last, seen.rows
	if seen.rows == MaxRows && seen.last != q.To {
		front.Last, front.More = q.To, true
	}
	return front
}

// Judge returns every cause that is proved, the strongest first, or [Unknown]. failed is
// why the look has not seen all, nil when it has.
func (q Question) Judge(seen Seen, failed error) (causes []Cause) {
	same := q.Path == "" || q.Path == seen.path
	if same && q.given() && seen.given {
		causes = append(causes, Cause{SetBack, fmt.Sprintf(
			"this process had seen the sequence at %d at %s, and it was at %d now: setval, RESTART or a restore has set it back",
			q.Given, stamp(q.GivenAt), q.At)})
	}
	if same && q.named() && seen.named {
		causes = append(causes, Cause{NamedIDs, fmt.Sprintf(
			"this process stored id %d, which an INSERT of its own named at %s%s",
			q.Named.Highest, stamp(q.Named.At), by(q.Named))})
	}
	if seen.subscribed {
		text := "the table is in a subscription"
		if seen.subscription != "" {
			text = "the table is in subscription " + catalog.Quote(seen.subscription)
		}
		causes = append(causes, Cause{Replication, text + ": replication stores rows and moves no sequence"})
	}
	if text := seen.together(); text != "" {
		causes = append(causes, Cause{Bulk, text})
	}
	switch {
	case len(causes) > 0:
	case failed != nil:
		causes = []Cause{Without(failed.Error())}
	default:
		causes = []Cause{{Unknown, "neither the rows in front nor what this process remembers proves one"}}
	}
	return causes
}

// Without is the cause of a sequence at which nothing could be looked at, for this reason.
func Without(reason string) Cause { return Cause{Unknown, reason} }

func by(n *facts.Named) string {
	if line := n.Sender.Application().String(); line != "" {
		return " in " + line
	}
	return ""
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

package audit

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/sequence"
)

const (
	// locksAtOnce bounds the tables, indexes and sequences that one statement locks:
	// the server's lock table has some thousands of places for everybody. Only a
	// partitioned table can need more, whose partitions the role may not read one by one
	// or which has a value near the end of the range: that is looked for in the whole.
	locksAtOnce = 200
	// smallTable is the size in bytes up to which a table without a fitting index is
	// read from end to end.
	smallTable = 8 << 20
	// lookLock is how long a look waits for a lock, for example that of a migration.
	lookLock = 250 * time.Millisecond
)

// answer is one row of a look.
type answer struct {
	large          bool
	furthest, last sql.NullInt64
	called         sql.NullBool
	defaultText    string
}

// take adds a unit's answer to its column.
func (u unit) take(a answer) {
	c := u.column
	if c.DefaultIs(a.defaultText); c.Unsupported != "" {
		c.Err = unsupported(c.Fed)
		return
	}
	if a.furthest.Valid && c.Sequence.Contains(a.furthest.Int64) {
		c.Furthest = c.Furthest.With(c.Sequence, sequence.Position{Value: a.furthest.Int64, Found: true})
	}
	c.unseen = c.unseen || a.large
	if !u.last {
		return
	}
	c.read = true
	c.takeLast(a.last, a.called)
}

func (c *Column) takeLast(last sql.NullInt64, called sql.NullBool) {
	switch {
	case last.Valid && called.Bool:
		c.Last = last.Int64
	case last.Valid:
		c.Last = before(last.Int64, c.Sequence)
	default:
		c.Last = before(c.Start, c.Sequence)
	}
}

// before is the value one step before, or the value itself at the end of int8.
func before(value int64, seq catalog.Sequence) int64 {
	if previous := value - seq.Increment; (previous < value) == (seq.Increment > 0) {
		return previous
	}
	return value
}

// look reads all columns, many in one statement, and those of a statement that
// fails one by one. Its error ends the audit.
func (r *Report) look(ctx context.Context, within Transaction) error {
	var units []unit
	for _, c := range r.all() {
		if c.Err != nil {
			r.progress(1)
			continue
		}
		units = append(units, unitsOf(c)...)
	}
	for len(units) > 0 {
		some := atOnce(units)
		units = units[len(some):]
		if err := r.lookAtAll(ctx, within, some); err != nil {
			return err
		}
		r.progress(columnsOf(some))
	}
	return r.lookCloser(ctx, within)
}

// atOnce is the units in front that one statement may lock, at least one.
func atOnce(units []unit) []unit {
	locks := int64(0)
	for i, u := range units {
		if locks += u.locks; locks > locksAtOnce && i > 0 {
			return units[:i]
		}
	}
	return units
}

// columnsOf counts the columns that are done with these units.
func columnsOf(units []unit) int {
	columns := 0
	for _, u := range units {
		if u.last {
			columns++
		}
	}
	return columns
}

// lookAtAll looks at units in one statement; when the server refuses it, at each by
// itself.
func (r *Report) lookAtAll(ctx context.Context, within Transaction, units []unit) error {
	err := r.lookAt(ctx, within, units)
	if err == nil || lost(ctx, err) {
		return err
	}
	for i := range units {
		c := units[i].column
		if c.Err != nil {
			continue // another part of the same table
		}
		switch err := r.lookAt(ctx, within, units[i:i+1]); {
		case lost(ctx, err):
			return err
		case err != nil:
			c.unreadable(r.trouble(c, err))
		}
	}
	return nil
}

// unreadable gives up a column, whatever was read of it.
func (c *Column) unreadable(err error) { c.Err, c.read = err, false }

// lookAt sends one statement and takes in its answers when all have come.
func (r *Report) lookAt(ctx context.Context, within Transaction, units []unit) error {
	texts := make([]string, len(units))
	for i, u := range units {
		texts[i] = u.text(i, r.scope.Inside)
	}
	texts = append(texts, defaultsOf(units))
	answers := make([]answer, len(units))
	err := within(ctx, func(ctx context.Context, c *conn.Conn) error {
		defer r.limit(c)()
		return c.Query(ctx, strings.Join(texts, "\nUNION ALL\n"), nil, func(rows *sql.Rows) error {
			var place int
			var a answer
			var text sql.NullString
			if err := rows.Scan(&place, &a.large, &a.furthest, &a.last, &a.called, &text); err != nil {
				return err
			}
			if place < 0 {
				answers[-place-1].defaultText = text.String
				return nil
			}
			a.defaultText = answers[place].defaultText
			answers[place] = a
			return nil
		})
	})
	if err != nil {
		return err
	}
	for i, u := range units {
		u.take(answers[i])
	}
	return nil
}

// limit keeps what is sent through c within the time for one table, and waits for
// locks only briefly.
func (r *Report) limit(c *conn.Conn) (release func()) {
	lock := lookLock
	if own := r.session.LockTimeout; own > 0 && own < lock {
		lock = own
	}
	return c.Within(r.deadline(), r.session.StatementTimeout, lock)
}

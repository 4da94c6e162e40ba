package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/resync"
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
	// lookLock is how long a look waits for a lock, of somebody's migration say.
	lookLock = 250 * time.Millisecond
)

// unit is what one row of a look answers: the column of one table, or of a part of
// one that is too large to be locked at once.
type unit struct {
	column *Column
	// from is the table's name, ready for SQL text, with ONLY before a part.
	from string
	// indexed is false where only a scan from end to end tells; the size of parts,
	// oids, then decides whether there is one.
	indexed bool
	parts   []int64
	// locks is how many relations the look locks.
	locks int64
	// last is true for the unit that reads the sequence too. It comes last, for what
	// is inserted between two statements lies behind a sequence that is read later.
	last bool
}

// unitsOf divides the column's table into what can be locked at once.
func unitsOf(c *Column) []unit {
	whole := unit{
		column: c, from: c.QuotedName(), indexed: c.indexed(), parts: []int64{c.OID}, locks: 2 + c.Indexes, last: true,
	}
	splittable := true
	for _, d := range c.Below {
		whole.locks += 1 + d.Indexes
		whole.parts = append(whole.parts, d.OID)
		splittable = splittable && d.Selectable
	}
	if whole.locks <= locksAtOnce || !splittable || len(c.Below) == 0 {
		return []unit{whole}
	}
	var units []unit
	for _, d := range c.Below {
		if d.Storage {
			units = append(units, unit{
				column: c, from: "ONLY " + catalog.Quote(d.Schema, d.Name), indexed: d.Indexed, parts: []int64{d.OID}, locks: 1 + d.Indexes,
			})
		}
	}
	return append(units, unit{
		column: c, from: "ONLY " + c.QuotedName(), indexed: c.Partitioned || c.Indexed, parts: []int64{c.OID}, locks: 2 + c.Indexes, last: true,
	})
}

// indexed reports whether an index tells the furthest value of every table that
// holds rows.
func (c *Column) indexed() bool {
	if !c.Partitioned && !c.Indexed {
		return false
	}
	for _, d := range c.Below {
		if d.Storage && !d.Indexed {
			return false
		}
	}
	return true
}

// lookUnit answers the furthest value of one unit, a row:
//
//	place     the unit's place in the statement
//	large     it has no fitting index and is too large to be read from end to end
//	furthest  null when large, or without rows in the sequence's range
//	last      the sequence's last value, null where this unit does not read it, and where
//	          it was never called and the role has only USAGE
//	called    false when the last value is still to be given
//	default   the text of the column's default, '' without one; it is asked for here
//	          because that locks the table
//
// Sequences are read after the statement's snapshot was taken: a row that the
// snapshot shows was drawn before.
//
//	%[1]d place   %[2]s large   %[3]s aggregate   %[4]s column   %[5]s table
//	%[6]d, %[7]d the sequence's bounds   %[8]s where the last value comes from
//	%[9]d the default's oid
const lookUnit = `SELECT %[1]d, %[2]s,
  CASE WHEN NOT (%[2]s) THEN (SELECT pg_catalog.%[3]s(%[4]s)::pg_catalog.int8 FROM %[5]s
    WHERE %[4]s BETWEEN '%[6]d'::pg_catalog.int8 AND '%[7]d'::pg_catalog.int8) END,
  s.last_value, s.is_called,
  coalesce((SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d WHERE d.oid = '%[9]d'::pg_catalog.oid), '')
FROM %[8]s s`

// Where the last value comes from: the server's function, which waits for whoever is
// drawing, and before the first value the sequence itself; for a role with USAGE alone
// the function; nowhere. In a caller's transaction the sequence alone, for the function
// locks it until the transaction's end, whatever is rolled back before (measured); read
// as a table it can show for a moment what nextval only writes to the log, up to 32
// steps ahead (measured).
const (
	lastBoth = `(SELECT coalesce(l.v, q.last_value) AS last_value, l.v IS NOT NULL AS is_called
  FROM (SELECT pg_catalog.pg_sequence_last_value(%d::pg_catalog.oid::pg_catalog.regclass) AS v OFFSET 0) l, %s q)`
	lastAsked    = "(SELECT pg_catalog.pg_sequence_last_value(%d::pg_catalog.oid::pg_catalog.regclass) AS last_value, true AS is_called)"
	lastNotAsked = "(SELECT NULL::pg_catalog.int8 AS last_value, NULL::pg_catalog.bool AS is_called)"
)

func lastFrom(seq catalog.Sequence, inside bool) string {
	switch {
	case seq.CanRead && inside:
		return seq.QuotedName()
	case seq.CanRead:
		return fmt.Sprintf(lastBoth, seq.OID, seq.QuotedName())
	}
	return fmt.Sprintf(lastAsked, seq.OID)
}

// tooLarge is true when the tables with these oids hold more than so many bytes.
const tooLarge = `(SELECT pg_catalog.sum(pg_catalog.pg_relation_size(o::pg_catalog.oid::pg_catalog.regclass)) > %d
    FROM pg_catalog.unnest(ARRAY[%s]::pg_catalog.int8[]) o)`

// text is the unit's part of a statement.
func (u unit) text(place int, inside bool) string {
	seq := u.column.Sequence
	large, last := "false", lastNotAsked
	if !u.indexed {
		oids := make([]string, len(u.parts))
		for i, oid := range u.parts {
			oids[i] = strconv.FormatInt(oid, 10)
		}
		large = fmt.Sprintf(tooLarge, smallTable, strings.Join(oids, ","))
	}
	if u.last {
		last = lastFrom(seq, inside)
	}
	return fmt.Sprintf(lookUnit, place, large, seq.Aggregate(), catalog.Quote(u.column.FedColumn()), u.from, seq.Min, seq.Max, last, u.column.DefaultOID)
}

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
	if a.furthest.Valid {
		c.Furthest = c.Furthest.With(c.Sequence, resync.Sight{Value: a.furthest.Int64, Found: true})
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
	var batch []unit
	var locks int64
	send := func() error {
		units := batch
		batch, locks = nil, 0
		if len(units) == 0 {
			return nil
		}
		if err := r.lookAtAll(ctx, within, units); err != nil {
			return err
		}
		done := 0
		for _, u := range units {
			if u.last {
				done++
			}
		}
		r.progress(done)
		return nil
	}
	for _, c := range r.all() {
		if c.Err != nil {
			r.progress(1)
			continue
		}
		for _, u := range unitsOf(c) {
			if locks+u.locks > locksAtOnce {
				if err := send(); err != nil {
					return err
				}
			}
			batch, locks = append(batch, u), locks+u.locks
		}
	}
	if err := send(); err != nil {
		return err
	}
	return r.lookCloser(ctx, within)
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
	answers := make([]answer, len(units))
	err := within(ctx, func(ctx context.Context, c *conn.Conn) error {
		defer r.limit(c)()
		return c.Query(ctx, strings.Join(texts, "\nUNION ALL\n"), nil, func(rows *sql.Rows) error {
			var place int
			var a answer
			if err := rows.Scan(&place, &a.large, &a.furthest, &a.last, &a.called, &a.defaultText); err != nil {
				return err
			}
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

// lookCloser sees to the columns of which the furthest value tells too little: of a
// large table without an index, and near the end of the range.
func (r *Report) lookCloser(ctx context.Context, within Transaction) error {
	for _, c := range r.all() {
		if c.Err != nil {
			continue
		}
		var err error
		switch {
		case c.unseen:
			err = within(ctx, func(ctx context.Context, cn *conn.Conn) error {
				defer r.limit(cn)()
				return c.estimate(ctx, cn)
			})
		case c.Sequence.Cycle && c.inFront():
			err = within(ctx, func(ctx context.Context, cn *conn.Conn) error {
				defer r.limit(cn)()
				return c.findNext(ctx, cn)
			})
		case c.inFront() && resync.Cramped(&c.Table, c.Last, c.Furthest.Value):
			err = within(ctx, func(ctx context.Context, cn *conn.Conn) error {
				defer r.limit(cn)()
				return c.makeRoom(ctx, cn, r.scope.Inside)
			})
		}
		if lost(ctx, err) {
			return err
		}
		if err != nil {
			c.unreadable(r.trouble(c, err))
		}
	}
	return nil
}

// makeRoom leaves out a value near the end of the range. Of the rows before it only
// those in front of the sequence are then known. The sequence is read again, for rows
// may have been drawn since it was.
func (c *Column) makeRoom(ctx context.Context, cn *conn.Conn, inside bool) (err error) {
	c.Furthest.Value, c.Outlier, err = resync.Room(ctx, cn, &c.Table, c.Last, c.Furthest.Value)
	if err != nil || !c.Outlier.Found {
		return err
	}
	c.Furthest.Found = c.Furthest.Value != c.Last
	var last sql.NullInt64
	var called sql.NullBool
	if err := cn.Row(ctx, "SELECT s.last_value, s.is_called FROM "+lastFrom(c.Sequence, inside)+" s", nil, &last, &called); err != nil {
		return err
	}
	c.takeLast(last, called)
	return nil
}

// estimate answers the furthest value among those that ANALYZE has noted for a
// column: the bounds of its histogram and its most common values, of which the
// first and the last are within the range that was sampled. A row for the column
// at least, null without statistics.
//
//	$1  a JSON array of [schema, table] pairs
//	$2  the column
//	$3, $4  the sequence's bounds
//
//	%s  aggregate
const estimate = `
SELECT pg_catalog.%s(v.value)::pg_catalog.int8
FROM pg_catalog.json_array_elements($1::pg_catalog.text::pg_catalog.json) e
JOIN pg_catalog.pg_stats s ON s.schemaname = (e->>0)::pg_catalog.name AND s.tablename = (e->>1)::pg_catalog.name
  AND s.attname = $2::pg_catalog.text::pg_catalog.name
CROSS JOIN LATERAL pg_catalog.unnest(s.histogram_bounds::pg_catalog.text::pg_catalog.numeric[]
  || s.most_common_vals::pg_catalog.text::pg_catalog.numeric[]) v(value)
WHERE v.value BETWEEN $3::pg_catalog.int8 AND $4::pg_catalog.int8`

func (c *Column) estimate(ctx context.Context, cn *conn.Conn) error {
	names := [][2]string{{c.Schema, c.Name}}
	for _, d := range c.Below {
		names = append(names, [2]string{d.Schema, d.Name})
	}
	pairs, err := json.Marshal(names)
	if err != nil {
		return err
	}
	var furthest sql.NullInt64
	seq := c.Sequence
	if err := cn.Row(ctx, fmt.Sprintf(estimate, seq.Aggregate()), []any{string(pairs), c.FedColumn(), seq.Min, seq.Max}, &furthest); err != nil {
		return err
	}
	if !furthest.Valid && !c.Furthest.Found {
		return noIndex(c.Fed, "so only a sequential scan would find its furthest value, and there are no statistics to estimate it from")
	}
	c.Estimated = true
	c.Furthest = c.Furthest.With(seq, resync.Sight{Value: furthest.Int64, Found: furthest.Valid})
	return nil
}

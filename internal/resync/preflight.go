package resync

import (
	"context"
	"fmt"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgerr"
)

// divisionByZero is what a preflight answers with when a value is taken: several
// statements travel in one round trip only without a result to read.
const divisionByZero = "22012"

// Every look ahead stands in a savepoint that is taken back, with a short wait for
// somebody's migration.
const (
	setAside = "SAVEPOINT seqheal; SET LOCAL lock_timeout = 100"
	takeBack = "ROLLBACK TO SAVEPOINT seqheal; RELEASE SAVEPOINT seqheal"
)

// preflightSlack is how many values beyond the statement's own are looked at, for
// those who draw between the preflight and the INSERT.
const preflightSlack = 16

// preflightLast reads the sequence's last value; the value before the next one
// when none was drawn yet. Needs SELECT on the sequence. The function waits for
// whoever is drawing. Reading the sequence as a table does not, and now and then
// shows the value that nextval writes to the log, up to 32 steps ahead (measured).
const preflightLast = "(SELECT coalesce(pg_catalog.pg_sequence_last_value(%[3]d::pg_catalog.oid::pg_catalog.regclass), q.last_value - (%[1]d)) FROM %[2]s q)"

// preflightDraw draws one value instead: with CACHE, what this session draws next
// is known only to the session; and without SELECT on the sequence there is no
// other way.
const preflightDraw = "(SELECT pg_catalog.nextval(%[2]s::pg_catalog.int8::pg_catalog.oid::pg_catalog.regclass))"

// preflight fails with division by zero when a row holds one of the values in
// front of the last one. The range is read by an index. In SERIALIZABLE it does
// not look: the look would make bystanders fail with 40001 (measured).
//
//	%[1]s column   %[2]s table   %[3]s last value   %[4]s nearest   %[5]s furthest step
const preflight = `SELECT 1 / CASE WHEN pg_catalog.current_setting('transaction_isolation') = 'serializable' THEN 1
  WHEN EXISTS (SELECT 1 FROM (SELECT %[3]s AS last OFFSET 0) s, %[2]s t
               WHERE t.%[1]s BETWEEN s.last + (%[4]d) AND s.last + (%[5]d)) THEN 0 ELSE 1 END`

// Preflight reports whether one of the next count values of the table's sequence
// is taken, in one round trip when it is not; where only an index that begins with
// other columns can tell, in two more and one for each prefix. c must be in a
// transaction, which is left as it was. It answers with an error, and the statement is to be sent
// all the same, when the role may not look or a lock is in the way.
func Preflight(ctx context.Context, c *conn.Conn, t *catalog.Table, count int64, prefixes []*Prefix) (taken bool, err error) {
	seq := t.Sequence
	reach := spread(count+preflightSlack, seq.Increment)
	if !t.Selectable || t.RowSecurity || !t.Indexed && len(prefixes) == 0 || !seq.CanUse && !seq.CanRead ||
		reach > 1<<40 { // a reach that could overflow beside the last value
		return false, nil
	}
	last := fmt.Sprintf(preflightLast, seq.Increment, seq.QuotedName(), seq.OID)
	if seq.Cache > 1 || !seq.CanRead {
		if !seq.CanUse {
			return false, nil
		}
		last = fmt.Sprintf(preflightDraw, 0, fmt.Sprint(seq.OID))
	}
	near, far := seq.Increment, reach
	if seq.Descending() {
		near, far = -reach, seq.Increment
	}
	if !t.Indexed {
		return preflightByPrefix(ctx, c, t, last, near, far, prefixes)
	}
	question := fmt.Sprintf(preflight, catalog.Quote(t.FedColumn()), t.QuotedName(), last, near, far)
	err = c.Exec(ctx, setAside+"; "+question+"; "+takeBack)
	if err == nil {
		return false, nil
	}
	if undo := c.Undo(ctx, takeBack); undo != nil {
		return false, undo
	}
	if pgerr.Is(err, divisionByZero) {
		return true, nil
	}
	return false, err
}

// preflightByPrefix asks for each prefix by itself, its values as parameters.
func preflightByPrefix(ctx context.Context, c *conn.Conn, t *catalog.Table, last string, near, far int64, prefixes []*Prefix) (taken bool, err error) {
	if err := c.Exec(ctx, setAside); err != nil {
		return false, err
	}
	var from int64
	var serializable bool
	err = c.Row(ctx, "SELECT "+last+", pg_catalog.current_setting('transaction_isolation') = 'serializable'", nil, &from, &serializable)
	for _, prefix := range prefixes {
		if err != nil || taken || serializable {
			break
		}
		var sight Sight
		sight, err = furthest(ctx, c, t, prefix, from+near, from+far)
		taken = sight.Found
	}
	if undo := c.Undo(ctx, takeBack); err == nil {
		err = undo
	}
	return taken && err == nil, err
}

// behind answers whether a row holds the sequence's last value or one beyond it.
//
//	%[1]s column   %[2]s table   %[3]d the sequence's oid   %[4]s the comparison "at or beyond"
const behind = `SELECT EXISTS (SELECT 1 FROM (SELECT pg_catalog.pg_sequence_last_value(%[3]d::pg_catalog.oid::pg_catalog.regclass) AS last OFFSET 0) s, %[2]s t
  WHERE s.last IS NULL OR t.%[1]s %[4]s s.last)`

// MayBeBehind reports whether a row that was just dropped may have met an id that
// its sequence drew: false only when no row lies where the sequence is. One query;
// none where the sequence's last value cannot tell, and then it is true.
func MayBeBehind(ctx context.Context, c *conn.Conn, t *catalog.Table) (bool, error) {
	if !t.Sequence.CanRead || t.Sequence.Cache > 1 || !t.Selectable || t.RowSecurity || !t.Indexed {
		return true, nil
	}
	beyond := ">="
	if t.Sequence.Descending() {
		beyond = "<="
	}
	var found bool
	err := c.Row(ctx, fmt.Sprintf(behind, catalog.Quote(t.FedColumn()), t.QuotedName(), t.Sequence.OID, beyond), nil, &found)
	return found, err
}

// drawn answers the value that this session drew last from the sequence with oid
// $1, and whether a row of the very table holds it.
//
//	%[1]s column   %[2]s table, with ONLY unless partitioned
const drawn = `SELECT d.v, EXISTS (SELECT 1 FROM %[2]s t WHERE t.%[1]s = d.v)
FROM (SELECT pg_catalog.currval($1::pg_catalog.int8::pg_catalog.oid::pg_catalog.regclass) AS v OFFSET 0) d`

// DrawnIsTaken reports whether the id that was last drawn on this connection
// exists. It sends four statements in three round trips and leaves the
// transaction as it was; where the role may not ask, it reports false.
func DrawnIsTaken(ctx context.Context, c *conn.Conn, t *catalog.Table) (id int64, taken bool) {
	if !t.Selectable || t.RowSecurity || !t.Sequence.CanUse && !t.Sequence.CanRead {
		return 0, false
	}
	table := t.QuotedName()
	if !t.Partitioned {
		table = "ONLY " + table
	}
	if c.Exec(ctx, setAside) != nil {
		return 0, false
	}
	err := c.Row(ctx, fmt.Sprintf(drawn, catalog.Quote(t.FedColumn()), table), []any{t.Sequence.OID}, &id, &taken)
	if c.Undo(ctx, takeBack) != nil || err != nil {
		return 0, false
	}
	return id, taken
}

// lastDrawn answers the value that this session drew last from the sequence with
// oid $1.
const lastDrawn = `SELECT pg_catalog.currval($1::pg_catalog.int8::pg_catalog.oid::pg_catalog.regclass)`

// LastDrawn is the id that was last drawn on this connection, read without a look
// at any row. Nothing is found where the role may not ask.
func LastDrawn(ctx context.Context, c *conn.Conn, t *catalog.Table) (drawn Sight, err error) {
	if !t.Sequence.CanUse && !t.Sequence.CanRead {
		return Sight{}, nil
	}
	err = c.Row(ctx, lastDrawn, []any{t.Sequence.OID}, &drawn.Value)
	drawn.Found = err == nil
	return drawn, err
}

// WasDrawn reports whether the sequence has come as far as value, so that it can
// have handed it out. It needs SELECT on the sequence and reads no table.
func WasDrawn(ctx context.Context, c *conn.Conn, seq catalog.Sequence, value int64) (bool, error) {
	var last int64
	var called bool
	err := c.Row(ctx, "SELECT q.last_value, q.is_called FROM "+seq.QuotedName()+" q", nil, &last, &called)
	return called && seq.Reached(last, value), err
}

package sequence

import (
	"context"
	"fmt"
	"slices"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgerr"
)

// AskLast is a query for the value before the sequence's next one, for [AskAfter]. After a
// RESTART or a setval that has not called it the sequence has no last value of its own. It
// is empty where the role may not ask.
func AskLast(t *catalog.Table) string { return lastOf(t.Sequence) }

// ReadLast is the answer to [AskLast] in a transaction, which is left as it was. Nothing is
// found where the role may not ask.
func ReadLast(ctx context.Context, c *conn.Conn, t *catalog.Table) (last Position) {
	if AskLast(t) == "" {
		return last
	}
	err := c.InSavepoint(ctx, func() error { return c.Row(ctx, AskLast(t), nil, &last.Value) })
	last.Found = err == nil
	return last
}

// metStranger fails with division by zero when a row holds one of the values that this
// session has drawn and may be one that the statement met. In SERIALIZABLE no row is read.
// Where the name stands for another table by now, ln(0) fails.
//
// It fails as well when the sequence is not as far as the statement's draws take it: it was
// moved back meanwhile, and where the first draws were is not known.
//
//	%[3]d the sequence's oid   %[4]d its last value before the statement   %[5]d increment
//	%[6]d draws   %[7]d the answer where it is not   %[8]s what shows that a row was met   %[9]s the check
const metStranger = `SELECT 1 / CASE WHEN pg_catalog.ln(CASE WHEN %[9]s THEN 1 ELSE 0 END) <> 0 THEN 1
  WHEN (pg_catalog.currval(%[3]d::pg_catalog.oid::pg_catalog.regclass) - '%[4]d'::pg_catalog.int8) / (%[5]d) < %[6]d THEN %[7]d
  WHEN pg_catalog.current_setting('transaction_isolation') = 'serializable' THEN 1
  WHEN %[8]s THEN 0 ELSE 1 END`

// amongDrawn is the rows that hold one of the values drawn. The first of them is a constant, so
// that partitions before it are not planned.
//
//	%[1]s column   %[2]s table, with ONLY unless partitioned   %[6]s, %[7]s "at or beyond" and "at
//	or before" in the sequence's direction   the others as in metStranger
const amongDrawn = `FROM %[2]s t, (SELECT pg_catalog.currval(%[3]d::pg_catalog.oid::pg_catalog.regclass) AS last OFFSET 0) s
    WHERE t.%[1]s %[6]s '%[4]d'::pg_catalog.int8 + (%[5]d) AND t.%[1]s %[7]s s.last
      AND (t.%[1]s - '%[4]d'::pg_catalog.int8) %% (%[5]d) = 0`

const (
	// moreThanStored shows that DO NOTHING met a row: more rows hold a value drawn than the
	// statement has stored. It is a hint: another session may have drawn in between.
	//
	//	%[1]s amongDrawn   %[2]d rows stored
	moreThanStored = "(SELECT pg_catalog.count(*) %[1]s) > %[2]d"

	// stranger shows the same where triggers store rows or give ids: a row of another transaction.
	// One that began after this one has a negative age as this one's own savepoints have; its
	// status distinguishes them: what is seen of another transaction is committed.
	stranger = "EXISTS (SELECT 1 %[1]s AND CASE WHEN pg_catalog.age(t.xmin) > 0 THEN true ELSE " + statusOf + "t.xmin" + asXID + " = 'committed' END)"

	// updated shows that DO UPDATE met a row: the version that it stored is of this transaction,
	// as is no other version that is seen of a running one, and keeps the lock under which the row
	// was updated. It is a hint: a foreign key locks a row too.
	updated = "EXISTS (SELECT 1 %[1]s AND CASE WHEN t.xmax = 0 OR pg_catalog.age(t.xmin) > 0 THEN false ELSE " + statusOf + "t.xmin" + asXID + " = 'in progress' END)"

	// locked shows the same where a row may have been left as it was: it is locked all the same. It
	// is less: another session may have locked the row, and where both have it is not seen.
	locked = "(" + updated + " OR EXISTS (SELECT 1 %[1]s AND CASE WHEN t.xmax = 0 THEN false ELSE " + statusOf + "t.xmax" + asXID + " = 'in progress' END))"

	// statusOf and asXID stand around the column with a transaction's id.
	statusOf = "pg_catalog.txid_status((pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot()) >> 32 << 32) + "
	asXID    = "::pg_catalog.text::pg_catalog.int8)"
)

// storedHere answers how many rows the transaction has inserted into a table, also in
// savepoints; null with track_counts off. A row that is updated does not count (PostgreSQL
// manual, The Cumulative Statistics System; measured). One that another session stores between the
// server's check and its own insert does, within microseconds.
//
//	%[1]d the table's oid
const storedHere = `SELECT CASE WHEN pg_catalog.current_setting('track_counts') = 'on' THEN pg_catalog.pg_stat_get_xact_tuples_inserted(%[1]d::pg_catalog.oid) END`

// storedBelow is storedHere of a partition, or of those below a table. pg_partition_tree would lock
// each of them until COMMIT, and wait for it (measured).
const storedBelow = `WITH RECURSIVE below (oid) AS (
  SELECT %[1]d::pg_catalog.oid UNION ALL SELECT i.inhrelid FROM below b JOIN pg_catalog.pg_inherits i ON i.inhparent = b.oid)
SELECT CASE WHEN pg_catalog.current_setting('track_counts') = 'on' THEN coalesce(pg_catalog.sum(pg_catalog.pg_stat_get_xact_tuples_inserted(b.oid)), 0)::pg_catalog.int8 END
  FROM below b`

// AskStored is a query for the number of rows that the transaction has inserted into the
// table. The difference over a statement shows whether it has updated some instead.
func AskStored(t *catalog.Table) string {
	if t.Partitioned {
		return fmt.Sprintf(storedBelow, t.OID)
	}
	return fmt.Sprintf(storedHere, t.OID)
}

// untouched counts the rows with these ids that the transaction has stored and nothing has locked:
// no statement has met them.
//
//	$1  an array of ids   %[1]s column   %[2]s table, with ONLY unless partitioned
const untouched = "SELECT pg_catalog.count(*) FROM %[2]s t WHERE t.%[1]s = ANY ($1::pg_catalog.int8[]) AND t.xmax = 0" +
	" AND CASE WHEN pg_catalog.age(t.xmin) > 0 THEN false ELSE " + statusOf + "t.xmin" + asXID + " = 'in progress' END"

// CountUntouched counts those of the ids that the transaction has stored and no statement of it has
// met.
func CountUntouched(ctx context.Context, c *conn.Conn, t *catalog.Table, ids []int64) (count int64, err error) {
	err = c.Row(ctx, fmt.Sprintf(untouched, catalog.Quote(t.FedColumn()), itself(t)), []any{"{" + commas(ids) + "}"}, &count)
	return count, err
}

// PutAfter puts a question of [AskAfter] in the savepoint of a statement that was sent, and with
// release releases that in the same round trip when the answer is Free. Otherwise the savepoint
// stays open with what the statement did. The error is one of the connection.
func PutAfter(ctx context.Context, c *conn.Conn, question string, release bool) (Answer, error) {
	send := c.Exec
	if release {
		send = c.ReleaseAfter
	}
	failure, lost := sendAside(ctx, c, send, question)
	if lost != nil || pgerr.Is(failure, pgerr.InsufficientPrivilege) {
		return Unknown, lost // or a right is missing that the check in front of the statement does not need
	}
	return AnswerOf(failure), nil
}

// After is what a statement did, for [AskAfter].
type After struct {
	// Before is where the sequence stood before the statement, and Draws how many values it has
	// drawn since.
	Before, Draws int64
	// Stored is how many rows the statement has stored, and AllDrawn is true when each of them has
	// drawn its value.
	Stored   int64
	AllDrawn bool
	// Updates is true for DO UPDATE, and Fewer where it has stored and changed fewer rows than it
	// has.
	Updates, Fewer bool
}

// AskAfter is a question about a statement that was sent: Taken when a row that it met may hold
// a value that it drew, and Stale when the name stands for another table. It reports false where
// that cannot be asked.
func AskAfter(t *catalog.Table, a After) (question string, ok bool) {
	if !AskableAfter(t) {
		return "", false
	}
	fewer := 0
	if t.DrawnByTrigger() {
		a.Draws, fewer = 1, 1 // it need not draw for each row, and what it did not draw met nothing
	}
	arguments := []any{catalog.Quote(t.FedColumn()), itself(t), t.Sequence.OID, a.Before, t.Sequence.Increment}
	beyond, short := directions(t.Sequence)
	among := fmt.Sprintf(amongDrawn, append(slices.Clip(arguments), beyond, short)...)
	var met string
	switch {
	case a.Updates && a.Fewer && a.AllDrawn && CountsAfter(t):
		met = "true" // a row was left as it was, and each has drawn its value
	case a.Updates && a.Fewer:
		met = fmt.Sprintf(locked, among)
	case a.Updates:
		met = fmt.Sprintf(updated, among)
	case a.AllDrawn && CountsAfter(t):
		met = fmt.Sprintf(moreThanStored, among, a.Stored)
	default:
		met = fmt.Sprintf(stranger, among)
	}
	return fmt.Sprintf(metStranger, append(arguments, a.Draws, fewer, met, t.Identity.Check())...), true
}

// CountsAfter reports whether the number of rows that DO NOTHING has stored shows whether it met
// one: no trigger stores rows or gives ids.
func CountsAfter(t *catalog.Table) bool {
	return !t.Triggers.BeforeInsertRow && !t.Triggers.AfterRow && !t.Triggers.InsertStatement && !t.Rules
}

// AskableAfter reports whether [AskAfter] can ask.
func AskableAfter(t *catalog.Table) bool {
	return Askable(t) && t.Readable && len(t.Key) == 1 && t.Sequence.Cache <= 1 && t.Partitions.Foreign == 0 && !t.Foreign
}

// behind answers whether a row holds the sequence's last value or one beyond it, or the table
// is not the one that was read.
//
//	%[1]s column   %[2]s table, with ONLY unless partitioned   %[3]d the sequence's oid   %[4]s the comparison "at or beyond"
//	%[5]s the check
const behind = `SELECT NOT (%[5]s) OR EXISTS (SELECT 1 FROM (SELECT pg_catalog.pg_sequence_last_value(%[3]d::pg_catalog.oid::pg_catalog.regclass) AS last OFFSET 0) s, %[2]s t
  WHERE s.last IS NULL OR t.%[1]s %[4]s s.last)`

// MayBeBehind reports whether a row that was just dropped may have collided by the id
// that its sequence gave: false only when no row lies where the sequence is, and the table
// has the keys that it had. One query, which waits no longer than 100 ms for a partition that another
// session has locked; none where the sequence's last value cannot tell, and then it is true.
func MayBeBehind(ctx context.Context, c *conn.Conn, t *catalog.Table) (bool, error) {
	if !t.Sequence.CanAsk || t.Sequence.Cache > 1 || t.Draws > 1 || !t.Selectable || t.RowSecurity || !t.Indexed {
		return true, nil
	}
	beyond, _ := directions(t.Sequence)
	question := fmt.Sprintf(behind, catalog.Quote(t.FedColumn()), itself(t), t.Sequence.OID, beyond, t.Identity.CheckAllKeys())
	if t.Partitions.Count > 0 {
		// Outside a transaction several statements are one, so that the limit ends with them.
		answer, err := answered(c.Exec(ctx, conn.OnPrimary+boundAhead+"; SELECT 1 / CASE WHEN ("+question+") THEN 0 ELSE 1 END"))
		return answer != Free, err
	}
	var found bool
	err := c.Row(ctx, question, nil, &found)
	return found, err
}

// directions are the comparisons "at or beyond" and "at or before" in the sequence's direction.
func directions(seq catalog.Sequence) (beyond, before string) {
	if seq.Descending() {
		return "<=", ">="
	}
	return ">=", "<="
}

// drawnIsTaken asks whether a row of the very table holds the value that this session
// drew last. In SERIALIZABLE it looks at no row unless it has to, because the look would
// make bystanders fail with 40001 (measured).
//
//	%[1]s column   %[2]s table, with ONLY unless partitioned, and what stands beside it
//	%[3]s the conditions on the key's other columns
//	%[4]t look in any case   %[5]d the sequence's oid
//	%[6]s the check that the table is the remembered one; where it is not, ln(0) fails
const drawnIsTaken = `SELECT 1 / CASE
  WHEN pg_catalog.ln(CASE WHEN %[6]s THEN 1 ELSE 0 END) <> 0 THEN 1
  WHEN CASE WHEN %[4]t OR pg_catalog.current_setting('transaction_isolation') <> 'serializable'
    THEN EXISTS (SELECT 1 FROM %[2]s WHERE t.%[1]s = (SELECT pg_catalog.currval(%[5]d::pg_catalog.oid::pg_catalog.regclass))%[3]s)
    ELSE false END THEN 0 ELSE 1 END`

// DrawnIsTaken asks, in a transaction that is left as it was, whether the id that was last
// drawn on this connection exists, beside the given values of the key's other columns: of a
// row that any unique index may have kept out. It is Unknown, without an error, where the role
// may not ask, and where another column draws from the sequence too, perhaps after the key.
// It takes one round trip, and five with values beside. look has it read in SERIALIZABLE too.
func DrawnIsTaken(ctx context.Context, c *conn.Conn, t *catalog.Table, beside *Beside, look bool) (Answer, error) {
	if t.Draws > 1 || !t.Selectable || t.RowSecurity || !t.Sequence.CanAsk {
		return Unknown, nil
	}
	question := func(from, also string) string {
		return fmt.Sprintf(drawnIsTaken, catalog.Quote(t.FedColumn()), from, also, look, t.Sequence.OID, t.Identity.CheckAllKeys())
	}
	if beside == nil {
		return Put(ctx, c, question(itself(t)+" t", ""))
	}
	if err := c.Exec(ctx, setAside); err != nil {
		return answered(err)
	}
	values, args := beside.values(beside.Sets, nil)
	err := c.RowBeside(ctx, question(itself(t)+" t, "+values, beside.conditions()), args, new(int))
	if undo := c.Undo(ctx, takeBack); undo != nil {
		return Unknown, undo
	}
	return answered(err)
}

// lastDrawn answers the value that this session drew last from the sequence with
// oid $1.
const lastDrawn = `SELECT pg_catalog.currval($1::pg_catalog.int8::pg_catalog.oid::pg_catalog.regclass)`

// LastDrawn is the id that was last drawn on this connection, read without a look
// at any row. Nothing is found where the role may not ask, where another column draws from
// the sequence too, nor, with an error, where none was drawn.
func LastDrawn(ctx context.Context, c *conn.Conn, t *catalog.Table) (drawn Position, err error) {
	if t.Draws > 1 || !t.Sequence.CanAsk {
		return Position{}, nil
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

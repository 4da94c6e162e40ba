package sequence

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
)

// preflightSlack is how many values beyond the statement's own are looked at, because
// other sessions draw between the preflight and the INSERT.
const preflightSlack = 16

// preflightLast reads the sequence's last value; the value before the next one
// when none was drawn yet. Needs SELECT on the sequence. The function waits for a
// session that is drawing. Reading the sequence as a table does not, and now and then
// shows the value that nextval writes to the log, up to 32 steps ahead (measured).
const preflightLast = "SELECT coalesce(pg_catalog.pg_sequence_last_value(%[3]d::pg_catalog.oid::pg_catalog.regclass), " + smallest + "q.last_value - (%[1]d)::pg_catalog.numeric" + largest + ") AS last FROM %[2]s q"

// A value beside the ends of bigint is taken to be the end.
const (
	smallest = "greatest(-9223372036854775808, least(9223372036854775807, "
	largest  = "))::pg_catalog.int8"
)

// preflightDraw draws values instead and answers the last: with CACHE, what this
// session draws next is known only to the session; and without SELECT on the
// sequence there is no other way.
const preflightDraw = `SELECT d.v AS last FROM (SELECT pg_catalog.nextval(%[1]d::pg_catalog.oid::pg_catalog.regclass) AS v
  FROM pg_catalog.generate_series(1, %[2]d) OFFSET 0) d OFFSET %[2]d - 1`

// preflightShared reads the last value where the role may not read the sequence as a
// table. It needs USAGE. Before the first value was drawn it is taken to be the start.
const preflightShared = "SELECT coalesce(pg_catalog.pg_sequence_last_value(%[1]d::pg_catalog.oid::pg_catalog.regclass), " + smallest + "p.start_value - p.increment::pg_catalog.numeric" + largest + ") AS last FROM pg_catalog.pg_sequence_parameters(%[1]d::pg_catalog.oid) p"

// lasts is the SQL for the values behind which the statement will draw, as last;
// empty where the role can know none. With CACHE they are two: the rest of what
// the session has cached, and behind it whatever the others have left of the
// sequence. Only with CACHE a value is drawn to know it.
func (a Ahead) lasts(seq catalog.Sequence) string {
	switch {
	case seq.Cache <= 1 || a.FromSecond:
		return lastOf(seq)
	case !seq.CanUse:
		return ""
	case seq.CanRead:
		return "(" + fmt.Sprintf(preflightDraw, seq.OID, 1) + ") UNION ALL (" + lastOf(seq) + ")"
	}
	// The last of as many draws is fresh from the sequence.
	return fmt.Sprintf(preflightDraw, seq.OID, max(1, min(seq.Cache, slice)))
}

// lastOf is the SQL for the value behind which the sequence goes on, drawing none; empty where
// the role may not ask.
func lastOf(seq catalog.Sequence) string {
	switch {
	case seq.CanRead:
		return fmt.Sprintf(preflightLast, seq.Increment, seq.QuotedName(), seq.OID)
	case seq.CanAsk:
		return fmt.Sprintf(preflightShared, seq.OID)
	}
	return ""
}

// preflight fails with division by zero when a row holds one of the values in
// front of the last one, or when the statement itself names one. The range is read
// by an index. In SERIALIZABLE it does not look at rows: the look would make
// bystanders fail with 40001 (measured).
//
//	%[1]s inRows, or false   %[3]s last values   %[4]s nearest   %[5]s furthest step
//	%[6]s the ids that the statement names, with commas   %[7]d increment
//	%[8]s a WHEN that refuses in SERIALIZABLE, or nothing
//
// Values between the sequence's own steps are never drawn: in an odd/even scheme
// they are the other node's.
const preflight = `SELECT 1 / CASE
  WHEN EXISTS (SELECT 1 FROM (SELECT last FROM (%[3]s) l OFFSET 0) s
               WHERE %[1]s
                  OR EXISTS (SELECT 1 FROM pg_catalog.unnest('{%[6]s}'::pg_catalog.int8[]) n(id)
                             WHERE n.id BETWEEN ` + nearest + ` AND ` + farthest + ` AND (n.id - s.last) %% (%[7]d) = 0)) THEN 0 %[8]s
  ELSE 1 END`

// inRows holds when a row has one of the values.
//
//	%[1]s column   %[2]s table, with ONLY unless partitioned   the others as in preflight
const inRows = `CASE WHEN pg_catalog.current_setting('transaction_isolation') <> 'serializable'
                          THEN EXISTS (SELECT 1 FROM %[2]s t WHERE t.%[1]s BETWEEN ` + nearest + ` AND ` + farthest + ` AND (t.%[1]s - s.last) %% (%[7]d) = 0)
                          ELSE false END`

// nearest and farthest are the ends of the range that is looked at, within bigint.
const (
	nearest  = smallest + "s.last + (%[4]d)::pg_catalog.numeric" + largest
	farthest = smallest + "s.last + (%[5]d)::pg_catalog.numeric" + largest
)

// Ahead is what an INSERT is about to do with a sequence.
type Ahead struct {
	// Count is how many values it draws.
	Count int64
	// Named are ids that other rows of it name: drawn, they would collide as well.
	Named []int64
	// Beside are values of the key's other columns among the drawing rows: of those before the
	// sequence's where no index begins with that, of all for an exact look. Nil for a look at
	// the sequence's column alone.
	Beside *Beside
	// AllKeys is true for an INSERT that waits for any unique index: the answer is [Stale] as
	// well where they are not those of when the table was read.
	AllKeys bool
	// NotHere asks for the answer [NotHere] in SERIALIZABLE, instead of Free.
	NotHere bool
	// Afterwards is true where what came back, or a question after the statement, shows whether it
	// met a row. No row is looked at before it then.
	Afterwards bool
	// Exactly leaves out the values that others may draw meanwhile.
	Exactly bool
	// FromSecond is true for a look on another connection than the statement's, which has cached
	// other values.
	FromSecond bool
}

// Ask is a question about the values that come next. It reports false where one statement
// cannot look, or the role may not.
func Ask(t *catalog.Table, a Ahead) (question Question, ok bool) {
	seq := t.Sequence
	reach, ok := a.reach(t)
	if !ok || !t.Indexed || a.Beside != nil {
		return Question{}, false
	}
	near, far := seq.Increment, reach
	if seq.Descending() {
		near, far = -reach, seq.Increment
	}
	question, refuse := StillThere(t, a.AllKeys), ""
	switch last := a.Afterwards && len(a.Named) == 0; {
	case last && a.NotHere:
		return Question{Check: fmt.Sprintf(stillThere, check(t, a.AllKeys), " + "+notSerializable)}, true
	case last:
		return question, true
	case a.NotHere:
		refuse = "WHEN " + notSerializable + " < 0 THEN 1"
	}
	arguments := []any{catalog.Quote(t.FedColumn()), itself(t), a.lasts(seq), near, far, commas(a.Named), seq.Increment, refuse}
	in := "false"
	if !a.Afterwards {
		question.rows, question.partitions = true, t.Partitioned
		in = fmt.Sprintf(inRows, arguments[:7]...)
	}
	arguments[0] = in
	question.Look = fmt.Sprintf(preflight, arguments...)
	return question, true
}

// Askable reports whether the role may ask about the values that come next.
func Askable(t *catalog.Table) bool {
	return t.Selectable && !t.RowSecurity && (t.Sequence.CanAsk || t.Sequence.CanUse && t.Sequence.Cache > 1)
}

// NotAskable is why the role may not, with the right that is missing.
func NotAskable(t *catalog.Table) error {
	switch {
	case t.RowSecurity:
		return fmt.Errorf("row-level security hides rows from the role; give plugin.WithResyncDB a connection whose role has BYPASSRLS")
	case !t.Selectable:
		return fmt.Errorf("the role may not read its key; GRANT SELECT (%s) ON %s to it", catalog.Quote(t.FedColumn()), t.QuotedName())
	}
	return fmt.Errorf("the role may not ask sequence %[1]s; GRANT USAGE, SELECT ON SEQUENCE %[1]s to it", t.Sequence.QuotedName())
}

// reach is how far a look goes, false where the role may not look or the distance
// could overflow beside the last value.
func (a Ahead) reach(t *catalog.Table) (int64, bool) {
	seq := t.Sequence
	slack := int64(preflightSlack)
	if a.Exactly {
		slack = 0
	}
	reach := spread(a.Count+slack, seq.Increment)
	ok := t.Selectable && !t.RowSecurity && (t.Indexed || a.Beside != nil) && (seq.CanUse && seq.Cache > 1 || seq.CanAsk && seq.Cache <= 1) && reach <= 1<<40
	return reach, ok
}

// Preflight asks in a transaction, which is left as it was: in one round trip, or, where
// only an index that begins with other columns can tell, in six and one more for each thousand
// sets beside. It is Free where the role may not look.
func Preflight(ctx context.Context, c *conn.Conn, t *catalog.Table, a Ahead) (Answer, error) {
	if question, ok := Ask(t, a); ok {
		return Put(ctx, c, question.text())
	}
	reach, ok := a.reach(t)
	if !ok {
		return Free, nil
	}
	if answer, err := Put(ctx, c, StillThere(t, a.AllKeys).Check); answer != Free {
		return answer, err
	}
	near, far := t.Sequence.Increment, reach
	if t.Sequence.Descending() {
		near, far = -reach, t.Sequence.Increment
	}
	return preflightBeside(ctx, c, t, a.lasts(t.Sequence), near, far, a)
}

// preflightLasts answers the last values themselves, and whether rows may be looked
// at.
//
//	%[1]s last values
const preflightLasts = `SELECT s.last, pg_catalog.current_setting('transaction_isolation') <> 'serializable' FROM (%[1]s) s`

// preflightBeside asks among the rows with the values beside, which are parameters.
func preflightBeside(ctx context.Context, c *conn.Conn, t *catalog.Table, last string, near, far int64, a Ahead) (Answer, error) {
	if err := c.Exec(ctx, setAside); err != nil {
		return AnswerOf(err), err
	}
	var from []int64
	mayLook, taken := true, false
	err := c.Query(ctx, fmt.Sprintf(preflightLasts, last), nil, func(rows *sql.Rows) error {
		from = append(from, 0)
		return rows.Scan(&from[len(from)-1], &mayLook)
	})
	increment := t.Sequence.Increment
	for _, from := range from {
		low, high := beside(from, near), beside(from, far)
		taken = taken || slices.ContainsFunc(a.Named, func(id int64) bool {
			return id >= low && id <= high && Distance(from, id)%Magnitude(increment) == 0
		})
		if err != nil || taken || !mayLook {
			break
		}
		phase := fmt.Sprintf(" AND (t.%s - (%d)) %% (%d) = 0", catalog.Quote(t.FedColumn()), from, increment)
		var position Position
		position, err = furthestWhere(ctx, c, t, a.Beside, low, high, phase)
		taken = position.Found
	}
	if undo := c.Undo(ctx, takeBack); err == nil {
		err = undo
	}
	switch {
	case err != nil:
		return answered(err)
	case taken:
		return Taken, nil
	case a.NotHere && !mayLook:
		return NotHere, nil
	}
	return Free, nil
}

// commas writes numbers as the inside of an array.
func commas(numbers []int64) string {
	texts := make([]string, len(numbers))
	for i, n := range numbers {
		texts[i] = strconv.FormatInt(n, 10)
	}
	return strings.Join(texts, ",")
}

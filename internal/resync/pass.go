package resync

import (
	"context"
	"fmt"
	"strings"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
)

// pass moves a sequence past a value, in three statements of one round trip. The
// first locks the sequence, for nothing may be waited for under the advisory lock but
// that lock itself. The third does nothing where the sequence is past the value, or
// where the value would leave less than a tenth of what was left of the range, which a
// heal judges better; it walks, or beyond farWalk draws, compares and sets.
//
//	%[1]d the sequence's oid   %[2]d the value   %[3]d increment   %[4]d cache   %[5]d last value of the range
//	%[6]d lockClass   %[7]d farWalk   %[8]t it may be set   %[9]s min or max   %[10]s "short of"
//	%[11]d first value of the range, which stands for the last one before any was drawn
const pass = `SELECT pg_catalog.pg_sequence_last_value(%[1]d::pg_catalog.oid::pg_catalog.regclass);
SELECT pg_catalog.pg_advisory_xact_lock(%[6]d, %[1]d::pg_catalog.oid::pg_catalog.int4);
SELECT CASE WHEN coalesce(s.last %[10]s '%[2]d'::pg_catalog.int8, true)
    AND pg_catalog.abs('%[5]d'::pg_catalog.numeric - '%[2]d'::pg_catalog.numeric)
     >= pg_catalog.abs('%[5]d'::pg_catalog.numeric - coalesce(s.last, '%[11]d'::pg_catalog.int8)) / 10
  THEN (SELECT CASE
      WHEN way.steps <= %[7]d THEN (SELECT pg_catalog.%[9]s(pg_catalog.nextval(%[1]d::pg_catalog.oid::pg_catalog.regclass)) FROM pg_catalog.generate_series(1, way.steps))
      WHEN %[8]t THEN pg_catalog.setval(%[1]d::pg_catalog.oid::pg_catalog.regclass, (way.v + way.steps * '%[3]d'::pg_catalog.numeric)::pg_catalog.int8)
    END FROM (
      SELECT d.v, pg_catalog.ceil(('%[2]d'::pg_catalog.numeric - d.v) / '%[3]d'::pg_catalog.numeric)::pg_catalog.int8 AS steps
      FROM (SELECT pg_catalog.%[9]s(pg_catalog.nextval(%[1]d::pg_catalog.oid::pg_catalog.regclass)) AS v FROM pg_catalog.generate_series(1, %[4]d) OFFSET 0) d OFFSET 0) way)
  END FROM (SELECT pg_catalog.pg_sequence_last_value(%[1]d::pg_catalog.oid::pg_catalog.regclass) AS last OFFSET 0) s`

// passNear walks from the sequence's last value to a value nearby: a batch of an import
// that goes on. Drawing alone is forward by nature and needs no advisory lock. Eight
// draws a row cost two thirds of one a row (measured).
//
//	%[1]d the sequence's oid   %[2]d the value   %[3]d increment   %[4]s the draw eight times over
const (
	passNear = `SELECT pg_catalog.bool_or(%[4]s) FROM pg_catalog.generate_series(1, ` + nearSteps + ` / 8);
SELECT pg_catalog.bool_or(` + oneDraw + `) FROM pg_catalog.generate_series(1, ` + nearSteps + `)`
	nearSteps = `(pg_catalog.ceil(('%[2]d'::pg_catalog.numeric - coalesce(pg_catalog.pg_sequence_last_value(%[1]d::pg_catalog.oid::pg_catalog.regclass), '%[2]d')) / '%[3]d'::pg_catalog.numeric))::pg_catalog.int8`
	oneDraw   = `pg_catalog.nextval(%[1]d::pg_catalog.oid::pg_catalog.regclass) IS NULL`
)

// nearby is how many values passNear walks at the most.
const nearby = 20_000

// briefly keeps Pass from waiting for a heal or a migration.
const briefly = "SET LOCAL lock_timeout = 100"

// Pass moves the table's sequence past a value that an INSERT has named, in one round
// trip, if the sequence is not past it already. Nothing is drawn in that case. Inside a
// transaction it stands in a savepoint that is taken back, which keeps the move and
// gives back the advisory lock, also after an error; outside, the server's implicit
// transaction around the statements does the same. The role must be allowed to draw.
//
// passed is a value that the sequence is known to have passed, if any.
func Pass(ctx context.Context, c *conn.Conn, t *catalog.Table, passed Sight, value int64, inTransaction bool) error {
	text := passText(t, value)
	if seq := t.Sequence; passed.Found && seq.Cache == 1 && Steps(passed.Value, value, seq.Increment) <= nearby && !Near(t, value) {
		draws := strings.Repeat(" OR "+oneDraw, 8)[len(" OR "):]
		text = fmt.Sprintf(passNear, seq.OID, value, seq.Increment, fmt.Sprintf(draws, seq.OID))
	}
	if !inTransaction {
		return c.Exec(ctx, briefly+"; "+text)
	}
	err := c.Exec(ctx, setAside+"; "+text+"; "+takeBack)
	if err != nil {
		if undo := c.Undo(ctx, takeBack); undo != nil {
			return undo
		}
	}
	return err
}

func passText(t *catalog.Table, value int64) string {
	seq := t.Sequence
	first, short := seq.Min, "<"
	if seq.Descending() {
		first, short = seq.Max, ">"
	}
	return fmt.Sprintf(pass, seq.OID, value, seq.Increment, max(1, seq.Cache), t.Limit(),
		lockClass, farWalk, seq.CanUpdate, seq.Aggregate(), short, first)
}

// Near reports whether a value lies in the last tenth of the sequence's range, where
// Pass may have left the sequence behind it.
func Near(t *catalog.Table, value int64) bool {
	seq := t.Sequence
	first := seq.Min
	if seq.Descending() {
		first = seq.Max
	}
	return Distance(value, t.Limit()) < Distance(first, t.Limit())/10
}

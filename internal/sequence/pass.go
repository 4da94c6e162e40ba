package sequence

import (
	"context"
	"errors"
	"fmt"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgerr"
)

// pass moves a sequence past a value, in three statements of one round trip. The
// first locks the sequence, for nothing may be waited for under the advisory lock but
// that lock itself. The third does nothing where the sequence is past the value, or
// where the value would leave less than a tenth of what was left of the range, which a
// heal judges better; it walks, or beyond farWalk draws, compares and sets. Where the
// role may not set, it divides by zero there.
//
//	%[1]d the sequence's oid   %[2]d the value   %[3]d increment   %[4]d cache   %[5]d last value of the range
//	%[6]d LockClass   %[7]d farWalk   %[8]t it may be set   %[9]s min or max   %[10]s "short of"
//	%[11]d first value of the range, for the room that is left before any was drawn
//	%[12]s where the last value comes from
const pass = `SELECT pg_catalog.pg_sequence_last_value(%[1]d::pg_catalog.oid::pg_catalog.regclass);
SELECT pg_catalog.pg_advisory_xact_lock(%[6]d, %[1]d::pg_catalog.oid::pg_catalog.int4);
SELECT CASE WHEN coalesce(s.last %[10]s '%[2]d'::pg_catalog.int8, true)
    AND pg_catalog.abs('%[5]d'::pg_catalog.numeric - '%[2]d'::pg_catalog.numeric)
     >= pg_catalog.abs('%[5]d'::pg_catalog.numeric - coalesce(s.last, '%[11]d'::pg_catalog.int8)) / 10
  THEN (SELECT CASE
      WHEN way.steps <= %[7]d THEN (SELECT pg_catalog.%[9]s(pg_catalog.nextval(%[1]d::pg_catalog.oid::pg_catalog.regclass)) FROM pg_catalog.generate_series(1, way.steps))
      WHEN %[8]t THEN pg_catalog.setval(%[1]d::pg_catalog.oid::pg_catalog.regclass, (way.v + way.steps * '%[3]d'::pg_catalog.numeric)::pg_catalog.int8)
      ELSE 1 / (way.steps * 0)
    END FROM (
      SELECT d.v, pg_catalog.ceil(('%[2]d'::pg_catalog.numeric - d.v) / '%[3]d'::pg_catalog.numeric)::pg_catalog.int8 AS steps
      FROM (SELECT pg_catalog.%[9]s(pg_catalog.nextval(%[1]d::pg_catalog.oid::pg_catalog.regclass)) AS v FROM pg_catalog.generate_series(1, %[4]d) OFFSET 0) d OFFSET 0) way)
  END FROM (SELECT %[12]s AS last OFFSET 0) s`

// lastKnown is null before the first value was drawn, whatever that will be.
const lastKnown = "pg_catalog.pg_sequence_last_value(%d::pg_catalog.oid::pg_catalog.regclass)"

// passNear walks from the sequence's last value to a value nearby: a batch of an import
// that goes on. Drawing alone is forward by nature and needs no advisory lock. Where the
// way is longer than an int2, because another session moved the sequence back, the server
// answers that it is out of range and draws nothing.
//
//	%[1]d the sequence's oid   %[2]d the value   %[3]d increment
const passNear = `SELECT pg_catalog.count(pg_catalog.nextval(%[1]d::pg_catalog.oid::pg_catalog.regclass)) FROM pg_catalog.generate_series(1,
  greatest(0, coalesce(pg_catalog.ceil(('%[2]d'::pg_catalog.numeric - pg_catalog.pg_sequence_last_value(%[1]d::pg_catalog.oid::pg_catalog.regclass)) / '%[3]d'::pg_catalog.numeric), 100000))::pg_catalog.int2)`

// nearby is how many values passNear walks at the most; less than an int2 holds.
const nearby = 20_000

// numericOutOfRange is what passNear answers with when the way is not a near one.
const numericOutOfRange = "22003"

// ErrTooFar reports that a sequence is further behind than is walked, and that the role
// may not set it.
var ErrTooFar = errors.New("too far behind to be walked, and the role may not set it")

// briefly keeps Pass from waiting for a heal or a migration.
const briefly = "SET LOCAL lock_timeout = 100"

// Pass moves the table's sequence past a value that an INSERT has named, in one round
// trip, if the sequence is not past it already. Nothing is drawn in that case. Inside a
// transaction it stands in a savepoint that is rolled back, which keeps the move and
// releases the advisory lock, also after an error; outside, the server's implicit
// transaction around the statements does the same. The role must be allowed to draw.
//
// It fails as [AnswerOf] reads it when the table is not the one that was read.
//
// passed is a value that the sequence is known to have passed, if any. Where another
// session has moved it far back since, it takes a second round trip.
func Pass(ctx context.Context, c *conn.Conn, t *catalog.Table, passed Position, value int64, inTransaction bool) error {
	if seq := t.Sequence; passed.Found && seq.Cache == 1 && Steps(passed.Value, value, seq.Increment) <= nearby && !Near(t, value) {
		near := fmt.Sprintf(passNear, seq.OID, value, seq.Increment)
		if err := sendPass(ctx, c, t, near, inTransaction); !pgerr.Is(err, numericOutOfRange) {
			return err
		}
	}
	err := sendPass(ctx, c, t, passText(t, value), inTransaction)
	if pgerr.Is(err, divisionByZero) {
		return ErrTooFar
	}
	return err
}

func sendPass(ctx context.Context, c *conn.Conn, t *catalog.Table, text string, inTransaction bool) error {
	text = StillThere(t, false).Check + "; " + text
	if !inTransaction {
		return c.Exec(ctx, briefly+"; "+text)
	}
	failure, lost := sendAside(ctx, c, c.Exec, text)
	if lost != nil {
		return lost
	}
	return failure
}

func passText(t *catalog.Table, value int64) string {
	seq := t.Sequence
	short := "<"
	if seq.Descending() {
		short = ">"
	}
	last := fmt.Sprintf(lastKnown, seq.OID)
	if seq.CanRead {
		last = "(" + lastOf(seq) + ")"
	}
	return fmt.Sprintf(pass, seq.OID, value, seq.Increment, max(1, seq.Cache), t.Limit(),
		LockClass, farWalk, seq.CanUpdate, seq.Aggregate(), short, seq.First(), last)
}

// Near reports whether a value lies in the last tenth of the sequence's range, where
// Pass may have left the sequence behind it.
func Near(t *catalog.Table, value int64) bool {
	return Distance(value, t.Limit()) < Distance(t.Sequence.First(), t.Limit())/10
}

// Package sequence moves a sequence past the values that a table holds: look,
// draw, move. It only ever moves it in its own direction.
//
// With 64 connections on one drifted table, setval(max(id)) and one retry loses
// 44 % of the inserts, greatest(nextval, max) still loses some; serialised and
// forward only loses none (measured).
package sequence

import (
	"context"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
)

// Limits of a move, in values of the sequence.
const (
	// farWalk is the longest way that is walked although the sequence may be
	// set: nextval is atomic and forward by nature, and 0.33 µs a value.
	farWalk = 500_000
	// longestWalk is the longest way that is walked when the role may only draw.
	longestWalk = 10_000_000
	// slice is how many values one statement draws, so that others who draw in
	// the meantime shorten the walk.
	slice = 250_000
)

// LockClass is the first key of the advisory lock that serialises healers of one
// sequence over all processes; the second is the sequence's oid. It is "seqh" in
// ASCII and must never change: all versions of the plugin take the same lock.
const LockClass = 0x73657168

// draw takes $2 values from the sequence with oid $1 and answers the last of them.
// That is not the furthest one when a session drew from its cache first and the
// sequence has been set back meanwhile.
const draw = `
SELECT d.v
FROM (SELECT pg_catalog.nextval($1::pg_catalog.int8::pg_catalog.oid::pg_catalog.regclass) AS v
      FROM (SELECT pg_catalog.generate_series(1, $2::pg_catalog.int8)) n OFFSET 0) d
OFFSET $2::pg_catalog.int8 - 1`

// lock serialises healers, in class $1, of the sequence with oid $2 until the savepoint is
// rolled back. Two healers of one sequence can only disagree about who waits.
const lock = `SELECT pg_catalog.pg_advisory_xact_lock($1::pg_catalog.int4, $2::pg_catalog.int8::pg_catalog.oid::pg_catalog.int4)::pg_catalog.text`

// jump draws a fresh value, compares and sets in one statement: in two, 5 ms
// apart, the sequence stepped back 6 times in 394 beside bulk writers (measured).
//
//	$1  the sequence's oid
//	$2  the target
//	$3  the increment
//	$4  the values to draw until one is fresh from the shared sequence
//	$5  the least distance at which it is set; nearer, the drawn value is answered
//
// It answers the sequence's last value. The step keeps the sequence's phase, and
// numeric keeps the difference of two int8 from overflowing.
const jump = `
SELECT CASE WHEN pg_catalog.sign($3::pg_catalog.int8::pg_catalog.numeric) * ($2::pg_catalog.int8::pg_catalog.numeric - d.v) > $5::pg_catalog.int8
  THEN pg_catalog.setval($1::pg_catalog.int8::pg_catalog.oid::pg_catalog.regclass,
    (d.v + pg_catalog.ceil(($2::pg_catalog.int8::pg_catalog.numeric - d.v) / $3::pg_catalog.int8) * $3::pg_catalog.int8)::pg_catalog.int8)
  ELSE d.v END
FROM (SELECT drawn.v
      FROM (SELECT pg_catalog.nextval($1::pg_catalog.int8::pg_catalog.oid::pg_catalog.regclass) AS v
            FROM pg_catalog.generate_series(1, $4::pg_catalog.int8) OFFSET 0) drawn
      OFFSET $4::pg_catalog.int8 - 1) d`

// Move is where a sequence was and is.
type Move struct {
	// From is the last value before the first draw here, To the last one now.
	From, To int64
	// Moved is false when the sequence was past the target already. Next is true then
	// when the value drawn is the one that follows the target.
	Moved, Next bool
	// Outlier is a value near the end of the range that was left behind, with
	// Found true when there is one.
	Outlier Position
}

// Goal is how far a sequence has to go.
type Goal struct {
	Table *catalog.Table
	// Target is the furthest value to pass.
	Target int64
	// Margin is how many steps further to go, for rows that keep appearing.
	Margin int64
	// Guess is true when the rows could not be looked at and may lie beyond the target.
	// The margin is then drawn even when the sequence is past the target.
	Guess bool
	// Rows is how many values the statement will draw.
	Rows int64
	// Below looks for the furthest value up to a bound, when a row near the end
	// of the range would leave no room; nil where rows must not be read.
	Below *conn.Conn
	// Beside as in [Ahead].
	Beside *Beside
	Role   string
}

// Advance draws on c until the sequence is past the goal. c must be inside a
// transaction and a savepoint that the caller rolls back afterwards, which keeps
// the moves (PostgreSQL manual 9.17) and releases the advisory lock. The next
// nextval on this connection is then beyond the target, cached values included.
//
// It sends one statement when the sequence is past the target already, with CACHE
// two, else three or more.
func Advance(ctx context.Context, c *conn.Conn, goal Goal) (Move, error) {
	seq := goal.Table.Sequence
	if !seq.CanUse {
		return Move{}, NoUsage(goal.Table, goal.Role)
	}
	first, move, err := goal.draw(ctx, c)
	if err != nil {
		return move, err
	}
	if seq.Reached(first, goal.Target) && (!goal.Guess || goal.Margin == 0) {
		// This draw went past the last row, or the one before it did.
		move.Moved = Distance(first, goal.Target) < Magnitude(seq.Increment)
		move.Next = Distance(first, goal.Target) == Magnitude(seq.Increment)
		return move, nil
	}
	if move.Outlier, err = goal.makeRoom(ctx, first); err != nil {
		return move, err
	}
	if err := goal.extend(); err != nil {
		return move, err
	}
	if seq.Reached(first, goal.Target) {
		return move, nil
	}
	// Decided before the lock, which would keep a role that may set it waiting.
	if steps := Steps(first, goal.Target, seq.Increment); steps > longestWalk && !seq.CanUpdate {
		return move, noUpdate(goal.Table, goal.Role, steps)
	}
	// From here on nothing takes a new heavyweight lock: the sequence's was
	// taken by the draw. The other order deadlocked with a migration (measured).
	if err := c.Row(ctx, lock, []any{int64(LockClass), seq.OID}, new(string)); err != nil {
		return move, err
	}
	// A session with CACHE hands out its own cached values first; only the last
	// of as many draws is fresh. Deciding on a cached one moved the sequence
	// back 94 times in 117 (measured).
	if move.To, err = drawOn(ctx, c, seq, seq.Cache); err != nil {
		return move, err
	}
	if seq.Reached(move.To, goal.Target) {
		// These draws were the whole way, unless another session has moved it meanwhile.
		move.Moved = Distance(first, move.To) <= uint64(spread(seq.Cache, seq.Increment))
		return move, nil
	}
	move.Moved = true
	move.To, err = goal.move(ctx, c, move.To)
	return move, err
}

// draw draws a first value, and passes what the session has cached where that lies beyond
// the target: it may be from before the sequence was set back.
func (g Goal) draw(ctx context.Context, c *conn.Conn) (first int64, move Move, err error) {
	seq := g.Table.Sequence
	if first, err = drawOn(ctx, c, seq, 1); err != nil {
		return first, move, err
	}
	move = Move{From: back(first, seq), To: first}
	if seq.Cache <= 1 || !seq.Reached(first, g.Target) {
		return first, move, nil
	}
	last, err := newest(ctx, c, seq)
	if err == nil && !seq.Reached(last, g.Target) {
		first, move = last, Move{From: last, To: last}
	}
	return first, move, err
}

// move goes from last to the target, under the lock.
func (g Goal) move(ctx context.Context, c *conn.Conn, last int64) (int64, error) {
	seq := g.Table.Sequence
	for !seq.Reached(last, g.Target) {
		steps := Steps(last, g.Target, seq.Increment)
		far := max(farWalk, 2*seq.Cache)
		if steps > far && seq.CanUpdate {
			at, err := jumpOn(ctx, c, seq, g.Target, far)
			if err != nil {
				return last, err
			}
			last = at
			continue
		}
		count := min(steps, slice)
		at, err := drawOn(ctx, c, seq, count)
		if err != nil {
			return last, err
		}
		last = at
	}
	return last, nil
}

func drawOn(ctx context.Context, c *conn.Conn, seq catalog.Sequence, count int64) (last int64, err error) {
	err = c.Row(ctx, draw, []any{seq.OID, max(1, count)}, &last)
	return last, err
}

// newest is a value behind which the sequence itself hands out the next one,
// whatever this session has cached: its last value where that may be read, else
// one drawn after all that can be cached.
func newest(ctx context.Context, c *conn.Conn, seq catalog.Sequence) (last int64, err error) {
	if !seq.CanRead {
		return drawOn(ctx, c, seq, seq.Cache)
	}
	err = c.Row(ctx, lastOf(seq), nil, &last)
	return last, err
}

func jumpOn(ctx context.Context, c *conn.Conn, seq catalog.Sequence, target, far int64) (int64, error) {
	var last int64
	err := c.Row(ctx, jump, []any{seq.OID, target, seq.Increment, max(1, seq.Cache), spread(far, seq.Increment)}, &last)
	return last, err
}

package heal

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/sequence"
)

// locate finds the furthest value: of those that the server and the statement name, and of the
// rows, which are read from wherever they may be: in READ
// COMMITTED on the insert's own connection; in REPEATABLE READ there and from a second
// one, because the snapshot hides what others committed; in SERIALIZABLE from a
// second one only, because a read on the caller's makes other sessions fail with
// 40001 (measured).
func (a *attempt) locate(ctx context.Context, c *conn.Conn) (sequence.Position, error) {
	t, named := a.table, sequence.Position{}
	if key := a.collision.key; key.Found && t.Sequence.Contains(key.Value) {
		named = key
	}
	if t.IsTarget() {
		named = named.With(t.Sequence, a.furthestNamed(t))
	}
	if t.RowSecurity || !t.Selectable {
		return a.readMaxAsAdmin(ctx, named)
	}
	var leading *sequence.Beside
	if !t.Indexed {
		if leading = a.leading(t); leading == nil {
			if a.target.guessed = named.Found; a.target.guessed {
				return named, nil
			}
			return named, sequence.NoIndexOf(t)
		}
	}
	found := named
	if a.session.Isolation != conn.Serializable {
		own, err := a.readMax(ctx, c, a.session, leading)
		if err != nil {
			return found, err
		}
		found = found.With(t.Sequence, own)
	}
	if a.session.Isolation == conn.ReadCommitted {
		return found, nil
	}
	return a.readMaxFromSecond(ctx, found, leading)
}

// readMaxFromSecond adds what a second connection sees to what was found.
func (a *attempt) readMaxFromSecond(ctx context.Context, found sequence.Position, leading *sequence.Beside) (sequence.Position, error) {
	t := a.table
	if a.second == nil {
		var other sequence.Position
		a.second = a.onSecond(ctx, func(ctx context.Context, c *conn.Conn, session conn.Session) (err error) {
			other, err = a.readMax(ctx, c, session, leading)
			return err
		})
		found = found.With(t.Sequence, other)
	}
	// The caller's own uncommitted rows are not seen from there; without it, and under
	// a snapshot, nothing is seen that was committed since.
	a.target.guessed = a.session.Isolation == conn.Serializable || a.second != nil
	if a.second != nil && !found.Found {
		return found, &sequence.Refusal{Reason: sequence.NoSight, Err: fmt.Errorf(
			"table %s: in a %s transaction the rows are read from a second connection: %w; raise SetMaxOpenConns",
			t.QuotedName(), a.session.Isolation, a.second)}
	}
	return found, nil
}

// readMax reads the furthest value. In the first round READ COMMITTED callers that ask at
// the same moment share the answer: without that slow reads (a dead index tail, a thousand
// partitions) queue a herd past its time limit (measured).
func (a *attempt) readMax(ctx context.Context, c *conn.Conn, session conn.Session, leading *sequence.Beside) (sequence.Position, error) {
	read := func() (sequence.Position, error) { return sequence.ReadMax(ctx, c, a.table, leading) }
	if a.rounds > 1 || session.Isolation != conn.ReadCommitted {
		return read() // a shared answer did not show the row, or is not of this snapshot
	}
	// Half the time that is left: the caller that reads may wait for a migration that
	// waits for this transaction.
	same := []string{session.Server, session.Database, session.Role, session.SearchPath,
		strconv.FormatInt(a.table.OID, 10), strconv.FormatInt(a.table.Sequence.OID, 10)}
	if leading != nil {
		for _, set := range leading.Sets {
			same = append(same, alike(set))
		}
	}
	return a.maxima.Do(ctx, strings.Join(same, "\x00"), c.Left()/2, read)
}

// mostMargin bounds what one round leaves in front of the rows. A program that
// computes ids from the sequence or from the furthest row follows every margin, and
// with several heals that take it for an import a sequence ran away to 10^11 within
// seconds (measured). Drawing that many takes 10 ms, while others wait for the lock.
const mostMargin = 1 << 15

// advance moves the sequence past the target and records the move. It sets the verdict to
// callersOwn where something other than the sequence gave the id. before is the target of
// the round before.
func (a *attempt) advance(ctx context.Context, c *conn.Conn, before sequence.Position) error {
	if !a.target.Found {
		if a.rounds > 1 {
			a.verdict = callersOwn // it collided, and no row is in front of the sequence
		}
		return nil
	}
	t := a.table
	if t.RowSecurity || !t.Selectable || !t.Sequence.CanUse {
		return a.advanceBothWays(ctx, c, before)
	}
	goal := a.goal(c, before)
	if a.session.Isolation == conn.Serializable {
		goal.Below = nil
	}
	move, err := sequence.Advance(ctx, c, goal)
	if sequence.Explain(err).Has(sequence.Permission) && a.settings.ResyncDB != nil {
		return a.advanceBothWays(ctx, c, before)
	}
	switch key := a.collision.key; {
	case move.Next && a.collision.evidence != suspected && (!key.Found || key.Value == a.target.Value):
		move.Moved = true // the draw that collided went past the last row; a suspicion is no collision
	case a.collision.evidence == missingRows && err == nil:
		move.Moved = true // the statement's own draws went past the rows
	}
	a.record(move)
	if err == nil && !move.Moved && before.Found && a.target.Position == before && a.assignedElsewhere() {
		a.verdict = callersOwn // the sequence was past every row before this sending as well
	}
	return err
}

// record adds a move to the attempt.
func (a *attempt) record(move sequence.Move) {
	if a.move == nil {
		a.move = &move
		a.origin.low = a.lowest(move)
	} else {
		a.move.To, a.move.Moved = move.To, a.move.Moved || move.Moved
		if move.Outlier.Found {
			a.move.Outlier = move.Outlier
		}
	}
	if move.Outlier.Found {
		a.target.Position = sequence.Position{Value: move.To, Found: true}
	}
}

// assignedElsewhere reports whether something other than the sequence, such as a
// trigger, assigned the id. One round is no proof: the sequence may have been moved
// back in between and forward again by another session, onto the same id.
func (a *attempt) assignedElsewhere() bool {
	if a.table.IsTarget() && a.table.NotGuardable == "" || a.collision.evidence == droppedRow {
		return false
	}
	key, previous := a.collision.key, &a.collision.previous
	if key.Found && previous.key.Found && key != previous.key {
		previous.repeats = 0
		return false
	}
	previous.repeats++
	return previous.repeats > 1 || a.rounds == a.settings.MaxRounds
}

// advanceBothWays moves the sequence through WithResyncDB and then, where the role may,
// draws past what this session has cached.
func (a *attempt) advanceBothWays(ctx context.Context, c *conn.Conn, before sequence.Position) error {
	if err := a.advanceAsAdmin(ctx, before); err != nil {
		return err
	}
	if a.table.Sequence.Cache <= 1 || !a.table.Sequence.CanUse {
		return nil
	}
	_, err := sequence.Advance(ctx, c, a.goal(nil, sequence.Position{}))
	return err
}

// passCached draws on the connection of the next sending, where it is not the one
// that was healed on and may hold cached values from before.
func (a *attempt) passCached(ctx context.Context, c *conn.Conn) error {
	if a.table.Sequence.Cache <= 1 || !a.target.Found || !a.table.Sequence.CanUse {
		return nil
	}
	return c.InSavepoint(ctx, func() error {
		defer c.Within(a.deadline(ctx), a.session.StatementTimeout, a.session.LockTimeout)()
		_, err := sequence.Advance(ctx, c, a.goal(nil, sequence.Position{}))
		return err
	})
}

// goal is how far the sequence has to go; below is where rows may be read, nil where
// they may not. The margin grows from round to round with the rows that appeared since
// before, the position of the last round.
func (a *attempt) goal(below *conn.Conn, before sequence.Position) sequence.Goal {
	goal := sequence.Goal{
		Table: a.table, Target: a.target.Value, Rows: int64(a.stmt.Insert.Rows()),
		Below: below, Role: a.session.Role, Guess: a.target.guessed,
	}
	if a.rounds > 1 && before.Found {
		appeared := sequence.Steps(before.Value, a.target.Value, a.table.Sequence.Increment)
		least := int64(64) << (3 * min(a.rounds-2, 6))
		goal.Margin = min(mostMargin, max(least, 2*min(appeared, mostMargin)))
	}
	if !a.table.Indexed {
		if goal.Beside = a.leading(a.table); goal.Beside == nil {
			goal.Below = nil // no index answers
		}
	}
	return goal
}

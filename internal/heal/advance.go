package heal

import (
	"context"

	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/sequence"
)

// mostMargin bounds what one round leaves in front of the rows. A program that
// computes ids from the sequence or from the furthest row follows every margin, and
// with several heals that take it for an import a sequence ran away to 10^11 within
// seconds (measured). It is walked in 10 ms, while others wait for the lock.
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
	t, margin := a.table, a.margin(before)
	if t.RowSecurity || !t.Selectable || !t.Sequence.CanUse {
		return a.advanceBothWays(ctx, c, margin)
	}
	goal := a.goal(c)
	goal.Margin = margin
	if a.session.Isolation == conn.Serializable {
		goal.Below = nil
	}
	move, err := sequence.Advance(ctx, c, goal)
	if sequence.Explain(err).Has(sequence.Permission) && a.settings.ResyncDB != nil {
		return a.advanceBothWays(ctx, c, margin)
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
func (a *attempt) advanceBothWays(ctx context.Context, c *conn.Conn, margin int64) error {
	if err := a.advanceAsAdmin(ctx, margin); err != nil {
		return err
	}
	if a.table.Sequence.Cache <= 1 || !a.table.Sequence.CanUse {
		return nil
	}
	_, err := sequence.Advance(ctx, c, a.goal(nil))
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
		_, err := sequence.Advance(ctx, c, a.goal(nil))
		return err
	})
}

// margin grows from round to round with what appeared since the last one: the rows
// of an import that is running now.
func (a *attempt) margin(before sequence.Position) int64 {
	if a.rounds == 1 || !before.Found {
		return 0
	}
	appeared := sequence.Steps(before.Value, a.target.Value, a.table.Sequence.Increment)
	least := int64(64) << (3 * min(a.rounds-2, 6))
	return min(mostMargin, max(least, 2*min(appeared, mostMargin)))
}

// goal is how far the sequence has to go; below is where rows may be read, nil where
// they may not.
func (a *attempt) goal(below *conn.Conn) sequence.Goal {
	goal := sequence.Goal{
		Table: a.table, Target: a.target.Value, Rows: int64(a.stmt.Insert.Rows()),
		Below: below, Role: a.session.Role, Guess: a.target.guessed,
	}
	if !a.table.Indexed {
		if goal.Beside = a.leading(a.table); goal.Beside == nil {
			goal.Below = nil // no index answers
		}
	}
	return goal
}

package heal

import (
	"context"
	"fmt"
	"time"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/facts"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/sequence"
)

// dropped sends one row under DO NOTHING without a target. No row back means that a
// unique index was hit: the caller's own conflict, or the key of a drifted sequence. The
// id that was just drawn distinguishes them: if it exists, it collided.
type dropped struct {
	*insert
	entry *facts.Entry
}

func (*dropped) guard() Guard { return None }

func (s *dropped) send(ctx context.Context) *collision {
	if !s.inTransaction() && !s.sendOutside(ctx) {
		return nil
	}
	if err := s.sendAsWritten(); err != nil || s.stmt.DB.RowsAffected > 0 {
		return nil
	}
	t := s.entry.Table
	id, taken, unseen, err := sequence.DrawnIsTaken(ctx, s.conn(), t, s.beside(0, t), false)
	if unseen {
		taken, err = s.takenForOthers(ctx, t, id)
	}
	switch {
	case err != nil: // nothing was stored, and the reason cannot be known
		s.conn().Abort(ctx)
		s.stmt.Fail(err)
	case taken && t.InsertTrigger:
		s.reportTrigger(id)
	case taken:
		return &collision{evidence: droppedRow, key: sequence.Position{Value: id, Found: true}}
	}
	return nil
}

// sendOutside sends the row outside a transaction. When nothing came back and that may
// be drift, it begins a transaction of the plugin's own for the row to be sent again
// and reports true: currval is the session's, and no pooler can put another session in
// between there.
func (s *dropped) sendOutside(ctx context.Context) bool {
	if err := s.sendAsWritten(); err != nil || s.stmt.DB.RowsAffected > 0 || s.entry.Table.InsertTrigger {
		return false
	}
	if !s.mayBeDrift(ctx) || !conn.Outside(ctx, s.stmt.DB) {
		return false
	}
	if err := s.enter(ctx); err != nil {
		s.stmt.Fail(err)
		return false
	}
	return true
}

// mayBeDrift reports whether a row that was dropped outside a transaction can have
// been dropped because of its key. Without another unique index nothing else explains
// it. With one, the sequence shows it, unless a heal of this process advanced it in the
// meantime.
func (s *dropped) mayBeDrift(ctx context.Context) bool {
	if len(s.entry.Table.Violated.Others) == 0 || s.tables.HealedSince(s.endedBefore) {
		return true
	}
	behind, err := sequence.MayBeBehind(ctx, s.conn(), s.entry.Table)
	if pgerr.Lost(err) {
		s.stmt.Fail(err) // nothing was stored, and the reason cannot be known
		return false
	}
	return err == nil && (behind || s.tables.HealedSince(s.endedBefore))
}

// reportTrigger reports a row that was dropped by a trigger or by drift.
func (s *dropped) reportTrigger(drawn int64) {
	t := s.entry.Table
	a := s.begin(s, collision{evidence: droppedRow, key: sequence.Position{Value: drawn, Found: true}})
	a.rounds, a.verdict, a.table = 1, drift, t
	a.failure = sequence.Explain(sequence.Refuse(sequence.Unsupported,
		"table %s has a trigger on INSERT, so a row that ON CONFLICT DO NOTHING did not return may be the trigger's doing; "+
			"id %d that was drawn for it exists: move sequence %s with plugin.Resync",
		t.QuotedName(), drawn, t.Sequence.QuotedName()))
	a.end()
}

func (s *dropped) heal(ctx context.Context, a *attempt) strategy {
	if !a.healHere(ctx) {
		return nil
	}
	return s
}

func (s *dropped) abandon(ctx context.Context, a *attempt) {
	if !a.mayBeRetried() {
		return
	}
	t := s.entry.Table
	s.conn().Abort(ctx)
	s.stmt.Fail(fmt.Errorf("%w: ON CONFLICT DO NOTHING dropped a row for table %s, because sequence %s gave id %d, which exists: %w",
		ErrRowsMissing, t.QuotedName(), t.Sequence.QuotedName(), a.collision.key.Value, a.failure.Err))
}

// takenForOthers reports whether the id that was drawn for a row which DO NOTHING
// dropped is taken, in SERIALIZABLE: as a second connection sees it, because a read on
// the caller's makes other sessions fail. Where none is free at once (most such rows
// are duplicates on a healthy table) the caller's own connection is read, and also
// where nothing else is known that drops rows, because the row may be of the
// transaction itself.
func (in *insert) takenForOthers(ctx context.Context, t *catalog.Table, drawn int64) (taken bool, err error) {
	err = conn.ErrNoSecond
	if pool, poolErr := in.stmt.DB.DB(); poolErr == nil && !conn.Exhausted(pool) {
		budget := conn.Budget{Until: time.Now().Add(in.settings.Timeout), Lock: secondLock}
		err = conn.OnSecond(ctx, pool, budget, func(ctx context.Context, c *conn.Conn, _ conn.Session) (err error) {
			taken, err = sequence.Exists(ctx, c, t, drawn, in.beside(0, t))
			return err
		})
	}
	if err != nil || !taken && t.NotGuardable == "" && len(t.Violated.Others) == 0 {
		_, taken, _, err = sequence.DrawnIsTaken(ctx, in.conn(), t, in.beside(0, t), true)
	}
	return taken, err
}

package heal

import (
	"context"
	"fmt"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/sequence"
)

// dropped sends one row under DO NOTHING without a target. No row back means that a
// unique index was hit: the caller's own conflict, or the key of a drifted sequence. The
// id that was just drawn distinguishes them: if it exists, it collided.
type dropped struct {
	*insert
	table *catalog.Table
}

func (*dropped) guard() Guard { return None }

func (s *dropped) send(ctx context.Context) *collision {
	outside := !s.inTransaction()
	behind, again := s.table, true
	if outside {
		behind, again = s.sendOutside(ctx)
	}
	if !again {
		return nil
	}
	if rows, err := s.sendCounted(s.stmt.Text()); err != nil || rows > 0 {
		if outside && err == nil {
			s.reportPassed(ctx, behind)
		}
		return nil
	}
	return s.diagnose(ctx)
}

// diagnose tells why no row came back. Where the table turned out to be another one it is
// read anew first: the row has drawn from that one's sequence.
func (s *dropped) diagnose(ctx context.Context) *collision {
	switch t, answer, err := s.takenKey(ctx); {
	case err != nil: // nothing was stored, and the reason cannot be known
		s.failAborted(ctx, err)
	case answer == sequence.Stale && s.countReading() && s.follow(ctx):
		return s.diagnose(ctx)
	case answer == sequence.Taken:
		hit := &collision{evidence: droppedRow, from: t}
		hit.key = s.lastDrawn(ctx, t)
		return hit
	case answer == sequence.Unknown:
		return s.sendBare(ctx)
	}
	return nil
}

// takenKey is the table by the first key whose value, which the row has drawn, exists.
func (s *dropped) takenKey(ctx context.Context) (t *catalog.Table, answer sequence.Answer, err error) {
	for _, t = range s.drawnKeys(s.table) {
		if answer, err = s.drawnIsTaken(ctx, t); err != nil || answer != sequence.Free {
			break
		}
	}
	return t, answer, err
}

// reportPassed reports a row that was dropped at its first sending and stored at the
// second: the first draw was the last value that was taken.
func (s *dropped) reportPassed(ctx context.Context, t *catalog.Table) {
	last := s.lastDrawn(ctx, t)
	if !last.Found {
		return
	}
	before := last.Value - t.Sequence.Increment
	a := s.begin(s, collision{evidence: droppedRow, key: sequence.Position{Value: before, Found: true}})
	a.rounds, a.table, a.verdict = 1, t, drift
	a.move = &sequence.Move{From: before, To: last.Value, Moved: true}
	a.end()
}

// sendBare sends the row once more without ON CONFLICT, where the id that was drawn
// cannot be asked for: the server then names the index that dropped it. One of the
// caller's own is undone, and the empty result stands.
func (s *dropped) sendBare(ctx context.Context) *collision {
	bare, ok := s.stmt.Text().WithoutConflict()
	if !ok {
		return nil
	}
	r := s.sendFenced(ctx, bare, fence{})
	if r.unopened {
		s.stmt.Fail(r.err) // nothing was stored, and the reason cannot be known
		return nil
	}
	if r.err == nil || !serverSpoke(r.err) {
		return nil
	}
	hit := s.collided(r.err)
	undone := s.conn().RollBack(ctx)
	if hit == nil {
		s.stmt.Empty()
		return nil
	}
	hit.undone = undone
	return hit
}

// follow goes by the table as it is now, and reports whether the row draws from a sequence
// there and nothing on it may keep the row out.
func (s *dropped) follow(ctx context.Context) bool {
	entry, err := s.readAnew(ctx, s.table)
	if err != nil || entry == nil || s.skips(entry.Table) {
		return false
	}
	keys := s.drawnKeys(entry.Table)
	if len(keys) > 0 {
		s.table = keys[0]
	}
	return len(keys) > 0
}

// drawnIsTaken asks whether the id that was last drawn on the statement's connection
// exists. The error is one of the connection or the context.
func (in *insert) drawnIsTaken(ctx context.Context, t *catalog.Table) (sequence.Answer, error) {
	answer, err := sequence.DrawnIsTaken(ctx, in.conn(), t, in.beside(0, t), false)
	if answer == sequence.Unknown {
		if ctx.Err() == nil && (err == nil || serverSpoke(err)) {
			return sequence.Unknown, nil
		}
		return answer, err
	}
	if answer == sequence.Free && in.serializable(ctx) {
		return in.takenForOthers(ctx, t)
	}
	return answer, ctx.Err()
}

// serializable reports whether the statement's transaction is SERIALIZABLE, where a
// question looks at no row.
func (in *insert) serializable(ctx context.Context) bool {
	session, err := conn.ReadSession(ctx, in.conn())
	return err == nil && session.Isolation == conn.Serializable
}

// lastDrawn is the id of this key that was last drawn on the statement's connection.
func (in *insert) lastDrawn(ctx context.Context, t *catalog.Table) (key sequence.Position) {
	if !t.Fed() {
		return key
	}
	_ = in.conn().InSavepoint(ctx, func() (err error) {
		key, err = sequence.LastDrawn(ctx, in.conn(), t)
		return err
	})
	return key
}

// sendOutside sends the row outside a transaction. When nothing came back and that may
// be drift, it begins a transaction of the plugin's own for the row to be sent again
// and reports true: currval is the session's, and no pooler can put another session in
// between there. behind is the key that may have dropped it.
func (s *dropped) sendOutside(ctx context.Context) (behind *catalog.Table, again bool) {
	if rows, err := s.sendCounted(s.stmt.Text()); err != nil || rows > 0 {
		return nil, false
	}
	behind = s.mayBeBehind(ctx)
	if s.stmt.DB.Error != nil || behind == nil && !s.table.OnlyKeyIsUnique() {
		return nil, false
	}
	if err := s.enter(ctx); err != nil {
		s.stmt.Fail(err)
		return nil, false
	}
	if behind != nil {
		return behind, true
	}
	return s.table, s.onlyKeyDrops(ctx, s.table)
}

// mayBeBehind is the table by a key of which a row lies at the sequence's last value or
// beyond it, so that a row which was dropped may have been dropped because of it; nil
// without one.
func (s *dropped) mayBeBehind(ctx context.Context) *catalog.Table {
	if s.tables.HealedSince(s.endedBefore) {
		return s.table
	}
	for _, t := range s.drawnKeys(s.table) {
		behind, err := sequence.MayBeBehind(ctx, s.conn(), t)
		if pgerr.Lost(err) {
			s.stmt.Fail(err) // nothing was stored, and the reason cannot be known
			return nil
		}
		if behind || err != nil {
			return t
		}
	}
	if s.tables.HealedSince(s.endedBefore) {
		return s.table
	}
	return nil
}

func (s *dropped) heal(ctx context.Context, a *attempt) strategy { return a.healAndSend(ctx, s) }

func (s *dropped) abandon(ctx context.Context, a *attempt) {
	if !a.mayBeRetried() {
		s.stmt.Empty()
		return
	}
	t := a.table
	s.failAborted(ctx, fmt.Errorf("%w: ON CONFLICT DO NOTHING dropped a row for table %s, because sequence %s gave id %d, which exists: %w",
		ErrRowsMissing, t.QuotedName(), t.Sequence.QuotedName(), a.collision.key.Value, a.failure.Err))
}

// takenForOthers reports whether the id that was drawn for a row which DO NOTHING
// dropped is taken, in SERIALIZABLE: as a second connection sees it, because a read on
// the caller's makes other sessions fail. The caller's own connection is read where no
// second one is free at once (most such rows are duplicates on a healthy table), and where
// nothing else is known that drops rows, because the row may be the transaction's own.
func (in *insert) takenForOthers(ctx context.Context, t *catalog.Table) (sequence.Answer, error) {
	drawn, err := in.lastDrawn(ctx, t), error(conn.ErrNoSecond)
	taken := false
	if drawn.Found {
		err = in.onFreeSecond(ctx, func(ctx context.Context, c *conn.Conn) (err error) {
			taken, err = sequence.Exists(ctx, c, t, drawn.Value, in.beside(0, t))
			return err
		})
	}
	if taken && err == nil {
		return sequence.Taken, nil
	}
	if err != nil || t.NotGuardable == "" && t.OnlyKeyIsUnique() {
		answer, err := sequence.DrawnIsTaken(ctx, in.conn(), t, in.beside(0, t), true)
		if answer == sequence.Unknown && serverSpoke(err) {
			err = ctx.Err()
		}
		return answer, err
	}
	return sequence.Free, ctx.Err()
}

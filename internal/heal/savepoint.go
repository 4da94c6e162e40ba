package heal

import (
	"context"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/sequence"
	"github.com/seqheal/seqheal/internal/statement"
)

// savepoint sends the statement in a savepoint. A collision is undone; any other
// error leaves the transaction aborted, as PostgreSQL left it.
type savepoint struct {
	*insert
	text statement.Text
	// explained is the table of an upsert that is sent without its clause, nil for any
	// other statement: the server checks the caller's own first.
	explained *catalog.Table
	// next is how the statement is sent instead, once it turned out to be another table.
	next strategy
}

func (*savepoint) guard() Guard { return Savepoint }

func (s *savepoint) send(ctx context.Context) *collision {
	if !s.ensureTransaction(ctx) {
		return nil
	}
	s.next = nil
	f := fence{}
	if s.explained != nil {
		f.explained, f.questions = true, []sequence.Question{sequence.Unchanged(s.explained)}
	}
	r := s.sendFenced(ctx, s.text, f)
	switch {
	case r.unopened:
		_ = s.sendAsWritten() // an aborted transaction, a closed connection: GORM's own error
		return nil
	case r.unsent && r.answer == sequence.Stale && s.countReading():
		return s.chooseAgain(ctx)
	case r.unsent:
		return s.sendRejected(ctx)
	case r.err == nil || !serverSpoke(r.err):
		s.settle(ctx, r)
		return nil
	}
	hit := s.collided(r.err)
	if hit != nil {
		hit.undone = s.conn().RollBack(ctx) // where it fails, the heal reports it
	}
	return hit
}

// chooseAgain reads the table anew, because it is another one or something was put on
// it, and sends the statement as that table asks for.
func (s *savepoint) chooseAgain(ctx context.Context) *collision {
	if s.conn().RollBack(ctx) != nil {
		_ = s.sendAsWritten() // the connection is gone: GORM's own error
		return nil
	}
	s.tables.Forget(s.stmt.Target, s.explained)
	s.next = s.chooseUpsert(ctx, true)
	if s.next == nil {
		return nil
	}
	return s.next.send(ctx)
}

// sendRejected sends an upsert that the server rejects, for the caller to get the error of
// its own statement. The reason may be gone by now, a deadlock for example, so there is a
// look before it.
func (s *savepoint) sendRejected(ctx context.Context) *collision {
	if s.conn().RollBack(ctx) != nil {
		_ = s.sendAsWritten() // the connection is gone: GORM's own error
		return nil
	}
	s.next = &preflight{insert: s.insert, text: s.stmt.Text(), table: s.explained}
	return s.next.send(ctx)
}

func (s *savepoint) heal(ctx context.Context, a *attempt) strategy {
	if s.next != nil {
		return s.next.heal(ctx, a)
	}
	if !a.healHere(ctx) {
		return nil
	}
	if s.explained != nil {
		return s.chooseUpsert(ctx, false)
	}
	return s.chooseGuard(s.text)
}

// abandon leaves the transaction aborted and the caller with what PostgreSQL said.
func (s *savepoint) abandon(ctx context.Context, a *attempt) {
	if s.next != nil {
		s.next.abandon(ctx, a)
		return
	}
	s.failAborted(ctx, a.collision.err)
}

package heal

import (
	"context"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/statement"
)

// savepoint sends the statement in a savepoint. A collision is undone; any other
// error leaves the transaction aborted, as PostgreSQL left it.
type savepoint struct {
	*insert
	text statement.Text
	// wired is the table by the key at which the text has a tripwire, nil without one.
	wired *catalog.Table
}

func (*savepoint) guard() Guard { return Savepoint }

func (s *savepoint) send(ctx context.Context) *collision {
	if !s.ensureTransaction(ctx) {
		return nil
	}
	r := s.sendFenced(ctx, s.text, fence{})
	switch {
	case r.unopened:
		s.sendUnfenced(s.text, r)
		return nil
	case r.err == nil || !serverSpoke(r.err):
		s.settle(ctx, r)
		return nil
	}
	hit := s.collidedOrTripped(ctx, s, r.err, s.wired)
	if hit != nil {
		hit.undone = s.conn().RollBack(ctx) // where it fails, the heal reports it
	}
	return hit
}

func (s *savepoint) heal(ctx context.Context, a *attempt) strategy {
	switch {
	case !a.healHere(ctx):
		return nil
	case s.wired != nil:
		return s.chooseUpsert(ctx, false)
	}
	return s.chooseGuard()
}

// abandon leaves the transaction aborted and the caller with what PostgreSQL said, or with
// [ErrRowsMissing].
func (s *savepoint) abandon(ctx context.Context, a *attempt) { s.failAborted(ctx, a.lastError()) }

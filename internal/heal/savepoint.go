package heal

import (
	"context"

	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/statement"
)

// savepoint sends the statement in a savepoint. A collision is undone; any other
// error leaves the transaction aborted, as PostgreSQL left it.
type savepoint struct {
	*insert
	text statement.Text
}

func (savepoint) guard() Guard { return Savepoint }

func (s savepoint) send(ctx context.Context) *collision {
	c := s.conn()
	if err := c.Savepoint(ctx); err != nil {
		_ = s.insert.send(s.text) // an aborted transaction, a closed connection: GORM's own error
		return nil
	}
	err := s.insert.send(s.text)
	if err == nil {
		s.release(ctx)
		return nil
	}
	if _, server := pgerr.From(err); !server {
		// The server took the rows, or the connection is gone: the error is the
		// driver's or Scan's, and the transaction goes on as without the plugin.
		_ = c.Release(ctx)
		return nil
	}
	hit := s.collided(err)
	if hit != nil {
		hit.undone = c.RollBack(ctx) // where it fails, the heal reports it
	}
	return hit
}

// release keeps what the statement did. A statement whose savepoint cannot be
// released is reported as failed, so its transaction must not be committed.
func (in *insert) release(ctx context.Context) {
	if err := in.conn().Release(ctx); err != nil {
		in.conn().Abort(ctx)
		_ = in.stmt.DB.AddError(err)
	}
}

func (s savepoint) heal(ctx context.Context, a *attempt) strategy {
	if !a.healHere(ctx) {
		return nil
	}
	return s.fence(s.text)
}

// abandon leaves the transaction aborted and the caller with what PostgreSQL said.
func (s savepoint) abandon(ctx context.Context, a *attempt) {
	s.conn().Abort(ctx)
	s.stmt.Fail(a.collision.err)
}

package heal

import (
	"context"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/statement"
)

// autocommit sends an insert that is a transaction of its own: it may fail, because
// nothing else is lost with it. After a heal the statement runs in a short
// transaction of the plugin's, so that a pooler cannot put another session between
// the draw and the INSERT.
type autocommit struct {
	*insert
	text statement.Text
	// wired is as in [savepoint].
	wired *catalog.Table
}

func (*autocommit) guard() Guard { return None }

func (s *autocommit) send(ctx context.Context) *collision {
	return s.collidedOrTripped(ctx, s, s.sendOn(s.pool(), s.text), s.wired)
}

func (s *autocommit) heal(ctx context.Context, a *attempt) strategy {
	s.drop()
	if err := s.healInOwn(ctx, a); err != nil {
		a.fail(err)
		return nil
	}
	switch a.verdict {
	case callersOwn:
		return nil
	case undecided:
		s.drop()
		return &savepoint{insert: s.insert, text: s.text, wired: s.wired}
	}
	return s
}

// healInOwn heals in the transaction that the INSERT follows in. A role whose default
// level takes a snapshot has the heal in a READ COMMITTED transaction first, and
// keeps its level for the INSERT.
func (s *autocommit) healInOwn(ctx context.Context, a *attempt) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	session, err := conn.ReadSession(ctx, s.conn())
	if err != nil {
		return err
	}
	if session.Isolation == conn.ReadCommitted {
		return a.healOn(ctx, s.conn())
	}
	s.drop()
	tx, err := conn.Begin(ctx, s.stmt.DB, conn.ReadCommittedTx)
	if err != nil {
		return err
	}
	err = a.healOn(ctx, tx.Conn)
	tx.Rollback()
	if err != nil || a.verdict != drift {
		return err
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	return a.passCached(ctx, s.conn())
}

func (s *autocommit) abandon(_ context.Context, a *attempt) {
	s.drop()
	s.stmt.Fail(a.lastError())
}

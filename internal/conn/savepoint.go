package conn

import (
	"context"

	"github.com/seqheal/seqheal/internal/pgerr"
)

// The savepoint that keeps a transaction alive through a collision. The name is
// always the same: a savepoint hides an older one of the same name until it is
// released, and none of the caller's statements runs in between.
const (
	savepoint        = "SAVEPOINT seqheal"
	releaseSavepoint = "RELEASE SAVEPOINT seqheal"
	// A savepoint that is only rolled back to stays open, and every row that the
	// caller writes afterwards gets a subtransaction id of its own (measured).
	rollBackSavepoint = "ROLLBACK TO SAVEPOINT seqheal; RELEASE SAVEPOINT seqheal"
	// abort names a savepoint that does not exist: the error leaves the
	// transaction aborted, as PostgreSQL leaves it after a failed statement.
	abort = "ROLLBACK TO SAVEPOINT seqheal_insert_failed"
)

// Savepoint opens the savepoint. Outside a transaction the server answers 25P01.
func (c *Conn) Savepoint(ctx context.Context) error { return c.Exec(ctx, savepoint) }

// SavepointAnd opens the savepoint and sends a statement in it, in one round trip. The savepoint
// stays open when the statement fails.
func (c *Conn) SavepointAnd(ctx context.Context, statement string) error {
	return c.Exec(ctx, savepoint+"; "+statement)
}

// Release closes the savepoint and keeps what happened since [Conn.Savepoint].
func (c *Conn) Release(ctx context.Context) error { return c.Undo(ctx, releaseSavepoint) }

// RollBack undoes everything since [Conn.Savepoint], locks and SET LOCAL included,
// and closes the savepoint. Sequence moves survive it (PostgreSQL manual 9.17,
// measured).
//
// A statement_timeout that was set in the savepoint binds the ROLLBACK TO as well. Where it
// ends in there, on a busy machine, the server says so at the RELEASE at the latest: the
// setting is undone by then, and both are sent once more.
func (c *Conn) RollBack(ctx context.Context) error {
	err := c.Undo(ctx, rollBackSavepoint)
	if pgerr.Is(err, pgerr.QueryCanceled) {
		err = c.Undo(ctx, rollBackSavepoint)
	}
	return err
}

// Abort leaves the transaction in the state of a failed statement, so that it can
// only roll back.
func (c *Conn) Abort(ctx context.Context) { _ = c.Undo(ctx, abort) }

// ReleaseAfter sends a statement and closes the savepoint in one round trip. When the
// statement fails the savepoint stays open.
func (c *Conn) ReleaseAfter(ctx context.Context, statement string) error {
	return c.Exec(ctx, statement+"; "+releaseSavepoint)
}

// InSavepoint runs fn in the savepoint and rolls it back. It returns the error of
// the first step that fails.
func (c *Conn) InSavepoint(ctx context.Context, fn func() error) error {
	if err := c.Savepoint(ctx); err != nil {
		return err
	}
	err := fn()
	if undo := c.RollBack(ctx); err == nil {
		err = undo
	}
	return err
}

// InLimitedSavepoint is InSavepoint with settings, SET LOCALs, that are sent in the same
// round trip as the savepoint. The transaction must not be aborted.
func (c *Conn) InLimitedSavepoint(ctx context.Context, settings string, fn func(*Conn) error) error {
	err := c.Exec(ctx, savepoint+"; "+settings)
	if err != nil {
		if undo := c.UndoAfter(ctx, err, rollBackSavepoint); undo != nil {
			return undo
		}
		return err
	}
	err = fn(c)
	if undo := c.RollBack(ctx); err == nil {
		err = undo
	}
	return err
}

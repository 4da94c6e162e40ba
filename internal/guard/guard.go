// Package guard keeps a transaction alive through a collision. PostgreSQL aborts
// a transaction at its first error, so the collision is either avoided (the
// conflict guard) or fenced in (the savepoint guard).
package guard

import (
	"context"
	"strings"

	"github.com/seqheal/seqheal/internal/conn"
)

// Savepoints are always named alike: a savepoint hides an older one of the same
// name and gives it back when it is released, and nothing of the caller's runs
// between.
const (
	setSavepoint = "SAVEPOINT seqheal"
	release      = "RELEASE SAVEPOINT seqheal"
	// A savepoint that is only rolled back to stays open, and every row that the
	// caller writes afterwards gets a subtransaction id of its own (measured).
	rollbackAndRelease = "ROLLBACK TO SAVEPOINT seqheal; RELEASE SAVEPOINT seqheal"
	// abort names a savepoint that does not exist: the error leaves the
	// transaction aborted, as PostgreSQL leaves it after any failed statement.
	abort = "ROLLBACK TO SAVEPOINT seqheal_insert_failed"
)

// Set opens the savepoint. Outside a transaction the server answers 25P01.
func Set(ctx context.Context, c *conn.Conn) error { return c.Exec(ctx, setSavepoint) }

// Release closes the savepoint and keeps what happened since.
func Release(ctx context.Context, c *conn.Conn) error { return c.Undo(ctx, release) }

// Undo takes back everything since Set, locks and SET LOCAL included, and closes
// the savepoint. Sequence moves survive it (PostgreSQL manual 9.17, measured).
func Undo(ctx context.Context, c *conn.Conn) error { return c.Undo(ctx, rollbackAndRelease) }

// Abort leaves the transaction in the state of a failed statement, so that it can
// only roll back.
func Abort(ctx context.Context, c *conn.Conn) { _ = c.Undo(ctx, abort) }

// ConflictClause is the text of the conflict guard for a primary key with these
// columns, already quoted.
func ConflictClause(key []string) string {
	return " ON CONFLICT (" + strings.Join(key, ",") + ") DO NOTHING"
}

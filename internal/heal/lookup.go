package heal

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/facts"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/sequence"
)

// boundRead keeps the first read of a table from waiting for a migration's lock;
// undone with the savepoint.
const boundRead = "SET LOCAL lock_timeout = 100"

// lookUp returns what is remembered of the statement's table. At the first insert it
// asks on the insert's own connection, inside a savepoint that is rolled back. It
// returns nil when the server could not answer, and the next insert asks again; it is
// nil too when the collision may be another table's, which only a savepoint survives.
func (in *insert) lookUp(ctx context.Context) *facts.Entry {
	entry := in.tables.Get(in.stmt.Target)
	if entry == nil {
		entry, _ = in.readFirst(ctx, in.conn()) // a connection that is gone fails the INSERT too
	}
	if entry != nil && in.mayCollideElsewhere(entry.Table) {
		return nil
	}
	return entry
}

// mayCollideElsewhere reports whether no sequence feeds the table's own key, but a view,
// a rule or a trigger can carry the row into one that a sequence feeds.
func (in *insert) mayCollideElsewhere(t *catalog.Table) bool {
	return (!t.Fed() || t.KeysBelow) && (t.Detour || t.InsertTrigger) && in.stmt.OmitsModelKey()
}

// lookUpAnywhere is lookUp for an upsert: outside a transaction it asks in a short
// one of the plugin's own. A connection that is lost there fails the statement, as it
// would have failed the INSERT: sent on another connection with nothing known, it
// could change a row.
func (in *insert) lookUpAnywhere(ctx context.Context) (*facts.Entry, error) {
	if entry := in.tables.Get(in.stmt.Target); entry != nil {
		return entry, nil
	}
	if in.inTransaction() {
		return in.lookUp(ctx), nil
	}
	if !conn.Outside(ctx, in.stmt.DB) {
		return nil, nil
	}
	tx, err := conn.Begin(ctx, in.stmt.DB, conn.ReadCommittedTx)
	if err == nil {
		defer tx.Rollback()
		var entry *facts.Entry
		if entry, err = in.readFirst(ctx, tx.Conn); err == nil {
			return entry, nil
		}
	}
	if pgerr.Lost(err) && !errors.Is(err, gorm.ErrInvalidTransaction) {
		return nil, err
	}
	return nil, nil // this pool begins no transactions
}

// readFirst reads a table for the first time. The error is that of a connection that
// is gone or of an aborted transaction; when the server merely could not answer, there
// is none and the entry is nil.
func (in *insert) readFirst(ctx context.Context, c *conn.Conn) (*facts.Entry, error) {
	table, err, gone := in.read(ctx, c, boundRead)
	upsert := in.stmt.Insert.OnConflict != nil
	if upsert && pgerr.Is(err, pgerr.LockNotAvailable) {
		// The upsert would wait for that lock as well. Unprotected it could change or
		// drop a row.
		table, err, gone = in.read(ctx, c, "")
	}
	switch {
	case gone != nil && in.stmt.Ended():
		return nil, ctx.Err() // rather than what the driver says of the transaction
	case gone != nil:
		return nil, gone
	case err == nil:
		return in.tables.Put(in.stmt.Target, table), nil
	case upsert && !errors.Is(err, catalog.ErrNotFound) && !in.stmt.Ended():
		in.complain(ctx, fmt.Sprintf("seqheal: an upsert is sent without protection from drift, "+
			"because its table could not be read: %v; raise statement_timeout", err))
	}
	return nil, nil
}

// read reads the table in a savepoint that is rolled back, under these settings. gone
// is the error of the savepoint itself.
func (in *insert) read(ctx context.Context, c *conn.Conn, settings string) (table *catalog.Table, err, gone error) {
	if err := c.Savepoint(ctx); err != nil {
		return nil, nil, err
	}
	if settings != "" {
		err = c.Exec(ctx, settings)
	}
	if err == nil {
		table, err = catalog.Read(ctx, c, in.stmt.Target, catalog.Name{})
	}
	return table, err, c.RollBack(ctx)
}

// unmovable reports whether a collision on this table could never be healed.
func unmovable(t *catalog.Table) bool { return sequence.Permitted(t, conn.Session{}) != nil }

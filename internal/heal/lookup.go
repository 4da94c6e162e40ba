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
)

// boundRead keeps the first read of a table from waiting for a migration's lock;
// undone with the savepoint.
const boundRead = conn.PlanAsWritten + "; SET LOCAL lock_timeout = 100"

// lookUpForUpsert returns what is remembered of the table of a statement whose collision is not
// an error, or reads it: outside a transaction in a short one of the plugin's own. A connection
// that is lost there fails the statement, as it would have failed the INSERT. Sent on another
// connection with nothing known, it could change a row. With fresh the table is read.
func (in *insert) lookUpForUpsert(ctx context.Context, fresh bool) (*facts.Entry, error) {
	entry := in.tables.Get(in.stmt.Target)
	switch {
	case fresh:
		entry = nil
	case entry != nil && !entry.Ambiguous && entry.Serves():
		return entry, nil
	}
	if in.inTransaction() {
		entry, _ := in.lookUpSession(ctx, in.conn(), entry)
		return entry, nil
	}
	tx, err := conn.Begin(ctx, in.stmt.DB, conn.ReadCommittedTx)
	if err == nil {
		defer tx.Rollback()
		if entry, err = in.lookUpSession(ctx, tx.Conn, entry); err == nil {
			return entry, nil
		}
	}
	if pgerr.Lost(err) && !errors.Is(err, gorm.ErrInvalidTransaction) {
		return nil, err
	}
	if serverSpoke(err) && !in.stmt.Ended() {
		in.complain(fmt.Sprintf("seqheal: upserts outside a transaction are not protected from drift, because the server refuses what a look needs: %v; "+
			"keep sequences in front of their rows with plugin.Resync", err))
	}
	return nil, nil // or this pool begins no transactions
}

// lookUpSession returns what a session with the same search_path, role and database has
// read of an ambiguous name, or reads the table.
func (in *insert) lookUpSession(ctx context.Context, c *conn.Conn, entry *facts.Entry) (*facts.Entry, error) {
	if entry != nil && entry.Ambiguous {
		var session conn.Session
		err := c.InSavepoint(ctx, func() (err error) {
			session, err = conn.ReadSession(ctx, c)
			return err
		})
		if err != nil {
			return nil, err
		}
		if known := in.tables.GetFor(in.stmt.Target, session); known != nil && known.Serves() {
			return known, nil
		}
	}
	return in.readFirst(ctx, c)
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
		table, err, gone = in.read(ctx, c, conn.PlanAsWritten)
	}
	if errors.Is(err, catalog.ErrOutdated) && gone == nil {
		_ = in.onFreeSecond(ctx, func(ctx context.Context, c *conn.Conn) error {
			if now, failed := catalog.Read(ctx, c, in.stmt.Target, catalog.Name{}); failed == nil {
				table, err = now, nil
			}
			return nil
		})
	}
	switch {
	case gone != nil && in.stmt.Ended():
		return nil, ctx.Err() // rather than what the driver says of the transaction
	case gone != nil:
		return nil, gone
	case err == nil:
		if table.Unlinked {
			in.complainUnlinked(table)
		}
		return in.tables.Put(in.stmt.Target, table), nil
	case upsert && errors.Is(err, catalog.ErrOutdated):
		in.complainUnprotected(err)
	case upsert && !errors.Is(err, catalog.ErrNotFound) && !in.stmt.Ended():
		in.complain(fmt.Sprintf("seqheal: an upsert is sent without protection from drift, "+
			"because its table could not be read: %v; raise statement_timeout", err))
	}
	return nil, nil
}

// readAnew reads the table again, because the name stood for another one than t.
func (in *insert) readAnew(ctx context.Context, t *catalog.Table) (*facts.Entry, error) {
	in.tables.Forget(in.stmt.Target, t)
	return in.readFirst(ctx, in.conn())
}

// complainUnlinked reports a table whose sequences the server does not name.
func (in *insert) complainUnlinked(t *catalog.Table) {
	if in.mayDraw(t) && !t.Fed() {
		in.complain(fmt.Sprintf("seqheal: inserts into table %s are not protected from drift: pg_depend of this server does not say which sequence "+
			"feeds its key; keep the sequence in front of its rows with SELECT setval(...) after imports", t.QuotedName()))
	}
}

// read reads the table in a savepoint that is rolled back, under these settings. gone
// is the error of the savepoint itself.
func (in *insert) read(ctx context.Context, c *conn.Conn, settings string) (table *catalog.Table, err, gone error) {
	if err := c.Savepoint(ctx); err != nil {
		return nil, nil, err
	}
	if err = c.Exec(ctx, settings); err == nil {
		table, err = catalog.Read(ctx, c, in.stmt.Target, catalog.Name{})
	}
	return table, err, c.RollBack(ctx)
}

package model

import (
	"context"
	"database/sql"
	"time"
)

// openImport is a transaction that has stored rows with explicit ids and stays open while
// the application sends its next statement. It commits when that waits for it, or afterwards.
type openImport struct {
	tx   *sql.Tx
	xid  string
	keys map[key]bool
}

// beginImport begins one, where the next statement has no snapshot that would hide its rows.
func (r *run) beginImport() {
	tx, err := r.place.SQL.Begin()
	if err != nil {
		r.Fatal(err)
	}
	r.importing = &openImport{tx: tx, keys: map[key]bool{}}
	if err := tx.QueryRow("SELECT (txid_current() % (1::bigint << 32))::text").Scan(&r.importing.xid); err != nil {
		r.Fatal(err)
	}
}

// imports reports whether the open import has stored a row at a key.
func (r *run) imports(at key) bool { return r.importing != nil && r.importing.keys[at] }

// besideOpenImport adds what an import that cannot be seen yet changes.
func (r *run) besideOpenImport(a attempt, e *expectation) {
	if r.importing == nil {
		return
	}
	e.guess = true
	if (r.kind.composite || r.kind.cache > 1) && e.may && r.way(a.step, a.rows) == lookedAhead {
		e.unprotected = "a look alone, beside an open import: a composite key, or CACHE"
	}
}

// endImport commits what is open.
func (r *run) endImport() {
	if r.importing == nil {
		return
	}
	if err := r.importing.tx.Commit(); err != nil {
		r.Fatalf("the import: %v", err)
	}
	r.importing = nil
}

// dropImport rolls back what a check that has ended the program left open.
func (r *run) dropImport() {
	if r.importing != nil {
		_ = r.importing.tx.Rollback()
	}
}

// besideImport sends the application's statement while the import is open, and ends the
// import when the statement waits for it.
func (r *run) besideImport(send func()) {
	if r.importing == nil {
		send()
		return
	}
	ended := make(chan error, 1)
	ctx, sent := context.WithCancel(context.Background())
	go func() { ended <- r.importing.commitWhenWaitedFor(ctx, r.place.SQL) }()
	send()
	sent()
	if err := <-ended; err != nil {
		r.Fatalf("the import: %v", err)
	}
	r.importing = nil
}

// commitWhenWaitedFor commits as soon as a statement waits, and at the latest when ctx ends.
func (i *openImport) commitWhenWaitedFor(ctx context.Context, db *sql.DB) error {
	often := time.NewTicker(time.Millisecond)
	defer often.Stop()
	for ctx.Err() == nil {
		var waits bool
		err := db.QueryRow("SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted AND transactionid::text = $1)", i.xid).Scan(&waits)
		if err != nil {
			return err
		}
		if waits {
			tally.add("waited for an open import")
			break
		}
		select {
		case <-ctx.Done():
		case <-often.C:
		}
	}
	return i.tx.Commit()
}

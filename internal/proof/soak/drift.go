package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seqheal/seqheal/internal/proof/proxy"
)

// drift is the crew that does what makes sequences drift.
type drift struct {
	db      *sql.DB
	cutter  *proxy.Proxy
	names   atomic.Int64
	stopped context.CancelFunc
	done    sync.WaitGroup
	mutex   sync.Mutex // of batch
	batch   batch
}

func startDrift(_ context.Context, dsn string, cutter *proxy.Proxy) (*drift, error) {
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(4)
	return &drift{db: db, cutter: cutter}, nil
}

// What disturbs, and how often.
const (
	backEvery   = 7 * time.Millisecond
	importEvery = 11 * time.Millisecond
	openEvery   = 400 * time.Millisecond
	cutEvery    = 3 * time.Second
)

func (d *drift) resume() error {
	ctx, stop := context.WithCancel(context.Background())
	d.stopped, d.batch = stop, newBatch()
	for _, habit := range []struct {
		every time.Duration
		do    func() error
	}{{backEvery, d.moveBack}, {importEvery, d.importRows}, {openEvery, d.importAndWait}, {cutEvery, d.cut}} {
		d.done.Go(func() {
			tick := time.NewTicker(habit.every)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				switch err := habit.do(); {
				case speaks(err, deadlock):
					d.note(func(b *batch) { b.Counts.Deadlocks++ })
				case err != nil:
					d.note(func(b *batch) { b.Unexpected = append(b.Unexpected, err.Error()) })
				}
			}
		})
	}
	return nil
}

func (d *drift) pause() (batch, error) {
	d.stopped()
	d.done.Wait()
	return d.batch, nil
}

func (d *drift) close() error { return d.db.Close() }

func (d *drift) note(fn func(*batch)) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	fn(&d.batch)
}

// moveBack sets a sequence some values back, as a restored dump does.
func (d *drift) moveBack() error {
	table := pick(tables)
	_, err := d.db.Exec(fmt.Sprintf("SELECT setval('%[1]s_id_seq', greatest(1, last_value - $1)) FROM %[1]s_id_seq", table), 1+rand.IntN(100))
	d.note(func(b *batch) { b.Counts.Back++ })
	return err
}

// importRows stores up to 20 rows with explicit ids in front of a sequence, those
// that are free.
func (d *drift) importRows() error {
	imported, err := d.importInto(d.db)
	d.enter(imported)
	return err
}

// stayOpen is how long an import takes until it is committed.
const stayOpen = 100 * time.Millisecond

// importAndWait is importRows in a transaction that stays open for a while.
func (d *drift) importAndWait() error {
	tx, err := d.db.Begin()
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	imported, err := d.importInto(tx)
	if err != nil {
		return err
	}
	if _, err := tx.Exec("SELECT pg_sleep($1)", stayOpen.Seconds()); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	d.enter(imported)
	d.note(func(b *batch) { b.Counts.Open++ })
	return nil
}

func (d *drift) enter(imported []entry) {
	d.note(func(b *batch) {
		for _, e := range imported {
			b.stored(e, "imported")
			b.Counts.Foreign++
		}
	})
}

// importInto inserts the rows, and returns those that were stored.
func (d *drift) importInto(db interface {
	Query(query string, args ...any) (*sql.Rows, error)
}) (imported []entry, err error) {
	table := pick(tables)
	name := fmt.Sprintf("import%d-", d.names.Add(1))
	columns, values := "id, name", "s.last_value + g, $1 || g"
	if table == petsTable {
		columns, values = columns+", owner_id", values+", 0"
	}
	rows, err := db.Query(fmt.Sprintf(`INSERT INTO %[1]s (%[2]s) SELECT %[3]s FROM %[1]s_id_seq s, generate_series(1, $2::int) g
		ON CONFLICT DO NOTHING RETURNING id, %[4]s`, table, columns, values, contentOf(table)), name, 1+rand.IntN(20))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		e := entry{table: table}
		if err := rows.Scan(&e.id, &e.content); err != nil {
			return nil, err
		}
		imported = append(imported, e)
	}
	return imported, rows.Err()
}

// cut ends all connections through the proxy in the middle of whatever they do.
func (d *drift) cut() error {
	d.cutter.CutAll()
	d.cutter.Fail(proxy.Fault{}) // forget the statements that passed
	d.note(func(b *batch) { b.Counts.Cuts++ })
	return nil
}

package model

import (
	"context"
	"database/sql"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// worker runs programs one after the other in a schema of its own.
type worker struct {
	// places are the tenants' schemas. The connections search the first.
	places []*pgtest.Place
	// changed are the tables that programs have changed, by schema and name.
	changed map[string]bool
	// app is one application's connection, other another's. Each has a second one to
	// look from under a snapshot; the one that was given back last is taken first, so
	// that a seed finds the sequence's cached values where they were.
	app, other *sql.DB
	warm       map[setting]*gorm.DB
	incidents  []plugin.Incident
}

// setting is one way of opening GORM.
type setting struct {
	pool *sql.DB
	// kind is that of the table, empty for the shop.
	kind  string
	mode  mode
	guard plugin.Guard
	// prepared and translated are GORM's PrepareStmt and TranslateError.
	prepared, translated bool
}

func newWorker(t *testing.T, create string, tenants int) *worker {
	w := &worker{changed: map[string]bool{}, warm: map[setting]*gorm.DB{}}
	for range tenants {
		place := pgtest.New(t)
		place.Exec(create)
		w.places = append(w.places, place)
	}
	for _, pool := range []**sql.DB{&w.app, &w.other} {
		opened, err := sql.Open("pgx", w.places[0].DSN)
		if err != nil {
			t.Fatal(err)
		}
		opened.SetMaxOpenConns(mostConnections)
		t.Cleanup(func() { _ = opened.Close() })
		*pool = opened
	}
	return w
}

const mostConnections = 2

// discardSequences lets every connection forget what it has cached of a sequence.
func (w *worker) discardSequences() error {
	for _, pool := range []*sql.DB{w.app, w.other} {
		var all []*sql.Conn
		for range mostConnections {
			c, err := pool.Conn(context.Background())
			if err != nil {
				return err
			}
			all = append(all, c)
			if _, err := c.ExecContext(context.Background(), "DISCARD SEQUENCES"); err != nil {
				return err
			}
		}
		for _, c := range all {
			if err := c.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

// open opens GORM with the plugin on a pool. A warm one is kept, and has seen the
// table: warmUp inserts into it.
func (w *worker) open(s setting, warm bool, warmUp func(*gorm.DB) error) (*gorm.DB, error) {
	if db := w.warm[s]; warm && db != nil {
		return db, nil
	}
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: s.pool}), &gorm.Config{
		SkipDefaultTransaction: s.mode == noTransaction, PrepareStmt: s.prepared, TranslateError: s.translated,
		Logger: logger.Discard, DisableAutomaticPing: true,
	})
	if err != nil {
		return nil, err
	}
	heal := plugin.New(plugin.WithGuard(s.guard), plugin.OnIncident(func(_ context.Context, i plugin.Incident) {
		w.incidents = append(w.incidents, i)
	}))
	if err := db.Use(heal); err != nil {
		return nil, err
	}
	if warm {
		w.warm[s] = db
		return db, db.Transaction(warmUp)
	}
	return db, nil
}

// take hands out the incidents since the last call.
func (w *worker) take() []plugin.Incident {
	all := w.incidents
	w.incidents = nil
	return all
}

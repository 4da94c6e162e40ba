package compat

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/cause"
	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// The tests share a slow machine: 5 ms are not always enough there for a look.
func init() { cause.Limit = time.Second }

type account struct {
	ID    int64
	Email string
	Name  string
}

// drifted is a table with twenty explicit ids and a sequence at its start.
const drifted = `CREATE TABLE accounts (id bigserial PRIMARY KEY, email text UNIQUE NOT NULL, name text);
INSERT INTO accounts SELECT g, 'old' || g || '@example.com', 'old ' || g FROM generate_series(1, 20) g;`

// farDrifted drifts further than a crowd of colliding inserts draws by itself.
var farDrifted = strings.Replace(drifted, "(1, 20)", "(1, 1000)", 1)

// driftAgain puts the sequence back to its start.
const driftAgain = `SELECT setval('accounts_id_seq', 1, false)`

// healthy is the same table, empty.
const healthy = `CREATE TABLE members (id bigserial PRIMARY KEY, email text UNIQUE NOT NULL, name text);`

// mode is one of the three ways in which GORM inserts.
type mode struct {
	name   string
	config gorm.Config
	within func(*gorm.DB, func(*gorm.DB) error) error
}

func direct(db *gorm.DB, fn func(*gorm.DB) error) error { return fn(db) }

var modes = []mode{
	{"no transaction", gorm.Config{SkipDefaultTransaction: true}, direct},
	{"GORM's transaction", gorm.Config{}, direct},
	{"caller's transaction", gorm.Config{}, func(db *gorm.DB, fn func(*gorm.DB) error) error { return db.Transaction(fn) }},
}

func inModes(t *testing.T, fn func(*testing.T, mode)) {
	t.Helper()
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			fn(t, m)
		})
	}
}

// open opens a database with GORM and closes its pool after the test.
func open(t *testing.T, dialector gorm.Dialector, config gorm.Config, plugins ...gorm.Plugin) *gorm.DB {
	t.Helper()
	if config.Logger == nil {
		config.Logger = logger.Discard
	}
	db, err := gorm.Open(dialector, &config)
	if err != nil {
		t.Fatal(err)
	}
	pool := poolOf(t, db)
	t.Cleanup(func() { _ = pool.Close() })
	for _, p := range plugins {
		if err := db.Use(p); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

func poolOf(t *testing.T, db *gorm.DB) *sql.DB {
	t.Helper()
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	return pool
}

// incidents collects what a plugin reports.
type incidents struct {
	mutex    sync.Mutex
	all      []plugin.Incident
	contexts []context.Context
}

func (i *incidents) plugin(options ...plugin.Option) *plugin.Plugin {
	return plugin.New(append(options, plugin.OnIncident(func(ctx context.Context, incident plugin.Incident) {
		i.mutex.Lock()
		defer i.mutex.Unlock()
		i.all = append(i.all, incident)
		i.contexts = append(i.contexts, ctx)
	}))...)
}

func (i *incidents) list() []plugin.Incident {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return append([]plugin.Incident(nil), i.all...)
}

// healed checks that there were so many incidents and that each was a heal.
func (i *incidents) healed(t *testing.T, count int) {
	t.Helper()
	all := i.list()
	if len(all) != count {
		t.Errorf("%d incidents instead of %d: %v", len(all), count, all)
	}
	for _, incident := range all {
		if incident.Outcome != plugin.Healed || incident.Err != nil {
			t.Errorf("not healed: %v", incident)
		}
	}
}

// newAccounts makes rows that no other call with another label makes.
func newAccounts(label string, rows int) []account {
	created := make([]account, rows)
	for i := range created {
		created[i] = account{Email: fmt.Sprintf("%s-%d@example.com", label, i), Name: fmt.Sprintf("%s %d", label, i)}
	}
	return created
}

// create inserts the rows in one statement, a single row as a struct.
func create(db *gorm.DB, rows []account) error {
	if len(rows) == 1 {
		return db.Create(&rows[0]).Error
	}
	return db.Create(&rows).Error
}

// stored checks that the table holds the old rows as they were, and each new one
// as its struct says, under an id of its own.
func stored(t *testing.T, p *pgtest.Place, table string, old int, created ...account) {
	t.Helper()
	var want []string
	for id := 1; id <= old; id++ {
		want = append(want, fmt.Sprintf("%d|old%d@example.com|old %d", id, id, id))
	}
	if got := p.Text("SELECT id, email, name FROM "+table+" WHERE id <= $1 ORDER BY id", old); got != strings.Join(want, "\n") {
		t.Errorf("old rows of %s changed:\n%s", table, got)
	}
	for _, row := range created {
		if row.ID <= int64(old) {
			t.Errorf("%s got the id %d", row.Email, row.ID)
		}
		want := fmt.Sprintf("%s|%s", row.Email, row.Name)
		if got := p.Text("SELECT email, name FROM "+table+" WHERE id = $1", row.ID); got != want {
			t.Errorf("%s holds %q under id %d instead of %q", table, got, row.ID, want)
		}
	}
	if got := p.Int("SELECT count(*) FROM " + table); got != int64(old+len(created)) {
		t.Errorf("%s holds %d rows instead of %d + %d", table, got, old, len(created))
	}
}

// heals inserts rows into the place's drifted table and checks what came of it.
func heals(t *testing.T, p *pgtest.Place, db *gorm.DB, m mode, rows int, seen *incidents) {
	t.Helper()
	created := newAccounts("new", rows)
	if err := m.within(db, func(tx *gorm.DB) error { return create(tx, created) }); err != nil {
		t.Fatal(err)
	}
	stored(t, p, "accounts", 20, created...)
	seen.healed(t, 1)
}

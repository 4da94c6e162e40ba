package plugin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// incidents collects what a plugin reports.
type incidents struct {
	mutex sync.Mutex
	all   []plugin.Incident
}

func (i *incidents) option() plugin.Option {
	return plugin.OnIncident(func(_ context.Context, incident plugin.Incident) {
		i.mutex.Lock()
		defer i.mutex.Unlock()
		i.all = append(i.all, incident)
	})
}

func (i *incidents) list() []plugin.Incident {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return append([]plugin.Incident(nil), i.all...)
}

// one returns the only incident.
func (i *incidents) one(t *testing.T) plugin.Incident {
	t.Helper()
	all := i.list()
	if len(all) != 1 {
		t.Fatalf("%d incidents instead of one: %v", len(all), all)
	}
	return all[0]
}

func (i *incidents) none(t *testing.T) {
	t.Helper()
	if all := i.list(); len(all) != 0 {
		t.Errorf("incidents where none should be: %v", all)
	}
}

// mode is one of the three ways in which GORM inserts.
type mode struct {
	name   string
	config gorm.Config
	within func(*gorm.DB, func(*gorm.DB) error) error
}

var modes = []mode{
	{"no transaction", gorm.Config{SkipDefaultTransaction: true}, func(db *gorm.DB, fn func(*gorm.DB) error) error { return fn(db) }},
	{"GORM's transaction", gorm.Config{}, func(db *gorm.DB, fn func(*gorm.DB) error) error { return fn(db) }},
	{"caller's transaction", gorm.Config{}, func(db *gorm.DB, fn func(*gorm.DB) error) error { return db.Transaction(fn) }},
}

// inModes runs a test in each mode, in parallel, with a place of its own.
func inModes(t *testing.T, fn func(*testing.T, mode, *pgtest.Place)) {
	t.Helper()
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			fn(t, m, pgtest.New(t))
		})
	}
}

// record is what a caller can see of a program.
type record struct{ lines []string }

func (r *record) add(format string, args ...any) {
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

// value writes a value with everything in it.
func (r *record) value(name string, value any) {
	text, err := json.Marshal(value)
	r.add("%s = %s %v", name, text, err)
}

// result writes what GORM says of a statement.
func (r *record) result(tx *gorm.DB) *gorm.DB {
	r.add("rows %d, error %v", tx.RowsAffected, tx.Error)
	return tx
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

var unique atomic.Int64

// drifted is the article's table: twenty rows with explicit ids, a sequence at
// its start.
const drifted = `CREATE TABLE users (id bigserial PRIMARY KEY, name text);
INSERT INTO users SELECT g, 'old ' || g FROM generate_series(1, 20) g`

// oldRows is what drifted holds, as Text reads it.
func oldRows() string {
	var lines []string
	for i := 1; i <= 20; i++ {
		lines = append(lines, fmt.Sprintf("%d|old %d", i, i))
	}
	return strings.Join(lines, "\n")
}

type user struct {
	ID   int64
	Name string
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/plugin"
)

// checkRow is a row of the check's table.
type checkRow struct {
	ID   int64
	Name string
}

// inserting is one of the three ways in which GORM inserts.
type inserting struct {
	name   string
	config gorm.Session
	within func(*gorm.DB, func(*gorm.DB) error) error
}

func direct(db *gorm.DB, insert func(*gorm.DB) error) error { return insert(db) }

var insertings = []inserting{
	{"no transaction", gorm.Session{NewDB: true, SkipDefaultTransaction: true}, direct},
	{"GORM's transaction", gorm.Session{NewDB: true}, direct},
	{"caller's transaction", gorm.Session{NewDB: true}, func(db *gorm.DB, insert func(*gorm.DB) error) error { return db.Transaction(insert) }},
}

// shape is one kind of insert. free is an id that no row has and that may be named.
type shape struct {
	name string
	rows func(free int64) []checkRow
	send func(*gorm.DB, []checkRow) error
}

func one(int64) []checkRow { return []checkRow{{Name: "new 1"}} }
func several(int64) []checkRow {
	return []checkRow{{Name: "new 1"}, {Name: "new 2"}, {Name: "new 3"}}
}

var shapes = []shape{
	{"one row", one, func(db *gorm.DB, rows []checkRow) error { return db.Create(&rows[0]).Error }},
	{"several rows", several, func(db *gorm.DB, rows []checkRow) error { return db.Create(&rows).Error }},
	{"DO NOTHING", several, func(db *gorm.DB, rows []checkRow) error {
		return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&rows).Error
	}},
	{"Save", several, func(db *gorm.DB, rows []checkRow) error { return db.Save(&rows).Error }},
	{"ids named and not", func(free int64) []checkRow { return []checkRow{{ID: free, Name: "named"}, {Name: "new 1"}} },
		func(db *gorm.DB, rows []checkRow) error { return db.Create(&rows).Error }},
}

// report tries every shape in every mode and prints a line for each mode.
func (c *checker) report(ctx context.Context) (int, error) {
	c.sayf("in table %s, each time with a sequence that is behind its rows:", c.quoted(c.name))
	tried, healed := 0, 0
	var reasons []string
	for _, mode := range insertings {
		var parts []string
		for _, shape := range shapes {
			said, why, err := c.try(ctx, mode, shape)
			if err != nil {
				return failure, err
			}
			if tried++; why == "" {
				healed++
			} else if !slices.Contains(reasons, why) {
				reasons = append(reasons, why)
			}
			parts = append(parts, shape.name+": "+said)
		}
		c.sayf("  %-22s%s", mode.name, strings.Join(parts, ", "))
	}
	for _, text := range append(c.seen.notes(), reasons...) {
		c.sayf("  %s", text)
	}
	if healed < tried {
		c.sayf("%d of %d kinds of insert heal here", healed, tried)
		return attention, nil
	}
	c.sayf("all %d kinds of insert heal here", tried)
	return allInSync, nil
}

// try drifts the sequence, inserts, and says what became of it. why is empty for a heal.
// The error is that of the check.
func (c *checker) try(ctx context.Context, mode inserting, shape shape) (said, why string, err error) {
	db := c.db.Session(&mode.config).WithContext(ctx)
	old, err := c.drift(ctx, db)
	if err != nil {
		return "", "", err
	}
	c.seen.forget()
	rows := shape.rows(old[len(old)-1].ID + 1000)
	failed := mode.within(db, func(tx *gorm.DB) error { return shape.send(tx.Table(c.name), rows) })
	if ctx.Err() != nil {
		return "", "", ctx.Err()
	}
	var stored []checkRow
	if err := db.Table(c.name).Order("id").Find(&stored).Error; err != nil {
		return "", "", fmt.Errorf("read what was stored: %s", firstLine(err))
	}
	want := slices.Clone(old)
	if failed == nil {
		want = append(want, rows...)
		slices.SortFunc(want, func(a, b checkRow) int { return int(a.ID - b.ID) })
	}
	whole := slices.Equal(stored, want)
	switch {
	case !whole && failed == nil:
		return "LOSES ROWS", c.because(mode.name + ", " + shape.name + ": rows were dropped or changed without an error"), nil
	case failed != nil:
		return "fails", c.because(firstLine(failed)), nil
	}
	return "heals", "", nil
}

// because is why something does not heal: what the plugin reported, else what is known.
func (c *checker) because(known string) string {
	if reported := c.seen.reported(); reported != "" {
		return reported
	}
	return known
}

// firstLine is an error for one line of the report.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	var server *pgconn.PgError
	if errors.As(err, &server) && (server.Code == "26000" || server.Code == "42P05" || server.Code == "08P01") {
		line += "; a pooler takes no prepared statements: add default_query_exec_mode=exec to the connection string, here and in the application"
	}
	return line
}

// drift empties the table and puts five rows in front of its sequence.
func (c *checker) drift(ctx context.Context, db *gorm.DB) (old []checkRow, err error) {
	table := c.quoted(c.name)
	var last int64
	err = db.Exec("DELETE FROM " + table).Error
	if err == nil {
		err = db.Raw("SELECT pg_catalog.nextval(pg_catalog.pg_get_serial_sequence(?, 'id'))", table).Row().Scan(&last)
	}
	for i := range int64(5) {
		old = append(old, checkRow{ID: last + 1 + i, Name: fmt.Sprintf("old %d", i)})
		if err == nil {
			err = db.Exec("INSERT INTO "+table+" (id, name) VALUES (?, ?)", old[i].ID, old[i].Name).Error
		}
	}
	if err != nil {
		return nil, fmt.Errorf("put rows in front of the sequence: %s", firstLine(err))
	}
	return old, ctx.Err()
}

// witness keeps what the plugin says.
type witness struct {
	slog.Handler
	mutex sync.Mutex
	last  []plugin.Incident
	said  []string
}

func (w *witness) logger() *slog.Logger { return slog.New(w) }

// Enabled, Handle, WithAttrs and WithGroup take the plugin's log lines.
func (w *witness) Enabled(context.Context, slog.Level) bool { return true }
func (w *witness) WithAttrs([]slog.Attr) slog.Handler       { return w }
func (w *witness) WithGroup(string) slog.Handler            { return w }
func (w *witness) Handle(_ context.Context, record slog.Record) error {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if text, ok := strings.CutPrefix(record.Message, "seqheal: "); ok && !slices.Contains(w.said, text) {
		w.said = append(w.said, text)
	}
	return nil
}

func (w *witness) incident(_ context.Context, i plugin.Incident) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.last = append(w.last, i)
}

func (w *witness) forget() {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.last = nil
}

// reported is the reason of the last incident that was no heal, empty without one.
func (w *witness) reported() string {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	for _, i := range w.last {
		if i.Err != nil {
			return firstLine(i.Err)
		}
	}
	return ""
}

// notes are what the plugin logged beside incidents: how savepoints are sent, and what keeps
// statements from being protected.
func (w *witness) notes() (texts []string) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	for _, text := range w.said {
		if strings.HasPrefix(text, "a savepoint") || strings.Contains(text, "protect") {
			texts = append(texts, text)
		}
	}
	return texts
}

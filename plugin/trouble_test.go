package plugin_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"
	"gorm.io/gorm/schema"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// A heal that cannot be done gives the caller PostgreSQL's own error, leaves the
// table as it was and the connection usable, and says what to do.
func TestTrouble(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		prepare string
		options []plugin.Option
		// hold keeps something in the heal's way until it is called.
		hold    func(*testing.T, *pgtest.Place) (release func())
		outcome plugin.Outcome
		reason  plugin.Reason
		advice  string
	}{
		{name: "no right to draw", prepare: `
				CREATE TABLE users2 (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text);
				INSERT INTO users2 OVERRIDING SYSTEM VALUE SELECT * FROM users; DROP TABLE users; ALTER TABLE users2 RENAME TO users;
				ALTER INDEX users2_pkey RENAME TO users_pkey; ALTER SEQUENCE users2_id_seq RENAME TO users_id_seq;
				REVOKE ALL ON SEQUENCE users_id_seq FROM $R; GRANT ALL ON users TO $R`,
			outcome: plugin.Refused, reason: plugin.ReasonPermission, advice: "GRANT USAGE ON SEQUENCE"},
		{name: "another healer holds the lock", options: []plugin.Option{plugin.WithResyncTimeout(150 * time.Millisecond)},
			hold: func(t *testing.T, place *pgtest.Place) func() {
				tx, err := place.SQL.Begin()
				if err != nil {
					t.Fatal(err)
				}
				if _, err := tx.Exec("SELECT pg_advisory_xact_lock(1936028008, 'users_id_seq'::regclass::oid::int4)"); err != nil {
					t.Fatal(err)
				}
				return func() { _ = tx.Rollback() }
			},
			outcome: plugin.Failed, reason: plugin.ReasonTimeout},
		{name: "time budget spent at once", options: []plugin.Option{plugin.WithResyncTimeout(time.Nanosecond)},
			outcome: plugin.Failed, reason: plugin.ReasonTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				role := place.Role()
				place.Exec(drifted + "; GRANT ALL ON users TO " + role + "; GRANT ALL ON SEQUENCE users_id_seq TO " + role)
				if c.prepare != "" {
					place.Exec(strings.ReplaceAll(c.prepare, "$R", role))
				}
				if c.hold != nil {
					defer c.hold(t, place)()
				}
				var seen incidents
				db := place.OpenDSN(place.DSNFor(map[string]string{"user": role}), &m.config,
					plugin.New(append(c.options, seen.option())...))
				pool, _ := db.DB()
				pool.SetMaxOpenConns(1)
				u := user{Name: "new"}
				err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&u).Error })
				if err == nil || !strings.Contains(err.Error(), `"users_pkey" (SQLSTATE 23505)`) {
					t.Errorf("error %v", err)
				}
				if got := place.Text("SELECT * FROM users ORDER BY id"); got != oldRows() {
					t.Errorf("rows\n%s", got)
				}
				i := seen.one(t)
				if i.Outcome != c.outcome || i.Reason != c.reason || !strings.Contains(i.Err.Error(), c.advice) {
					t.Errorf("incident %v", i)
				}
				// The only connection is back, outside any transaction, with its own settings.
				var clean string
				if err := db.Raw("SELECT current_setting('statement_timeout') || current_setting('lock_timeout') || current_setting('join_collapse_limit')").Scan(&clean).Error; err != nil || clean != "008" {
					t.Errorf("settings %q, %v", clean, err)
				}
				if n := place.Int("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1936028008 AND objid = 'users_id_seq'::regclass::oid AND NOT granted"); n != 0 {
					t.Errorf("%d waiting advisory locks", n)
				}
			})
		})
	}
}

// A connection that is lost in the middle of a heal gives the caller the first
// error, and never a row beside it.
func TestConnectionLostDuringTheHeal(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"isolation", "pg_get_expr(d.adbin", "max(", "nextval", "advisory", "ROLLBACK TO"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				place.Exec(drifted)
				var seen incidents
				var armed atomic.Bool
				pool := tapped(t, place, func(conn *tappedConn, query string) error {
					if strings.Contains(query, at) && armed.Load() {
						return conn.kill()
					}
					return nil
				})
				db := openOn(t, pool, withPlugin(&m.config, seen.option()))
				// The table is known before, so that the heal alone is cut.
				_ = db.Transaction(func(tx *gorm.DB) error {
					tx.Exec("SELECT setval('users_id_seq', 5000)")
					tx.Create(&user{})
					return errors.New("undo")
				})
				place.Exec("SELECT setval('users_id_seq', 1, false)")
				armed.Store(true)
				err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&user{Name: "new"}).Error })
				armed.Store(false)
				rows := place.Int("SELECT count(*) FROM users WHERE id > 20")
				if err == nil || rows != 0 {
					t.Errorf("error %v, rows %d", err, rows)
				}
				if err := db.Exec("SELECT 1").Error; err != nil {
					t.Errorf("the pool is unusable: %v", err)
				}
				for _, i := range seen.list() {
					if i.Outcome != plugin.Failed || i.Reason != plugin.ReasonConnection {
						t.Errorf("incident %v", i)
					}
				}
			})
		})
	}
}

// An OnIncident or a logger that panics does not lose the insert.
func TestPanickingCallbacks(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(drifted)
	var out bytes.Buffer
	var called []string
	db := place.Open(nil, plugin.New(
		plugin.WithLogger(slog.New(slog.NewTextHandler(&out, nil))),
		plugin.OnIncident(func(context.Context, plugin.Incident) { called = append(called, "first"); panic("oh no") }),
		plugin.OnIncident(func(context.Context, plugin.Incident) { called = append(called, "second") }),
	))
	u := user{Name: "new"}
	if err := db.Create(&u).Error; err != nil || u.ID != 21 {
		t.Errorf("id %d, %v", u.ID, err)
	}
	if got := strings.Join(called, ","); got != "first,second" {
		t.Errorf("called %s", got)
	}
	if text := out.String(); !strings.Contains(text, "oh no") || !strings.Contains(text, "level=WARN") || !strings.Contains(text, "seqheal.to=20") {
		t.Errorf("log %s", text)
	}
}

// Without WithLogger an incident is one line in GORM's own log, at Warn.
func TestLogsThroughGorm(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(drifted)
	var out bytes.Buffer
	config := &gorm.Config{Logger: logger.New(writer{&out}, logger.Config{LogLevel: logger.Warn})}
	db := place.Open(config, plugin.New())
	if err := db.Create(&user{Name: "new"}).Error; err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, part := range []string{"[warn]", "healed a drifted sequence", `"users"`, `column "id"`, `"users_id_seq"`, "1 → 20", "1 row(s)", "guard conflict"} {
		if !strings.Contains(text, part) {
			t.Errorf("the line lacks %q: %s", part, text)
		}
	}
}

type writer struct{ out *bytes.Buffer }

func (w writer) Printf(format string, args ...any) { fmt.Fprintf(w.out, format+"\n", args...) }

// Any dialect but PostgreSQL's is refused.
func TestOtherDialects(t *testing.T) {
	t.Parallel()
	db, err := gorm.Open(otherDialect{}, &gorm.Config{Logger: logger.Discard})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Use(plugin.New()); err == nil || !strings.Contains(err.Error(), `"mysql"`) {
		t.Errorf("Use returned %v", err)
	}
}

type otherDialect struct{ gorm.Dialector }

func (otherDialect) Name() string                    { return "mysql" }
func (otherDialect) Initialize(*gorm.DB) error       { return nil }
func (otherDialect) DataTypeOf(*schema.Field) string { return "" }

// A manual BEGIN on a borrowed connection is the caller's own: the insert heals inside it,
// and nothing is committed or rolled back but by the caller.
func TestManualBegin(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(drifted)
	var seen incidents
	db := place.Open(&gorm.Config{SkipDefaultTransaction: true}, plugin.New(seen.option()))
	err := db.Connection(func(tx *gorm.DB) error {
		tx = tx.Session(&gorm.Session{})
		tx.Exec("BEGIN")
		tx.Exec("INSERT INTO users VALUES (500, 'uncommitted')")
		u := user{Name: "new"}
		err := tx.Create(&u).Error
		if after := tx.Exec("SELECT 1").Error; after != nil || u.ID <= 500 {
			t.Errorf("the caller's transaction is %v, the row %+v", after, u)
		}
		tx.Exec("ROLLBACK")
		return err
	})
	if err != nil {
		t.Errorf("error %v", err)
	}
	if i := seen.one(t); i.Outcome != plugin.Healed {
		t.Errorf("incident %v", i)
	}
	if got := place.Text("SELECT * FROM users ORDER BY id"); got != oldRows() {
		t.Errorf("rows\n%s", got)
	}
	// The same connection outside a transaction goes on.
	err = db.Connection(func(tx *gorm.DB) error { return tx.Create(&user{Name: "new"}).Error })
	if err != nil {
		t.Error(err)
	}
	seen.one(t)
}

// A context that ends during the heal, a pool that is closed: an error, no row.
func TestContextAndPool(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec(drifted)
		var seen incidents
		ctx, cancel := context.WithCancel(context.Background())
		var once sync.Once
		pool := tapped(t, place, func(_ *tappedConn, query string) error {
			if strings.Contains(query, "max(") {
				once.Do(cancel)
			}
			return nil
		})
		db := openOn(t, pool, withPlugin(&m.config, seen.option()))
		err := m.within(db.WithContext(ctx), func(tx *gorm.DB) error { return tx.Create(&user{Name: "new"}).Error })
		if err == nil || place.Int("SELECT count(*) FROM users WHERE id > 20") != 0 {
			t.Errorf("error %v", err)
		}
		if i := seen.one(t); i.Outcome != plugin.Failed || i.Reason != plugin.ReasonCanceled {
			t.Errorf("incident %v", i)
		}
		if err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&user{Name: "next"}).Error }); err != nil {
			t.Errorf("the next insert: %v", err)
		}
		_ = pool.Close()
		if err := db.Create(&user{Name: "late"}).Error; err == nil || errors.Is(err, sql.ErrNoRows) {
			t.Errorf("closed pool: %v", err)
		}
	})
}

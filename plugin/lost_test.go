package plugin_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// An upsert whose connection or context ends while the plugin asks about its table
// fails like one whose connection ends under the INSERT (P1): sent all the same, it
// would overwrite a row, or drop its own without a word.
func TestAnUpsertIsNotSentWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	mixed := func(tx *gorm.DB) error {
		return tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&[]user{{ID: 3, Name: "named"}, {Name: "new"}}).Error
	}
	doNothing := func(tx *gorm.DB) error {
		return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&user{Name: "new"}).Error
	}
	for _, test := range []struct {
		name   string
		mode   mode
		insert func(*gorm.DB) error
		asks   string // in the plugin's question
		cancel bool   // the caller gives up, and the connection lives
	}{
		{"mixed, the table is asked for", modes[0], mixed, "pg_get_expr(d.adbin", false},
		{"mixed, the table is asked for and the caller gives up", modes[0], mixed, "pg_get_expr(d.adbin", true},
		{"do nothing, the table is asked for", modes[0], doNothing, "pg_get_expr(d.adbin", false},
		{"do nothing, the drawn id is asked for", modes[0], doNothing, "pg_catalog.currval", false},
		{"do nothing in a transaction, the drawn id is asked for", modes[2], doNothing, "pg_catalog.currval", false},
		{"do nothing, the heal begins and the caller gives up", modes[0], doNothing, "AS isolation,", true},
		{"do nothing in a transaction, the heal begins and the caller gives up", modes[2], doNothing, "AS isolation,", true},
		{"do nothing in a transaction, the drawn id is asked for and the caller gives up", modes[2], doNothing, "SAVEPOINT seqheal_ahead; SET LOCAL lock_timeout", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			place.Exec(drifted + "; CREATE UNIQUE INDEX ON users (name)")
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			asked := false
			pool := tapped(t, place, func(c *tappedConn, query string) error {
				if asked || !strings.Contains(query, test.asks) {
					return nil
				}
				if asked = true; test.cancel {
					cancel()
					return nil
				}
				return c.kill()
			})
			var seen incidents
			db := openOn(t, pool, withPlugin(&test.mode.config, seen.option()))
			inserted := false
			err := test.mode.within(db, func(tx *gorm.DB) error {
				err := test.insert(tx.WithContext(ctx))
				inserted = err == nil
				return nil // the caller commits whatever it came to
			})
			if !asked || inserted {
				t.Errorf("asked %v, the insert succeeded %v, the commit returned %v", asked, inserted, err)
			}
			if test.cancel && test.mode.name == modes[2].name && err == nil {
				t.Error("the transaction of a failed insert was committed (P6)")
			}
			if got := place.Text("SELECT * FROM users ORDER BY id"); got != oldRows() {
				t.Errorf("rows\n%s", got)
			}
			if err := test.mode.within(db, test.insert); err != nil {
				t.Errorf("the next try: %v", err)
			}
			if place.Int("SELECT count(*) FROM users WHERE id > 20 AND name = 'new'") != 1 {
				t.Errorf("the next try stored\n%s", place.Text("SELECT * FROM users ORDER BY id"))
			}
		})
	}
}

// A caller that gives up between the heal and the retry: the insert has failed, and
// the rest of its transaction is not committed (P6).
func TestAnInsertThatIsNotSentAgainCommitsNothing(t *testing.T) {
	t.Parallel()
	for name, insert := range map[string]func(*gorm.DB) error{
		"plain": func(tx *gorm.DB) error { return tx.Create(&user{Name: "new"}).Error },
		"do nothing": func(tx *gorm.DB) error {
			return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&user{Name: "new"}).Error
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			place.Exec(drifted)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			drew := false
			pool := tapped(t, place, func(_ *tappedConn, query string) error {
				drew = drew || strings.Contains(query, "pg_catalog.nextval")
				if drew && strings.HasPrefix(query, "ROLLBACK TO SAVEPOINT seqheal;") {
					cancel()
				}
				return nil
			})
			var seen incidents
			db := openOn(t, pool, withPlugin(&gorm.Config{}, seen.option()))
			var inserted error
			err := db.Transaction(func(tx *gorm.DB) error {
				tx.Exec("INSERT INTO users VALUES (500, 'rest')")
				inserted = insert(tx.WithContext(ctx))
				return nil
			})
			if inserted == nil || err == nil {
				t.Errorf("insert %v, commit %v", inserted, err)
			}
			if got := place.Text("SELECT * FROM users ORDER BY id"); got != oldRows() {
				t.Errorf("rows\n%s", got)
			}
			if i := seen.one(t); i.Outcome != plugin.Healed || i.Err == nil {
				t.Errorf("incident %v", i)
			}
		})
	}
}

// P1: an upsert whose table is locked by a migration when the plugin asks about it for
// the first time waits for the migration, as it would anyway, and is protected.
func TestAnUpsertWaitsForAMigrationToBeProtected(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec(drifted)
		db, awaits, end := behindMigration(t, place, &m.config)
		ended := make(chan error, 1)
		go func() {
			ended <- m.within(db, func(tx *gorm.DB) error {
				return tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&[]user{{ID: 3, Name: "named"}, {Name: "new"}}).Error
			})
		}()
		awaits()
		end()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		want := strings.Replace(oldRows(), "old 3\n", "named\n", 1) + "\n21|new"
		if got := place.Text("SELECT CASE WHEN id > 20 THEN 21 ELSE id END, name FROM users ORDER BY users.id"); got != want {
			t.Errorf("rows\n%s", got)
		}
	})
}

// P8: an upsert that the plugin cannot protect is told of.
func TestAnUnprotectedUpsertIsToldOf(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec(drifted + "; SELECT setval('users_id_seq', 20)")
		pool := tapped(t, place, func(_ *tappedConn, query string) error {
			if strings.Contains(query, "pg_get_expr(d.adbin") {
				return &pgconn.PgError{Severity: "ERROR", Code: "57014", Message: "canceling statement due to statement timeout"}
			}
			return nil
		})
		var log bytes.Buffer
		db := openOn(t, pool, withPlugin(&m.config, plugin.WithLogger(slog.New(slog.NewTextHandler(&log, nil)))))
		err := m.within(db, func(tx *gorm.DB) error {
			return tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&[]user{{ID: 3, Name: "named"}, {Name: "new"}}).Error
		})
		if err != nil || place.Text("SELECT name FROM users WHERE id IN (3, 21) ORDER BY id") != "named\nnew" {
			t.Errorf("%v\n%s", err, place.Text("SELECT * FROM users ORDER BY id"))
		}
		if !strings.Contains(log.String(), "without protection") || !strings.Contains(log.String(), "users") {
			t.Errorf("log %q", log.String())
		}
	})
}

// An upsert of several rows whose heal fails is not sent where nobody would notice
// which rows it drops or passes over (P1, P8): it fails, its transaction commits
// nothing (P6), and the next try succeeds.
func TestAnUpsertWhoseHealFailsIsNotSent(t *testing.T) {
	t.Parallel()
	byKey := []clause.Column{{Name: "id"}}
	two := []user{{Name: "new"}, {Name: "newer"}}
	mixed := []user{{ID: 3, Name: "named"}, {Name: "new"}}
	for _, test := range []struct {
		name       string
		rows       []user
		onConflict clause.OnConflict
		new        string
	}{
		{"DO NOTHING", two, clause.OnConflict{DoNothing: true}, "new\nnewer"},
		{"DO NOTHING, one named", mixed, clause.OnConflict{DoNothing: true}, "new"},
		{"DO NOTHING by key, one named", mixed, clause.OnConflict{Columns: byKey, DoNothing: true}, "new"},
		{"DO UPDATE with a WHERE, one named", mixed, clause.OnConflict{Columns: byKey, DoUpdates: clause.AssignmentColumns([]string{"name"}),
			Where: clause.Where{Exprs: []clause.Expression{clause.Expr{SQL: "users.name LIKE 'old%'"}}}}, "new"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				place.Exec(drifted + "; CREATE TABLE notes (text text)")
				hangs := true
				pool := tapped(t, place, func(_ *tappedConn, query string) error {
					if hangs && strings.Contains(query, "pg_advisory_xact_lock") {
						return errors.New("another healer hangs")
					}
					return nil
				})
				var seen incidents
				db := openOn(t, pool, withPlugin(&m.config, seen.option()))
				upsert := func(tx *gorm.DB) error {
					rows := slices.Clone(test.rows)
					return tx.Clauses(test.onConflict).Create(&rows).Error
				}
				var inserted error
				err := m.within(db, func(tx *gorm.DB) error {
					inserted = upsert(tx)
					tx.Exec("INSERT INTO notes VALUES ('rest')")
					return nil // the caller commits whatever it came to
				})
				if !errors.Is(inserted, plugin.ErrRowsMissing) || !strings.Contains(inserted.Error(), "another healer hangs") {
					t.Errorf("error %v", inserted)
				}
				if m.name == modes[2].name && (err == nil || place.Int("SELECT count(*) FROM notes") != 0) {
					t.Errorf("the rest was committed: %v", err)
				}
				if got := place.Text("SELECT * FROM users ORDER BY id"); got != oldRows() {
					t.Errorf("rows\n%s", got)
				}
				if i := seen.one(t); i.Outcome != plugin.Failed || !i.Silent {
					t.Errorf("incident %v", i)
				}
				hangs = false
				if err := m.within(db, upsert); err != nil {
					t.Errorf("the next try: %v", err)
				}
				if got := place.Text("SELECT name FROM users WHERE id > 20 ORDER BY id"); got != test.new {
					t.Errorf("the next try stored %q", got)
				}
			})
		})
	}
}

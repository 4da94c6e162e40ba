package plugin_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// lockHealer holds what serialises the healers of a sequence, until the test ends.
func lockHealer(t *testing.T, place *pgtest.Place, sequence string) {
	t.Helper()
	other := place.Open(nil).Begin()
	t.Cleanup(func() { other.Rollback() })
	if err := other.Exec("SELECT pg_advisory_xact_lock(x'73657168'::int4, ?::regclass::oid::int4)", sequence).Error; err != nil {
		t.Fatal(err)
	}
}

// P5: several rows under DO NOTHING whose own ids are free are stored although a row lies
// a little further and the heal that it asks for fails.
func TestRowsThatMeetNothingAreStoredThoughTheHealFails(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec(drifted + "; SELECT setval('users_id_seq', 20); INSERT INTO users VALUES (30, 'further')")
		lockHealer(t, place, "users_id_seq")
		db := place.OpenDSN(place.DSNFor(map[string]string{"lock_timeout": "50ms"}), &m.config, plugin.New())
		us := []user{{Name: "a"}, {Name: "b"}}
		err := m.within(db, func(tx *gorm.DB) error { return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&us).Error })
		if got := place.Text("SELECT name FROM users WHERE id > 20 AND id < 30 ORDER BY id"); err != nil || got != "a\nb" {
			t.Errorf("%v, stored %q", err, got)
		}
	})
}

// behindMigration locks the table users as a migration does, until end is called or the
// test is over. awaits returns once the catalog was read and another statement waits.
func behindMigration(t *testing.T, place *pgtest.Place, config *gorm.Config) (db *gorm.DB, awaits, end func()) {
	t.Helper()
	migration := place.Open(nil).Begin()
	end = func() { migration.Rollback() }
	t.Cleanup(end)
	if err := migration.Exec("LOCK TABLE users IN ACCESS EXCLUSIVE MODE").Error; err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	pool := tapped(t, place, func(_ *tappedConn, query string) error {
		if strings.Contains(query, "pg_get_expr(d.adbin") {
			asked.Add(1)
		}
		return nil
	})
	awaits = func() {
		pgtest.Eventually(t, "a statement to wait for the lock", func() bool {
			return asked.Load() >= 1 && place.Int("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'users'::regclass") == 1
		})
	}
	return openOn(t, pool, withPlugin(config)), awaits, end
}

// P5: the caller gives up while its upsert waits for a migration, and gets its context's
// own error.
func TestTheErrorOfAnUpsertWhoseContextEnds(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec(drifted + "; SELECT setval('users_id_seq', 20)")
		db, awaits, _ := behindMigration(t, place, &m.config)
		ctx, cancel := context.WithCancel(t.Context())
		var upserted error
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = m.within(db.WithContext(ctx), func(tx *gorm.DB) error {
				upserted = tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&user{Name: "new"}).Error
				return upserted
			})
		}()
		awaits()
		cancel()
		<-ended
		// In its own transaction GORM adds the rollback's error, and wraps that one alone.
		if !errors.Is(upserted, context.Canceled) && (m.name != modes[1].name || !strings.HasPrefix(upserted.Error(), context.Canceled.Error()+"; ")) {
			t.Errorf("error %v", upserted)
		}
	})
}

// P5, P7: a partitioned table without a key is asked about once, without a lock on any
// partition: one that somebody rewrites keeps nobody waiting.
func TestAPartitionedTableWithoutAKey(t *testing.T) {
	t.Parallel()
	type entry struct {
		ID, At int64
	}
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec(`CREATE TABLE entries (id bigserial, at bigint) PARTITION BY RANGE (at);
			CREATE TABLE entries_old PARTITION OF entries FOR VALUES FROM (0) TO (10);
			CREATE TABLE entries_new PARTITION OF entries FOR VALUES FROM (10) TO (20)`)
		rewrite := place.Open(nil).Begin()
		defer rewrite.Rollback()
		if err := rewrite.Exec("LOCK TABLE ONLY entries_old IN ACCESS EXCLUSIVE MODE").Error; err != nil {
			t.Fatal(err)
		}
		asked := 0
		pool := tapped(t, place, func(_ *tappedConn, query string) error {
			if strings.Contains(query, "pg_get_expr(d.adbin") {
				asked++
			}
			return nil
		})
		db := openOn(t, pool, withPlugin(&m.config))
		for _, upsert := range []bool{false, true, false, true} {
			err := m.within(db, func(tx *gorm.DB) error {
				if upsert {
					tx = tx.Clauses(clause.OnConflict{DoNothing: true})
				}
				return tx.Create(&entry{At: 15}).Error
			})
			if err != nil {
				t.Error(err)
			}
		}
		if asked != 1 || place.Int("SELECT count(*) FROM entries_new") != 4 {
			t.Errorf("asked %d times, %d rows are stored", asked, place.Int("SELECT count(*) FROM entries_new"))
		}
	})
}

// A panic of the application's in an upsert that met drift leaves nothing of it behind:
// the next row that DO NOTHING drops is sent as often as before.
func TestAPanicInAnUpsertThatMetDrift(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(shopSchema + "; SELECT setval('members_id_seq', 20)")
	sent := 0
	pool := tapped(t, place, func(_ *tappedConn, query string) error {
		if strings.HasPrefix(query, "INSERT") {
			sent++
		}
		return nil
	})
	db := openOn(t, pool, withoutPlugin(&gorm.Config{SkipDefaultTransaction: true}))
	panics := false
	original := db.Callback().Create().Get("gorm:create")
	if err := db.Callback().Create().Replace("gorm:create", func(db *gorm.DB) {
		if original(db); panics && !db.DryRun {
			panic("a Scanner's")
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Use(plugin.New()); err != nil {
		t.Fatal(err)
	}
	drop := func() int {
		sent = 0
		if err := db.Clauses(clause.OnConflict{DoNothing: true}).Create(&subscriber{Email: "old5@x", Name: "twice"}).Error; err != nil {
			t.Error(err)
		}
		return sent
	}
	before := drop()
	place.Exec("SELECT setval('members_id_seq', 5)")
	panics = true
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		db.Clauses(clause.OnConflict{DoNothing: true}).Create(&[]subscriber{{Email: "y@x"}, {Email: "z@x"}})
	}()
	panics = false
	place.Exec("SELECT setval('members_id_seq', 40)")
	if after := drop(); after != before {
		t.Errorf("sent %d times, %d before", after, before)
	}
}

// Rows that other sessions store between the statement's draws are none that it met: it is
// sent once.
func TestUpsert_besideRowsOfOtherSessions(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec(`CREATE TABLE users (id bigserial PRIMARY KEY, name text); CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
			CREATE TRIGGER stamp BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION stamp()`)
		sent := 0
		pool := tapped(t, place, func(_ *tappedConn, query string) error {
			if strings.HasPrefix(query, `INSERT INTO "users"`) {
				sent++
				place.Exec("INSERT INTO users (name) VALUES ('another session')")
			}
			return nil
		})
		var seen incidents
		db := openOn(t, pool, withPlugin(&m.config, seen.option()))
		rows := []user{{Name: "a"}, {Name: "b"}}
		if err := m.within(db, func(tx *gorm.DB) error { return tx.Save(&rows).Error }); err != nil {
			t.Fatal(err)
		}
		if got := place.Text("SELECT id, name FROM users ORDER BY id"); sent != 1 || got != "1|another session\n2|a\n3|b" {
			t.Errorf("sent %d times; rows\n%s", sent, got)
		}
		seen.none(t)
	})
}

// A row that DO NOTHING drops as a duplicate of the caller's, beside rows that other sessions
// store between the draws, is a suspicion at most: nothing is reported.
func TestDoNothing_besideRowsOfOtherSessions(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec(`CREATE TABLE users (id bigserial PRIMARY KEY, name text UNIQUE); INSERT INTO users (name) VALUES ('taken')`)
		others := 0
		pool := tapped(t, place, func(_ *tappedConn, query string) error {
			if strings.HasPrefix(query, `INSERT INTO "users"`) && others < 1 {
				others++
				place.Exec("INSERT INTO users (name) VALUES ('another session')")
			}
			return nil
		})
		var seen incidents
		db := openOn(t, pool, withPlugin(&m.config, seen.option()))
		rows := []user{{Name: "new"}, {Name: "taken"}}
		if err := m.within(db, func(tx *gorm.DB) error { return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&rows).Error }); err != nil {
			t.Fatal(err)
		}
		if got := place.Text("SELECT name FROM users ORDER BY name"); got != "another session\nnew\ntaken" {
			t.Errorf("rows\n%s", got)
		}
		seen.none(t)
	})
}

// P6: no statement behind a failed insert makes its transaction usable again.
func TestUpsertsInAnAbortedTransaction(t *testing.T) {
	t.Parallel()
	for _, guard := range []plugin.Guard{plugin.GuardAuto, plugin.GuardSavepoint, plugin.GuardOff} {
		for name, failing := range map[string][]user{
			"behind one row":      {{Name: "old 3"}},
			"behind several rows": {{Name: "a"}, {Name: "old 3"}},
		} {
			t.Run(fmt.Sprintf("guard %d, %s", guard, name), func(t *testing.T) {
				t.Parallel()
				place := pgtest.New(t)
				place.Exec(drifted + "; SELECT setval('users_id_seq', 20); CREATE UNIQUE INDEX names ON users (name)")
				db := place.Open(nil, plugin.New(plugin.WithGuard(guard)))
				tx := db.Begin()
				defer tx.Rollback()
				upsert := func(check func(error)) {
					for _, onConflict := range []clause.OnConflict{{UpdateAll: true}, {DoNothing: true}, {Columns: byKey, DoNothing: true}} {
						for _, rows := range [][]user{{{Name: "x"}}, {{Name: "x"}, {Name: "y"}}, {{ID: 5, Name: "x"}, {Name: "y"}}} {
							check(tx.Session(&gorm.Session{}).Clauses(onConflict).Create(&rows).Error)
						}
					}
				}
				tx.SavePoint("known") // as statements that the connection knows, too
				upsert(func(error) { tx.RollbackTo("known") })
				if err := tx.Create(&failing).Error; err == nil {
					t.Fatal("the first insert did not fail")
				}
				upsert(func(err error) {
					if err == nil || !strings.Contains(err.Error(), "25P02") {
						t.Errorf("behind a failure: %v", err)
					}
				})
				if err := tx.Commit().Error; err == nil {
					t.Error("the transaction was committed")
				}
				if rows := place.Text("SELECT * FROM users ORDER BY id"); rows != oldRows() {
					t.Errorf("rows\n%s", rows)
				}
			})
		}
	}
}

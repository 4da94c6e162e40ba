package plugin_test

import (
	"strings"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// What replaces the table users by a view in front of it, and the other way round.
const (
	putInFront = "ALTER TABLE users RENAME TO users_base; CREATE VIEW users AS SELECT * FROM users_base"
	takeAway   = "DROP VIEW users; ALTER TABLE users_base RENAME TO users"
)

// R2: a table is renamed and a view takes its name, or the other way round, between two
// statements of the plugin's.
func TestHeal_tableReplacedBetweenItsStatements(t *testing.T) {
	t.Parallel()
	create := func(tx *gorm.DB, rows []user) error { return tx.Create(&rows).Error }
	save := func(tx *gorm.DB, rows []user) error { return tx.Save(&rows).Error }
	nothing := func(tx *gorm.DB, rows []user) error {
		return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&rows).Error
	}
	const (
		stamped = `CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
			CREATE TRIGGER stamp BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION stamp()`
		furthest = "SELECT pg_catalog.max("
		relation = "c.relispartition, c.relpersistence"
		view     = "SELECT w.ev_action"
		question = "; EXPLAIN INSERT INTO" // before the table is locked, with the savepoint
	)
	for _, test := range []struct {
		name, before string
		at           string
		meanwhile    []string // at the first such statement, at the second
		insert       func(tx *gorm.DB, rows []user) error
	}{
		{"a view takes its place, Create", "", furthest, []string{putInFront}, create},
		{"a view takes its place, Save", "", furthest, []string{putInFront}, save},
		{"the view is gone, Create", putInFront, furthest, []string{takeAway}, create},
		{"the view is gone, Save", putInFront, furthest, []string{takeAway}, save},
		{"the view is gone when it is followed, Create", putInFront, view, []string{takeAway}, create},
		{"the view is gone and comes back, Create", putInFront, relation,
			[]string{takeAway, putInFront + "; SELECT setval('users_id_seq', 1, false)"}, create},
		{"replaced behind the question, DO NOTHING", "CREATE UNIQUE INDEX ON users (name)", `INSERT INTO "users"`, []string{putInFront}, nothing},
		{"replaced behind the question, DO UPDATE", stamped, `INSERT INTO "users"`, []string{putInFront}, save},
		{"replaced twice under a question, DO NOTHING", "", question, []string{putInFront, takeAway}, nothing},
		{"replaced four times under a question, DO NOTHING", putInFront, question, []string{takeAway, putInFront, takeAway, putInFront}, nothing},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				place.Exec("CREATE TABLE users (id bigserial PRIMARY KEY, name text);" + test.before)
				replaced, healthy := 0, true
				pool := tapped(t, place, func(_ *tappedConn, query string) error {
					if !healthy && replaced < len(test.meanwhile) && strings.Contains(query, test.at) {
						replaced++
						place.Exec(test.meanwhile[replaced-1])
					}
					return nil
				})
				var seen incidents
				db := openOn(t, pool, withPlugin(&m.config, seen.option(), plugin.WithGuard(plugin.GuardSavepoint)))
				if err := test.insert(db, []user{{Name: "old"}}); err != nil {
					t.Fatal(err)
				}
				place.Exec("INSERT INTO users SELECT g, 'old ' || g FROM generate_series(2, 20) g")
				healthy = false
				rows := []user{{Name: "new 1"}, {Name: "new 2"}}
				if err := m.within(db, func(tx *gorm.DB) error { return test.insert(tx, rows) }); err != nil || replaced != len(test.meanwhile) {
					t.Fatalf("%v; the table was replaced %d times", err, replaced)
				}
				stored := place.Text("SELECT name FROM users WHERE name LIKE 'new%' ORDER BY id")
				if kept := place.Int("SELECT count(*) FROM users WHERE name LIKE 'old%'"); stored != "new 1\nnew 2" || kept != 20 {
					t.Errorf("%d old rows, and new ones:\n%s", kept, stored)
				}
				if all := seen.list(); len(all) != 1 || all[0].Outcome != plugin.Healed {
					t.Errorf("incidents %v", all)
				}
			})
		})
	}
}

// The sequence is taken off the key after the heal, and what comes instead collides: the
// error is PostgreSQL's, and the heal is reported.
func TestHeal_sequenceIsGoneWhenTheInsertIsSentAgain(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec(drifted)
		sent := 0
		pool := tapped(t, place, func(_ *tappedConn, query string) error {
			if strings.HasPrefix(query, `INSERT INTO "users"`) {
				if sent++; sent == 2 {
					place.Exec("ALTER TABLE users ALTER id SET DEFAULT 1")
				}
			}
			return nil
		})
		var seen incidents
		db := openOn(t, pool, withPlugin(&m.config, seen.option(), plugin.WithGuard(plugin.GuardSavepoint)))
		err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&user{Name: "new"}).Error })
		if !pgerr.Is(err, pgerr.UniqueViolation) || sent < 2 {
			t.Errorf("%v after %d sendings", err, sent)
		}
		if i := seen.one(t); i.Err == nil || i.To != 20 || i.Sequence == "" {
			t.Errorf("incident %+v", i)
		}
		if rows := place.Text("SELECT id, name FROM users ORDER BY id"); rows != oldRows() {
			t.Errorf("rows:\n%s", rows)
		}
	})
}

// The server cancels a question of the heal, because the table is locked meanwhile: the upsert
// fails, and neither stores nor changes a row.
func TestMixedUpsert_healIsCanceled(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec("CREATE TABLE users (id bigserial PRIMARY KEY, name text); INSERT INTO users SELECT g, 'old ' || g FROM generate_series(1, 20) g")
	locker := place.Open(nil)
	var lock *gorm.DB
	pool := tapped(t, place, func(_ *tappedConn, query string) error {
		switch {
		case lock == nil && strings.Contains(query, "SELECT pg_catalog.max("):
			lock = locker.Begin()
			return lock.Exec("LOCK TABLE " + place.Schema + ".users").Error
		case lock != nil && strings.HasPrefix(query, "ROLLBACK TO"):
			defer lock.Rollback()
		}
		return nil
	})
	var seen incidents
	db := openOn(t, pool, withPlugin(&gorm.Config{}, seen.option()))
	err := db.Transaction(func(tx *gorm.DB) error {
		if err := tx.Exec("SET LOCAL statement_timeout = 200").Error; err != nil {
			return err
		}
		rows := []user{{ID: 1, Name: "changed"}, {Name: "new 1"}, {Name: "new 2"}}
		_ = tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&rows)
		return nil // COMMIT
	})
	if err == nil || lock == nil {
		t.Errorf("%v; locked %t", err, lock != nil)
	}
	if rows := place.Text("SELECT id, name FROM users ORDER BY id"); rows != oldRows() {
		t.Errorf("rows:\n%s", rows)
	}
	if i := seen.one(t); i.Outcome != plugin.Failed || !strings.Contains(i.Err.Error(), "57014") && !strings.Contains(i.Err.Error(), "55P03") {
		t.Errorf("incident %v", i)
	}
}

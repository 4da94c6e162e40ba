package plugin_test

import (
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// R2: a table is renamed and a view takes its name, or the other way round, between two
// statements of the plugin's.
func TestHeal_tableReplacedBetweenItsStatements(t *testing.T) {
	t.Parallel()
	const behind = "ALTER TABLE users RENAME TO users_base; CREATE VIEW users AS SELECT * FROM users_base"
	for _, test := range []struct {
		name, before, meanwhile string
		insert                  func(tx *gorm.DB, rows []user) error
	}{
		{"a view takes its place, Create", "", behind, func(tx *gorm.DB, rows []user) error { return tx.Create(&rows).Error }},
		{"a view takes its place, Save", "", behind, func(tx *gorm.DB, rows []user) error { return tx.Save(&rows).Error }},
		{"the view is gone, Create", behind, "DROP VIEW users; ALTER TABLE users_base RENAME TO users",
			func(tx *gorm.DB, rows []user) error { return tx.Create(&rows).Error }},
		{"the view is gone, Save", behind, "DROP VIEW users; ALTER TABLE users_base RENAME TO users",
			func(tx *gorm.DB, rows []user) error { return tx.Save(&rows).Error }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				place.Exec(drifted + ";" + test.before)
				replaced := 0
				pool := tapped(t, place, func(_ *tappedConn, query string) error {
					if strings.HasPrefix(query, "SELECT pg_catalog.max(") && replaced == 0 {
						replaced++
						place.Exec(test.meanwhile)
					}
					return nil
				})
				var seen incidents
				db := openOn(t, pool, withPlugin(&m.config, seen.option(), plugin.WithGuard(plugin.GuardSavepoint)))
				rows := []user{{Name: "new 1"}, {Name: "new 2"}}
				if err := m.within(db, func(tx *gorm.DB) error { return test.insert(tx, rows) }); err != nil || replaced != 1 {
					t.Fatalf("%v; the table was replaced %d times", err, replaced)
				}
				stored := place.Text("SELECT name FROM users WHERE name LIKE 'new%' ORDER BY id")
				if kept := place.Int("SELECT count(*) FROM users WHERE name NOT LIKE 'new%'"); stored != "new 1\nnew 2" || kept != 20 {
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

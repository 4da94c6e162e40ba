package plugin_test

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// lesson has a composite key, a column of which a sequence feeds.
type lesson struct {
	ID   int64  `gorm:"primaryKey;autoIncrement"`
	Lang string `gorm:"primaryKey"`
	Name string
}

// In SERIALIZABLE no look may read rows on the caller's connection. An upsert whose damage
// nothing else would show is looked at from a second one: the new rows are stored once and
// the old ones stay, whether the snapshot shows them or not.
func TestUpsertsInSerializable(t *testing.T) {
	t.Parallel()
	nothing := clause.OnConflict{DoNothing: true}
	update := clause.OnConflict{Columns: byID, DoUpdates: clause.AssignmentColumns([]string{"name"})}
	const (
		stamp   = `; CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER stamp BEFORE INSERT ON lessons FOR EACH ROW EXECUTE FUNCTION stamp()`
		single  = `CREATE TABLE lessons (id bigserial PRIMARY KEY, lang text, name text)`
		imports = `; INSERT INTO lessons SELECT g, 'en', 'old ' || g FROM generate_series(1, 20) g`
	)
	two := func() *[]lesson { return &[]lesson{{Lang: "en", Name: "new"}, {Lang: "en", Name: "newer"}} }
	for name, test := range map[string]struct {
		table  string
		insert func(*gorm.DB) error
		want   string
	}{
		"mixed, composite key": {`CREATE TABLE lessons (id bigserial, lang text, name text, PRIMARY KEY (id, lang))`,
			func(tx *gorm.DB) error {
				return tx.Save(&[]lesson{{Lang: "en", Name: "new"}, {ID: -5, Lang: "en", Name: "old -5"}}).Error
			}, "21 new"},
		"mixed, the key's other column first": {`CREATE TABLE lessons (id bigserial, lang text, name text, PRIMARY KEY (lang, id))`,
			func(tx *gorm.DB) error {
				return tx.Save(&[]lesson{{Lang: "en", Name: "new"}, {ID: -5, Lang: "en", Name: "old -5"}}).Error
			}, "21 new"},
		"two rows under a trigger": {single + stamp, func(tx *gorm.DB) error { return tx.Clauses(update).Create(two()).Error }, "21 new, 22 newer"},
		"one row under a trigger": {single + stamp, func(tx *gorm.DB) error {
			return tx.Clauses(update).Create(&lesson{Lang: "en", Name: "new"}).Error
		}, "21 new"},
		"two under DO NOTHING, another unique index": {single + "; CREATE UNIQUE INDEX ON lessons (name)",
			func(tx *gorm.DB) error { return tx.Clauses(nothing).Create(two()).Error }, "21 new, 22 newer"},
		"a key that is checked at COMMIT": {`CREATE TABLE lessons (id bigserial PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, lang text, name text)`,
			func(tx *gorm.DB) error { return tx.Create(two()).Error }, "21 new, 22 newer"},
	} {
		for when, inSnapshot := range map[string]bool{"in the snapshot": true, "outside it": false} {
			for _, known := range []bool{false, true} {
				t.Run(name+", "+when+map[bool]string{true: ", known table"}[known], func(t *testing.T) {
					t.Parallel()
					place := pgtest.New(t)
					place.Exec(test.table)
					var seen incidents
					db := place.Open(nil, plugin.New(seen.option()))
					if known {
						if err := db.Create(&lesson{Lang: "en", Name: "first"}).Error; err != nil {
							t.Fatal(err)
						}
						place.Exec("TRUNCATE lessons RESTART IDENTITY")
					}
					place.Exec("INSERT INTO lessons VALUES (-5, 'en', 'old -5')")
					if inSnapshot {
						place.Exec(imports[2:])
					}
					warm(t, db)
					err := db.Transaction(func(tx *gorm.DB) error {
						if err := tx.Exec("SELECT count(*) FROM pg_class").Error; err != nil { // takes the snapshot
							return err
						}
						if !inSnapshot {
							place.Exec(imports[2:])
						}
						return test.insert(tx)
					}, &sql.TxOptions{Isolation: sql.LevelSerializable})
					if err != nil {
						t.Fatalf("%v; %v", err, seen.list())
					}
					if got := place.Text("SELECT string_agg(id || ' ' || name, ', ' ORDER BY id) FROM lessons WHERE name NOT LIKE 'old%'"); got != test.want {
						t.Errorf("new rows %q", got)
					}
					if n := place.Int("SELECT count(*) FROM lessons WHERE name = 'old ' || id"); n != 21 {
						t.Errorf("%d old rows are as they were", n)
					}
					if i := seen.one(t); i.Outcome != plugin.Healed {
						t.Errorf("incident %v", i)
					}
				})
			}
		}
	}
}

// warm opens the pool's second connection, which a busy machine may not do within the
// time that the plugin waits for it.
func warm(t *testing.T, db *gorm.DB) {
	t.Helper()
	err := db.Connection(func(one *gorm.DB) error {
		return errors.Join(one.Exec("SELECT 1").Error, db.Exec("SELECT 1").Error)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// In SERIALIZABLE a sequence that is set back between the look and the statement is
// noticed by what the statement drew, without a read of rows: it is undone, healed and sent
// again.
func TestUpsertsInSerializable_behindASetval(t *testing.T) {
	t.Parallel()
	const single = `CREATE TABLE lessons (id bigserial PRIMARY KEY, lang text, name text); INSERT INTO lessons SELECT g, 'en', 'old ' || g FROM generate_series(1, 20) g;
		SELECT setval('lessons_id_seq', 20)`
	const stamp = `; CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER stamp BEFORE INSERT ON lessons FOR EACH ROW EXECUTE FUNCTION stamp()`
	nothing := clause.OnConflict{DoNothing: true}
	update := clause.OnConflict{Columns: byID, DoUpdates: clause.AssignmentColumns([]string{"name"})}
	two := func() *[]lesson { return &[]lesson{{Lang: "en", Name: "new"}, {Lang: "en", Name: "newer"}} }
	for name, test := range map[string]struct {
		table  string
		insert func(*gorm.DB) error
	}{
		"DO UPDATE under a trigger": {single + stamp, func(tx *gorm.DB) error { return tx.Clauses(update).Create(two()).Error }},
		"DO NOTHING, another unique index": {single + "; CREATE UNIQUE INDEX ON lessons (name)",
			func(tx *gorm.DB) error { return tx.Clauses(nothing).Create(two()).Error }},
	} {
		for _, set := range []struct {
			back  int
			until string // it is set back before this is sent
		}{{1, "INSERT INTO"}, {18, "INSERT INTO"}, {19, "INSERT INTO"}, {1, conn.OnPrimary + "SELECT coalesce(pg_catalog.pg_sequence_last_value("}} {
			t.Run(fmt.Sprintf("%s, to %d before %.6s", name, set.back, set.until), func(t *testing.T) {
				t.Parallel()
				place := pgtest.New(t)
				place.Exec(test.table)
				var armed atomic.Bool
				var looked *tappedConn
				pool := tapped(t, place, func(c *tappedConn, query string) error {
					switch {
					case !armed.Load():
					case strings.Contains(query, "seqheal_ahead") && strings.Contains(query, "EXISTS"):
						looked = c // the last one is the second connection
					case looked != nil && looked != c && strings.HasPrefix(query, set.until) && armed.CompareAndSwap(true, false):
						place.Exec("SELECT setval('lessons_id_seq', $1)", set.back)
					}
					return nil
				})
				var seen incidents
				db := openOn(t, pool, withPlugin(&gorm.Config{}, seen.option()))
				warm(t, db)
				armed.Store(true)
				err := db.Transaction(test.insert, &sql.TxOptions{Isolation: sql.LevelSerializable})
				if err != nil {
					t.Fatal(err)
				}
				if got := place.Text("SELECT string_agg(name, ', ' ORDER BY id) FROM lessons WHERE name NOT LIKE 'old%'"); got != "new, newer" {
					t.Errorf("new rows %q", got)
				}
				if n := place.Int("SELECT count(*) FROM lessons WHERE name = 'old ' || id"); n != 20 {
					t.Errorf("%d old rows are as they were", n)
				}
				if armed.Load() {
					t.Error("the sequence was not set back")
				}
				if set.back == 1 { // from 18 on the statement's own draws pass the rows
					if i := seen.one(t); i.Outcome != plugin.Healed {
						t.Errorf("incident %v", i)
					}
				}
			})
		}
	}
}

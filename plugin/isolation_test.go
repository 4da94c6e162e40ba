package plugin_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

type level struct {
	name   string
	option sql.IsolationLevel
}

var levels = []level{
	{"READ COMMITTED", sql.LevelReadCommitted},
	{"REPEATABLE READ", sql.LevelRepeatableRead},
	{"SERIALIZABLE", sql.LevelSerializable},
}

// chosen is how a program chooses a level.
type chosen struct {
	name        string
	dsn         func(level) map[string]string
	options     func(level) []*sql.TxOptions
	transaction func(level) string // the first statement
}

var choices = []chosen{
	{name: "sql.TxOptions", options: func(l level) []*sql.TxOptions { return []*sql.TxOptions{{Isolation: l.option}} }},
	{name: "SET TRANSACTION", transaction: func(l level) string { return "SET TRANSACTION ISOLATION LEVEL " + l.name }},
	{name: "default_transaction_isolation", dsn: func(l level) map[string]string {
		return map[string]string{"default_transaction_isolation": strings.ToLower(l.name)}
	}},
}

func (c chosen) open(place *pgtest.Place, l level, config *gorm.Config, options ...plugin.Option) *gorm.DB {
	dsn := place.DSN
	if c.dsn != nil {
		dsn = strings.ReplaceAll(place.DSNFor(c.dsn(l)), "+", "%20") // pgx takes + for itself
	}
	return place.OpenDSN(dsn, config, plugin.New(options...))
}

func (c chosen) begin(db *gorm.DB, l level, fn func(*gorm.DB) error) error {
	var options []*sql.TxOptions
	if c.options != nil {
		options = c.options(l)
	}
	return db.Transaction(func(tx *gorm.DB) error {
		if c.transaction != nil {
			if err := tx.Exec(c.transaction(l)).Error; err != nil {
				return err
			}
		}
		return fn(tx)
	}, options...)
}

var guards = map[string]plugin.Guard{"GuardAuto": plugin.GuardAuto, "GuardSavepoint": plugin.GuardSavepoint}

// P1: in every isolation level, however it was chosen, an insert succeeds in place,
// or it fails with what the caller retries on anyway, and the first retry of the
// whole transaction succeeds.
func TestIsolationLevels(t *testing.T) {
	t.Parallel()
	for _, l := range levels {
		for _, c := range choices {
			for name, guard := range guards {
				t.Run(fmt.Sprintf("%s by %s, %s", l.name, c.name, name), func(t *testing.T) {
					t.Parallel()
					for _, inSnapshot := range []bool{true, false} {
						t.Run(fmt.Sprintf("rows in the snapshot %v", inSnapshot), func(t *testing.T) {
							inPlace := inSnapshot || l.option == sql.LevelReadCommitted || guard == plugin.GuardSavepoint
							testIsolation(t, l, c, guard, inSnapshot, inPlace)
						})
					}
				})
			}
		}
	}
}

func testIsolation(t *testing.T, l level, c chosen, guard plugin.Guard, inSnapshot, inPlace bool) {
	place := pgtest.New(t)
	place.Exec("CREATE TABLE notes (text text); CREATE TABLE users (id bigserial PRIMARY KEY, name text)")
	imported := false
	importRows := func() {
		if !imported {
			place.Exec("INSERT INTO users SELECT g, 'old ' || g FROM generate_series(1, 20) g")
		}
		imported = true
	}
	if inSnapshot {
		importRows()
	}
	var seen incidents
	db := c.open(place, l, nil, plugin.WithGuard(guard), seen.option())
	var u user
	attempt := func() error {
		return c.begin(db, l, func(tx *gorm.DB) error {
			var at string
			tx.Raw("SELECT current_setting('transaction_isolation') FROM (SELECT count(*) FROM users) snapshot").Scan(&at)
			if !strings.EqualFold(at, l.name) {
				t.Errorf("the test runs in %s", at)
			}
			importRows()
			tx.Exec("INSERT INTO notes VALUES ('note')")
			u = user{Name: "new"}
			return tx.Create(&u).Error
		})
	}
	err := attempt()
	if inPlace && err != nil {
		t.Errorf("not in place: %v; %v", err, seen.list())
	}
	if err != nil {
		if !strings.Contains(err.Error(), "40001") && !strings.Contains(err.Error(), "23505") {
			t.Errorf("error %v", err)
		}
		if err := attempt(); err != nil {
			t.Errorf("the first retry: %v; %v", err, seen.list())
		}
	}
	if got := place.Text("SELECT * FROM users WHERE id > 20"); got != "21|new" && got != "22|new" || got != fmt.Sprintf("%d|new", u.ID) {
		t.Errorf("stored %s, held %+v", got, u)
	}
	if old := place.Text("SELECT * FROM users WHERE id <= 20 ORDER BY id"); old != oldRows() {
		t.Errorf("old rows changed:\n%s", old)
	}
	if n := place.Int("SELECT count(*) FROM notes"); n != 1 {
		t.Errorf("%d notes", n)
	}
	if i := seen.one(t); i.Outcome != plugin.Healed || i.To < 20 {
		t.Errorf("incident %v", i)
	}
}

// An insert that is a transaction of its own, or GORM's, under a role whose default
// level takes a snapshot: healed in place, with CACHE too.
func TestDefaultIsolationWithoutACallersTransaction(t *testing.T) {
	t.Parallel()
	for _, l := range levels[1:] {
		for _, cache := range []int{1, 20} {
			t.Run(fmt.Sprintf("%s, CACHE %d", l.name, cache), func(t *testing.T) {
				t.Parallel()
				for _, m := range modes[:2] {
					t.Run(m.name, func(t *testing.T) {
						place := pgtest.New(t)
						place.Exec(drifted + fmt.Sprintf("; ALTER SEQUENCE users_id_seq CACHE %d", cache))
						var seen incidents
						db := choices[2].open(place, l, &m.config, seen.option())
						users := []user{{Name: "n0"}, {Name: "n1"}}
						if err := db.Create(&users).Error; err != nil {
							t.Fatal(err, seen.list())
						}
						if got := place.Text("SELECT * FROM users WHERE id > 20 ORDER BY id"); got != strings.Join(lines(users...), "\n") || len(strings.Split(got, "\n")) != 2 {
							t.Errorf("stored %s, held %v", got, users)
						}
						if i := seen.one(t); i.Outcome != plugin.Healed {
							t.Errorf("incident %v", i)
						}
					})
				}
			})
		}
	}
}

// The plugin's look must not be what makes somebody else's SERIALIZABLE transaction
// fail: here a look on the inserting connection would close a circle with one that
// reads what the inserter writes and writes what the look reads.
func TestBystandersOfASerializableHeal(t *testing.T) {
	t.Parallel()
	create := func(tx *gorm.DB) error { return tx.Create(&user{Name: "new"}).Error }
	nothing := func(u *user) func(*gorm.DB) error {
		return func(tx *gorm.DB) error { return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(u).Error }
	}
	for _, test := range []struct {
		name, change string
		guard        plugin.Guard
		insert       func(*gorm.DB) error
		healed       bool
	}{
		{"GuardAuto", "", plugin.GuardAuto, create, true},
		{"GuardSavepoint", "", plugin.GuardSavepoint, create, true},
		{"DO NOTHING", "", plugin.GuardAuto, nothing(&user{Name: "new"}), true},
		{"DO NOTHING beside another index", "CREATE UNIQUE INDEX ON users (name)", plugin.GuardAuto, nothing(&user{Name: "new"}), true},
		{"DO NOTHING, dropped for another index", "CREATE UNIQUE INDEX ON users (name); SELECT setval('users_id_seq', 20)", plugin.GuardAuto,
			nothing(&user{Name: "old 7"}), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			place.Exec(drifted + "; CREATE TABLE notes (text text);" + test.change)
			var seen incidents
			db := place.Open(nil, plugin.New(plugin.WithGuard(test.guard), seen.option()))
			bystander := place.Open(nil).Begin(&sql.TxOptions{Isolation: sql.LevelSerializable})
			var count int64
			err := db.Transaction(func(tx *gorm.DB) error {
				if err := bystander.Raw("SELECT count(*) FROM notes").Scan(&count).Error; err != nil {
					return err
				}
				if err := tx.Exec("INSERT INTO notes VALUES ('note')").Error; err != nil {
					return err
				}
				return test.insert(tx)
			}, &sql.TxOptions{Isolation: sql.LevelSerializable})
			if err != nil {
				t.Error(err)
			}
			if err := bystander.Exec("INSERT INTO users VALUES (5000, 'bystander')").Error; err != nil {
				t.Errorf("the bystander: %v", err)
			}
			if err := bystander.Commit().Error; err != nil {
				t.Errorf("the bystander's COMMIT: %v", err)
			}
			if test.healed {
				seen.one(t)
			} else {
				seen.none(t)
			}
		})
	}
}

// A second connection is not always to be had, the caller may hold the lock that a
// look from there waits for, and it does not show the caller's own rows: the insert
// is healed all the same, and does not hang.
func TestHealsWhereASecondConnectionIsNoHelp(t *testing.T) {
	t.Parallel()
	const most = 2 * time.Second // each wait is 250 ms; the rest is a slow machine's
	for _, c := range []struct {
		name, first string
		connections int
	}{
		{"SetMaxOpenConns(1)", "SELECT 1", 1},
		{"a pooler with one server connection", "SELECT 1", 0},
		{"LOCK TABLE", "LOCK TABLE users IN ACCESS EXCLUSIVE MODE", 0},
		{"rows of its own", "INSERT INTO users SELECT g, 'own' FROM generate_series(21, 500) g", 0},
		{"TRUNCATE", "TRUNCATE users; INSERT INTO users SELECT g, 'old ' || g FROM generate_series(1, 20) g", 0},
	} {
		for _, l := range levels {
			for name, guard := range guards {
				t.Run(fmt.Sprintf("%s, %s, %s", c.name, l.name, name), func(t *testing.T) {
					t.Parallel()
					place := pgtest.New(t)
					place.Exec(drifted)
					var seen incidents
					db := place.Open(nil)
					if strings.Contains(c.name, "pooler") {
						db = behindPooler(t, place)
					}
					if err := db.Use(plugin.New(plugin.WithGuard(guard), seen.option())); err != nil {
						t.Fatal(err)
					}
					pool, _ := db.DB()
					pool.SetMaxOpenConns(c.connections)
					var took time.Duration
					err := choices[0].begin(db, l, func(tx *gorm.DB) error {
						if err := tx.Exec(c.first).Error; err != nil {
							return err
						}
						started := time.Now()
						err := tx.Create(&user{Name: "new"}).Error
						took = time.Since(started)
						return err
					})
					if err != nil {
						t.Errorf("%v; %v", err, seen.list())
					}
					if took > most {
						t.Errorf("the insert took %s", took)
					}
					if n := place.Int("SELECT count(*) FROM users WHERE id > 20 AND name = 'new'"); n != 1 {
						t.Errorf("%d rows stored", n)
					}
					if i := seen.one(t); i.Outcome != plugin.Healed {
						t.Errorf("incident %v", i)
					}
				})
			}
		}
	}
}

package hostile_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/plugin"
)

// A temporary table that shadows the real one is another table, with a sequence of
// its own; and the real one is back when it is gone.
func TestTemporaryTable_shadowsTheRealOne(t *testing.T) {
	t.Parallel()
	const shadow = `CREATE TEMP TABLE users (id bigserial PRIMARY KEY, name text);
		INSERT INTO users SELECT g, 'temporary ' || g FROM generate_series(1, 60) g; SELECT setval('pg_temp.users_id_seq', 60)`
	const real = `SELECT 'real', CASE WHEN id <= 20 THEN id END, name FROM $S.users`
	const both = real + ` UNION ALL SELECT 'temporary', CASE WHEN id <= 60 THEN id END, name FROM pg_temp.users ORDER BY 1, 2, 3`
	one := single
	for _, first := range []bool{true, false} {
		beside(t, program{name: fmt.Sprintf("the real one known before %v", first), settings: one, rows: both, run: func(w *world) {
			if first {
				w.in = "$S."
				w.touch("users")
			}
			w.readsOwn, w.in = true, "pg_temp."
			w.ddl(shadow)
			w.useAll("shadowed", "users", "SELECT setval('pg_temp.users_id_seq', 1)")
		}})
		beside(t, program{name: fmt.Sprintf("dropped again, the real one known before %v", first), settings: one, rows: real + " ORDER BY 1, 2, 3", run: func(w *world) {
			if first {
				w.touch("users")
			}
			known := len(w.finally)
			w.ddl(shadow)
			w.useAll("shadowed", "users", "SELECT setval('pg_temp.users_id_seq', 1)")
			w.finally = w.finally[:known]
			w.ddl("DROP TABLE pg_temp.users")
			w.useAll("real again", "users", "SELECT setval('$S.users_id_seq', 1)")
		}})
	}
	for _, s := range one {
		t.Run("prevention, "+s.name, func(t *testing.T) {
			t.Parallel()
			p := program{options: []plugin.Option{plugin.WithPrevention()}, run: func(w *world) {
				_ = w.step("real", func(db *gorm.DB) *gorm.DB { return db.Create(&user{ID: 30, Name: "real"}) })
				w.ddl(shadow)
				_ = w.step("temporary", func(db *gorm.DB) *gorm.DB { return db.Create(&user{ID: 900000, Name: "temporary"}) })
				_ = w.step("next", func(db *gorm.DB) *gorm.DB { return db.Create(&user{Name: "temporary"}) })
			}}
			w := p.execute(t, s, false, true)
			if got := w.place.Int("SELECT last_value FROM $S.users_id_seq"); got != 30 {
				t.Errorf("the real table's sequence is at %d instead of 30", got)
			}
			if text := strings.Join(w.lines, "\n"); strings.Contains(text, "error ERROR") {
				t.Error(text)
			}
		})
	}
}

// database makes a database with the schema of the world's, as a copy of another
// one where template names it: with equal oids then.
func (w *world) database(suffix, template string) (name string) {
	w.t.Helper()
	name = w.place.Schema + "_" + suffix
	if template == "" {
		template = "template1"
	}
	w.place.Exec("CREATE DATABASE " + name + " TEMPLATE " + template)
	home := w.place.SQL
	w.t.Cleanup(func() {
		_, _ = home.Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
		_, _ = home.Exec("DROP DATABASE " + name)
	})
	return name
}

// on runs statements in another database.
func (w *world) on(database, statements string) {
	w.t.Helper()
	pool, err := sql.Open("pgx", w.place.DSNFor(map[string]string{"dbname": database}))
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = pool.Close() }()
	if _, err := pool.Exec(strings.ReplaceAll(statements, "$S", w.place.Schema)); err != nil {
		w.t.Fatalf("%s: %v", statements, err)
	}
}

// cutOver lets the program's pool, and the test's own reading, go to another
// database, without a word to either.
func (w *world) cutOver(database string) {
	w.t.Helper()
	dsn := w.place.DSNFor(map[string]string{"dbname": database})
	w.switchTo(dsn)
	pool, err := sql.Open("pgx", dsn)
	if err != nil {
		w.t.Fatal(err)
	}
	home := w.place.SQL
	w.place.SQL = pool
	w.t.Cleanup(func() { _ = pool.Close(); w.place.SQL = home })
}

// The database behind the pool is another one: after a cut-over, a restore, an
// upgrade by dump. Equal oids there prove nothing.
func TestCutOver_toAnotherDatabase(t *testing.T) {
	t.Parallel()
	each := []setting{noTx, callerTx} // a database takes half a second to make
	const accounts = "CREATE TABLE accounts (id bigserial PRIMARY KEY, name text); INSERT INTO accounts SELECT g, 'account ' || g FROM generate_series(1, 200) g; SELECT setval('accounts_id_seq', 200);"
	for _, c := range []struct {
		name string
		// there is what the other database has that a copy has not.
		there string
		copy  bool
		drift string
		in    []setting
	}{
		{"a fresh one", "CREATE SCHEMA $S; CREATE TABLE $S.more (id bigserial); " + accounts + usersSchema, false, rewind, each[1:]},
		{"a copy", "", true, rewind, each[:1]},
		{"a copy with the names of two tables swapped", `ALTER TABLE users RENAME TO x; ALTER TABLE accounts RENAME TO users; ALTER TABLE x RENAME TO accounts;`,
			true, "SELECT setval('accounts_id_seq', 1)", each},
		{"a copy whose sequence is another's", "ALTER TABLE users ALTER id SET DEFAULT nextval('accounts_id_seq')", true, "SELECT setval('accounts_id_seq', 1)", []setting{gormTx}},
	} {
		beside(t, program{name: c.name, settings: c.in, rows: `SELECT CASE WHEN name LIKE 'old%' OR name LIKE 'account%' THEN id END, name FROM users ORDER BY 1, 2`, run: func(w *world) {
			first := w.database("one", "")
			w.on(first, "CREATE SCHEMA $S; "+usersSchema+accounts)
			second := w.database("two", map[bool]string{true: first}[c.copy])
			w.on(second, c.there)
			w.cutOver(first)
			w.touch("users")
			w.finally = nil
			w.cutOver(second)
			w.useAll("there", "users", c.drift)
		}})
	}
	for _, s := range each[1:] {
		t.Run("prevention, "+s.name, func(t *testing.T) {
			t.Parallel()
			p := program{options: []plugin.Option{plugin.WithPrevention()}, run: func(w *world) {
				first := w.database("one", "")
				w.on(first, "CREATE SCHEMA $S; "+usersSchema+accounts)
				second := w.database("two", first)
				w.on(second, "ALTER TABLE users RENAME TO x; ALTER TABLE accounts RENAME TO users; ALTER TABLE x RENAME TO accounts")
				w.cutOver(first)
				_ = w.step("here", func(db *gorm.DB) *gorm.DB { return db.Create(&user{ID: 50000, Name: "here"}) })
				w.cutOver(second)
				_ = w.step("there", func(db *gorm.DB) *gorm.DB { return db.Create(&user{ID: 45000, Name: "there"}) })
				_ = w.step("next", func(db *gorm.DB) *gorm.DB { return db.Create(&user{Name: "there"}) })
			}}
			w := p.execute(t, s, false, true)
			if got := w.place.Text("SELECT (SELECT last_value FROM accounts_id_seq), (SELECT last_value FROM users_id_seq)"); got != "45001|20" {
				t.Errorf("the sequences of the table and of the other one are at %s instead of 45001|20", got)
			}
		})
	}
}

package compat

import (
	"database/sql"
	"fmt"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/plugin/dbresolver"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// resolve registers dbresolver and seqheal in the given order.
func resolve(t *testing.T, db *gorm.DB, seen *incidents, seqhealFirst bool, resolver *dbresolver.DBResolver) {
	t.Helper()
	plugins := []gorm.Plugin{resolver, seen.plugin()}
	if seqhealFirst {
		plugins[0], plugins[1] = plugins[1], plugins[0]
	}
	for _, p := range plugins {
		if err := db.Use(p); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		_ = resolver.Call(func(pool gorm.ConnPool) error {
			if pool, ok := pool.(*sql.DB); ok {
				return pool.Close()
			}
			return nil
		})
	})
}

// P1: dbresolver sends what looks like a read to a replica, where a sequence
// cannot be moved; the plugin stays on the connection of the INSERT.
func TestHealsBesideAReadReplica(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ seqhealFirst, prepare, sourced bool }{
		{false, false, false}, {true, false, true}, {false, true, true}, {true, true, false},
	} {
		name := fmt.Sprintf("seqheal first %t, PrepareStmt %t, source named %t", c.seqhealFirst, c.prepare, c.sourced)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode) {
				p := pgtest.New(t)
				p.Exec(drifted)
				config := dbresolver.Config{Replicas: []gorm.Dialector{
					postgres.Open(p.DSNFor(map[string]string{"default_transaction_read_only": "on"}))}}
				if c.sourced {
					config.Sources = []gorm.Dialector{postgres.Open(p.DSN)}
				}
				m.config.PrepareStmt = c.prepare
				var seen incidents
				db := open(t, postgres.Open(p.DSN), m.config)
				resolve(t, db, &seen, c.seqhealFirst, dbresolver.Register(config))

				heals(t, p, db, m, 1, &seen)
				healsAgain(t, p, db, m, 3, &seen)

				p.Exec(driftAgain)
				err := m.within(db, func(tx *gorm.DB) error {
					findings, err := plugin.Resync(t.Context(), tx, "accounts")
					if len(findings) != 1 || !findings[0].Moved || findings[0].State != plugin.StateInSync {
						t.Errorf("resync: %v", findings)
					}
					return err
				})
				if last := p.Int("SELECT last_value - (SELECT max(id) FROM accounts) FROM accounts_id_seq"); err != nil || last != 0 {
					t.Errorf("after a resync the sequence is %d values past the rows: %v", last, err)
				}

				var readOnly string
				if err := db.Raw("SELECT current_setting('transaction_read_only')").Scan(&readOnly).Error; err != nil || readOnly != "on" {
					t.Errorf("the test reads from no replica: %q %v", readOnly, err)
				}
			})
		})
	}
}

// healsAgain makes the table drift once more and inserts.
func healsAgain(t *testing.T, p *pgtest.Place, db *gorm.DB, m mode, rows int, seen *incidents) {
	t.Helper()
	before := len(seen.list())
	p.Exec(driftAgain)
	created := newAccounts(fmt.Sprintf("again-%d", before), rows)
	if err := m.within(db, func(tx *gorm.DB) error { return create(tx, created) }); err != nil {
		t.Fatal(err)
	}
	for _, row := range created {
		if got := p.Text("SELECT email FROM accounts WHERE id = $1", row.ID); got != row.Email {
			t.Errorf("id %d holds %q instead of %q", row.ID, got, row.Email)
		}
	}
	seen.healed(t, before+1)
}

// second makes another place for a table of the same name: a schema, or a
// database with a schema that is called like p's. It returns its DSN and a pool.
type second struct {
	name string
	make func(*testing.T, *pgtest.Place) (dsn string, pool *sql.DB)
}

var seconds = []second{
	{"schema", func(t *testing.T, _ *pgtest.Place) (string, *sql.DB) {
		other := pgtest.New(t)
		return other.DSN, other.SQL
	}},
	{"database", func(t *testing.T, p *pgtest.Place) (string, *sql.DB) {
		name := p.Schema + "_second"
		p.Exec("CREATE DATABASE " + name)
		dsn := p.DSNFor(map[string]string{"dbname": name})
		pool, err := sql.Open("pgx/v5", dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = pool.Close()
			_, _ = p.SQL.Exec("DROP DATABASE " + name + " WITH (FORCE)")
		})
		execute(t, pool, "CREATE SCHEMA "+p.Schema)
		return dsn, pool
	}},
}

func execute(t *testing.T, pool *sql.DB, statements string) {
	t.Helper()
	if _, err := pool.Exec(statements); err != nil {
		t.Fatalf("%s: %v", statements, err)
	}
}

func number(t *testing.T, pool *sql.DB, query string) (n int64) {
	t.Helper()
	if err := pool.QueryRow(query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// inSecond inserts into the database that dbresolver knows as "second".
func inSecond(db *gorm.DB, m mode, rows []account) error {
	use := db.Clauses(dbresolver.Use("second"), dbresolver.Write)
	return m.within(use, func(tx *gorm.DB) error {
		return create(tx.Clauses(dbresolver.Use("second")), rows)
	})
}

// P1: tables of one name in several sources drift each on their own, and each
// sequence is moved past its own rows.
func TestHealsEachSourceByItsOwnRows(t *testing.T) {
	t.Parallel()
	for _, place := range seconds {
		t.Run(place.name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode) {
				p := pgtest.New(t)
				p.Exec(drifted)
				dsn, other := place.make(t, p)
				execute(t, other, drifted+"INSERT INTO accounts SELECT g, 'more' || g FROM generate_series(21, 500) g")
				var seen incidents
				db := open(t, postgres.Open(p.DSN), m.config)
				resolve(t, db, &seen, false, dbresolver.Register(
					dbresolver.Config{Sources: []gorm.Dialector{postgres.Open(dsn)}}, "second"))

				here, there := newAccounts("here", 1), newAccounts("there", 1)
				if err := m.within(db, func(tx *gorm.DB) error { return create(tx, here) }); err != nil {
					t.Fatal(err)
				}
				if err := inSecond(db, m, there); err != nil {
					t.Fatal(err)
				}
				stored(t, p, "accounts", 20, here...)
				if rows := number(t, other, "SELECT count(*) FROM accounts WHERE id > 500 AND email LIKE 'there-%'"); rows != 1 || there[0].ID <= 500 {
					t.Errorf("%d rows in the second place, id %d", rows, there[0].ID)
				}
				if last := p.Int("SELECT last_value FROM accounts_id_seq"); last >= 500 {
					t.Errorf("the first sequence was moved by the second's rows, to %d", last)
				}
				seen.healed(t, 2)
			})
		})
	}
}

// P4, P5: what was learnt of a table in one source is not taken for true of the
// table of that name in another one.
func TestTablesOfOneNameMayDifferBetweenSources(t *testing.T) {
	t.Parallel()
	for _, table := range []struct{ name, ddl, check string }{
		{"another key", `CREATE TABLE accounts (id bigserial, email text, name text, region text DEFAULT 'eu', PRIMARY KEY (id, region));
INSERT INTO accounts VALUES (1, 'old');`,
			`SELECT count(*) FROM accounts WHERE email LIKE 'there-%'`},
		{"a trigger that writes", `CREATE TABLE fired (id bigint); CREATE TABLE accounts (id bigserial PRIMARY KEY, email text, name text);
INSERT INTO accounts VALUES (1, 'old');
CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO fired VALUES (NEW.id); RETURN NEW; END $$;
CREATE TRIGGER fire BEFORE INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION fire();`,
			`SELECT count(*) FROM fired`},
		{"a trigger that stores the row elsewhere", `CREATE TABLE kept (email text); CREATE TABLE accounts (id bigserial PRIMARY KEY, email text, name text);
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO kept VALUES (NEW.email); RETURN NULL; END $$;
CREATE TRIGGER keep BEFORE INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION keep();`,
			`SELECT count(*) FROM kept`},
	} {
		t.Run(table.name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode) {
				p, other := pgtest.New(t), pgtest.New(t)
				p.Exec(drifted)
				other.Exec(table.ddl)
				var seen incidents
				db := open(t, postgres.Open(p.DSN), m.config)
				resolve(t, db, &seen, false, dbresolver.Register(
					dbresolver.Config{Sources: []gorm.Dialector{postgres.Open(other.DSN)}}, "second"))

				heals(t, p, db, m, 1, &seen)
				if err := inSecond(db, m, newAccounts("there", 1)); err != nil {
					t.Fatal(err)
				}
				if n := other.Int(table.check); n != 1 {
					t.Errorf("%s gives %d instead of 1", table.check, n)
				}
			})
		})
	}
}

// P1: a source without a sequence, or with other names for its constraints, does
// not keep the table of that name in another source from being healed.
func TestATableIsHealedWhateverWasLearntElsewhere(t *testing.T) {
	t.Parallel()
	for _, table := range []struct{ name, first, second string }{
		{"no sequence in the first", `CREATE TABLE accounts (id bigint PRIMARY KEY, email text UNIQUE NOT NULL, name text);`, drifted},
		{"constraints named the other way round",
			`CREATE TABLE accounts (id bigserial CONSTRAINT a PRIMARY KEY, email text CONSTRAINT b UNIQUE, name text);`,
			`CREATE TABLE accounts (id bigserial CONSTRAINT b PRIMARY KEY, email text CONSTRAINT a UNIQUE, name text);
INSERT INTO accounts SELECT g, 'old' || g FROM generate_series(1, 20) g;`},
	} {
		t.Run(table.name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode) {
				p := pgtest.New(t)
				dsn, other := seconds[1].make(t, p)
				p.Exec(table.first)
				execute(t, other, table.second)
				var seen incidents
				db := open(t, postgres.Open(p.DSN), m.config)
				resolve(t, db, &seen, false, dbresolver.Register(
					dbresolver.Config{Sources: []gorm.Dialector{postgres.Open(dsn)}}, "second"))

				named := newAccounts("named", 1)
				named[0].ID = 100
				duplicate := []account{{ID: 100, Email: "other@example.com"}}
				for i, rows := range [][]account{named, duplicate} { // both teach the plugin what the table is
					if err := m.within(db, func(tx *gorm.DB) error { return create(tx, rows) }); (err != nil) != (i == 1) {
						t.Fatal(err)
					}
				}
				if err := inSecond(db, m, newAccounts("there", 1)); err != nil {
					t.Error(err)
				}
				seen.healed(t, 1)
			})
		})
	}
}

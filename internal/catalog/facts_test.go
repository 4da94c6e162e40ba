package catalog_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgtest"
)

const triggerFunction = `CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';`

func TestReadFollowsAView(t *testing.T) {
	t.Parallel()
	const base = `CREATE TABLE base (gone int, id bigserial PRIMARY KEY, name text, n int); ALTER TABLE base DROP gone;`
	whole := map[string]string{"id": "id", "name": "name", "n": "n"}
	for _, test := range []struct {
		name, setup string
		minimum     int64 // of the server's version
		columns     map[string]string
		between     int
		instead     bool
		rule        bool
		foreign     bool // not the statement's own: the key has another name
	}{
		{name: "whole table", setup: `CREATE VIEW t AS SELECT * FROM base`, columns: whole},
		{name: "renamed columns", setup: `CREATE VIEW t AS SELECT name AS id, id AS "The } \ ""Id", n + 1 AS n FROM base`, foreign: true,
			columns: map[string]string{"id": "name", `The } \ "Id`: "id"}},
		{name: "renamed later", setup: `CREATE VIEW t AS SELECT * FROM base; ALTER TABLE t RENAME COLUMN id TO x; ALTER TABLE base RENAME n TO m`, foreign: true,
			columns: map[string]string{"x": "id", "name": "name", "n": "m"}},
		{name: "names that look like fields", setup: `CREATE VIEW t AS SELECT id AS ":resorigtbl", name AS ":resorigcol", n AS "7" FROM base`, foreign: true,
			columns: map[string]string{":resorigtbl": "id", ":resorigcol": "name", "7": "n"}},
		{name: "several views", setup: `CREATE VIEW a AS SELECT n, id AS k, name FROM base; CREATE VIEW b AS SELECT name AS x, k AS n, n AS k FROM a; CREATE VIEW t AS SELECT n AS id, k AS n FROM b`,
			between: 2, columns: map[string]string{"id": "id", "n": "n"}},
		{name: "WITH CHECK OPTION", setup: `CREATE VIEW t AS SELECT * FROM base WHERE n > 0 WITH CASCADED CHECK OPTION`, columns: whole},
		{name: "security barrier", setup: `CREATE VIEW t WITH (security_barrier) AS SELECT * FROM base WHERE n > 0`, columns: whole},
		{name: "security invoker", minimum: 150000, setup: `CREATE VIEW t WITH (security_invoker) AS SELECT * FROM base`, columns: whole},
		{name: "subqueries", setup: `CREATE VIEW t AS SELECT id, (SELECT max(oid) FROM pg_class) AS name, n FROM base WHERE n IN (SELECT attnum FROM pg_attribute)`,
			columns: map[string]string{"id": "id", "n": "n"}},
		{name: "without the key", setup: `CREATE VIEW t AS SELECT name FROM base`, foreign: true, columns: map[string]string{"name": "name"}},
		{name: "an alias and ONLY", setup: `CREATE VIEW t AS SELECT q.* FROM ONLY base q`, columns: whole},
		{name: "INSTEAD OF trigger", setup: `CREATE VIEW t AS SELECT * FROM base; ` + triggerFunction + `CREATE TRIGGER x INSTEAD OF INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()`,
			instead: true, columns: whole},
		{name: "INSTEAD OF trigger below", between: 1, setup: `CREATE VIEW a AS SELECT * FROM base; CREATE VIEW t AS SELECT * FROM a; ` + triggerFunction +
			`CREATE TRIGGER x INSTEAD OF INSERT ON a FOR EACH ROW EXECUTE FUNCTION f()`, instead: true, columns: whole},
		{name: "rule", setup: `CREATE VIEW t AS SELECT * FROM base; CREATE RULE r AS ON INSERT TO t DO INSTEAD NOTHING`, rule: true, columns: whole},
		{name: "replaced", setup: `CREATE TABLE other (id bigint, name text, n int); CREATE VIEW t AS SELECT * FROM other; CREATE OR REPLACE VIEW t AS SELECT id, name, n FROM base`, columns: whole},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			if p.Int("SELECT current_setting('server_version_num')::int") < test.minimum {
				t.Skip("not in this version")
			}
			p.Exec(base + test.setup)
			table := read(t, p.Open(nil), catalog.Name{Table: "t"}, catalog.Name{})
			v := table.View
			if table.Name != "base" || !table.Fed() || v == nil {
				t.Fatalf("%+v", table)
			}
			if !maps.Equal(v.Columns, test.columns) || v.Between != test.between || v.InsteadOf != test.instead || v.Rule != test.rule || table.Own == test.foreign {
				t.Errorf("own %v, %+v", table.Own, v)
			}
			if v.Name != "t" || v.Schema != p.Schema || v.OID != p.Int("SELECT 't'::regclass::oid::int8") || table.Identity.Named != v.OID {
				t.Errorf("%+v", v)
			}
			if table.Triggers.InsteadOf != test.instead || table.Rules != test.rule {
				t.Errorf("triggers %+v, rules %v", table.Triggers, table.Rules)
			}
			if shown, ok := v.Shown("id"); ok && v.Columns[shown] != "id" {
				t.Errorf("the key is shown as %q", shown)
			}
		})
	}
}

func TestReadDescribesAViewThatLeadsToNoTable(t *testing.T) {
	t.Parallel()
	const base = `CREATE TABLE base (id bigserial PRIMARY KEY, name text); CREATE TABLE other (id bigserial PRIMARY KEY);`
	for name, view := range map[string]string{
		"join": `SELECT base.* FROM base, other`, "constants": `SELECT 1 AS id`, "union": `SELECT id FROM base UNION ALL SELECT id FROM other`,
		"a join below": `SELECT id FROM (SELECT base.id FROM base JOIN other USING (id)) q`, "function": `SELECT * FROM generate_series(1, 3) AS id`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(base + `CREATE VIEW t AS ` + view)
			table := read(t, p.Open(nil), catalog.Name{Table: "t"}, catalog.Name{})
			if table.Name == "t" && (table.Fed() || table.View != nil || !table.Own || !table.Detour) {
				t.Errorf("%+v", table)
			}
			if table.Name != "t" && name != "a join below" {
				t.Errorf("led to %s", table.Name)
			}
		})
	}
}

func TestReadLooksAtTheWholeTree(t *testing.T) {
	t.Parallel()
	const root = `CREATE TABLE t (id bigserial, at int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
		CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (1) TO (9) PARTITION BY RANGE (id); CREATE TABLE t_1_1 PARTITION OF t_1 DEFAULT; CREATE TABLE t_2 PARTITION OF t DEFAULT;` + triggerFunction
	for _, test := range []struct {
		name, setup string
		triggers    catalog.Triggers
		uniques     int // beside the key
		rules       bool
	}{
		{name: "plain"},
		{name: "row trigger on one partition", setup: `CREATE TRIGGER x BEFORE INSERT ON t_1_1 FOR EACH ROW EXECUTE FUNCTION f()`, triggers: catalog.Triggers{BeforeInsertRow: true}},
		{name: "statement trigger on one partition", setup: `CREATE TRIGGER x BEFORE INSERT ON t_1_1 EXECUTE FUNCTION f()`},
		{name: "statement trigger on the root", setup: `CREATE TRIGGER x AFTER INSERT OR UPDATE ON t EXECUTE FUNCTION f()`, triggers: catalog.Triggers{InsertStatement: true}},
		{name: "disabled on the partition", setup: `CREATE TRIGGER x BEFORE INSERT ON t_2 FOR EACH ROW EXECUTE FUNCTION f(); ALTER TABLE t_2 DISABLE TRIGGER x`},
		{name: "always on the partition", setup: `CREATE TRIGGER x BEFORE UPDATE ON t_2 FOR EACH ROW EXECUTE FUNCTION f(); ALTER TABLE t_2 ENABLE ALWAYS TRIGGER x`},
		{name: "audit trigger", setup: `CREATE TRIGGER x AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()`, triggers: catalog.Triggers{AfterRow: true}},
		{name: "unique index on one partition", setup: `CREATE UNIQUE INDEX ON t_1_1 (id)`, uniques: 1},
		{name: "exclusion constraint on one partition", setup: `ALTER TABLE t_2 ADD EXCLUDE USING btree (at WITH =)`, uniques: 1},
		{name: "unique index of the root", setup: `CREATE UNIQUE INDEX ON t (at, id)`, uniques: 1},
		{name: "plain index on one partition", setup: `CREATE INDEX ON t_2 (at)`},
		{name: "rule on one partition", setup: `CREATE RULE r AS ON INSERT TO t_2 DO ALSO NOTHING`, rules: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(root + test.setup)
			table := read(t, p.Open(nil), catalog.Name{Table: "t"}, catalog.Name{})
			if table.Triggers != test.triggers || table.Rules != test.rules || len(table.Uniques) != 1+test.uniques || table.OnlyKeyIsUnique() != (test.uniques == 0) {
				t.Errorf("triggers %+v, rules %v, uniques %+v", table.Triggers, table.Rules, table.Uniques)
			}
			if table.Partitions != (catalog.Partitions{Count: 2}) || table.KeysBelow || table.Partitions.AllForeign() {
				t.Errorf("partitions %+v", table.Partitions)
			}
		})
	}
}

func TestReadCountsForeignPartitions(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE FOREIGN DATA WRAPPER $S_files; CREATE SERVER $S_files FOREIGN DATA WRAPPER $S_files`)
	t.Cleanup(func() { p.Exec(`DROP FOREIGN DATA WRAPPER $S_files CASCADE`) })
	p.Exec(`CREATE TABLE t (id bigserial, at int) PARTITION BY RANGE (at); CREATE TABLE t_1 PARTITION OF t (PRIMARY KEY (id)) FOR VALUES FROM (1) TO (9);
		CREATE FOREIGN TABLE t_2 PARTITION OF t DEFAULT SERVER $S_files;
		CREATE FOREIGN TABLE alone (id bigint, name text) SERVER $S_files`)
	table := read(t, p.Open(nil), catalog.Name{Table: "t"}, catalog.Name{})
	if table.Partitions != (catalog.Partitions{Count: 2, Foreign: 1}) || !table.KeysBelow || table.FedColumn() != "id" || table.Foreign || table.Constraint != "" {
		t.Errorf("%+v", table)
	}
	if table := read(t, p.Open(nil), catalog.Name{Table: "alone"}, catalog.Name{}); !table.Foreign || table.Partitions.Count != 0 {
		t.Errorf("%+v", table)
	}
}

func TestReadListsUniqueIndexesAndSequenceKeys(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE TABLE t (id uuid PRIMARY KEY, tenant int, number bigserial UNIQUE, gid int GENERATED BY DEFAULT AS IDENTITY, name text,
		CONSTRAINT of_tenant UNIQUE (tenant, gid), CONSTRAINT late UNIQUE (gid) DEFERRABLE, CONSTRAINT apart EXCLUDE USING btree (name WITH =));
		CREATE UNIQUE INDEX pair ON t (number, gid); CREATE UNIQUE INDEX wider ON t (name, number); CREATE UNIQUE INDEX partial ON t (number) WHERE tenant > 0; CREATE UNIQUE INDEX twice ON t ((gid * 2)); CREATE INDEX ON t (gid)`)
	table := read(t, p.Open(nil), catalog.Name{Table: "t"}, catalog.Name{})
	var keys, uniques []string
	for _, key := range table.Keys {
		keys = append(keys, fmt.Sprintf("%s %d of %d %s %v", key.Constraint, key.Column, len(key.Key), key.Sequence.Name, key.Identity.Default != 0))
		if key.NotGuardable == "" {
			t.Errorf("%s may decide alone", key.Constraint)
		}
	}
	for _, u := range table.Uniques {
		uniques = append(uniques, fmt.Sprintf("%s %s primary %v immediate %v exclusion %v partial %v expression %v",
			u.Name, strings.Join(u.Columns, ","), u.Primary, u.Immediate, u.Exclusion, u.Partial, u.Expression))
	}
	slices.Sort(keys)
	slices.Sort(uniques)
	if want := []string{"of_tenant 1 of 2 t_gid_seq false", "t_number_key 0 of 1 t_number_seq true"}; !slices.Equal(keys, want) {
		t.Errorf("sequence keys\n%s", strings.Join(keys, "\n"))
	}
	want := []string{
		"apart name primary false immediate true exclusion true partial false expression false",
		"late gid primary false immediate false exclusion false partial false expression false",
		"of_tenant tenant,gid primary false immediate true exclusion false partial false expression false",
		"pair number,gid primary false immediate true exclusion false partial false expression false",
		"partial number primary false immediate true exclusion false partial true expression false",
		"t_number_key number primary false immediate true exclusion false partial false expression false",
		"t_pkey id primary true immediate true exclusion false partial false expression false",
		"twice  primary false immediate true exclusion false partial false expression true",
		"wider name,number primary false immediate true exclusion false partial false expression false",
	}
	if !slices.Equal(uniques, want) {
		t.Errorf("uniques\n%s", strings.Join(uniques, "\n"))
	}
}

func TestReadFindsADeferrableTwinOfTheKey(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		setup string
		want  bool
	}{
		{`CREATE TABLE t (id bigserial, n int, PRIMARY KEY (id, n), UNIQUE (n, id) DEFERRABLE)`, true},
		{`CREATE TABLE t (id bigserial, n int, PRIMARY KEY (id, n), UNIQUE (n) DEFERRABLE)`, false},
		{`CREATE TABLE t (id bigserial, n int, PRIMARY KEY (id, n), UNIQUE (n, id))`, false},
	} {
		p := pgtest.New(t)
		p.Exec(test.setup)
		table := read(t, p.Open(nil), catalog.Name{Table: "t"}, catalog.Name{})
		if table.DeferrableTwin != test.want || (table.NotGuardable == "") == test.want {
			t.Errorf("%s: %v, %q", test.setup, table.DeferrableTwin, table.NotGuardable)
		}
	}
}

func TestIntegerKey(t *testing.T) {
	t.Parallel()
	for setup, want := range map[string]bool{
		`CREATE TABLE t (id smallserial PRIMARY KEY)`: true, `CREATE TABLE t (id bigserial PRIMARY KEY)`: true, `CREATE TABLE t (id int PRIMARY KEY)`: true,
		`CREATE TABLE t (id numeric(9,0) PRIMARY KEY)`: false, `CREATE TABLE t (id bigserial, n int, PRIMARY KEY (id, n))`: false, `CREATE TABLE t (id int)`: false,
		`CREATE DOMAIN d AS int; CREATE TABLE t (id d PRIMARY KEY)`: false, `CREATE TABLE t (id text PRIMARY KEY)`: false,
	} {
		p := pgtest.New(t)
		p.Exec(setup)
		if got := read(t, p.Open(nil), catalog.Name{Table: "t"}, catalog.Name{}).IntegerKey(); got != want {
			t.Errorf("%s: %v", setup, got)
		}
	}
}

func TestReadSaysThatFactsMayBeUndone(t *testing.T) {
	t.Parallel()
	const table = `CREATE TABLE t (id bigserial PRIMARY KEY, n int); CREATE TABLE other (n int);` + triggerFunction +
		`CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f(); CREATE VIEW v AS SELECT * FROM t`
	for _, test := range []struct {
		name, change, target string
		want                 bool
	}{
		{"nothing", `SELECT 1`, "t", false},
		{"rows", `INSERT INTO t (n) VALUES (1); UPDATE t SET n = 2; SELECT * FROM t FOR UPDATE`, "t", false},
		{"another table", `ALTER TABLE other ADD m int; CREATE TABLE third (id int)`, "t", false},
		{"a column added", `ALTER TABLE t ADD m int`, "t", true},
		{"a column renamed", `ALTER TABLE t RENAME n TO m`, "t", true},
		{"a default", `ALTER TABLE t ALTER id SET DEFAULT 5`, "t", true},
		{"an index", `CREATE UNIQUE INDEX ON t (n)`, "t", true},
		{"a trigger", `CREATE TRIGGER y AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()`, "t", true},
		{"a trigger dropped", `DROP TRIGGER x ON t`, "t", true},
		{"a trigger disabled", `ALTER TABLE t DISABLE TRIGGER x`, "t", true},
		{"a rule", `CREATE RULE r AS ON INSERT TO t DO ALSO NOTHING`, "t", true},
		{"the sequence", `ALTER SEQUENCE t_id_seq INCREMENT 5`, "t", true},
		{"after a subtransaction", `SAVEPOINT a; ALTER TABLE t ADD m int; RELEASE a`, "t", true},
		{"undone", `SAVEPOINT a; DROP TRIGGER x ON t; ROLLBACK TO a; INSERT INTO t (n) VALUES (1)`, "t", false},
		{"the view", `CREATE OR REPLACE VIEW v AS SELECT id, n FROM t WHERE n > 0`, "v", true},
		{"the table of a view", `ALTER TABLE t ADD m int`, "v", true},
		{"made", `CREATE TABLE fresh (id bigserial PRIMARY KEY)`, "fresh", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(table)
			tx, err := p.SQL.Begin()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = tx.Rollback() }()
			if _, err := tx.Exec(test.change); err != nil {
				t.Fatal(err)
			}
			got, err := catalog.Read(t.Context(), conn.InTransaction(p.SQL, tx), catalog.Name{Table: test.target}, catalog.Name{})
			if err != nil || got.Uncommitted != test.want {
				t.Errorf("uncommitted %v, %v; want %v", got != nil && got.Uncommitted, err, test.want)
			}
		})
	}
}

func TestReadWaitsForNoLock(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE TABLE t (id bigserial, at int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at); CREATE TABLE t_1 PARTITION OF t DEFAULT; CREATE VIEW v AS SELECT * FROM t;
		CREATE SEQUENCE s; CREATE DOMAIN d AS bigint; CREATE TABLE odd (id d DEFAULT nextval('s') * 10 PRIMARY KEY)`)
	migration, err := p.SQL.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = migration.Rollback() }()
	if _, err := migration.Exec(`LOCK TABLE t, v, odd IN ACCESS EXCLUSIVE MODE; ALTER SEQUENCE s RENAME TO s2`); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tx, err := p.SQL.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	for _, name := range []string{"t", "v", "odd"} {
		table, err := catalog.Read(ctx, conn.InTransaction(p.SQL, tx), catalog.Name{Table: name}, catalog.Name{Schema: p.Schema, Table: "t_1"})
		if err != nil || !table.Fed() {
			t.Errorf("%s: %+v, %v", name, table, err)
		}
	}
	var locks int
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation' AND relation IN ('t'::regclass, 't_1'::regclass, 'v'::regclass, 'odd'::regclass)`).Scan(&locks); err != nil || locks != 0 {
		t.Errorf("%d locks stay, %v", locks, err)
	}
}

// A snapshot has the other table under its old name: it cannot be described there.
func TestReadFindsAnotherTableUnderTheNameInAnOpenTransaction(t *testing.T) {
	t.Parallel()
	for _, level := range []sql.IsolationLevel{sql.LevelReadCommitted, sql.LevelRepeatableRead} {
		p := pgtest.New(t)
		p.Exec(`CREATE TABLE t (id bigserial PRIMARY KEY); CREATE TABLE t_new (id bigserial PRIMARY KEY)`)
		tx, err := p.SQL.BeginTx(t.Context(), &sql.TxOptions{Isolation: level})
		if err != nil {
			t.Fatal(err)
		}
		c := conn.InTransaction(p.SQL, tx)
		want := p.Int("SELECT 't_new'::regclass::oid::int8")
		for _, change := range []string{`SELECT 1`, `ALTER TABLE t RENAME TO t_old; ALTER TABLE t_new RENAME TO t`} {
			p.Exec(change)
			table, err := catalog.Read(t.Context(), c, catalog.Name{Table: "t"}, catalog.Name{})
			switch replaced := change != "SELECT 1"; {
			case replaced && level == sql.LevelRepeatableRead:
				if !errors.Is(err, catalog.ErrOutdated) {
					t.Errorf("%v, %s: %+v, %v", level, change, table, err)
				}
			case err != nil || (table.OID == want) != replaced:
				t.Errorf("%v, %s: %+v, %v", level, change, table, err)
			}
		}
		_ = tx.Rollback()
	}
}

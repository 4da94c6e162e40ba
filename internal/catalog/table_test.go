package catalog_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/pgtest"
)

// long is a name that the server cuts to 63 bytes, in the middle of no letter.
var long = strings.Repeat("ö", 40)

func TestReadFindsTheTableThatTheStatementNames(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, setup string
		target      catalog.Name // $S in Schema stands for the schema
		want        facts
	}{
		{"upper case", `CREATE TABLE "Users" (id bigserial PRIMARY KEY); CREATE TABLE users (x uuid PRIMARY KEY)`,
			catalog.Name{Table: "Users"}, serial("Users", "int8")},
		{"spaces and quotes", `CREATE TABLE "say ""hi"" now" ("The Id" bigserial PRIMARY KEY)`, catalog.Name{Table: `say "hi" now`},
			facts{constraint: `say "hi" now_pkey`, key: "The Id:int8", column: "The Id", sequence: `say "hi" now_The Id_seq`}},
		{"a dot in the name", `CREATE TABLE "a.b" (id bigserial PRIMARY KEY)`, catalog.Name{Table: "a.b"}, serial("a.b", "int8")},
		{"longer than the server keeps", `CREATE SEQUENCE s; CREATE TABLE "` + long + `" (id bigint DEFAULT nextval('s') CONSTRAINT k PRIMARY KEY)`,
			catalog.Name{Table: long}, facts{name: strings.Repeat("ö", 31), constraint: "k", key: "id:int8", column: "id", sequence: "s"}},
		{"schema", `CREATE TABLE t (id bigserial PRIMARY KEY)`, catalog.Name{Schema: "$S", Table: "t"}, serial("t", "int8")},
		{"temporary, before the schema's own", `CREATE TABLE t (x uuid PRIMARY KEY); CREATE TEMP TABLE t (id serial PRIMARY KEY)`,
			catalog.Name{Table: "t"}, serial("t", "int4")},
		{"temporary, by pg_temp", `CREATE TABLE t (x uuid PRIMARY KEY); CREATE TEMP TABLE t (id serial PRIMARY KEY)`,
			catalog.Name{Schema: "pg_temp", Table: "t"}, serial("t", "int4")},
		{"schema, behind a temporary one", `CREATE TABLE t (id bigserial PRIMARY KEY); CREATE TEMP TABLE t (x uuid PRIMARY KEY)`,
			catalog.Name{Schema: "$S", Table: "t"}, serial("t", "int8")},
		{"the search_path decides", `CREATE SCHEMA $S_b; CREATE TABLE $S_b.t (x uuid PRIMARY KEY); CREATE TABLE t (id serial PRIMARY KEY)`,
			catalog.Name{Table: "t"}, serial("t", "int4")},
		{"the schema decides", `CREATE SCHEMA $S_b; CREATE TABLE $S_b.t (id bigserial PRIMARY KEY); CREATE TABLE t (x uuid PRIMARY KEY)`,
			catalog.Name{Schema: "$S_b", Table: "t"}, serial("t", "int8")},
		{"view, nothing violated", `CREATE TABLE base (id bigserial PRIMARY KEY); CREATE VIEW t AS SELECT * FROM base`, catalog.Name{Table: "t"},
			facts{name: "base", constraint: "base_pkey", key: "id:int8", column: "id", sequence: "base_id_seq", notGuardable: "a view in front of it"}},
		{"view of a join", `CREATE TABLE base (id bigserial PRIMARY KEY); CREATE VIEW t AS SELECT a.id FROM base a JOIN base b USING (id)`, catalog.Name{Table: "t"},
			facts{unindexed: true, unreadable: true, notGuardable: "not an ordinary table"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			t.Cleanup(func() { p.Exec("DROP SCHEMA IF EXISTS $S_b CASCADE") })
			db := p.Open(nil)
			pool, err := db.DB()
			if err != nil {
				t.Fatal(err)
			}
			pool.SetMaxOpenConns(1) // a temporary table is seen by its own session alone
			if err := db.Exec(strings.ReplaceAll(test.setup, "$S", p.Schema)).Error; err != nil {
				t.Fatal(err)
			}
			test.target.Schema = strings.ReplaceAll(test.target.Schema, "$S", p.Schema)
			check(t, db, test.target, catalog.Name{}, test.want)
		})
	}
}

func TestReadDescribesTheTableWhoseKeyCollided(t *testing.T) {
	t.Parallel()
	partitioned := serial("t", "int8")
	partitioned.partitioned, partitioned.notGuardable = true, "not an ordinary table"
	below := partitioned
	below.foreign, below.name = true, "t"
	elsewhere := serial("audit", "int8")
	elsewhere.name, elsewhere.foreign = "audit", true
	base := serial("base", "int8")
	base.name, base.notGuardable = "base", "a view in front of it"
	const parts = `CREATE TABLE t (id bigserial, at int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
		CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (1) TO (9) PARTITION BY RANGE (id); CREATE TABLE t_1_1 PARTITION OF t_1 DEFAULT;`
	partitioned.key, below.key = "id:int8,at:int4", "id:int8,at:int4"
	for _, test := range []struct {
		name, setup, target, violated string
		want                          facts
		constraint                    string // of the violated table
	}{
		{"the table itself", `CREATE TABLE t (id bigserial PRIMARY KEY, a int UNIQUE, b int); CREATE UNIQUE INDEX "B only" ON t (b) WHERE b > 0`,
			"t", "t", serial("t", "int8"), "t_pkey"},
		{"a partition, through its root", parts, "t", "t_1_1", partitioned, "t_1_1_pkey"},
		{"a partition, from a trigger on another table", parts + `CREATE TABLE other (id bigserial PRIMARY KEY)`, "other", "t_1_1", below, "t_1_1_pkey"},
		{"the base table of a view", `CREATE TABLE base (id bigserial PRIMARY KEY, a int UNIQUE); CREATE VIEW t AS SELECT * FROM base`,
			"t", "base", base, "base_pkey"},
		{"a table that a trigger fills", `CREATE TABLE t (id bigserial PRIMARY KEY); CREATE TABLE audit (id bigserial PRIMARY KEY)`,
			"t", "audit", elsewhere, "audit_pkey"},
		{"a table without a key", `CREATE TABLE t (id bigserial, a int UNIQUE)`, "t", "t",
			facts{unindexed: true, unreadable: true, notGuardable: "a key that cannot decide a conflict"}, ""},
		{"the statement's table is gone", `CREATE TABLE audit (id bigserial PRIMARY KEY)`, "t", "audit", elsewhere, "audit_pkey"},
		{"the violated table is gone", `CREATE TABLE t (id bigserial PRIMARY KEY)`, "t", "audit", serial("t", "int8"), "t_pkey"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(test.setup)
			table := check(t, p.Open(nil), catalog.Name{Table: test.target}, catalog.Name{Schema: p.Schema, Table: test.violated}, test.want)
			if v := table.Violated; v.Constraint != test.constraint {
				t.Errorf("violated %+v, want %q", v, test.constraint)
			}
		})
	}
}

func TestReadTellsTheNameOfTheViolatedTable(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE TABLE "T 1" (id bigserial PRIMARY KEY)`)
	table := read(t, p.Open(nil), catalog.Name{Table: "T 1"}, catalog.Name{})
	if v := table.Violated; v.Schema != p.Schema || v.Name != "T 1" || table.Schema != p.Schema || table.OID != p.Int(`SELECT '"T 1"'::regclass::oid::int8`) {
		t.Errorf("%+v", table)
	}
	if got, want := table.QuotedName(), `"`+p.Schema+`"."T 1"`; got != want {
		t.Errorf("QuotedName = %s, want %s", got, want)
	}
	if got := table.QuotedKey(); !slices.Equal(got, []string{`"id"`}) {
		t.Errorf("QuotedKey = %s", got)
	}
}

func TestReadKeepsTheDeclaredTypeForSQLText(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE DOMAIN "Tenant Id" AS varchar(8); CREATE TYPE "Kind" AS ENUM ('a');
		CREATE TABLE t (d "Tenant Id", k "Kind", c char(3), at timestamptz, id bigserial, PRIMARY KEY (d, k, c, at, id))`)
	var declared []string
	for _, column := range read(t, p.Open(nil), catalog.Name{Table: "t"}, catalog.Name{}).Key {
		declared = append(declared, column.Declared)
	}
	want := []string{`"Tenant Id"`, `"Kind"`, "character(3)", "timestamp with time zone", "bigint"}
	if !slices.Equal(declared, want) {
		t.Errorf("declared %q, want %q", declared, want)
	}
}

func TestLimitIsTheNearerOfSequenceAndType(t *testing.T) {
	t.Parallel()
	table := func(typname string, s catalog.Sequence) *catalog.Table {
		return &catalog.Table{Key: []catalog.Column{{Type: typname}}, Sequence: s}
	}
	up := catalog.Sequence{Min: 1, Max: math.MaxInt64, Increment: 1}
	down := catalog.Sequence{Min: math.MinInt64, Max: -1, Increment: -2}
	for _, test := range []struct {
		name  string
		table *catalog.Table
		want  int64
	}{
		{"bigint", table("int8", up), math.MaxInt64},
		{"int under a bigint sequence", table("int4", up), math.MaxInt32},
		{"smallint under a bigint sequence", table("int2", up), math.MaxInt16},
		{"numeric", table("numeric", up), math.MaxInt64},
		{"the sequence ends first", table("int8", catalog.Sequence{Min: 1, Max: 500, Increment: 1}), 500},
		{"bigint downwards", table("int8", down), math.MinInt64},
		{"int downwards", table("int4", down), math.MinInt32},
		{"smallint downwards", table("int2", down), math.MinInt16},
		{"the sequence ends first downwards", table("int2", catalog.Sequence{Min: -9, Max: -1, Increment: -1}), -9},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := test.table.Limit(); got != test.want {
				t.Errorf("Limit = %d, want %d", got, test.want)
			}
		})
	}
}

func TestFurtherFollowsTheSequencesDirection(t *testing.T) {
	t.Parallel()
	up, down := catalog.Sequence{Min: 1, Max: 9, Increment: 3}, catalog.Sequence{Min: -9, Max: -1, Increment: -3}
	if up.Further(2, 7) != 7 || up.Further(7, 2) != 7 || down.Further(-2, -7) != -7 || down.Further(-7, -2) != -7 {
		t.Error("Further takes the wrong one")
	}
	if !up.Reached(7, 7) || up.Reached(6, 7) || !down.Reached(-7, -7) || down.Reached(-6, -7) {
		t.Error("Reached is wrong")
	}
	if !up.Contains(1) || !up.Contains(9) || up.Contains(0) || up.Contains(10) {
		t.Error("Contains is wrong")
	}
	if (*catalog.Table)(nil).Fed() {
		t.Error("no table is fed")
	}
}

package main

import (
	"flag"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, make string
		arguments  []string
		code       int
		out        []string // in what it prints, or says
		not        string
	}{
		{name: "all in sync", make: fine, out: []string{"1 column checked: 1 in sync\n"}},
		{name: "behind", make: fine + users, code: 1, out: []string{"behind   public.Users", "2 columns checked: 1 behind, 1 in sync"}},
		{name: "exhausted", make: full, code: 1, out: []string{"exhausted  public.full_", "no value left before 32767"}},
		{name: "over -critical", make: events, code: 1, out: []string{"critical  public.events", "99.97%", "483,647"}},
		{name: "over -warn", make: halfway, code: 1, out: []string{"warning  public.halfway", "88.47%", "the column ends at 2147483647"}},
		{name: "under -warn", make: halfway, arguments: []string{"-warn", "89"}, out: []string{"in sync  public.halfway"}},
		{name: "-critical lowered", make: halfway, arguments: []string{"-critical=85%"}, code: 1, out: []string{"critical  public.halfway"}},
		{name: "a narrower foreign key", make: customers, code: 1, out: []string{"critical  public.customers", "foreign key public.sales.customer_id is integer: 99.97% used, 483,647 left", `ALTER TABLE "public"."sales" ALTER COLUMN "customer_id" TYPE bigint;`}},
		{name: "a narrower foreign key that is past its end", make: customers + `SELECT setval('customers_id_seq', 3000000000)`, code: 1, out: []string{"cannot hold the new values"}},
		{name: "a foreign key of the same type", make: `CREATE TABLE a (id serial PRIMARY KEY); CREATE TABLE b (a int REFERENCES a); SELECT setval('a_id_seq', 1000)`, not: "foreign key"},
		{name: "CYCLE with rows in front", make: ring, code: 1, out: []string{"cycles  public.ring", "a row lies 20 values ahead"}},
		{name: "CYCLE without", make: ring + "SELECT setval('ring_id_seq', 40)", out: []string{"in sync  public.ring"}},
		{name: "a sentinel far ahead", make: sentinel, out: []string{"a row at 2147483640 is passed over"}},
		{name: "a default that is more than nextval", make: odd, out: []string{"skipped  public.odd", "more than nextval"}},
		{name: "such a default, asked for", make: odd, arguments: []string{"-table", "odd"}, code: 3, out: []string{"skipped  public.odd"}},
		{name: "such a default, by a pattern", make: odd, arguments: []string{"-table", "o*"}},
		{name: "a default that names its sequence by a text", make: `CREATE SEQUENCE s; CREATE TABLE old (id bigint PRIMARY KEY DEFAULT nextval('s'::text)); INSERT INTO old VALUES (20)`,
			out: []string{"skipped  public.old", "names its sequence by a text", "1 column checked: 1 skipped"}},
		{name: "fixed", make: users + orders, arguments: []string{"fix"}, out: []string{"moved 1 → 2000", "moved 1 → 20", "; moved 2 sequences\n"}},
		{name: "fixed in part", make: users + full, arguments: []string{"fix"}, code: 1, out: []string{"moved 1 → 20", "exhausted"}},
		{name: "a table fixed", make: users + orders, arguments: []string{"fix", "Users"}, out: []string{"moved 1 → 20"}, not: "orders"},
		{name: "a table with its schema", make: users + billing, arguments: []string{"audit", "-table", "billing.invoices"}, code: 1, out: []string{"billing.invoices"}, not: "Users"},
		{name: "a pattern", make: users + billing, arguments: []string{"-table", "billing.*"}, code: 1, out: []string{"billing.invoices"}, not: "Users"},
		{name: "several tables", make: users + orders + billing, arguments: []string{"-table", "Users,orders"}, code: 1, out: []string{"public.Users", "public.orders"}, not: "billing"},
		{name: "a name in quotes", make: `CREATE TABLE "a.b" (id serial PRIMARY KEY); CREATE TABLE "a*" (id serial PRIMARY KEY)`, arguments: []string{"audit", `"a.b"`}, out: []string{"public.a.b"}, not: "a*"},
		{name: "a star in quotes", make: `CREATE TABLE "a.b" (id serial PRIMARY KEY); CREATE TABLE "a*" (id serial PRIMARY KEY)`, arguments: []string{"audit", `public."a*"`}, out: []string{"public.a*"}, not: "a.b"},
		{name: "-exclude", make: users + billing, arguments: []string{"-exclude", "billing.*"}, code: 1, out: []string{"public.Users"}, not: "billing"},
		{name: "-schema", make: users + billing, arguments: []string{"-schema", "billing"}, code: 1, out: []string{"billing.invoices"}, not: "Users"},
		{name: "-schema, a pattern", make: users + billing, arguments: []string{"-schema", "bill*"}, code: 1, out: []string{"billing.invoices"}, not: "Users"},
		{name: "a schema without sequences", make: users + `CREATE SCHEMA bare`, arguments: []string{"-schema", "bare"}, out: []string{"nothing to check"}},
		{name: "a partition", make: `CREATE TABLE t (id serial PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE t_1 PARTITION OF t DEFAULT; INSERT INTO t VALUES (9)`,
			arguments: []string{"audit", "t_1"}, code: 1, out: []string{"behind  public.t "}},
		{name: "-unused", make: fine + lonely, arguments: []string{"-unused"}, out: []string{`"public"."lonely"`, `"public"."held", which the column owns`, "1 column checked: 1 in sync, 2 unused"}},
		{name: "-only", make: fine + users, arguments: []string{"-only", "in-sync"}, code: 1, out: []string{"public.fine", "1 listed"}, not: "public.Users"},
		{name: "-quiet and all in sync", make: fine, arguments: []string{"-quiet"}, not: "public"},
		{name: "-json of nothing", arguments: []string{"-json"}, out: []string{"[]\n", "seqheal: nothing to check in database shop", "as role"}},
		{name: "-csv of nothing", arguments: []string{"-csv"}, out: []string{"level,schema", "seqheal: nothing to check in database shop"}},
		{name: "-quiet of nothing", arguments: []string{"-quiet"}, out: []string{"seqheal: nothing to check in database shop"}},
		{name: "flags before and after", make: users + billing, arguments: []string{"-quiet", "fix", "-schema", "public", "Users", "-timeout", "3"}, not: "Users"},
		{name: "a dry run", make: users, arguments: []string{"fix", "-dry-run"}, code: 1, out: []string{"SELECT CASE"}},
		{name: "sql", make: users, arguments: []string{"sql"}, code: 1, out: []string{`-- "public"."Users"."id": the furthest row is 20, the sequence gave 0: 20 values forward`}},
		{name: "sql and nothing to do", make: fine, arguments: []string{"sql"}, out: []string{"-- nothing to move: 1 column checked"}},

		{name: "no such schema", make: users, arguments: []string{"-schema", "biling"}, code: 2, out: []string{"-schema biling matches no schema; there is public"}},
		{name: "no such table", make: users + orders, arguments: []string{"-table", "nobody", "-table", "orders"}, code: 2, out: []string{"-table nobody matches no table", "behind"}},
		{name: "no such table alone", make: users, arguments: []string{"audit", "nobody"}, code: 2, out: []string{"-table nobody matches no table"}, not: "nothing to check"},
		{name: "another letter case", make: users, arguments: []string{"audit", "users"}, code: 2, out: []string{"matches no table; there is public.Users"}},
		{name: "no such pattern", make: users, arguments: []string{"-table", "billing.*"}, code: 2, out: []string{"-table billing.* matches no table"}},
		{name: "nothing to exclude", make: users, arguments: []string{"-exclude", "tmp_*"}, code: 2, out: []string{"-exclude tmp_* matches no table", "behind"}},
		{name: "a table of another schema", make: users + billing, arguments: []string{"-schema", "public", "-table", "invoices"}, code: 2, out: []string{"matches the table billing.invoices, in a schema that -schema leaves out"}},
		{name: "the system's table", make: users, arguments: []string{"-table", "pg_catalog.pg_class"}, code: 2, out: []string{"the system's table pg_catalog.pg_class"}},
		{name: "a view", make: users + `CREATE VIEW seen AS SELECT 1 AS id`, arguments: []string{"-table", "seen"}, code: 2, out: []string{"the view public.seen: name the table below it"}},
		{name: "a table without a sequence", make: users + `CREATE TABLE plain (id uuid)`, arguments: []string{"-table", "plain"}, code: 2, out: []string{"public.plain, of which no column draws its values from a sequence"}},
		{name: "sql of no such table", make: users, arguments: []string{"sql", "nobody"}, code: 2, out: []string{"matches no table"}},
		{name: "watch of no such table", make: users, arguments: []string{"watch", "nobody"}, code: 2, out: []string{"matches no table"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t, c.make)
			got := d.run(t, c.arguments...)
			if got.code != c.code {
				t.Errorf("exit code %d, want %d", got.code, c.code)
			}
			for _, text := range c.out {
				if !strings.Contains(got.out+got.diagnostics, text) {
					t.Errorf("no %q in\n%s%s", text, got.out, got.diagnostics)
				}
			}
			if all := got.out + got.diagnostics; c.not != "" && strings.Contains(all, c.not) {
				t.Errorf("%q in\n%s", c.not, all)
			}
		})
	}
}

func TestBadArguments(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ arguments, want string }{
		{"-no-such-flag", "-no-such-flag"},
		{"adit", `unknown command "adit"`},
		{"-dsn x fix -dry-run -json", "-json has no meaning for sql"},
		{"-dsn x -json -csv", "exclude each other"},
		{"-dsn x -every 5s", "-every has no meaning for audit"},
		{"-dsn x sql -only behind", "-only has no meaning for sql"},
		{"-dsn x watch -since f", "-since has no meaning for watch"},
		{"-dsn x page -json", "-json has no meaning for page"},
		{"-dsn x audit -listen :8090", "-listen has no meaning for audit"},
		{"-dsn x -warn 90 -critical 80", "-warn 90 is beyond -critical 80"},
		{"-dsn x -warn 101", "percentage"},
		{"-dsn x -warn many", "percentage"},
		{"-dsn x -timeout soon", "not a time"},
		{"-dsn x -timeout -5s", "not a time"},
		{"-dsn x -only nearly", `"nearly" is none of`},
		{"-dsn x -table a.b.c", "too many dots"},
		{"-dsn x -schema a.b", "too many dots"},
		{`-dsn x -table "a`, "a quote is not closed"},
		{"-dsn x -table a,,b", "an empty name"},
		{"-dsn x -table", "needs an argument"},
		{"", "no database"},
		{"audit users", "no database"},
	} {
		var arguments []string
		if c.arguments != "" {
			arguments = strings.Split(c.arguments, " ")
		}
		if got := runIn(t, nil, arguments...); got.code != 2 || !strings.Contains(got.diagnostics, c.want) || got.out != "" {
			t.Errorf("%q: %+v, want %s", arguments, got, c.want)
		}
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, arguments := range [][]string{{"-h"}, {"--help"}, {"help"}, {"fix", "-h"}} {
		if got := runIn(t, []string{"DATABASE_URL=postgres://app:s3cret@127.0.0.1:1/db"}, arguments...); got.code != 0 || got.out != usage || got.diagnostics != "" {
			t.Errorf("%q: %+v", arguments, got)
		}
	}
	if first, _, _ := strings.Cut(usage, "\n"); strings.Count(first, ".") != 1 {
		t.Errorf("not one sentence: %s", first)
	}
	new(options).flags().VisitAll(func(f *flag.Flag) {
		if !regexp.MustCompile(`(?m)^  .*-` + f.Name + `\b`).MatchString(usage) {
			t.Errorf("-h says nothing of -%s", f.Name)
		}
	})
	for _, l := range levelNames {
		if !strings.Contains(usage, l) {
			t.Errorf("-h says nothing of %s", l)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	for _, arguments := range [][]string{{"-version"}, {"version"}, {"--version"}} {
		if got := runIn(t, nil, arguments...); got.code != 0 || !regexp.MustCompile(`^seqheal \S+ \(go\S+ \w+/\w+\)\n$|^seqheal \S+ \(go\S+, \w+/\w+\)\n$`).MatchString(got.out) {
			t.Errorf("%q: %+v", arguments, got)
		}
	}
}

// go install of a version refuses a module that replaces another one.
func TestTheModuleCanBeInstalled(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../go.mod")
	if err != nil || regexp.MustCompile(`(?m)^(replace|exclude)\b`).Match(text) {
		t.Errorf("%v: go.mod has a replace or exclude directive", err)
	}
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{.Name}}", ".").Output()
	if err != nil || string(out) != "github.com/seqheal/seqheal/examples/seqheal main\n" {
		t.Errorf("%v: %s", err, out)
	}
}

func TestNamesCannotWriteToTheTerminal(t *testing.T) {
	t.Parallel()
	const evil = "a\x1b[2J\nzz"
	d := newDatabase(t, `CREATE TABLE "`+evil+`" (id serial PRIMARY KEY); INSERT INTO "`+evil+`" VALUES (20)`)
	for _, arguments := range [][]string{{"audit"}, {"sql"}, {"audit", evil}, {"audit", evil + "x"}} {
		got := d.run(t, arguments...)
		all := got.out + got.diagnostics
		if strings.Contains(all, "\x1b") || strings.Contains(all, "\nzz") || got.code == 0 {
			t.Errorf("%q: %q", arguments, all)
		}
	}
}

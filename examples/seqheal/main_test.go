package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/seqheal/seqheal/internal/pgtest"
)

// result is what one run of the command gives.
type result struct {
	code             int
	out, diagnostics string
}

func runWith(t *testing.T, lively bool, arguments ...string) result {
	t.Helper()
	var out, diagnostics bytes.Buffer
	code := run(t.Context(), arguments, screen{&out, lively}, screen{&diagnostics, lively})
	return result{code, out.String(), diagnostics.String()}
}

const (
	inSync  = `CREATE TABLE fine (id bigserial PRIMARY KEY); INSERT INTO fine DEFAULT VALUES;`
	behind  = `CREATE TABLE "Users" (id serial PRIMARY KEY); INSERT INTO "Users" VALUES (20);`
	further = `CREATE TABLE orders (id serial PRIMARY KEY); INSERT INTO orders VALUES (2000);`
	nearly  = `CREATE TABLE small (id smallserial PRIMARY KEY); SELECT setval('small_id_seq', 30000);`
	odd     = `CREATE SEQUENCE s; CREATE TABLE odd (id bigint PRIMARY KEY DEFAULT nextval('s') * 1000);`
)

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, make string
		arguments  []string
		code       int
		out        []string
		not        string
	}{
		{name: "all in sync", make: inSync, out: []string{"in sync  $S.fine", "1 columns fed by sequences, 1 in sync\n"}},
		{name: "no table at all", out: []string{"0 columns fed by sequences\n"}},
		{name: "behind", make: inSync + behind, code: 1, out: []string{"behind   $S.Users", "2 columns fed by sequences, 1 behind, 1 in sync"}},
		{name: "nearly exhausted", make: nearly, code: 1, out: []string{"nearly exhausted  $S.small", "91.6%"}},
		{name: "a default that is more than nextval", make: odd, out: []string{"unreadable  $S.odd", "more than nextval"}},
		{name: "a default that is more than nextval, asked for", make: odd, arguments: []string{"-table", "odd"}, code: 2, out: []string{"unreadable  $S.odd"}},
		{name: "a table of another schema", make: behind, arguments: []string{"-table", "pg_catalog.pg_class"}, code: 2, out: []string{`"pg_catalog"."pg_class" is in schema "pg_catalog", which is none of those`}},
		{name: "a view", make: `CREATE VIEW seen AS SELECT 1 AS id`, arguments: []string{"-table", "seen"}, code: 2, out: []string{"is a view"}},
		{name: "fixed", make: behind + further, arguments: []string{"-fix"}, out: []string{"in sync  $S.orders", "moved 1 → 2000", "moved 1 → 20", "; moved 2\n"}},
		{name: "one table", make: behind + further, arguments: []string{"-table", "orders"}, code: 1, out: []string{"$S.orders"}, not: "Users"},
		{name: "one table fixed", make: behind + further, arguments: []string{"-table", `$S.Users`, "-fix"}, out: []string{"moved 1 → 20"}, not: "orders"},
		{name: "a dry run", make: behind + further, arguments: []string{"-dry-run"}, code: 1, out: []string{"-- \"$S\".\"Users\", column id: the furthest value is 20, the sequence gave 0\nSELECT CASE WHEN d.v <"}},
		{name: "a dry run with nothing to do", make: inSync, arguments: []string{"-dry-run"}, out: []string{"-- nothing to move\n"}},
		{name: "an unknown table", make: behind, arguments: []string{"-table", "nobody", "-table", "Users"}, code: 2, out: []string{"not found", "behind"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(c.make)
			arguments := []string{"-dsn", p.DSN, "-schema", p.Schema}
			for _, argument := range c.arguments {
				arguments = append(arguments, strings.ReplaceAll(argument, "$S", p.Schema))
			}
			got := runWith(t, false, arguments...)
			if got.code != c.code {
				t.Errorf("exit code %d, want %d: %s", got.code, c.code, got.diagnostics)
			}
			for _, text := range c.out {
				if !strings.Contains(got.out, strings.ReplaceAll(text, "$S", p.Schema)) {
					t.Errorf("no %q in\n%s", text, got.out)
				}
			}
			if c.not != "" && strings.Contains(got.out, c.not) {
				t.Errorf("%q in\n%s", c.not, got.out)
			}
		})
	}
}

func TestTheWorstComesFirstInAlignedColumns(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(inSync + behind + further)
	got := runWith(t, false, "-dsn", p.DSN, "-schema", p.Schema)
	pad := strings.Repeat(" ", len(p.Schema)-len("TABLE")+len(".orders"))
	want := "STATE    TABLE" + pad + "  COLUMN  TYPE     LAST  FURTHEST  BEHIND   USED\n" +
		"behind   $S.orders  id      integer     0      2000    2000   0.0%\n" +
		"behind   $S.Users   id      integer     0        20      20   0.0%\n" +
		"in sync  $S.fine    id      bigint      1         1           0.0%\n" +
		"3 columns fed by sequences, 2 behind, 1 in sync\n"
	want = strings.ReplaceAll(want, "   USED", "  USED")
	want = strings.ReplaceAll(want, "   0.0%", "  0.0%")
	if want = strings.ReplaceAll(want, "$S", p.Schema); got.out != want {
		t.Errorf("\n got\n%s\nwant\n%s", got.out, want)
	}
}

func TestColoursAndProgressAreForTerminals(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(behind)
	if got := runWith(t, true, "-dsn", p.DSN, "-schema", p.Schema); !strings.Contains(got.out, "\x1b[31mbehind\x1b[0m") || !strings.Contains(got.diagnostics, "1/1") {
		t.Errorf("%+v", got)
	}
	if got := runWith(t, false, "-dsn", p.DSN, "-schema", p.Schema); strings.Contains(got.out, "\x1b") || got.diagnostics != "" {
		t.Errorf("%+v", got)
	}
}

func TestNamesCannotWriteToTheTerminal(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec("CREATE TABLE \"a\x1b[2J\nb\" (id serial PRIMARY KEY); INSERT INTO \"a\x1b[2J\nb\" VALUES (20)")
	for _, flag := range []string{"-fix=false", "-dry-run"} {
		got := runWith(t, false, "-dsn", p.DSN, "-schema", p.Schema, flag)
		if strings.Contains(got.out, "\x1b") || strings.Contains(got.out, "\n-- ") || got.code != 1 {
			t.Errorf("%q", got.out)
		}
	}
}

func TestFindingsAsJSON(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(behind)
	got := runWith(t, false, "-dsn", p.DSN, "-schema", p.Schema, "-json", "-fix")
	var findings []map[string]any
	if err := json.Unmarshal([]byte(got.out), &findings); err != nil || len(findings) != 1 || got.code != 0 {
		t.Fatalf("%v: %+v", err, got)
	}
	for name, want := range map[string]any{
		"schema": p.Schema, "table": "Users", "column": "id", "type": "integer", "sequence": fmt.Sprintf(`"%s"."Users_id_seq"`, p.Schema),
		"increment": 1.0, "cache": 1.0, "cycle": false, "last": 20.0, "furthest": 20.0, "behind": 0.0, "state": "in_sync", "estimated": false,
		"moved": true, "from": 1.0, "to": 20.0,
	} {
		if findings[0][name] != want {
			t.Errorf("%s = %v, want %v", name, findings[0][name], want)
		}
	}
	if got := runWith(t, false, "-dsn", p.DSN, "-schema", "none_of_these", "-json"); got.out != "[]\n" || got.code != 0 {
		t.Errorf("%+v", got)
	}
}

func TestADryRunIsSQLThatPsqlTakes(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(behind + further + nearly)
	p.Exec(runWith(t, false, "-dsn", p.DSN, "-schema", p.Schema, "-dry-run").out)
	if got := runWith(t, false, "-dsn", p.DSN, "-schema", p.Schema); strings.Contains(got.out, "behind") {
		t.Errorf("%s", got.out)
	}
}

func TestBadArguments(t *testing.T) {
	t.Setenv("DATABASE_URL", "")
	for _, arguments := range [][]string{{}, {"-no-such-flag"}, {"-dsn", "x", "rest"}, {"-dsn", "x", "-fix", "-dry-run"}, {"-dsn", "x", "-json", "-dry-run"}} {
		if got := runWith(t, false, arguments...); got.code != 2 || got.diagnostics == "" || got.out != "" {
			t.Errorf("%q: %+v", arguments, got)
		}
	}
	if got := runWith(t, false, "-h"); got.code != 0 || !strings.Contains(got.diagnostics, "-dry-run") {
		t.Errorf("%+v", got)
	}
}

// The usage is printed into a pipeline's log, and DATABASE_URL is where its secret is.
func TestTheUsageHasNoPassword(t *testing.T) {
	t.Setenv("DATABASE_URL", "postgres://app:s3cret@127.0.0.1:1/db?sslmode=disable")
	for _, flag := range []string{"-h", "-no-such-flag"} {
		if got := runWith(t, false, flag); !strings.Contains(got.diagnostics, "DATABASE_URL") || strings.Contains(got.diagnostics, "s3cret") {
			t.Errorf("%s: %s", flag, got.diagnostics)
		}
	}
	if got := runWith(t, false); got.code != 2 || !strings.Contains(got.diagnostics, "127.0.0.1:1") {
		t.Errorf("DATABASE_URL is not used: %+v", got)
	}
}

func TestTheReasonOfAConnectionThatFailsHasNoPassword(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		"postgres://app:s3cr%2Ft@127.0.0.1:1/db?sslmode=disable",
		"host=127.0.0.1 port=1 user=app password='s3cr/t' dbname=db sslmode=disable",
		"host=127.0.0.1 port=1 user=app password=s3cr/t sslmode=nonsense",
		"postgres://app:s3cr/t@127.0.0.1:1/db",
		"postgres://app:s3cr/t@127.0.0.1:notaport/db",
		"postgres://127.0.0.1:1/db?user=app&password=s3cr/t&sslmode=disable",
		"host=127.0.0.1 port=1 user=app password s3cr/t",
		"host=127.0.0.1 port=1 user=app password='it is s3cr/t",
	} {
		got := runWith(t, false, "-dsn", dsn)
		if got.code != 2 || strings.Contains(got.diagnostics, "s3cr") || len(got.diagnostics) < 20 {
			t.Errorf("%s: %+v", dsn, got)
		}
	}
}

func TestAnInterruptedAuditSaysSo(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(behind)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, diagnostics bytes.Buffer
	if code := run(ctx, []string{"-dsn", p.DSN}, screen{&out, false}, screen{&diagnostics, false}); code != 2 || !strings.Contains(diagnostics.String(), "canceled") {
		t.Errorf("exit code %d: %s", code, diagnostics.String())
	}
}

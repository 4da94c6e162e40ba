package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

// psql runs a script as a person would.
func psql(t *testing.T, d *database, script string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("psql")
	if err != nil {
		t.Skip("no psql on this machine")
	}
	c := exec.CommandContext(t.Context(), path, "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d", d.dsn)
	c.Env = environment()
	c.Stdin = strings.NewReader(script)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err = c.Run()
	return out.String(), err
}

const hostile = `
	CREATE SCHEMA "my schema"; CREATE TABLE "my schema"."x'); DROP TABLE y; --" ("a"" = 1) --" serial PRIMARY KEY); INSERT INTO "my schema"."x'); DROP TABLE y; --" VALUES (20);
	CREATE TABLE "\! touch /tmp/x" (id serial PRIMARY KEY); INSERT INTO "\! touch /tmp/x" VALUES (7);
	CREATE TABLE ":name :'name' $1" (id serial PRIMARY KEY); INSERT INTO ":name :'name' $1" VALUES (8);
	CREATE TABLE E'a\nSELECT 1/0;' (id serial PRIMARY KEY); INSERT INTO E'a\nSELECT 1/0;' VALUES (9);`

// What sql prints, psql runs: each sequence is then where fix would have moved it, and a
// second run moves nothing.
func TestPsqlRunsWhatSQLPrints(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]string{
		"every level":   everyLevel,
		"hostile names": strings.NewReplacer(`E'a\nSELECT 1/0;'`, "\"a\nSELECT 1/0;\"").Replace(hostile),
		"odd sequences": `CREATE TABLE down (id bigserial PRIMARY KEY); ALTER SEQUENCE down_id_seq INCREMENT -1 MINVALUE -1000 MAXVALUE -1 START -1 RESTART; INSERT INTO down VALUES (-20);
			CREATE TABLE even (id bigserial PRIMARY KEY); ALTER SEQUENCE even_id_seq INCREMENT 2; INSERT INTO even VALUES (20);
			CREATE TABLE cached (id bigserial PRIMARY KEY); ALTER SEQUENCE cached_id_seq CACHE 20; INSERT INTO cached VALUES (50);
			CREATE TABLE far (id bigserial PRIMARY KEY); ALTER SEQUENCE far_id_seq INCREMENT 3; INSERT INTO far VALUES (1000000000000);
			CREATE TABLE own (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY); INSERT INTO own OVERRIDING SYSTEM VALUE VALUES (20);
			CREATE SEQUENCE s; CREATE TABLE a (id bigint PRIMARY KEY DEFAULT nextval('s')); CREATE TABLE b (id bigint PRIMARY KEY DEFAULT nextval('s')); INSERT INTO a VALUES (5); INSERT INTO b VALUES (50)`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, twin := newDatabase(t, make), newDatabase(t, make)
			script := d.run(t, "sql").out
			if out, err := psql(t, d, script); err != nil {
				t.Fatalf("%v: %s\n%s", err, out, script)
			}
			if got := d.run(t, "-only", "behind", "-quiet"); strings.Contains(got.out, "behind") {
				t.Errorf("%s\n%s", got.out, script)
			}
			twin.run(t, "fix")
			if got, want := positions(t, d), positions(t, twin); got != want {
				t.Errorf("psql left\n%s\nfix left\n%s", got, want)
			}
			if again := d.run(t, "sql").out; strings.Contains(again, "SELECT") {
				t.Errorf("a second script:\n%s", again)
			}
		})
	}
}

// positions are the last values of all sequences.
func positions(t *testing.T, d *database) string {
	t.Helper()
	var text string
	if err := d.QueryRow(`SELECT string_agg(sequencename || ' ' || coalesce(last_value::text, '-'), E'\n' ORDER BY 1) FROM (
		SELECT schemaname || '.' || sequencename AS sequencename, last_value FROM pg_sequences) s`).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}

// The script is safe beside a live application: a sequence that has gone on since is not
// moved back.
func TestAnOldScriptMovesNothingBack(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, users+billing)
	script := d.run(t, "sql").out
	d.exec(`SELECT setval('"Users_id_seq"', 1000), setval('billing.invoices_id_seq', 5000000)`)
	if out, err := psql(t, d, script); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for sequence, want := range map[string]int64{`"Users_id_seq"`: 1001, "billing.invoices_id_seq": 5000001} {
		if got := d.number("SELECT last_value FROM " + sequence); got != want {
			t.Errorf("%s at %d, want %d", sequence, got, want)
		}
	}
}

package main

import (
	"bytes"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/seqheal/seqheal/internal/cause"
	"github.com/seqheal/seqheal/internal/pgserver"
	"github.com/seqheal/seqheal/internal/pgtest"
)

// The tests share a slow machine: 5 ms are not always enough there for a look.
func init() { cause.Limit = time.Second }

var update = flag.Bool("update", false, "write the golden files anew")

// binary is the command as it is built.
var binary string

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "seqheal-command-")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "seqheal")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", binary, ".").CombinedOutput(); err != nil {
		panic(fmt.Sprintf("go build: %v: %s", err, out))
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// result is what one run of the command gives.
type result struct {
	code             int
	out, diagnostics string
}

// environment is the test's own, without what says where to connect.
func environment(more ...string) []string {
	var all []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "PG") && !strings.HasPrefix(variable, "DATABASE_URL=") && !strings.HasPrefix(variable, "NO_COLOR=") {
			all = append(all, variable)
		}
	}
	return append(all, more...)
}

// command is a run that is still to be started.
func command(t *testing.T, env []string, arguments ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), binary, arguments...)
	c.Env = environment(env...)
	return c
}

// runIn runs the built command with variables and arguments, into pipes.
func runIn(t *testing.T, env []string, arguments ...string) result {
	t.Helper()
	var out, diagnostics bytes.Buffer
	c := command(t, env, arguments...)
	c.Stdout, c.Stderr = &out, &diagnostics
	err := c.Run()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	r := result{c.ProcessState.ExitCode(), out.String(), diagnostics.String()}
	if strings.Contains(r.out+r.diagnostics, "plugin.") || strings.Contains(r.out+r.diagnostics, "goroutine") {
		t.Errorf("%q names an option of the Go package: %s%s", arguments, r.out, r.diagnostics)
	}
	return r
}

// database is one of the test's own on the test program's server.
type database struct {
	*sql.DB
	t    testing.TB
	name string
	dsn  string
	on   *pgserver.Server
}

var databases atomic.Int64

// newDatabase makes a database with these tables, and removes it after the test.
func newDatabase(t *testing.T, statements string) *database {
	t.Helper()
	return newDatabaseOn(t, pgtest.Server(t), statements)
}

func newDatabaseOn(t *testing.T, server *pgserver.Server, statements string) *database {
	t.Helper()
	d := &database{t: t, name: fmt.Sprintf("shop_%d_%d", os.Getpid(), databases.Add(1)), on: server}
	d.dsn = server.With(map[string]string{"dbname": d.name})
	admin := openPool(t, server.DSN())
	if _, err := admin.Exec("CREATE DATABASE " + d.name); err != nil {
		t.Fatal(err)
	}
	d.DB = openPool(t, d.dsn)
	t.Cleanup(func() {
		_ = d.Close()
		_, _ = admin.Exec("DROP DATABASE " + d.name)
	})
	d.exec("SELECT pg_stat_reset(); " + statements)
	return d
}

func openPool(t testing.TB, dsn string) *sql.DB {
	t.Helper()
	pool, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	return pool
}

func (d *database) exec(statements string) {
	d.t.Helper()
	if _, err := d.Exec(statements); err != nil {
		d.t.Fatalf("%s: %v", statements, err)
	}
}

// number reads one.
func (d *database) number(query string) (n int64) {
	d.t.Helper()
	if err := d.QueryRow(query).Scan(&n); err != nil {
		d.t.Fatalf("%s: %v", query, err)
	}
	return n
}

// role makes a role that may log in and nothing else.
func (d *database) role() string {
	d.t.Helper()
	name := d.name + "_r"
	d.exec("CREATE ROLE " + name + " LOGIN")
	d.t.Cleanup(func() { _, _ = d.Exec("DROP OWNED BY " + name + "; DROP ROLE " + name) })
	return name
}

// as is the connection string for another role.
func (d *database) as(role string) string {
	return d.on.With(map[string]string{"dbname": d.name, "user": role})
}

// run runs the command on the database.
func (d *database) run(t *testing.T, arguments ...string) result {
	t.Helper()
	return runIn(t, nil, append([]string{"-dsn", d.dsn}, arguments...)...)
}

var (
	anyVersion = regexp.MustCompile(`PostgreSQL \d+[.\w]*`)
	anyTime    = regexp.MustCompile(`\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(Z| UTC)`)
	anyClock   = regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d`)
)

// settled is a text without what differs from run to run.
func (d *database) settled(text string) string {
	at := "127.0.0.1:5432"
	if u, err := url.Parse(d.dsn); err == nil {
		at = u.Host
	}
	text = strings.NewReplacer(d.name+"_r", "app", d.name, "shop", at, "db.example.com:5432").Replace(text)
	text = anyVersion.ReplaceAllString(text, "PostgreSQL 15.8")
	text = anyTime.ReplaceAllString(text, "2026-01-02 03:04:05 UTC")
	return anyClock.ReplaceAllString(text, "03:04:05")
}

// golden compares a run with a file of testdata.
func (d *database) golden(t *testing.T, name string, r result) {
	t.Helper()
	got := d.settled(fmt.Sprintf("%s%sexit code %d\n", r.out, r.diagnostics, r.code))
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n got\n%s\nwant\n%s", file, got, want)
	}
}

// Tables, one for each level but for the unreadable.
const (
	fine      = `CREATE TABLE fine (id bigserial PRIMARY KEY); INSERT INTO fine DEFAULT VALUES;`
	users     = `CREATE TABLE "Users" (id serial PRIMARY KEY); INSERT INTO "Users" VALUES (20);`
	imported  = `CREATE TABLE imported (id serial PRIMARY KEY); INSERT INTO imported SELECT generate_series(1, 2000);`
	orders    = `CREATE TABLE orders (id serial PRIMARY KEY); INSERT INTO orders VALUES (2000);`
	billing   = `CREATE SCHEMA billing; CREATE TABLE billing.invoices (id bigserial PRIMARY KEY); INSERT INTO billing.invoices VALUES (912443);`
	events    = `CREATE TABLE events (id serial PRIMARY KEY); SELECT setval('events_id_seq', 2147000000);`
	halfway   = `CREATE SEQUENCE wide; CREATE TABLE halfway (id int PRIMARY KEY DEFAULT nextval('wide')); SELECT setval('wide', 1900000000);`
	full      = `CREATE TABLE full_ (id smallserial PRIMARY KEY); INSERT INTO full_ VALUES (32767); SELECT setval('full__id_seq', 32767);`
	ring      = `CREATE TABLE ring (id serial PRIMARY KEY); ALTER SEQUENCE ring_id_seq MAXVALUE 1000 CYCLE; INSERT INTO ring VALUES (20), (40);`
	sentinel  = `CREATE TABLE sentinel (id serial PRIMARY KEY); INSERT INTO sentinel VALUES (2147483640);`
	customers = `CREATE TABLE customers (id bigserial PRIMARY KEY); CREATE TABLE sales (id bigserial PRIMARY KEY, customer_id int REFERENCES customers);
		SELECT setval('customers_id_seq', 2147000000);`
	odd        = `CREATE SEQUENCE s; CREATE TABLE odd (id bigint PRIMARY KEY DEFAULT nextval('s') * 1000);`
	lonely     = `CREATE SEQUENCE lonely; CREATE TABLE holder (id uuid, n bigint); CREATE SEQUENCE held OWNED BY holder.n;`
	everyLevel = fine + users + orders + billing + events + halfway + full + ring + sentinel + customers + odd + lonely
)

package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seqheal/seqheal/internal/pgserver"
)

// parts are what the variables of psql say of a connection string.
func parts(t *testing.T, dsn string) (host, port, user, name string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil || u.Host == "" {
		t.Skipf("the server's connection string is no URL: %s", dsn)
	}
	return u.Hostname(), u.Port(), u.User.Username(), strings.TrimPrefix(u.Path, "/")
}

// Every way in which people say where to connect.
func TestWaysToConnect(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, fine)
	host, port, user, name := parts(t, d.dsn)
	if port == "" {
		port = "5432"
	}
	service := filepath.Join(t.TempDir(), "services")
	if err := os.WriteFile(service, []byte(fmt.Sprintf("[shop]\nhost=%s\nport=%s\nuser=%s\ndbname=%s\nsslmode=disable\n", host, port, user, name)), 0o600); err != nil {
		t.Fatal(err)
	}
	words := fmt.Sprintf("host=%s port=%s user=%s dbname=%s sslmode=disable", host, port, user, name)
	variables := []string{"PGHOST=" + host, "PGPORT=" + port, "PGUSER=" + user, "PGDATABASE=" + name, "PGSSLMODE=disable"}
	const nowhere = "postgres://app@127.0.0.1:1/none?sslmode=disable"
	for _, c := range []struct {
		name      string
		env       []string
		arguments []string
	}{
		{"-dsn, a URL", nil, []string{"-dsn", d.dsn}},
		{"-dsn, words", nil, []string{"-dsn", words}},
		{"-dsn before DATABASE_URL", []string{"DATABASE_URL=" + nowhere}, []string{"--dsn=" + d.dsn}},
		{"an argument, a URL", nil, []string{d.dsn}},
		{"an argument, words, after the command", nil, []string{"audit", words}},
		{"DATABASE_URL", []string{"DATABASE_URL=" + d.dsn}, nil},
		{"DATABASE_URL before variables", []string{"DATABASE_URL=" + d.dsn, "PGHOST=127.0.0.1", "PGPORT=1"}, nil},
		{"variables", variables, nil},
		{"variables beside words", variables[:3], []string{"-dsn", "dbname=" + name + " sslmode=disable"}},
		{"a service", []string{"PGSERVICE=shop", "PGSERVICEFILE=" + service}, nil},
		{"a service in words", []string{"PGSERVICEFILE=" + service}, []string{"-dsn", "service=shop"}},
		{"two hosts", nil, []string{"-dsn", fmt.Sprintf("host=127.0.0.1,%s port=1,%s user=%s dbname=%s sslmode=disable", host, port, user, name)}},
		{"a mode in which nothing is prepared", nil, []string{"-dsn", words + " default_query_exec_mode=simple_protocol"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := runIn(t, c.env, c.arguments...)
			if got.code != 0 || !strings.Contains(d.settled(got.out), "database shop on db.example.com:5432 as role "+user+",") || !strings.Contains(got.out, "public.fine") {
				t.Errorf("%+v", got)
			}
		})
	}
}

// A password may stand in a file, and a wrong one is an error that does not tell it.
func TestThePasswordFile(t *testing.T) {
	t.Parallel()
	rules, err := os.CreateTemp("", "seqheal-hba-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(rules.Name()) })
	if _, err := rules.WriteString("host all postgres 127.0.0.1/32 trust\nhost all app 127.0.0.1/32 scram-sha-256\n"); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(rules.Name(), 0o644); err != nil {
		t.Fatal(err)
	}
	server, err := pgserver.StartOwn("hba_file="+rules.Name(), "password_encryption=scram-sha-256")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	d := newDatabaseOn(t, server, "CREATE ROLE app LOGIN PASSWORD 's3cr/t'")
	dsn := d.as("app")
	for content, code := range map[string]int{"*:*:*:app:s3cr/t\n": 0, "*:*:*:app:wr0ng\n": 2, "": 2} {
		name := filepath.Join(t.TempDir(), "passwords")
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got := runIn(t, []string{"PGPASSFILE=" + name}, "-dsn", dsn)
		if got.code != code || strings.Contains(got.diagnostics, "wr0ng") || code == 2 && !strings.Contains(got.diagnostics, "app") {
			t.Errorf("%q: %+v", content, got)
		}
	}
}

// The usage is printed into a pipeline's log, and DATABASE_URL is where its secret is.
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
		for _, run := range []result{runIn(t, nil, "-dsn", dsn), runIn(t, []string{"DATABASE_URL=" + dsn})} {
			if run.code != 2 || strings.Contains(run.diagnostics, "s3cr") || len(run.diagnostics) < 20 || run.out != "" {
				t.Errorf("%s: %+v", dsn, run)
			}
		}
	}
}

// DATABASE_URL is often another driver's.
func TestAParameterOfAnotherDriver(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, fine)
	separator := "&"
	if !strings.Contains(d.dsn, "?") {
		separator = "?"
	}
	got := runIn(t, []string{"DATABASE_URL=" + d.dsn + separator + "connection_limit=5"})
	if got.code != 2 || !strings.Contains(got.diagnostics, "take connection_limit= out of the connection string") {
		t.Errorf("%+v", got)
	}
}

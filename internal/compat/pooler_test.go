//go:build unix

package compat

import (
	"context"
	"database/sql"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"testing"

	pgx5 "github.com/jackc/pgx/v5"

	"github.com/seqheal/seqheal/internal/pgserver"
	"github.com/seqheal/seqheal/internal/pgtest"
)

// pooler is a PgBouncer of the test's own before the place's server. Those who
// connect through it are a role that owns nothing and may use the place's tables.
type pooler struct {
	address string
	bouncer *pgserver.Pooler
}

// poolerProgram finds PgBouncer.
func poolerProgram(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("PgBouncer is left out of short runs")
	}
	program, err := pgserver.PoolerProgram()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// poolerPrepares reports whether this PgBouncer knows max_prepared_statements,
// which came with 1.21.
func poolerPrepares(t *testing.T, program string) bool {
	t.Helper()
	out, err := exec.Command(program, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`PgBouncer (\d+)\.(\d+)`).FindStringSubmatch(string(out))
	if version == nil {
		t.Fatalf("%s --version says %q", program, out)
	}
	major, _ := strconv.Atoi(version[1])
	minor, _ := strconv.Atoi(version[2])
	return major > 1 || minor >= 21
}

// startPooler starts PgBouncer with the settings, lines of its ini file, and stops
// it after the test. serverConnections bounds its connections to the server.
func startPooler(t *testing.T, p *pgtest.Place, serverConnections int, settings string) pooler {
	t.Helper()
	poolerProgram(t)
	server, err := pgx5.ParseConfig(p.DSN)
	if err != nil {
		t.Fatal(err)
	}
	// The search_path belongs to the role: PgBouncer passes no such parameter on.
	role := p.Role()
	p.Exec("ALTER ROLE " + role + " PASSWORD 'compat'; ALTER ROLE " + role + " SET search_path = $S;" +
		"GRANT ALL ON ALL TABLES IN SCHEMA $S TO " + role + "; GRANT ALL ON ALL SEQUENCES IN SCHEMA $S TO " + role)

	bouncer, err := pgserver.StartPooler(
		fmt.Sprintf("app = host=%s port=%d dbname=%s user=%s password=compat", server.Host, server.Port, server.Database, role),
		fmt.Sprintf("default_pool_size = %d\n%s", serverConnections, settings))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bouncer.Stop)
	pool := pooler{address: bouncer.Address(), bouncer: bouncer}
	pool.answers(t, bouncer)
	return pool
}

// dsn is how the application connects, with a query mode of pgx.
func (p pooler) dsn(execMode string) string {
	return "postgres://app@" + p.address + "/app?sslmode=disable&default_query_exec_mode=" + execMode
}

// answers waits until PgBouncer takes connections.
func (p pooler) answers(t *testing.T, bouncer *pgserver.Pooler) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("PgBouncer's log:\n%s", bouncer.Log())
		}
	}()
	pgtest.Eventually(t, "PgBouncer to answer", func() bool {
		c, err := pgx5.Connect(context.Background(), p.dsn("exec"))
		if err == nil {
			_ = c.Close(context.Background())
		}
		return err == nil
	})
}

// holdAll opens a transaction on each of the pooler's connections to the server
// and hands them to look at once.
func holdAll(t *testing.T, pool *sql.DB, count int, look func(*sql.Tx)) {
	t.Helper()
	for range count {
		tx, err := pool.Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback() }()
		look(tx)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	port, err := pgserver.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

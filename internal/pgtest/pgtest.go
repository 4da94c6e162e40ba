// Package pgtest hands each test a place of its own on a real server.
package pgtest

import (
	"database/sql"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/pgserver"
)

var (
	server  = sync.OnceValues(func() (*pgserver.Server, error) { return pgserver.Start() })
	counter atomic.Int64
)

// Server is the one server of this test program. It ends with the program.
func Server(t testing.TB) *pgserver.Server {
	t.Helper()
	s, err := server()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Shared is [Server] for examples, which have no testing.TB.
func Shared() (*pgserver.Server, error) { return server() }

// Place is a schema of the test's own, first on the search_path.
type Place struct {
	t      testing.TB
	server *pgserver.Server
	Schema string
	DSN    string
	// SQL is a connection pool of the superuser's, without GORM or plugin.
	SQL *sql.DB
}

// New makes a place and removes it after the test; a failed test keeps it and
// tells its connection string when the server outlives the test.
func New(t testing.TB) *Place {
	t.Helper()
	s := Server(t)
	p := &Place{t: t, server: s, Schema: fmt.Sprintf("t%d_%d", os.Getpid(), counter.Add(1))}
	p.DSN = s.With(map[string]string{"search_path": p.Schema})
	pool, err := superuserIn(s, p.Schema)
	if err != nil {
		t.Fatal(err)
	}
	p.SQL = pool.DB
	p.Exec("CREATE SCHEMA " + p.Schema)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the test's data: %s", p.DSN)
			_ = pool.Close()
			return
		}
		_, _ = pool.Exec("SET lock_timeout = '5s'; DROP SCHEMA " + p.Schema + " CASCADE")
		pool.leave()
	})
	return p
}

// DSNFor is the place's connection string with parameters changed.
func (p *Place) DSNFor(parameters map[string]string) string {
	all := map[string]string{"search_path": p.Schema}
	for name, value := range parameters {
		all[name] = value
	}
	return p.server.With(all)
}

// Role makes a role that may use the schema and nothing else, and returns its
// name. It is dropped after the test.
func (p *Place) Role() string {
	p.t.Helper()
	name := p.Schema + fmt.Sprintf("_r%d", counter.Add(1))
	p.Exec("CREATE ROLE " + name + " LOGIN; GRANT USAGE ON SCHEMA " + p.Schema + " TO " + name)
	p.t.Cleanup(func() { _, _ = p.SQL.Exec("DROP OWNED BY " + name + "; DROP ROLE " + name) })
	return name
}

// Exec runs statements as superuser; $S stands for the schema.
func (p *Place) Exec(statements string, args ...any) {
	p.t.Helper()
	if _, err := p.SQL.Exec(strings.ReplaceAll(statements, "$S", p.Schema), args...); err != nil {
		p.t.Fatalf("%s: %v", statements, err)
	}
}

// Int reads one number.
func (p *Place) Int(query string, args ...any) int64 {
	p.t.Helper()
	var n sql.NullInt64
	if err := p.SQL.QueryRow(strings.ReplaceAll(query, "$S", p.Schema), args...).Scan(&n); err != nil {
		p.t.Fatalf("%s: %v", query, err)
	}
	return n.Int64
}

// Text reads a whole result as lines of fields separated by |, nulls as ∅.
func (p *Place) Text(query string, args ...any) string {
	p.t.Helper()
	rows, err := p.SQL.Query(strings.ReplaceAll(query, "$S", p.Schema), args...)
	if err != nil {
		p.t.Fatalf("%s: %v", query, err)
	}
	defer func() { _ = rows.Close() }()
	columns, _ := rows.Columns()
	var lines []string
	for rows.Next() {
		fields := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range fields {
			into[i] = &fields[i]
		}
		if err := rows.Scan(into...); err != nil {
			p.t.Fatalf("%s: %v", query, err)
		}
		texts := make([]string, len(fields))
		for i, field := range fields {
			if texts[i] = field.String; !field.Valid {
				texts[i] = "∅"
			}
		}
		lines = append(lines, strings.Join(texts, "|"))
	}
	if err := rows.Err(); err != nil {
		p.t.Fatalf("%s: %v", query, err)
	}
	return strings.Join(lines, "\n")
}

// Open opens the place with GORM, silent unless config says otherwise, and uses
// the plugins. The pool is closed after the test.
func (p *Place) Open(config *gorm.Config, plugins ...gorm.Plugin) *gorm.DB {
	p.t.Helper()
	return p.OpenDSN(p.DSN, config, plugins...)
}

// OpenDSN is Open with another connection string.
func (p *Place) OpenDSN(dsn string, config *gorm.Config, plugins ...gorm.Plugin) *gorm.DB {
	p.t.Helper()
	return Open(p.t, dsn, config, plugins...)
}

// Open opens GORM until the end of the test. A nil config is GORM's own, without a log.
func Open(t testing.TB, dsn string, config *gorm.Config, plugins ...gorm.Plugin) *gorm.DB {
	t.Helper()
	own := gorm.Config{}
	if config != nil {
		own = *config // GORM writes into it; tests share theirs
	}
	config = &own
	if config.Logger == nil {
		config.Logger = logger.Discard
	}
	db, err := gorm.Open(postgres.New(postgres.Config{DSN: dsn}), config)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	for _, plugin := range plugins {
		if err := db.Use(plugin); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

// Eventually waits for a condition.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(20 * time.Second)
	for !condition() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("waited 20 s in vain for: %s", what)
		}
	}
}

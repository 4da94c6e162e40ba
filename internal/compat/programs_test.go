//go:build unix

package compat

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgserver"
)

// program finds a program that Debian keeps out of a user's PATH.
func program(t *testing.T, name, pkg string) string {
	t.Helper()
	if testing.Short() {
		t.Skip(name + " is left out of short runs")
	}
	for _, path := range []string{name, "/usr/sbin/" + name} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	t.Fatalf("there is no %s on this machine: apt-get install %s", name, pkg)
	return ""
}

// running is a program that a test started.
type running struct {
	dir  string
	stop func()
}

// keepRunning starts a program with its files in a folder of its own, and ends it and all
// that it started after the test, also when this process is killed. $D in the arguments
// and files stands for the folder.
func keepRunning(t *testing.T, files map[string]string, path string, arguments ...string) *running {
	t.Helper()
	dir, err := os.MkdirTemp("", "seqheal-"+filepath.Base(path)+"-")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "$D", dir)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i := range arguments {
		arguments[i] = strings.ReplaceAll(arguments[i], "$D", dir)
	}
	// The shell leads a group of its own, which is ended when the pipe closes.
	const script = `dir=$1; shift; "$@" >"$dir/log" 2>&1 & cat >/dev/null; trap '' TERM; kill -TERM 0; i=0; while kill -0 $! 2>/dev/null && [ $i -lt 50 ]; do sleep 0.1; i=$((i+1)); done; rm -rf "$dir"; kill -KILL 0`
	shell := exec.Command("/bin/sh", append([]string{"-c", script, "sh", dir, path}, arguments...)...)
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	r := &running{dir: dir}
	ended := false
	r.stop = func() {
		if !ended {
			ended = true
			_ = pipe.Close()
			_ = shell.Wait()
			_ = os.RemoveAll(dir)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			if text, err := os.ReadFile(filepath.Join(dir, "log")); err == nil {
				t.Logf("the end of the log of %s:\n%s", path, text[max(0, len(text)-3000):])
			}
		}
		r.stop()
	})
	return r
}

// ownServer starts a server of the test's own.
func ownServer(t *testing.T, settings ...string) *pgserver.Server {
	t.Helper()
	server, err := pgserver.StartOwn(settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return server
}

// poolTo opens a connection pool without GORM.
func poolTo(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	pool, err := sql.Open("pgx/v5", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	return pool
}

// insertShapes are inserts of new rows; each row's struct has its id afterwards.
var insertShapes = []struct {
	name   string
	rows   int
	create func(*gorm.DB, []account) error
}{
	{"one row", 1, create},
	{"three rows", 3, create},
	{"one row, DO NOTHING", 1, func(db *gorm.DB, rows []account) error {
		return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&rows[0]).Error
	}},
	{"two rows, DO NOTHING", 2, func(db *gorm.DB, rows []account) error {
		return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&rows).Error
	}},
	{"Save", 2, func(db *gorm.DB, rows []account) error { return db.Save(&rows).Error }},
}

// emptyTable makes an empty one, and rows20 puts twenty rows into it and its sequence at last.
func emptyTable(table string) string {
	return fmt.Sprintf(`CREATE TABLE %s (id bigserial PRIMARY KEY, email text UNIQUE NOT NULL, name text)`, table)
}

func rows20(table string, last int) string {
	return fmt.Sprintf(`INSERT INTO %[1]s SELECT g, 'old' || g || '@example.com', 'old ' || g FROM generate_series(1, 20) g;
		SELECT setval('%[1]s_id_seq', %[2]d)`, table, last)
}

// rowsOf reads a table.
func rowsOf(t *testing.T, pool *sql.DB, table string) (rows []string) {
	t.Helper()
	found, err := pool.Query("SELECT id || '|' || email || '|' || name FROM " + table + " ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = found.Close() }()
	for found.Next() {
		var row string
		if err := found.Scan(&row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

// everyShapeThrough inserts every shape through what stands at dsn, with plain GORM and with
// seqheal on healthy data, and with seqheal on drifted data, and compares row by row what
// the server behind holds. made is called when the tables are there and empty.
func everyShapeThrough(t *testing.T, dsn string, behind *sql.DB, made func(*testing.T)) {
	t.Helper()
	for n, m := range modes {
		for k, shape := range insertShapes {
			t.Run(m.name+", "+shape.name, func(t *testing.T) {
				table := func(kind string) string { return fmt.Sprintf("t_%d_%d_%s", n, k, kind) }
				kinds := map[string]int{"plain": 20, "healthy": 20, "drifted": 1}
				for kind := range kinds {
					execute(t, behind, emptyTable(table(kind)))
				}
				if made != nil {
					made(t)
				}
				for kind, last := range kinds {
					execute(t, behind, rows20(table(kind), last))
				}
				insert := func(kind string, plugins ...gorm.Plugin) []account {
					rows := newAccounts("new", shape.rows)
					db := open(t, postgres.Open(dsn), m.config, plugins...)
					err := m.within(db, func(tx *gorm.DB) error { return shape.create(tx.Table(table(kind)), rows) })
					if err != nil {
						t.Errorf("%s: %v", kind, err)
					}
					return rows
				}
				var calm, seen incidents
				want, got := insert("plain"), insert("healthy", calm.plugin())
				if !slices.Equal(want, got) || !slices.Equal(rowsOf(t, behind, table("plain")), rowsOf(t, behind, table("healthy"))) || len(calm.list()) > 0 {
					t.Errorf("healthy: %v instead of %v, incidents %v", got, want, calm.list())
				}
				rows := insert("drifted", seen.plugin())
				stored := rowsOf(t, behind, table("plain"))[:20]
				for _, row := range rows {
					stored = append(stored, fmt.Sprintf("%d|%s|%s", row.ID, row.Email, row.Name))
				}
				if found := rowsOf(t, behind, table("drifted")); !slices.Equal(found, stored) {
					t.Errorf("drifted: rows %v instead of %v", found[min(20, len(found)):], stored[20:])
				}
				seen.healed(t, 1)
			})
		}
	}
}

package hostile_test

import (
	"context"
	"database/sql"
	"sync"
	"time"
)

// openImports are the transactions that wait for a program to block on them. One
// watcher commits each as soon as a session waits for it.
var openImports = struct {
	sync.Mutex
	commit map[int]func()
	watch  sync.Once
}{commit: map[int]func(){}}

// openImport inserts the imported rows and commits when the program waits for them,
// or when finish is called.
func (m *matrix) openImport() (finish func()) {
	m.t.Helper()
	conn, err := m.place.SQL.Conn(context.Background())
	if err != nil {
		m.t.Fatal(err)
	}
	exec := func(sql string) {
		if _, err := conn.ExecContext(context.Background(), sql); err != nil {
			m.t.Errorf("%s: %v", sql, err)
		}
	}
	exec("BEGIN; SET LOCAL session_replication_role = replica; SET LOCAL hostile.reset = 'on'; " + m.importing())
	var pid int
	if err := conn.QueryRowContext(context.Background(), "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		m.t.Fatal(err)
	}
	commit := sync.OnceFunc(func() { exec("COMMIT") })
	openImports.Lock()
	openImports.commit[pid] = commit
	openImports.Unlock()
	openImports.watch.Do(func() { go watchImports(m.place.DSN) })
	return func() {
		openImports.Lock()
		delete(openImports.commit, pid)
		openImports.Unlock()
		commit()
		_ = conn.Close()
	}
}

// watchImports commits the imports for which sessions wait, until the program ends.
func watchImports(dsn string) {
	pool, err := sql.Open("pgx", dsn)
	if err != nil {
		return
	}
	for range time.Tick(2 * time.Millisecond) {
		openImports.Lock()
		waiting := len(openImports.commit)
		openImports.Unlock()
		if waiting == 0 {
			continue
		}
		rows, err := pool.Query("SELECT DISTINCT unnest(pg_blocking_pids(pid)) FROM pg_locks WHERE NOT granted")
		if err != nil {
			return
		}
		var ready []func()
		openImports.Lock()
		for rows.Next() {
			var pid int
			if rows.Scan(&pid) == nil && openImports.commit[pid] != nil {
				ready = append(ready, openImports.commit[pid])
				delete(openImports.commit, pid)
			}
		}
		openImports.Unlock()
		_ = rows.Close()
		for _, commit := range ready {
			commit()
		}
	}
}

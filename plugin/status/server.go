package status

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"gorm.io/gorm"
)

// server is what the page reads, as the server names it.
type server struct {
	Database string `json:"database"`
	Role     string `json:"role"`
	// Host is the server's own address, empty for a socket on the same machine.
	Host    string `json:"host"`
	Version string `json:"version"`
	Standby bool   `json:"standby"`
}

// process is whose incidents the page tells.
type process struct {
	Name    string    `json:"name"`
	PID     int       `json:"pid"`
	Host    string    `json:"host"`
	Started time.Time `json:"started"`
}

// thisProcess is known from the start of the program, near enough.
var thisProcess = func() process {
	host, _ := os.Hostname()
	return process{Name: filepath.Base(os.Args[0]), PID: os.Getpid(), Host: host, Started: time.Now()}
}()

// sqlServer names the server. inet_server_addr is null on a socket.
const sqlServer = `SELECT pg_catalog.current_database(), current_user,
	COALESCE(pg_catalog.host(pg_catalog.inet_server_addr()) || ':' || pg_catalog.inet_server_port(), ''),
	pg_catalog.split_part(pg_catalog.current_setting('server_version'), ' ', 1), pg_catalog.pg_is_in_recovery()`

// sqlBounds reads where sequences end: the schema, the name, and the bounds.
const sqlBounds = `SELECT n.nspname, c.relname, s.seqmin, s.seqmax
FROM pg_catalog.pg_sequence s JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace`

type bounds struct{ least, most int64 }

// surroundings remember the server and its sequences' bounds, as of the latest step of
// an audit that could read them.
type surroundings struct {
	mutex  sync.Mutex
	server *server
	bounds map[string]bounds // by the quoted name of the sequence
}

// read asks the server. What fails stays as it was read before: the audit says why.
func (s *surroundings) read(ctx context.Context, db *gorm.DB) {
	pool, err := db.DB()
	if err != nil {
		return
	}
	var of server
	if err := pool.QueryRowContext(ctx, sqlServer).Scan(&of.Database, &of.Role, &of.Host, &of.Version, &of.Standby); err != nil {
		return
	}
	s.mutex.Lock()
	s.server = &of
	s.mutex.Unlock()
	rows, err := pool.QueryContext(ctx, sqlBounds)
	if err != nil {
		return
	}
	defer func() { _ = rows.Close() }()
	found, err := readBounds(rows)
	if err != nil {
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.bounds = found
}

func readBounds(rows *sql.Rows) (map[string]bounds, error) {
	found := map[string]bounds{}
	for rows.Next() {
		var schema, name string
		var b bounds
		if err := rows.Scan(&schema, &name, &b.least, &b.most); err != nil {
			return nil, err
		}
		found[quoted(schema)+"."+quoted(name)] = b
	}
	return found, rows.Err()
}

func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func (s *surroundings) known() (*server, map[string]bounds) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.server, s.bounds
}

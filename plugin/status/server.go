package status

import (
	"context"
	"os"
	"path/filepath"
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

// surroundings remember the server, as of the latest step of an audit that could read it.
type surroundings struct {
	mutex  sync.Mutex
	server *server
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
	defer s.mutex.Unlock()
	s.server = &of
}

func (s *surroundings) known() *server {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.server
}

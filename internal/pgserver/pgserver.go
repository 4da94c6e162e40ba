// Package pgserver starts a throwaway PostgreSQL for tests and examples: a real
// server, gone when the program ends, with nothing left behind.
package pgserver

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver for the first connection
)

// Environment variables.
const (
	// DSN names a running server to use instead of starting one. Its role must
	// be a superuser for the tests.
	DSN = "SEQHEAL_DSN"
	// Bin names the folder of the server programs to start, before any other.
	Bin = "SEQHEAL_PG_BIN"
)

// Server is a running PostgreSQL.
type Server struct {
	dsn  string
	dir  string
	stop func()
	// run is nil for a server that was not started from programs on the machine.
	run *running
}

// Start returns the server that SEQHEAL_DSN names, or starts one from the
// programs on the machine on a free loopback port, or, where there are none, from
// programs that internal/embedded fetches. settings are further "name=value" pairs of
// postgresql.conf for a server that it starts.
//
// A started server ends with the program, also after a panic, Ctrl-C or a kill.
func Start(settings ...string) (*Server, error) {
	if dsn := os.Getenv(DSN); dsn != "" {
		return &Server{dsn: dsn, stop: func() {}}, nil
	}
	return StartOwn(settings...)
}

// StartOwn is Start for what one server cannot show, such as replication: it
// starts a server also where SEQHEAL_DSN names one.
func StartOwn(settings ...string) (*Server, error) {
	var tried []error
	for _, bin := range candidates() {
		server, err := startFrom(installed(bin), settings)
		if err == nil {
			return server, nil
		}
		tried = append(tried, fmt.Errorf("%s: %w", bin, err))
	}
	server, err := startFrom(fetched, settings)
	if err == nil {
		return server, nil
	}
	tried = append(tried, fmt.Errorf("embedded-postgres: %w", err))
	return nil, fmt.Errorf("no PostgreSQL could be started; install the server programs (Debian: apt-get install postgresql; "+
		"Homebrew: brew install postgresql) or set %s to a running server's DSN; tried: %w", DSN, errors.Join(tried...))
}

// DSN is the server's connection string for its superuser.
func (s *Server) DSN() string { return s.dsn }

// With is the DSN with runtime parameters changed, such as search_path or dbname.
func (s *Server) With(parameters map[string]string) string {
	u, err := url.Parse(s.dsn)
	if err != nil || u.Scheme == "" {
		dsn := s.dsn
		for name, value := range parameters {
			dsn += fmt.Sprintf(" %s='%s'", name, value)
		}
		return dsn
	}
	query := u.Query()
	for name, value := range parameters {
		switch name {
		case "dbname":
			u.Path = "/" + value
		case "user":
			u.User = url.User(value)
		default:
			query.Set(name, value)
		}
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// Stop ends the server and removes its data. It may be called more than once.
func (s *Server) Stop() { s.stop() }

// installed are the programs in a folder of the machine.
func installed(bin string) func(string) (string, error) {
	return func(string) (string, error) { return bin, nil }
}

// startFrom makes a cluster with the programs in a folder and starts it, trying another
// port when the first is taken meanwhile. programs returns the folder; the one that it is
// given is the server's own and goes with it.
func startFrom(programs func(dir string) (bin string, err error), settings []string) (server *Server, err error) {
	account, err := serverAccount()
	if err != nil {
		return nil, err
	}
	dir, err := account.folder("seqheal-postgres-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	bin, err := programs(dir)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	initdb := account.command(filepath.Join(bin, "initdb"), "--pgdata", data, "--username", "postgres",
		"--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync")
	initdb.Dir = dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	for range 3 {
		if server, err = run(account, bin, dir, data, settings); err == nil {
			return server, nil
		}
	}
	return nil, err
}

// folder makes one that belongs to the account.
func (a *account) folder(prefix string) (string, error) {
	dir, err := os.MkdirTemp("", prefix)
	if err != nil {
		return "", err
	}
	if err := a.own(dir); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

// FreePort is a TCP port on the loopback interface that nothing listened on a moment ago.
func FreePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	return port, listener.Close()
}

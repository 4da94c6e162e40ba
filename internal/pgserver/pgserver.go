// Package pgserver starts a throwaway PostgreSQL for tests and examples: a real
// server, gone when the program ends, with nothing left behind.
package pgserver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

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
	bin  string // the folder of its programs, empty for one that was not started from them
	stop func()
}

// Start returns the server that SEQHEAL_DSN names, or starts one from the
// programs on the machine on a free loopback port, or has
// github.com/fergusstrange/embedded-postgres fetch and start one. settings are
// further "name=value" pairs of postgresql.conf for a server that it starts.
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
		server, err := startFrom(bin, settings)
		if err == nil {
			return server, nil
		}
		tried = append(tried, fmt.Errorf("%s: %w", bin, err))
	}
	server, err := startEmbedded()
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

// startFrom makes a cluster with the programs in bin and starts it, trying
// another port when the first is taken meanwhile.
func startFrom(bin string, settings []string) (server *Server, err error) {
	account, dir, err := place()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	data := filepath.Join(dir, "data")
	initdb := account.command(filepath.Join(bin, "initdb"), "--pgdata", data, "--username", "postgres",
		"--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync")
	initdb.Dir = dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	for range 3 {
		if server, err = run(account, bin, dir, data, settings); err == nil {
			server.bin = bin
			return server, nil
		}
	}
	return nil, err
}

// StartStandby starts a hot standby that holds what this server does now, and follows
// nobody. The copy is taken as it lies: nobody may write meanwhile.
func (s *Server) StartStandby() (standby *Server, err error) {
	if s.bin == "" {
		return nil, errors.New("a standby is made of a server that was started from its programs on this machine")
	}
	if err := s.checkpoint(); err != nil {
		return nil, err
	}
	account, dir, err := place()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	const script = `cp -R "$1/data" "$2/data" && rm "$2/data/postmaster.pid" && : >"$2/data/standby.signal"`
	cp := account.command("/bin/sh", "-c", script, "sh", s.dir, dir)
	cp.Dir = dir
	if out, err := cp.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("copy the data: %w: %s", err, out)
	}
	return run(account, s.bin, dir, filepath.Join(dir, "data"), nil)
}

// checkpoint brings everything into the files.
func (s *Server) checkpoint() error {
	db, err := sql.Open("pgx", s.dsn)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	_, err = db.Exec("CHECKPOINT")
	return err
}

// place makes a folder that belongs to the account which runs servers.
func place() (*account, string, error) {
	account, err := serverAccount()
	if err != nil {
		return nil, "", err
	}
	dir, err := os.MkdirTemp("", "seqheal-postgres-")
	if err != nil {
		return nil, "", err
	}
	if err := account.own(dir); err != nil {
		return nil, "", errors.Join(err, os.RemoveAll(dir))
	}
	return account, dir, nil
}

// run starts the server on a free port and waits until it answers. A watchdog
// holds the reading end of a pipe: when this program ends, however, the pipe
// closes, and the watchdog stops the server and removes its folder.
func run(account *account, bin, dir, data string, settings []string) (*Server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	arguments := []string{"-D", data, "-p", strconv.Itoa(port), "-h", "127.0.0.1", "-k", "",
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=300",
		"-c", "shared_buffers=128MB", "-c", "autovacuum_naptime=10min", "-c", "max_prepared_transactions=10"}
	for _, setting := range settings {
		arguments = append(arguments, "-c", setting)
	}
	postgres := account.command(filepath.Join(bin, "postgres"), arguments...)
	postgres.Dir, postgres.Stdout, postgres.Stderr = dir, log, log
	if err := postgres.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- postgres.Wait() }()
	watchdog, leash, err := watch(postgres.Process.Pid, dir)
	if err != nil {
		_ = postgres.Process.Kill()
		return nil, err
	}
	s := &Server{dsn: fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", port), dir: dir}
	s.stop = func() {
		_ = leash.Close()
		_ = watchdog.Wait()
	}
	if err := s.answers(ended); err != nil {
		text, _ := os.ReadFile(log.Name())
		// The watchdog would remove the folder, which the next try needs, as soon
		// as its unreachable pipe is collected.
		_ = watchdog.Process.Kill()
		_ = watchdog.Wait()
		_ = postgres.Process.Kill()
		return nil, fmt.Errorf("%w: %s", err, text)
	}
	return s, nil
}

// watch starts the watchdog in a process group of its own, which Ctrl-C at the
// terminal does not reach.
func watch(pid int, dir string) (*exec.Cmd, interface{ Close() error }, error) {
	const script = `cat >/dev/null; kill -INT "$1" 2>/dev/null
n=0; while kill -0 "$1" 2>/dev/null && [ $n -lt 100 ]; do n=$((n+1)); sleep 0.05; done
kill -KILL "$1" 2>/dev/null; rm -rf "$2"`
	watchdog := exec.Command("/bin/sh", "-c", script, "sh", strconv.Itoa(pid), dir)
	watchdog.Dir = "/"
	ownGroup(watchdog)
	leash, err := watchdog.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	return watchdog, leash, watchdog.Start()
}

// answers waits until the server takes a connection or has ended.
func (s *Server) answers(ended <-chan error) error {
	db, err := sql.Open("pgx", s.dsn)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for {
		if err := db.PingContext(ctx); err == nil {
			return nil
		}
		select {
		case err := <-ended:
			return fmt.Errorf("the server ended at once: %v", err)
		case <-ctx.Done():
			return errors.New("the server did not answer within 30 seconds")
		case <-retry.C:
		}
	}
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	return port, listener.Close()
}

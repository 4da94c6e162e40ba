package pgserver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// running is a server that runs from programs on the machine.
type running struct {
	account   *account
	bin, data string
	dir       string // holds data, and goes with the server
	port      int
	arguments []string
	// ended gets the server's end; leash ends the server, by its watchdog.
	postgres *exec.Cmd
	ended    chan error
	watchdog *exec.Cmd
	leash    interface{ Close() error }
}

// run starts the server of a cluster on a free port and waits until it answers.
func run(account *account, bin, dir, data string, settings []string) (*Server, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	r := &running{account: account, bin: bin, dir: dir, data: data, port: port}
	r.arguments = []string{"-D", data, "-p", strconv.Itoa(port), "-h", "127.0.0.1", "-k", "",
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=300",
		"-c", "shared_buffers=128MB", "-c", "autovacuum_naptime=10min", "-c", "max_prepared_transactions=10"}
	for _, setting := range settings {
		r.arguments = append(r.arguments, "-c", setting)
	}
	if err := r.start(); err != nil {
		return nil, err
	}
	return &Server{dsn: r.dsn(), dir: dir, stop: r.stop, run: r}, nil
}

func (r *running) dsn() string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", r.port)
}

// start starts the server and waits until it answers. A watchdog holds the reading
// end of a pipe: when this program ends, however, the pipe closes, and the
// watchdog stops the server and removes its folder.
func (r *running) start() error {
	log, err := os.OpenFile(filepath.Join(r.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	postgres := r.account.command(filepath.Join(r.bin, "postgres"), r.arguments...)
	postgres.Dir, postgres.Stdout, postgres.Stderr = r.dir, log, log
	if err := postgres.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- postgres.Wait() }()
	watchdog, leash, err := watch(postgres.Process.Pid, r.dir, "INT")
	if err != nil {
		_ = postgres.Process.Kill()
		return err
	}
	if err := answers(r.dsn(), ended); err != nil {
		text, _ := os.ReadFile(log.Name())
		// The watchdog would remove the folder, which the next try needs, as soon
		// as its unreachable pipe is collected.
		dismiss(watchdog)
		_ = postgres.Process.Kill()
		return fmt.Errorf("%w: %s", err, text)
	}
	if r.watchdog != nil {
		dismiss(r.watchdog) // it watched the server before, and the folder is this one's now
	}
	r.postgres, r.ended, r.watchdog, r.leash = postgres, ended, watchdog, leash
	return nil
}

func (r *running) stop() {
	_ = r.leash.Close()
	_ = r.watchdog.Wait()
}

// dismiss ends a watchdog that must do nothing more.
func dismiss(watchdog *exec.Cmd) {
	_ = watchdog.Process.Kill()
	_ = watchdog.Wait()
}

// end stops the server by a signal, and leaves its data and its watchdog.
func (r *running) end(signal os.Signal) error {
	if err := r.postgres.Process.Signal(signal); err != nil {
		return fmt.Errorf("stop the server in %s: %w", r.data, err)
	}
	<-r.ended
	return nil
}

var errNotOurs = errors.New("the server was not started from programs on this machine")

// Crash stops the server at once, as pg_ctl stop -m immediate does, and leaves its
// data to Resume. Both are for servers that StartOwn or Standby gave.
func (s *Server) Crash() error {
	if s.run == nil {
		return errNotOurs
	}
	return s.run.end(syscall.SIGQUIT) // PostgreSQL manual 19.5: immediate shutdown
}

// Resume starts a server that Crash stopped, at the same address, and waits until
// it has recovered.
func (s *Server) Resume() error {
	if s.run == nil {
		return errNotOurs
	}
	if err := s.run.start(); err != nil {
		return fmt.Errorf("start the server in %s again: %w", s.run.data, err)
	}
	return nil
}

// watch starts the watchdog of a process, which ends it by the signal, in a process
// group of its own that Ctrl-C at the terminal does not reach. The folder is removed again while a child of a server
// that had to be killed still writes into it.
func watch(pid int, dir, signal string) (*exec.Cmd, interface{ Close() error }, error) {
	const script = `cat >/dev/null; kill -"$3" "$1" 2>/dev/null
n=0; while kill -0 "$1" 2>/dev/null && [ $n -lt 100 ]; do n=$((n+1)); sleep 0.05; done
kill -KILL "$1" 2>/dev/null
n=0; until rm -rf "$2" 2>/dev/null || [ $n -ge 100 ]; do n=$((n+1)); sleep 0.05; done`
	watchdog := exec.Command("/bin/sh", "-c", script, "sh", strconv.Itoa(pid), dir, signal)
	watchdog.Dir = "/"
	ownGroup(watchdog)
	leash, err := watchdog.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	return watchdog, leash, watchdog.Start()
}

// answers waits until the server takes a connection or has ended.
func answers(dsn string, ended <-chan error) error {
	db, err := sql.Open("pgx", dsn)
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

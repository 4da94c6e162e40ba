package pgserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Pooler is a running PgBouncer.
type Pooler struct {
	address string
	dir     string
	account *account
	program string
	ended   chan error
	// stop ends the process and those before it, and removes the folder.
	stop []func()
}

// StartPooler starts PgBouncer on a free loopback port and waits until it listens.
// databases and settings are lines of the two sections of its file. It takes every
// user without a password, and admin on its console. It ends with the program, as a
// server that [Start] gives.
func StartPooler(databases, settings string) (*Pooler, error) {
	program, err := PoolerProgram()
	if err != nil {
		return nil, err
	}
	account, err := serverAccount()
	if err != nil {
		return nil, err
	}
	dir, err := account.folder("seqheal-pgbouncer-")
	if err != nil {
		return nil, err
	}
	port, err := FreePort()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	p := &Pooler{address: fmt.Sprintf("127.0.0.1:%d", port), dir: dir, account: account, program: program}
	if err := errors.Join(p.Configure(databases, settings), p.Start()); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return p, nil
}

// Start starts PgBouncer again after SHUTDOWN on its console.
func (p *Pooler) Start() error {
	log, err := os.Create(filepath.Join(p.dir, "log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	bouncer := p.account.command(p.program, p.file())
	bouncer.Dir, bouncer.Stdout, bouncer.Stderr = p.dir, log, log
	if err := bouncer.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- bouncer.Wait() }()
	p.ended = ended
	watchdog, leash, err := watch(bouncer.Process.Pid, p.dir, "KILL")
	if err != nil {
		return errors.Join(err, bouncer.Process.Kill())
	}
	p.stop = append(p.stop, func() {
		_ = leash.Close()
		_ = watchdog.Wait()
	})
	if err := p.listens(); err != nil {
		text, _ := os.ReadFile(log.Name())
		p.Stop()
		return fmt.Errorf("%w: %s", err, text)
	}
	return nil
}

// listens waits until PgBouncer takes a connection or has ended.
func (p *Pooler) listens() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for {
		if connection, err := net.Dial("tcp", p.address); err == nil {
			return connection.Close()
		}
		select {
		case err := <-p.ended:
			return fmt.Errorf("PgBouncer ended at once: %v", err)
		case <-ctx.Done():
			return errors.New("PgBouncer did not listen within 30 seconds")
		case <-retry.C:
		}
	}
}

func (p *Pooler) file() string { return filepath.Join(p.dir, "pgbouncer.ini") }

// Address is where PgBouncer listens, host and port.
func (p *Pooler) Address() string { return p.address }

// Log returns what PgBouncer has logged.
func (p *Pooler) Log() string {
	text, err := os.ReadFile(filepath.Join(p.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Configure writes PgBouncer's file anew. A running PgBouncer reads it at RELOAD.
func (p *Pooler) Configure(databases, settings string) error {
	host, port, err := net.SplitHostPort(p.address)
	if err != nil {
		return err
	}
	text := fmt.Sprintf(`[databases]
%s
[pgbouncer]
listen_addr = %s
listen_port = %s
unix_socket_dir =
auth_type = any
admin_users = admin
ignore_startup_parameters = extra_float_digits
%s
`, databases, host, port, settings)
	return os.WriteFile(p.file(), []byte(text), 0o644)
}

// Stop ends PgBouncer and its connections, and removes its folder.
func (p *Pooler) Stop() {
	for _, stop := range p.stop {
		stop()
	}
}

// PoolerProgram finds PgBouncer, also where it is not on a user's PATH.
func PoolerProgram() (string, error) {
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("there is no pgbouncer on this machine: apt-get install pgbouncer")
}

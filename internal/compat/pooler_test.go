//go:build unix

package compat

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"

	pgx5 "github.com/jackc/pgx/v5"

	"github.com/seqheal/seqheal/internal/pgtest"
)

// pooler is a PgBouncer of the test's own before the place's server. Those who
// connect through it are a role that owns nothing and may use the place's tables.
type pooler struct {
	address string
	// dir holds its ini file; a pooler that was shut down can be started from it again.
	dir string
}

// poolerProgram finds PgBouncer, also where it is not on a user's PATH.
func poolerProgram(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("PgBouncer is left out of short runs")
	}
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("there is no pgbouncer on this machine: apt-get install pgbouncer")
	return ""
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
	program := poolerProgram(t)
	server, err := pgx5.ParseConfig(p.DSN)
	if err != nil {
		t.Fatal(err)
	}
	// The search_path belongs to the role: PgBouncer passes no such parameter on.
	role := p.Role()
	p.Exec("ALTER ROLE " + role + " PASSWORD 'compat'; ALTER ROLE " + role + " SET search_path = $S;" +
		"GRANT ALL ON ALL TABLES IN SCHEMA $S TO " + role + "; GRANT ALL ON ALL SEQUENCES IN SCHEMA $S TO " + role)

	credential, err := unprivileged()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "seqheal-pgbouncer-")
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	ini := filepath.Join(dir, "pgbouncer.ini")
	text := fmt.Sprintf(`[databases]
app = host=%s port=%d dbname=%s user=%s password=compat
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
ignore_startup_parameters = extra_float_digits
default_pool_size = %d
%s
`, server.Host, server.Port, server.Database, role, port, serverConnections, settings)
	if err := os.WriteFile(ini, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if credential != nil {
		if err := os.Chown(dir, int(credential.Uid), int(credential.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	run(t, dir, program, credential)
	pool := pooler{address: fmt.Sprintf("127.0.0.1:%d", port), dir: dir}
	pool.answers(t, filepath.Join(dir, "log"))
	return pool
}

// run starts the program under a shell that holds the reading end of a pipe: the
// pipe closes when this program ends, however it does, and the shell ends
// PgBouncer and removes its folder.
func run(t *testing.T, dir, program string, credential *syscall.Credential) {
	t.Helper()
	const script = `"$1" "$2/pgbouncer.ini" >"$2/log" 2>&1 & cat >/dev/null; kill -KILL $!; wait; rm -rf "$2"`
	shell := exec.Command("/bin/sh", "-c", script, "sh", program, dir)
	shell.Dir = "/"
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: credential}
	pipe, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = pipe.Close()
		_ = shell.Wait()
		_ = os.RemoveAll(dir) // /tmp is sticky: PgBouncer's user may have left the folder
	})
}

// unprivileged is who runs PgBouncer: it refuses to run as root.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	found, err := user.Lookup("nobody")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(found.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(found.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port
}

// dsn is how the application connects, with a query mode of pgx.
func (p pooler) dsn(execMode string) string {
	return "postgres://app@" + p.address + "/app?sslmode=disable&default_query_exec_mode=" + execMode
}

// answers waits until PgBouncer takes connections.
func (p pooler) answers(t *testing.T, log string) {
	t.Helper()
	defer func() {
		if t.Failed() {
			text, _ := os.ReadFile(log)
			t.Logf("PgBouncer's log:\n%s", text)
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

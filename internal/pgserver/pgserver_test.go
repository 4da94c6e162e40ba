//go:build unix

package pgserver

import (
	"bufio"
	"database/sql"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// child makes this test program start a server, tell its folder and DSN, and
// wait to be killed.
const child = "SEQHEAL_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(child) != "" {
		server, err := Start()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(server.dir, server.dsn)
		select {}
	}
	_ = os.Unsetenv(DSN) // the tests are about servers that are started
	_ = os.Unsetenv(Bin)
	os.Exit(m.Run())
}

// eventually waits for a condition; pgtest would import this package.
func eventually(t *testing.T, what string, condition func() bool) {
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

func needsPrograms(t *testing.T) {
	t.Helper()
	if len(candidates()) == 0 {
		t.Skip("no server programs on this machine")
	}
}

func start(t *testing.T, settings ...string) *Server {
	t.Helper()
	needsPrograms(t)
	server, err := Start(settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return server
}

func ask(t *testing.T, dsn, query string) (answer string) {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if err := db.QueryRow(query).Scan(&answer); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return answer
}

func gone(dir string) bool {
	_, err := os.Stat(dir)
	return os.IsNotExist(err)
}

func listens(t *testing.T, dsn string) bool {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	connection, err := net.Dial("tcp", u.Host)
	if err == nil {
		_ = connection.Close()
	}
	return err == nil
}

// postmaster is the server's process.
func postmaster(t *testing.T, dir string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// processes are the command lines that name dir.
func processes(t *testing.T, dir string) (found []string) {
	t.Helper()
	out, err := exec.Command("ps", "-A", "-o", "args=").Output()
	if err != nil {
		t.Skip("no ps on this machine")
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, dir) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

func TestStartTwiceGivesTwoServersAndStopRemovesThem(t *testing.T) {
	t.Parallel()
	first, second := start(t), start(t, "log_min_messages=panic", "max_connections=17")
	if first.DSN() == second.DSN() || first.dir == second.dir {
		t.Errorf("one server was given twice: %s, %s", first.DSN(), second.DSN())
	}
	if n := ask(t, first.DSN(), "SHOW max_connections"); n != "300" {
		t.Errorf("the first has max_connections %s", n)
	}
	if n := ask(t, second.DSN(), "SHOW max_connections"); n != "17" {
		t.Errorf("the second has max_connections %s: its settings were not taken", n)
	}
	pid := postmaster(t, first.dir)
	first.Stop()
	if !gone(first.dir) || listens(t, first.DSN()) {
		t.Error("Stop left the folder or the server")
	}
	eventually(t, "the process to end", func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH })
	if left := processes(t, first.dir); len(left) != 0 {
		t.Errorf("Stop left processes: %q", left)
	}
	first.Stop() // may be called more than once
	if ask(t, second.DSN(), "SELECT 'alive'") != "alive" {
		t.Error("Stop ended somebody else's server")
	}
}

func TestStartOwnStartsAServerBesideTheNamedOne(t *testing.T) {
	needsPrograms(t)
	t.Setenv(DSN, "postgres://somebody@example.invalid:1/db")
	server, err := StartOwn("max_connections=17")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	if n := ask(t, server.DSN(), "SHOW max_connections"); n != "17" {
		t.Errorf("max_connections is %s, want the setting that was given", n)
	}
}

func TestAKilledProgramLeavesNoServer(t *testing.T) {
	t.Parallel()
	needsPrograms(t)
	program := exec.Command(os.Args[0])
	program.Env = append(os.Environ(), child+"=1")
	program.Stderr = os.Stderr
	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = program.Process.Kill()
		t.Fatal(program.Wait(), err)
	}
	dir, dsn, _ := strings.Cut(strings.TrimSpace(line), " ")
	if ask(t, dsn, "SELECT 'alive'") != "alive" || gone(dir) {
		t.Error("the program's server is not there")
	}
	if err := program.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = program.Wait()
	eventually(t, "the folder to be removed", func() bool { return gone(dir) })
	eventually(t, "the server to be gone", func() bool { return !listens(t, dsn) })
}

// A server that does not start must leave its folder to the next try, and no
// watchdog that removes it later.
func TestAFailedStartLeavesNoWatchdog(t *testing.T) {
	t.Parallel()
	needsPrograms(t)
	account, err := serverAccount()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "seqheal-postgres-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := account.own(dir); err != nil {
		t.Fatal(err)
	}
	_, err = run(account, candidates()[0], dir, filepath.Join(dir, "missing"), nil)
	if err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("run = %v, want what the server said of the missing folder", err)
	}
	runtime.GC() // an unreachable pipe is closed, which a watchdog waits for
	if left := processes(t, dir); len(left) != 0 || gone(dir) {
		t.Errorf("left %q, folder gone %v", left, gone(dir))
	}
}

func TestProgramsThatCannotBeStartedAreNamed(t *testing.T) {
	t.Parallel()
	bin := filepath.Join(t.TempDir(), "no-such-bin")
	if _, err := startFrom(installed(bin), nil); err == nil || !strings.Contains(err.Error(), filepath.Join(bin, "initdb")) {
		t.Errorf("startFrom = %v, want the path that was tried", err)
	}
}

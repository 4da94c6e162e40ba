package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/seqheal/seqheal/internal/pgtest"
)

// terminal is a pseudo-terminal on which the command runs, and what it has shown.
type terminal struct {
	master *os.File
	mutex  sync.Mutex
	shown  bytes.Buffer
	over   chan struct{}
}

// onTerminal starts the command with a terminal as its input and output, its controlling
// one, so that Ctrl-C reaches it.
func onTerminal(t *testing.T, c *exec.Cmd) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	var number, unlocked uint32
	for _, call := range []struct {
		request uintptr
		value   *uint32
	}{{syscall.TIOCSPTLCK, &unlocked}, {syscall.TIOCGPTN, &number}} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), call.request, uintptr(unsafe.Pointer(call.value))); errno != 0 {
			t.Fatal(errno)
		}
	}
	slave, err := os.OpenFile("/dev/pts/"+strconv.Itoa(int(number)), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = slave.Close() }()
	c.Stdin, c.Stdout, c.Stderr = slave, slave, slave
	c.Env = append(c.Env, "TERM=xterm")
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	term := &terminal{master: master, over: make(chan struct{})}
	go func() {
		defer close(term.over)
		piece := make([]byte, 4096)
		for {
			n, err := master.Read(piece)
			term.mutex.Lock()
			term.shown.Write(piece[:n])
			term.mutex.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return term
}

func (term *terminal) text() string {
	term.mutex.Lock()
	defer term.mutex.Unlock()
	return strings.ReplaceAll(term.shown.String(), "\r\n", "\n")
}

// end waits for the command.
func (term *terminal) end(t *testing.T, c *exec.Cmd) (text string, code int) {
	t.Helper()
	_ = c.Wait()
	select {
	case <-term.over:
	case <-time.After(10 * time.Second):
		t.Error("the terminal is still open")
	}
	return term.text(), c.ProcessState.ExitCode()
}

// On a terminal there are colours and a progress bar, which is gone in the end.
func TestOnATerminal(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, users)
	c := command(t, nil, "-dsn", d.dsn)
	text, code := onTerminal(t, c).end(t, c)
	if code != 1 || !strings.Contains(text, "\x1b[31mbehind\x1b[0m  public.Users") || !strings.Contains(text, "█ 1 of 1 \r\x1b[K") {
		t.Errorf("exit code %d: %q", code, text)
	}
	for _, plain := range [][]string{{"NO_COLOR=1"}, {"TERM=dumb"}} {
		c := command(t, plain, "-dsn", d.dsn, "-quiet")
		if plain[0] == "TERM=dumb" {
			c.Args = append([]string{"env"}, append([]string{"TERM=dumb", binary}, c.Args[1:]...)...)
			c.Path, _ = exec.LookPath("env")
		}
		if text, code := onTerminal(t, c).end(t, c); code != 1 || strings.Contains(text, "\x1b") || strings.Contains(text, "█") {
			t.Errorf("%s: exit code %d: %q", plain, code, text)
		}
	}
}

// Into a pipe and a file there is neither.
func TestIntoAPipe(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, users)
	if got := d.run(t); strings.ContainsAny(got.out+got.diagnostics, "\x1b\r█") {
		t.Errorf("%+v", got)
	}
}

// Ctrl-C in the middle: what was looked at, how much was not, and exit code 2.
func TestCtrlC(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, `DO $$ BEGIN FOR i IN 100..159 LOOP EXECUTE format('CREATE TABLE a_%s (id serial PRIMARY KEY)', i);
		EXECUTE format('CREATE TABLE z_%s (id serial PRIMARY KEY)', i); END LOOP; END $$; INSERT INTO a_100 VALUES (20)`)
	var locked []string
	for i := 100; i < 160; i++ {
		locked = append(locked, fmt.Sprint("z_", i))
	}
	d.lock(t, locked...) // each is waited for 250 ms, 15 s in all
	c := command(t, nil, "-dsn", d.dsn)
	term := onTerminal(t, c)
	pgtest.Eventually(t, "the first half to be looked at", func() bool { return regexp.MustCompile(` (6\d|[7-9]\d) of 120`).MatchString(term.text()) })
	if _, err := term.master.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	text, code := term.end(t, c)
	found := regexp.MustCompile(`seqheal: interrupted: (\d+) of 120 columns looked at, (\d+) not\n`).FindStringSubmatch(text)
	if found == nil || code != 2 || !strings.Contains(text, "public.a_100") || !strings.Contains(text, "20") || !strings.Contains(text, "public.a_159") {
		t.Fatalf("exit code %d: %s", code, text)
	}
	seen, _ := strconv.Atoi(found[1])
	unseen, _ := strconv.Atoi(found[2])
	if seen < 60 || unseen == 0 || seen+unseen != 120 || strings.Contains(text, "public.z_159") {
		t.Errorf("%d looked at, %d not: %s", seen, unseen, text)
	}
}

// Ctrl-C before anything was seen.
func TestCtrlCAtOnce(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, "")
	tx, err := d.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.Exec("LOCK TABLE pg_catalog.pg_sequence"); err != nil {
		t.Fatal(err)
	}
	c := command(t, nil, "-dsn", d.dsn)
	term := onTerminal(t, c)
	pgtest.Eventually(t, "the command to wait", func() bool {
		return d.number(`SELECT count(*) FROM pg_stat_activity WHERE application_name = 'seqheal' AND datname = current_database() AND wait_event_type = 'Lock'`) == 1
	})
	_, _ = term.master.WriteString("\x03")
	if text, code := term.end(t, c); code != 2 || !strings.Contains(text, "interrupted before anything was looked at") {
		t.Errorf("exit code %d: %s", code, text)
	}
}

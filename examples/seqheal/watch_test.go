package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
)

// watching is a run of watch whose output is read line by line.
type watching struct {
	t     *testing.T
	lines *bufio.Scanner
	end   func() int
}

func (d *database) watch(t *testing.T, arguments ...string) watching {
	t.Helper()
	c := command(t, nil, append([]string{"watch", "-dsn", d.dsn, "-every", "0.05"}, arguments...)...)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return watching{t, bufio.NewScanner(out), func() int {
		_ = c.Process.Signal(os.Interrupt)
		_, _ = io.Copy(io.Discard, out)
		_ = c.Wait()
		return c.ProcessState.ExitCode()
	}}
}

// next waits for a line that contains a text.
func (w watching) next(text string) string {
	w.t.Helper()
	for w.lines.Scan() {
		if strings.Contains(w.lines.Text(), text) {
			return w.lines.Text()
		}
	}
	w.t.Fatalf("no line with %q: %v", text, w.lines.Err())
	return ""
}

func TestWatchPrintsWhatChanges(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, fine+orders)
	w := d.watch(t)
	w.next("2 columns checked: 1 behind, 1 in sync")
	d.exec(users)
	if got := d.settled(w.next("Users")); got != `03:04:05  "public"."Users"."id"  new → behind by 20` {
		t.Error(got)
	}
	d.exec(`INSERT INTO "Users" VALUES (30)`)
	if got := d.settled(w.next("Users")); got != `03:04:05  "public"."Users"."id"  behind by 20 → behind by 30` {
		t.Error(got)
	}
	d.exec(`INSERT INTO fine DEFAULT VALUES; SELECT setval('"Users_id_seq"', 2147000000)`) // fine goes on, which is no change
	if got := d.settled(w.next("→")); got != `03:04:05  "public"."Users"."id"  behind by 30 → critical, 99.97% used, 483,647 left` {
		t.Error(got)
	}
	d.exec(`DROP TABLE "Users"`)
	for { // a round in which it was dropped says so first
		got := d.settled(w.next("→"))
		if strings.HasSuffix(got, "it was dropped or renamed during the run") {
			continue
		}
		if !strings.HasSuffix(got, "→ gone") {
			t.Error(got)
		}
		break
	}
	if code := w.end(); code != 1 {
		t.Errorf("exit code %d", code)
	}
}

func TestWatchAsJSON(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, fine+orders)
	w := d.watch(t, "-json", "-quiet")
	for _, want := range []string{"behind", "in_sync"} {
		var f struct{ Table, Level string }
		if err := json.Unmarshal([]byte(w.next("orders")), &f); err != nil || f.Table != "orders" || f.Level != want {
			t.Errorf("%v: %+v, want %s", err, f, want)
		}
		d.exec(`SELECT setval('orders_id_seq', 5000)`)
	}
	if code := w.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// A server that does not answer for a while is told of once, and the watch goes on.
func TestWatchOutlivesTheConnection(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, orders)
	w := d.watch(t, "-csv", "-only", "behind,in_sync")
	w.next("behind,public,orders")
	d.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'seqheal' AND datname = current_database()`)
	d.exec(`SELECT setval('orders_id_seq', 5000)`)
	w.next("in_sync,public,orders")
	if code := w.end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

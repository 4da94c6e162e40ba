package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/seqheal/seqheal/plugin"
)

// lock holds a lock on tables until the test ends.
func (d *database) lock(t *testing.T, tables ...string) {
	t.Helper()
	tx, err := d.BeginTx(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() })
	if _, err := tx.Exec("LOCK TABLE " + strings.Join(tables, ", ")); err != nil {
		t.Fatal(err)
	}
}

func TestALockedTable(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, fine+users+orders)
	d.lock(t, "orders")
	got := d.run(t, "-timeout", "2s")
	if got.code != 1 || !strings.Contains(got.out, "unreadable  public.orders") || !strings.Contains(got.out, "try again, or with a longer -timeout") ||
		!strings.Contains(got.out, "behind      public.Users") || !strings.Contains(got.diagnostics, "1 column could not be looked at, either") {
		t.Errorf("behind and unreadable: %+v", got)
	}
	if got := d.run(t, "-exclude", "Users", "-quiet"); got.code != 3 || !strings.Contains(got.out, "unreadable  public.orders") || strings.Contains(got.out, "fine") {
		t.Errorf("unreadable alone: %+v", got)
	}
}

// A sequence that another healer holds is given up after -timeout, and the rest is moved.
func TestALockedSequence(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, users+orders)
	tx, err := d.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.Exec("SELECT pg_advisory_xact_lock(1936028008, 'orders_id_seq'::regclass::oid::int4)"); err != nil {
		t.Fatal(err)
	}
	got := d.run(t, "fix", "-timeout", "0.3")
	if got.code != 1 || !strings.Contains(got.out, "not moved: a lock was held, or the time was up: try again, or with a longer -timeout") ||
		!strings.Contains(got.out, "moved 1 → 20") || !strings.Contains(got.out, "1 behind, 1 in sync; moved 1 sequence\n") {
		t.Errorf("%+v", got)
	}
}

// A server that is not there is an error that says where it was looked for.
func TestTheServerIsGone(t *testing.T) {
	t.Parallel()
	if got := runIn(t, nil, "-dsn", "postgres://app@127.0.0.1:1/shop?sslmode=disable"); got.code != 2 || !strings.Contains(got.diagnostics, "127.0.0.1:1") || got.out != "" {
		t.Errorf("%+v", got)
	}
}

// 150 sequences are moved many at once; one with CACHE, which needs more care, by itself.
func TestFixOfManyTables(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, `DO $$ BEGIN FOR i IN 1..150 LOOP EXECUTE format('CREATE TABLE t_%s (id serial PRIMARY KEY); INSERT INTO t_%s SELECT generate_series(1, %s)', i, i, i); END LOOP; END $$;
		ALTER SEQUENCE t_7_id_seq INCREMENT 2; ALTER SEQUENCE t_8_id_seq CACHE 5; CREATE TABLE shared (id int PRIMARY KEY DEFAULT nextval('t_9_id_seq')); INSERT INTO shared VALUES (90)`)
	got := d.run(t, "fix")
	if got.code != 0 || !strings.Contains(got.out, "151 columns checked: 151 in sync; moved 150 sequences") {
		t.Fatalf("%+v", got)
	}
	for i := 1; i <= 150; i++ {
		want := int64(i)
		switch i {
		case 8:
			want = 10 // whole caches
		case 9:
			want = 90
		}
		if at := d.number(fmt.Sprintf("SELECT last_value FROM t_%d_id_seq", i)); at != want {
			t.Errorf("t_%d_id_seq is at %d, want %d", i, at, want)
		}
	}
}

// What an interrupted run says, by what it had done.
func TestUnfinished(t *testing.T) {
	t.Parallel()
	moved := graded{plugin.Finding{State: plugin.StateInSync, Moved: true}, inSync}
	unmoved := graded{plugin.Finding{State: plugin.StateBehind, Reason: plugin.ReasonCanceled}, behind}
	unread := graded{plugin.Finding{State: plugin.StateUnreadable, Reason: plugin.ReasonCanceled}, unreadable}
	for _, c := range []struct {
		command string
		all     []graded
		want    string
	}{
		{commandAudit, nil, "interrupted before anything was looked at"},
		{commandAudit, []graded{moved, unread, unread}, "interrupted: 1 of 3 columns looked at, 2 not"},
		{commandAudit, []graded{unread}, "interrupted: 0 of 1 column looked at, 1 not"},
		{commandFix, []graded{moved, unmoved}, "interrupted: 2 columns looked at, 1 column not moved"},
		{commandFix, []graded{unmoved, unread}, "interrupted: 1 of 2 columns looked at, 1 not"},
	} {
		if got := unfinished(c.all, c.command).Error(); got != c.want {
			t.Errorf("%s: %s, want %s", c.command, got, c.want)
		}
	}
}

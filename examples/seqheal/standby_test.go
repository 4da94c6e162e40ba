package main

import (
	"strings"
	"testing"

	"github.com/seqheal/seqheal/internal/pgserver"
)

// An audit only reads: it works on a hot standby, and fix is refused there.
func TestOnAStandby(t *testing.T) {
	t.Parallel()
	primary, err := pgserver.StartOwn()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(primary.Stop)
	d := newDatabaseOn(t, primary, fine+orders+`CREATE UNLOGGED TABLE scratch (id serial PRIMARY KEY)`)
	standby, err := primary.Standby()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(standby.Stop)
	dsn := standby.With(map[string]string{"dbname": d.name})
	got := runIn(t, nil, "-dsn", dsn)
	for _, text := range []string{", a standby\n", "behind      public.orders", "in sync     public.fine", `unreadable  public.scratch`, "unlogged relations during recovery", "1 column could not be looked at, either"} {
		if !strings.Contains(got.out+got.diagnostics, text) || got.code != 1 {
			t.Errorf("no %q in %+v", text, got)
		}
	}
	if got = runIn(t, nil, "-dsn", dsn, "-exclude", "orders"); got.code != 3 {
		t.Errorf("%+v", got)
	}
	got = runIn(t, nil, "fix", "-dsn", dsn, "orders")
	if got.code != 1 || !strings.Contains(got.out, "behind  public.orders") || !strings.Contains(got.out, "not moved: the connection only reads, as a standby does: connect to the primary") {
		t.Errorf("%+v", got)
	}
}

// A session that is read-only by its own settings is a primary all the same.
func TestInAReadOnlySession(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, users)
	env := []string{"PGOPTIONS=-c default_transaction_read_only=on"}
	if got := runIn(t, env, "-dsn", d.dsn); got.code != 1 || !strings.Contains(got.out, "behind  public.Users") {
		t.Errorf("%+v", got)
	}
	if next := d.number(`SELECT last_value FROM "Users_id_seq" WHERE NOT is_called`); next != 1 {
		t.Errorf("the sequence is at %d", next)
	}
}

package main

import (
	"strings"
	"testing"

	"github.com/seqheal/seqheal/internal/pgserver"
)

// An audit only reads: it works on a hot standby, while a resync is refused there.
func TestAnAuditOnAStandby(t *testing.T) {
	t.Parallel()
	primary, err := pgserver.StartOwn()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(primary.Stop)
	if err := connect(t, primary.DSN()).Exec(inSync + further + `CREATE UNLOGGED TABLE scratch (id serial PRIMARY KEY)`).Error; err != nil {
		t.Fatal(err)
	}
	standby, err := primary.Standby()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(standby.Stop)
	got := runWith(t, false, "-dsn", standby.DSN())
	for _, text := range []string{"behind      public.orders", "in sync     public.fine", `unreadable  public.scratch`, "unlogged relations during recovery"} {
		if !strings.Contains(got.out, text) || got.code != 2 {
			t.Errorf("no %q in %+v", text, got)
		}
	}
	if got = runWith(t, false, "-dsn", standby.DSN(), "-table", "orders"); got.code != 1 {
		t.Errorf("%+v", got)
	}
	got = runWith(t, false, "-dsn", standby.DSN(), "-table", "orders", "-fix")
	if got.code != 2 || !strings.Contains(got.out, "behind  public.orders") || !strings.Contains(got.diagnostics, "send inserts to the primary") {
		t.Errorf("%+v", got)
	}
}

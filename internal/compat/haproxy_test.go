//go:build unix

package compat

import (
	"fmt"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgserver"
	"github.com/seqheal/seqheal/internal/pgtest"
)

// startHAProxy starts HAProxy before two servers; the second gets connections when the
// first is down, and those to the first end.
func startHAProxy(t *testing.T, first, second *pgserver.Server) (dsn string) {
	t.Helper()
	path := program(t, "haproxy", "haproxy")
	port := freePort(t)
	keepRunning(t, map[string]string{"haproxy.cfg": fmt.Sprintf(`
defaults
  mode tcp
  timeout connect 1s
  timeout client 1m
  timeout server 1m
listen database
  bind 127.0.0.1:%d
  default-server check inter 100ms fall 1 rise 1 on-marked-down shutdown-sessions
  server first 127.0.0.1:%s
  server second 127.0.0.1:%s backup
`, port, portOf(t, first), portOf(t, second))}, path, "-f", "$D/haproxy.cfg")
	dsn = fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", port)
	pool := poolTo(t, dsn)
	pgtest.Eventually(t, "HAProxy to answer", func() bool { return pool.Ping() == nil })
	return dsn
}

// P1, P4: HAProxy goes over to the promoted standby. Before and after, every shape of insert
// is healed; in between an insert fails as one whose connection is lost, and the pool's next
// connection, to another server behind the same name, trusts nothing that is remembered.
func TestHealsThroughHAProxy(t *testing.T) {
	t.Parallel()
	_ = program(t, "haproxy", "haproxy")
	primary := ownServer(t)
	standby, err := primary.Standby()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(standby.Stop)
	atPrimary, atStandby := poolTo(t, primary.DSN()), poolTo(t, standby.DSN())
	through := startHAProxy(t, primary, standby)
	everyShapeThrough(t, through, atPrimary, nil)

	execute(t, atPrimary, emptyTable("accounts")+"; "+rows20("accounts", 1)+"; CREATE TABLE others (id bigserial PRIMARY KEY)")
	var seen incidents
	db := open(t, postgres.Open(through), gorm.Config{}, seen.plugin())
	before := newAccounts("before", 2)
	if err := create(db, before); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, "the standby to follow", func() bool {
		return number(t, atPrimary, "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()") == 1
	})
	primary.Stop()
	execute(t, atStandby, "SELECT pg_promote()")
	execute(t, atStandby, "SELECT setval('accounts_id_seq', 1, false)")
	after := newAccounts("after", 2)
	failed := 0
	pgtest.Eventually(t, "HAProxy to go over", func() bool {
		err := create(db, after)
		if err != nil {
			failed++
			after = newAccounts("after", 2)
		}
		return err == nil
	})
	rows := rowsOf(t, atStandby, "accounts")
	var want []string
	for _, row := range append(before, after...) {
		want = append(want, fmt.Sprintf("%d|%s|%s", row.ID, row.Email, row.Name))
	}
	if got := rows[20:]; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%d inserts failed; rows %v instead of %v", failed, got, want)
	}
	seen.healed(t, 2)
}

//go:build unix

package compat

import (
	"context"
	"strings"
	"testing"
	"time"

	pgx5 "github.com/jackc/pgx/v5"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
)

// tell sends a command to the pooler's console.
func (p pooler) tell(t *testing.T, command string) error {
	t.Helper()
	c, err := pgx5.Connect(context.Background(), "postgres://app@"+p.address+"/pgbouncer?sslmode=disable&default_query_exec_mode=simple_protocol")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	_, err = c.Exec(ctx, command)
	return err
}

// startAgain starts a pooler that was shut down.
func (p pooler) startAgain(t *testing.T) {
	t.Helper()
	if err := p.bouncer.Start(); err != nil {
		t.Fatal(err)
	}
	p.answers(t, p.bouncer)
}

// moments are what happens to PgBouncer in the middle of a heal. goOn lets the heal go on.
var moments = []struct {
	name string
	// lost is true when the connection goes away with it.
	lost bool
	do   func(t *testing.T, p pooler, goOn func())
}{
	{"RELOAD", false, func(t *testing.T, p pooler, goOn func()) {
		if err := p.tell(t, "RELOAD"); err != nil {
			t.Error(err)
		}
		goOn()
	}},
	{"PAUSE and RESUME", false, func(t *testing.T, p pooler, goOn func()) {
		paused := make(chan error)
		go func() { paused <- p.tell(t, "PAUSE app") }() // until the transaction has ended
		goOn()
		if err := <-paused; err != nil {
			t.Error(err)
		}
		if err := p.tell(t, "RESUME app"); err != nil {
			t.Error(err)
		}
	}},
	{"a restart", true, func(t *testing.T, p pooler, goOn func()) {
		_ = p.tell(t, "SHUTDOWN")
		p.startAgain(t)
		goOn()
	}},
}

// P4, P9: PgBouncer is reloaded, paused or restarted while an insert is being healed: the
// insert is healed, or fails as one whose connection is lost, and nothing is half stored.
// The next one is healed.
func TestPgBouncerInTheMiddleOfAHeal(t *testing.T) {
	t.Parallel()
	for _, moment := range moments {
		for _, settings := range []string{"pool_mode = transaction", "pool_mode = session"} {
			t.Run(moment.name+", "+settings, func(t *testing.T) {
				t.Parallel()
				if strings.HasPrefix(moment.name, "PAUSE") && strings.Contains(settings, "session") {
					return // PAUSE waits until every client has left
				}
				inModes(t, func(t *testing.T, m mode) {
					p := pgtest.New(t)
					p.Exec(drifted)
					bouncer := startPooler(t, p, 4, settings+"\nadmin_users = app")
					var seen incidents
					db := open(t, postgres.Open(bouncer.dsn("exec")), m.config, seen.plugin())
					holder, err := p.SQL.Begin()
					if err != nil {
						t.Fatal(err)
					}
					defer func() { _ = holder.Rollback() }()
					if _, err := holder.Exec("SELECT pg_advisory_xact_lock(1936028008, 'accounts_id_seq'::regclass::oid::int4)"); err != nil {
						t.Fatal(err)
					}
					created := newAccounts("new", 3)
					done := make(chan error, 1)
					go func() { done <- m.within(db, func(tx *gorm.DB) error { return create(tx, created) }) }()
					pgtest.Eventually(t, "the heal to wait", func() bool {
						return p.Int("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 'accounts_id_seq'::regclass::oid") > 0
					})
					moment.do(t, bouncer, func() { _ = holder.Rollback() })
					err = <-done
					if moment.lost != (err != nil) {
						t.Errorf("error %v", err)
					}
					if err != nil {
						created = nil
					}
					stored(t, p, "accounts", 20, created...)
					next := newAccounts("next", 2)
					p.Exec(driftAgain)
					if err := m.within(db, func(tx *gorm.DB) error { return create(tx, next) }); err != nil {
						t.Error(err)
					}
					stored(t, p, "accounts", 20, append(created, next...)...)
				})
			})
		}
	}
}

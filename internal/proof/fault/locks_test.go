package fault_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/internal/proof/proxy"
	"github.com/seqheal/seqheal/plugin"
)

// Locks that a heal can meet, and the beginning of the statement that meets them.
var (
	tableLock    = lock{"the table is locked", "LOCK TABLE users IN ACCESS EXCLUSIVE MODE", "SELECT pg_catalog.max("}
	sequenceLock = lock{"the sequence is locked", "ALTER SEQUENCE users_id_seq NO CYCLE", "SELECT d.v\n"}
	// healerLock is what the plugin's own move takes, here by one that hangs.
	healerLock = lock{"another healer hangs",
		"SELECT pg_advisory_xact_lock(x'73657168'::int4, 'users_id_seq'::regclass::oid::int4)", "SELECT pg_catalog.pg_advisory_xact_lock("}
)

type lock struct {
	name string
	take string
	// before is how the statement begins that the lock stands in the way of.
	before string
}

// budget is short for a heal, and long for a statement that nothing blocks.
const budget = 700 * time.Millisecond

// A migration, or a healer that hangs, holds a lock that the heal needs. The heal
// gives up within WithResyncTimeout, or the session's own shorter limits, and
// leaves these in force; the caller gets what PostgreSQL said to the insert.
func TestALockInTheWayOfAHeal(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		lock  lock
		mode  mode
		guard plugin.Guard
	}{
		{tableLock, noTransaction, plugin.GuardAuto},
		{tableLock, gormsTransaction, plugin.GuardSavepoint}, // whose undoing gives its own lock back
		{sequenceLock, noTransaction, plugin.GuardAuto},
		{healerLock, noTransaction, plugin.GuardAuto},
		{healerLock, gormsTransaction, plugin.GuardAuto},
		{healerLock, callersTransaction, plugin.GuardSavepoint},
	} {
		for _, own := range []string{"", "lock_timeout", "statement_timeout"} {
			name := fmt.Sprintf("%s, %s, own %s", test.lock.name, test.mode, own)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r := &run{room: newRoom(t), mode: test.mode, shape: shapes[0], guard: test.guard}
				r.meetsLock(t, test.lock, own)
			})
		}
	}
}

// ownLimit is a session's own limit, as SHOW tells it.
const ownLimit = "50ms"

func (r *run) meetsLock(t *testing.T, l lock, own string) {
	t.Helper()
	position := r.statementBefore(t, l)
	for {
		r.openWithin(t, own)
		migration := r.insertBehind(t, l, position)
		if migration == nil && own == "statement_timeout" && len(r.seen.list()) == 0 {
			continue // a busy machine: the INSERT itself took 50 ms
		}
		if migration == nil && own == "" {
			t.Fatalf("the heal never came to %q: %v", l.before, r.err)
		}
		if migration != nil {
			_ = migration.Rollback()
		}
		break
	}
	var server *pgconn.PgError
	if !errors.As(r.err, &server) || server.Code != "23505" {
		if r.mode == noTransaction || r.guard == plugin.GuardSavepoint {
			t.Errorf("the caller got %v, want what PostgreSQL said to the insert", r.err)
		}
	}
	if r.err == nil {
		t.Error("the insert succeeded")
	}
	seen := r.seen.list()
	if len(seen) != 1 || seen[0].Outcome != plugin.Failed || seen[0].Reason != plugin.ReasonTimeout {
		t.Errorf("incidents %v", seen)
	} else if seen[0].Duration > budget+soon {
		t.Errorf("the heal took %s", seen[0].Duration)
	}
	if r.mode == callersTransaction && r.committed == nil {
		t.Error("the transaction of a failed insert was committed (P6)")
	}
	if got := r.users(); !maps.Equal(got, oldRows()) {
		t.Errorf("rows %s", text(got))
	}
	for _, name := range []string{"lock_timeout", "statement_timeout"} {
		want := "0"
		if name == own {
			want = ownLimit
		}
		var got string
		if err := r.db.Raw("SHOW " + name).Row().Scan(&got); err != nil || got != want {
			t.Errorf("the session's own %s is %q, want %q (%v)", name, got, want, err)
		}
	}
	if err := r.db.Exec("SET statement_timeout = 0").Error; err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, "no advisory lock and no open transaction", func() bool { return r.Int(leftovers) == 0 })
	pgtest.Eventually(t, "a heal within the budget, without the lock", func() bool { return r.db.Create(&user{Name: "retried"}).Error == nil })
	r.values = append(r.values, r.lastValue())
	r.checkNext(t)
}

// statementBefore finds the number of the statement that the lock stands before.
func (r *run) statementBefore(t *testing.T, l lock) int {
	t.Helper()
	for i, statement := range r.withoutFault(t) {
		if strings.HasPrefix(strings.TrimSpace(statement.Text), l.before) {
			return i + 1
		}
	}
	t.Fatalf("no statement begins with %q", l.before)
	return 0
}

// openWithin opens a pool of one session with a limit of its own.
func (r *run) openWithin(t *testing.T, own string) {
	t.Helper()
	through := r.through
	if own != "" {
		r.through += "&" + own + "=" + ownLimit
	}
	r.open(r.throughProxy, plugin.WithResyncTimeout(budget))
	r.through = through
	pool, err := r.db.DB()
	if err != nil {
		t.Fatal(err)
	}
	pool.SetMaxOpenConns(1)
}

// insertBehind runs the insert, takes the lock right before the statement that
// needs it, and returns the transaction that holds it; nil when the insert did not
// come so far.
func (r *run) insertBehind(t *testing.T, l lock, position int) (migration *sql.Tx) {
	t.Helper()
	finished := make(chan struct{})
	taken := make(chan *sql.Tx, 1)
	r.insert(func(func()) {
		hit := r.proxy.Fail(proxy.Fault{Statement: position, Moment: proxy.Before, Effect: proxy.Stall})
		go func() {
			defer close(taken)
			select {
			case <-hit:
			case <-finished:
				return
			}
			defer r.proxy.Release()
			tx, err := r.SQL.BeginTx(context.Background(), nil)
			if err == nil {
				if _, err = tx.Exec(l.take); err == nil {
					taken <- tx
					return
				}
				_ = tx.Rollback()
			}
			t.Errorf("%s: %v", l.take, err)
		}()
	})
	close(finished)
	migration = <-taken
	r.proxy.Release()
	r.proxy.Fail(proxy.Fault{}) // if it was not met, no later statement shall meet it
	return migration
}

// In a transaction the INSERT's own locks stay, so that a migration waits for the
// heal. The heal does not wait for the migration, which would be a deadlock.
func TestAMigrationWaitsForAHeal(t *testing.T) {
	t.Parallel()
	for _, l := range []lock{tableLock, sequenceLock} {
		for _, m := range []mode{gormsTransaction, callersTransaction} {
			t.Run(fmt.Sprintf("%s, %s", l.name, m), func(t *testing.T) {
				t.Parallel()
				r := &run{room: newRoom(t), mode: m, shape: shapes[0], guard: plugin.GuardAuto}
				position := r.statementBefore(t, l)
				r.open(r.throughProxy)
				migrated := make(chan error, 1)
				r.insert(func(func()) {
					hit := r.proxy.Fail(proxy.Fault{Statement: position, Moment: proxy.Before, Effect: proxy.Stall})
					go func() {
						<-hit
						go func() {
							_, err := r.SQL.Exec("BEGIN; " + l.take + "; COMMIT")
							migrated <- err
						}()
						pgtest.Eventually(t, "the migration to wait", func() bool {
							return r.Int("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation IN ('users'::regclass, 'users_id_seq'::regclass)") == 1
						})
						r.proxy.Release()
					}()
				})
				if err := <-migrated; err != nil {
					t.Errorf("the migration: %v", err)
				}
				if err := errors.Join(r.err, r.later, r.committed); err != nil {
					t.Errorf("the insert: %v", err)
				}
				r.check(t, noCommit)
			})
		}
	}
}

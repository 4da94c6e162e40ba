package fault_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgerr"
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

func (l lock) isBefore(statement proxy.Statement) bool {
	return strings.HasPrefix(strings.TrimSpace(strings.TrimPrefix(statement.Text, conn.OnPrimary)), l.before)
}

// budget is short for a heal, and long for a statement that nothing blocks.
const budget = 700 * time.Millisecond

// A migration, or a healer that hangs, holds a lock that the heal needs. The heal
// gives up within WithResyncTimeout, or the session's own shorter limits, and
// leaves these in force; the caller gets what PostgreSQL said to the insert.
func TestALockInTheWayOfAHeal(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		lock lock
		run  run
	}{
		{tableLock, run{mode: noTransaction, shape: shapes[0], guard: plugin.GuardAuto}},
		{sequenceLock, run{mode: noTransaction, shape: shapes[0], guard: plugin.GuardAuto}},
		{healerLock, run{mode: noTransaction, shape: shapes[0], guard: plugin.GuardAuto}},
		{healerLock, run{mode: gormsTransaction, shape: shapes[0], guard: plugin.GuardAuto}},
		{healerLock, run{mode: callersTransaction, shape: shapes[0], guard: plugin.GuardSavepoint}},
		{healerLock, run{mode: callersTransaction, shape: shapes[0], guard: plugin.GuardOff}},
		{healerLock, run{mode: noTransaction, shape: shapes[0], guard: plugin.GuardAuto, prepared: true}},
		{healerLock, run{mode: callersTransaction, shape: shapes[0], guard: plugin.GuardSavepoint, prepared: true}},
		{healerLock, run{mode: callersTransaction, shape: shapes[2], guard: plugin.GuardAuto}},
		{healerLock, run{mode: noTransaction, shape: shapes[3], guard: plugin.GuardAuto}},
		{healerLock, run{mode: callersTransaction, shape: shapes[4], guard: plugin.GuardAuto}},
		{healerLock, run{mode: noTransaction, shape: families[0], guard: plugin.GuardAuto}},
		{healerLock, run{mode: callersTransaction, shape: families[0], guard: plugin.GuardOff}},
		{healerLock, run{mode: callersTransaction, shape: families[1], guard: plugin.GuardAuto}},
		{healerLock, run{mode: callersTransaction, shape: families[2], guard: plugin.GuardAuto}},
	} {
		for _, own := range []string{"", "lock_timeout", "statement_timeout"} {
			name := fmt.Sprintf("%s, %s, own %s", test.lock.name, test.run.name(), own)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r := test.run
				r.room = newRoom(t)
				r.meetsLock(t, test.lock, own)
			})
		}
	}
}

// ownLimit is a session's own limit, as SHOW tells it.
const ownLimit = "250ms"

func (r *run) meetsLock(t *testing.T, l lock, own string) {
	t.Helper()
	r.connections = 1
	if r.guard == plugin.GuardOff {
		r.connections = 2 // it heals on a second one
	}
	position := r.statementBefore(t, l)
	for {
		r.openWithin(t, own)
		migration, met := r.insertBehind(t, l, position)
		if migration != nil {
			_ = migration.Rollback()
		}
		if !met && own == "statement_timeout" && (migration == nil || len(r.seen.list()) == 0) {
			r.close(t)
			continue // a busy machine: a statement before the heal took as long, or one was sent again
		}
		if !met && own == "" {
			t.Fatalf("the heal never came to %q: %v", l.before, r.err)
		}
		break
	}
	switch {
	case r.shape.drops:
		if !errors.Is(r.err, plugin.ErrRowsMissing) {
			t.Errorf("the caller got %v, want that rows are missing", r.err)
		}
	case r.mode == noTransaction || r.guard != plugin.GuardAuto:
		if !pgerr.Is(r.err, pgerr.UniqueViolation) {
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
	r.checkRows(t, noCommit)
	r.checkLimits(t, own)
	pgtest.Eventually(t, "no advisory lock and no open transaction", func() bool { return r.Int(leftovers) == 0 })
	pgtest.Eventually(t, "a heal within the budget, without the lock", func() bool { return r.db.Create(&user{Name: "retried"}).Error == nil })
	r.values = append(r.values, r.lastValue())
	r.checkNext(t)
}

// checkLimits asserts that every session has its own limits, and ends that on
// statements.
func (r *run) checkLimits(t *testing.T, own string) {
	t.Helper()
	pool, err := r.db.DB()
	if err != nil {
		t.Fatal(err)
	}
	for range pool.Stats().OpenConnections {
		session, err := pool.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = session.Close() }()
		for _, name := range []string{"lock_timeout", "statement_timeout"} {
			want := "0"
			if name == own {
				want = ownLimit
			}
			var got string
			if err := session.QueryRowContext(t.Context(), "SHOW "+name).Scan(&got); err != nil || got != want {
				t.Errorf("the session's own %s is %q, want %q (%v)", name, got, want, err)
			}
		}
		if _, err := session.ExecContext(t.Context(), "SET statement_timeout = 0"); err != nil {
			t.Fatal(err)
		}
	}
}

// statementBefore finds the number of the statement that the lock stands before.
func (r *run) statementBefore(t *testing.T, l lock) int {
	t.Helper()
	position := slices.IndexFunc(r.withoutFault(t), l.isBefore)
	if position < 0 {
		t.Fatalf("no statement begins with %q", l.before)
	}
	return position + 1
}

// openWithin opens a pool of sessions with a limit of their own, no more than needed.
func (r *run) openWithin(t *testing.T, own string) {
	t.Helper()
	through := r.through
	if own != "" {
		r.through += "&" + own + "=" + ownLimit
	}
	r.open(r.throughProxy, plugin.WithResyncTimeout(budget))
	r.through = through
}

// insertBehind runs the insert, takes the lock right before the statement at a
// position, and returns the transaction that holds it; nil when the insert did not come
// so far, or holds the lock itself there. met tells whether the statement that needs the lock came then.
func (r *run) insertBehind(t *testing.T, l lock, position int) (migration *sql.Tx, met bool) {
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
				if _, err = tx.Exec("SET LOCAL lock_timeout = '1s'; " + l.take); err == nil {
					taken <- tx
					return
				}
				_ = tx.Rollback()
			}
			if pgerr.Is(err, pgerr.LockNotAvailable) {
				return
			}
			t.Errorf("%s: %v", l.take, err)
		}()
	})
	close(finished)
	if migration = <-taken; migration != nil {
		met = slices.ContainsFunc(r.proxy.Statements()[position-1:], l.isBefore) // on a busy machine it is not the very first
	}
	r.proxy.Release()
	r.proxy.Fail(proxy.Fault{}) // if it was not met, no later statement shall meet it
	return migration, met
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

package conn_test

import (
	"context"
	"testing"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/pgtest"
)

// one reads one value on the transaction.
func one[T any](t *testing.T, tx *gorm.DB, query string) (value T) {
	t.Helper()
	must(t, tx.Raw(query).Row().Scan(&value))
	return value
}

const users = `CREATE TABLE users (id bigserial PRIMARY KEY, name text)`

func TestUndoSurvivesAFailedStatement(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(users + `; INSERT INTO users (id) VALUES (1)`)
	inside(t, p.Open(nil), func(ctx context.Context, c *conn.Conn, tx *gorm.DB) {
		must(t, tx.Exec("INSERT INTO users (id, name) VALUES (100, 'before')").Error)
		must(t, c.Savepoint(ctx))
		if err := tx.Exec("INSERT INTO users DEFAULT VALUES").Error; !pgerr.Is(err, pgerr.UniqueViolation) {
			t.Fatalf("the insert did not collide: %v", err)
		}
		must(t, c.RollBack(ctx))
		must(t, tx.Exec("INSERT INTO users DEFAULT VALUES").Error)
		must(t, tx.Commit().Error)
	})
	if got := p.Text("SELECT id, name FROM users ORDER BY id"); got != "1|∅\n2|∅\n100|before" {
		t.Errorf("rows:\n%s", got)
	}
}

func TestUndoGivesBackWhatWasBorrowedAndKeepsTheSequence(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(users)
	inside(t, p.Open(nil), func(ctx context.Context, c *conn.Conn, tx *gorm.DB) {
		must(t, tx.Exec("SET LOCAL statement_timeout = '1234s'").Error)
		must(t, c.Savepoint(ctx))
		must(t, tx.Exec("SET LOCAL statement_timeout = 77; SET LOCAL lock_timeout = 78; LOCK TABLE users; "+
			"INSERT INTO users (name) VALUES ('undone'); SELECT pg_advisory_xact_lock(7, 8); SELECT setval('users_id_seq', 500)").Error)
		must(t, c.RollBack(ctx))
		if got := one[string](t, tx, "SELECT current_setting('statement_timeout') || ' ' || current_setting('lock_timeout')"); got != "1234s 0" {
			t.Errorf("limits are %s", got)
		}
		locks := one[int](t, tx, `SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()
			AND (locktype = 'advisory' OR relation = 'users'::regclass AND mode = 'AccessExclusiveLock')`)
		if locks != 0 {
			t.Errorf("%d locks are left", locks)
		}
		if rows := one[int](t, tx, "SELECT count(*) FROM users"); rows != 0 {
			t.Errorf("%d rows are left", rows)
		}
	})
	if next := p.Int("SELECT nextval('users_id_seq')"); next != 501 {
		t.Errorf("the sequence went back: next is %d", next)
	}
}

func TestRowsAfterTheGuardBelongToTheTransactionItself(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*conn.Conn, context.Context) error{"RollBack": (*conn.Conn).RollBack, "Release": (*conn.Conn).Release} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(users)
			inside(t, p.Open(nil), func(ctx context.Context, c *conn.Conn, tx *gorm.DB) {
				must(t, c.Savepoint(ctx))
				must(t, tx.Exec("INSERT INTO users (name) VALUES ('inside')").Error)
				must(t, end(c, ctx))
				must(t, tx.Exec("INSERT INTO users (name) VALUES ('after')").Error)
				if !one[bool](t, tx, "SELECT xmin::text::bigint = txid_current() % 4294967296 FROM users WHERE name = 'after'") {
					t.Error("the row after it has a subtransaction's id: the savepoint is still open")
				}
			})
		})
	}
}

func TestReleaseKeepsTheRows(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(users)
	inside(t, p.Open(nil), func(ctx context.Context, c *conn.Conn, tx *gorm.DB) {
		must(t, c.Savepoint(ctx))
		must(t, tx.Exec("INSERT INTO users (name) VALUES ('kept')").Error)
		must(t, c.Release(ctx))
		must(t, tx.Commit().Error)
	})
	if got := p.Text("SELECT name FROM users"); got != "kept" {
		t.Errorf("rows: %q", got)
	}
}

func TestTheGuardLeavesASavepointOfTheSameNameAlone(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(users)
	inside(t, p.Open(nil), func(ctx context.Context, c *conn.Conn, tx *gorm.DB) {
		must(t, tx.Exec("SAVEPOINT seqheal; INSERT INTO users (name) VALUES ('outer')").Error)
		must(t, c.Savepoint(ctx))
		must(t, c.RollBack(ctx))
		must(t, c.Savepoint(ctx))
		must(t, c.Release(ctx))
		if rows := one[int](t, tx, "SELECT count(*) FROM users"); rows != 1 {
			t.Errorf("%d rows after the guard, want the outer one", rows)
		}
		must(t, tx.Exec("ROLLBACK TO SAVEPOINT seqheal").Error)
		if rows := one[int](t, tx, "SELECT count(*) FROM users"); rows != 0 {
			t.Errorf("%d rows after the outer rollback", rows)
		}
	})
}

func TestAbortLeavesTheTransactionAborted(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(users)
	inside(t, p.Open(nil), func(ctx context.Context, c *conn.Conn, tx *gorm.DB) {
		must(t, tx.Exec("INSERT INTO users (name) VALUES ('lost')").Error)
		c.Abort(ctx)
		if err := tx.Exec("SELECT 1").Error; !pgerr.Is(err, pgerr.InFailedTransaction) {
			t.Errorf("a statement after Abort: %v, want 25P02", err)
		}
		c.Abort(ctx) // harmless when it is aborted already
		if err := tx.Commit().Error; err == nil {
			t.Error("the transaction could be committed")
		}
	})
	if rows := p.Int("SELECT count(*) FROM users"); rows != 0 {
		t.Errorf("%d rows were committed", rows)
	}
}

func TestSetOutsideATransactionIsRefused(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t).Open(nil)
	if err := conn.In(db, db.Statement.ConnPool).Savepoint(t.Context()); !pgerr.Is(err, pgerr.NoActiveTransaction) {
		t.Errorf("Set outside a transaction: %v, want 25P01", err)
	}
}

func TestSetInAnAbortedTransactionIsRefused(t *testing.T) {
	t.Parallel()
	inside(t, pgtest.New(t).Open(nil), func(ctx context.Context, c *conn.Conn, _ *gorm.DB) {
		c.Abort(ctx)
		if err := c.Savepoint(ctx); !pgerr.Is(err, pgerr.InFailedTransaction) {
			t.Errorf("Set: %v, want 25P02", err)
		}
	})
}

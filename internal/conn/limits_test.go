package conn_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/pgtest"
)

// limits reads statement_timeout and lock_timeout in milliseconds.
func limits(t *testing.T, c *conn.Conn) (statement, lock int64) {
	t.Helper()
	must(t, c.Row(t.Context(), `SELECT (SELECT setting::int8 FROM pg_settings WHERE name = 'statement_timeout'),
		(SELECT setting::int8 FROM pg_settings WHERE name = 'lock_timeout')`, nil, &statement, &lock))
	return statement, lock
}

func TestWithinSetsTheLimitsUntilTheSavepointIsUndone(t *testing.T) {
	t.Parallel()
	inside(t, pgtest.New(t).Open(nil), func(ctx context.Context, c *conn.Conn, tx *gorm.DB) {
		must(t, tx.Exec("SET LOCAL statement_timeout = '1h'").Error)
		must(t, c.Savepoint(ctx))
		release := c.Within(time.Now().Add(10*time.Second), time.Hour, 0)
		if statement, lock := limits(t, c); statement < 8000 || statement > 10_000 || lock != statement {
			t.Errorf("limits are %d and %d ms, want what is left of 10 s", statement, lock)
		}
		release()
		must(t, c.RollBack(ctx))
		if statement, lock := limits(t, c); statement != 3_600_000 || lock != 0 {
			t.Errorf("limits are %d and %d ms after Undo, want the session's own", statement, lock)
		}
	})
}

func TestWithinLetsTheSessionsShorterLimitsWin(t *testing.T) {
	t.Parallel()
	inside(t, pgtest.New(t).Open(nil), func(ctx context.Context, c *conn.Conn, tx *gorm.DB) {
		must(t, tx.Exec("SET LOCAL statement_timeout = '900ms'; SET LOCAL lock_timeout = '70ms'").Error)
		session, err := conn.ReadSession(ctx, c)
		must(t, err)
		defer c.Within(time.Now().Add(time.Minute), session.StatementTimeout, session.LockTimeout)()
		if statement, lock := limits(t, c); statement != 900 || lock != 70 {
			t.Errorf("limits are %d and %d ms, want 900 and 70", statement, lock)
		}
	})
}

func TestWithinStopsAStatementAndTheTransactionGoesOn(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec("CREATE TABLE held (n int)")
	holder, err := p.SQL.Begin()
	must(t, err)
	defer func() { _ = holder.Rollback() }()
	_, err = holder.Exec("LOCK TABLE held")
	must(t, err)
	for _, test := range []struct {
		name, query string
		lock        time.Duration
		code        string
	}{
		{"a slow statement", "SELECT pg_sleep(60)::text", 0, pgerr.QueryCanceled},
		{"a lock that nobody gives back", "SELECT count(*)::text FROM held", 20 * time.Millisecond, pgerr.LockNotAvailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			inside(t, p.Open(nil), func(ctx context.Context, c *conn.Conn, tx *gorm.DB) {
				must(t, c.Savepoint(ctx))
				release := c.Within(time.Now().Add(300*time.Millisecond), 0, test.lock)
				if err := c.Row(ctx, test.query, nil, new(string)); !pgerr.Is(err, test.code) {
					t.Errorf("the query ended with %v, want SQLSTATE %s", err, test.code)
				}
				release()
				must(t, c.RollBack(ctx))
				if n := number(t, c, "SELECT 7"); n != 7 {
					t.Errorf("the next query answered %d", n)
				}
			})
		})
	}
}

func TestNothingButUndoIsSentWhenTheTimeIsSpent(t *testing.T) {
	t.Parallel()
	inside(t, pgtest.New(t).Open(nil), func(ctx context.Context, c *conn.Conn, _ *gorm.DB) {
		must(t, c.Savepoint(ctx))
		release := c.Within(time.Now().Add(-time.Nanosecond), 0, 0)
		if err := c.Exec(ctx, "no SQL at all"); !errors.Is(err, conn.ErrTimeSpent) {
			t.Errorf("Exec = %v, want ErrTimeSpent", err)
		}
		if err := c.Row(ctx, "no SQL at all", nil); !errors.Is(err, conn.ErrTimeSpent) {
			t.Errorf("Row = %v, want ErrTimeSpent", err)
		}
		if err := c.RollBack(ctx); err != nil {
			t.Errorf("Undo = %v", err)
		}
		release()
		if n := number(t, c, "SELECT 7"); n != 7 {
			t.Errorf("the next query answered %d", n)
		}
	})
}

// counting counts the statements without parameters that a transaction sends.
type counting struct {
	*sql.Tx
	execs int
}

func (c *counting) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	c.execs++
	return c.Tx.ExecContext(ctx, query, args...)
}

func TestAQuickHealSendsItsLimitsOnce(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	tx, err := p.SQL.Begin()
	must(t, err)
	defer func() { _ = tx.Rollback() }()
	pool := &counting{Tx: tx}
	c := conn.In(p.Open(nil), pool)
	release := c.Within(time.Now().Add(time.Hour), 0, 0)
	for range 5 {
		number(t, c, "SELECT 1")
	}
	if pool.execs != 1 {
		t.Errorf("the limits were sent %d times", pool.execs)
	}
	release()
	number(t, c, "SELECT 1")
	if pool.execs != 1 {
		t.Error("limits were sent after they had been released")
	}
}

func TestReadSessionTellsTheStateOfTheConnection(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	role, self := p.Role(), p.Text("SELECT current_user")
	for _, test := range []struct {
		name, settings string
		want           conn.Session
	}{
		{"defaults", ``, conn.Session{Isolation: conn.ReadCommitted}},
		{"repeatable read", `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ`, conn.Session{Isolation: conn.RepeatableRead}},
		{"serializable", `SET TRANSACTION ISOLATION LEVEL SERIALIZABLE`, conn.Session{Isolation: conn.Serializable}},
		{"read-only", `SET TRANSACTION READ ONLY`, conn.Session{Isolation: conn.ReadCommitted, ReadOnly: true}},
		{"limits", `SET LOCAL statement_timeout = '90min'; SET LOCAL lock_timeout = '1500ms'`,
			conn.Session{Isolation: conn.ReadCommitted, StatementTimeout: 90 * time.Minute, LockTimeout: 1500 * time.Millisecond}},
		{"limits in another style", `SET LOCAL intervalstyle = sql_standard; SET LOCAL statement_timeout = '36h'; SET LOCAL lock_timeout = '1ms'`,
			conn.Session{Isolation: conn.ReadCommitted, StatementTimeout: 36 * time.Hour, LockTimeout: time.Millisecond}},
		{"role", `SET LOCAL ROLE ` + role, conn.Session{Isolation: conn.ReadCommitted, Role: role}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			inside(t, p.Open(nil), func(ctx context.Context, c *conn.Conn, _ *gorm.DB) {
				if test.settings != "" {
					must(t, c.Exec(ctx, test.settings))
				}
				got, err := conn.ReadSession(ctx, c)
				must(t, err)
				if got.Database == "" || got.Server == "" {
					t.Error("the database has no name")
				}
				test.want.Database, test.want.Server, test.want.SearchPath = got.Database, got.Server, p.Schema+"/0"
				if test.want.Role == "" {
					test.want.Role = self
				}
				if got != test.want {
					t.Errorf("\n got %+v\nwant %+v", got, test.want)
				}
			})
		})
	}
}

func TestLockWithinOutlivesARenewalOfTheLimits(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name      string
		own, lock time.Duration
		want      int64
	}{
		{"shorter than the session's", time.Second, 50 * time.Millisecond, 50},
		{"the session has none", 0, 50 * time.Millisecond, 50},
		{"the session's is shorter", 20 * time.Millisecond, 50 * time.Millisecond, 20},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			inside(t, pgtest.New(t).Open(nil), func(_ context.Context, c *conn.Conn, _ *gorm.DB) {
				defer c.Within(time.Now().Add(time.Minute), 0, test.own)()
				release := c.LockWithin(test.lock)
				if _, lock := limits(t, c); lock != test.want {
					t.Errorf("lock_timeout is renewed as %d ms, want %d", lock, test.want)
				}
				release()
			})
		})
	}
}

func TestLockWithinWithoutLimitsSendsNone(t *testing.T) {
	t.Parallel()
	inside(t, pgtest.New(t).Open(nil), func(_ context.Context, c *conn.Conn, _ *gorm.DB) {
		defer c.LockWithin(time.Second)()
		if statement, lock := limits(t, c); statement != 0 || lock != 0 {
			t.Errorf("limits are %d and %d ms", statement, lock)
		}
	})
}

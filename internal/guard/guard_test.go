package guard_test

import (
	"context"
	"testing"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/guard"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/pgtest"
)

// inside runs fn in a transaction of a fresh pool and rolls it back.
func inside(t *testing.T, p *pgtest.Place, fn func(context.Context, *conn.Conn, *gorm.DB)) {
	t.Helper()
	tx := p.Open(nil).Begin()
	if tx.Error != nil {
		t.Fatal(tx.Error)
	}
	defer tx.Rollback()
	fn(t.Context(), conn.In(tx, tx.Statement.ConnPool), tx)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

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
	inside(t, p, func(ctx context.Context, c *conn.Conn, tx *gorm.DB) {
		must(t, tx.Exec("INSERT INTO users (id, name) VALUES (100, 'before')").Error)
		must(t, guard.Set(ctx, c))
		if err := tx.Exec("INSERT INTO users DEFAULT VALUES").Error; !pgerr.Is(err, pgerr.UniqueViolation) {
			t.Fatalf("the insert did not collide: %v", err)
		}
		must(t, guard.Undo(ctx, c))
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
	inside(t, p, func(ctx context.Context, c *conn.Conn, tx *gorm.DB) {
		must(t, tx.Exec("SET LOCAL statement_timeout = '1234s'").Error)
		must(t, guard.Set(ctx, c))
		must(t, tx.Exec("SET LOCAL statement_timeout = 77; SET LOCAL lock_timeout = 78; LOCK TABLE users; "+
			"INSERT INTO users (name) VALUES ('undone'); SELECT pg_advisory_xact_lock(7, 8); SELECT setval('users_id_seq', 500)").Error)
		must(t, guard.Undo(ctx, c))
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
	for name, end := range map[string]func(context.Context, *conn.Conn) error{"Undo": guard.Undo, "Release": guard.Release} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(users)
			inside(t, p, func(ctx context.Context, c *conn.Conn, tx *gorm.DB) {
				must(t, guard.Set(ctx, c))
				must(t, tx.Exec("INSERT INTO users (name) VALUES ('inside')").Error)
				must(t, end(ctx, c))
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
	inside(t, p, func(ctx context.Context, c *conn.Conn, tx *gorm.DB) {
		must(t, guard.Set(ctx, c))
		must(t, tx.Exec("INSERT INTO users (name) VALUES ('kept')").Error)
		must(t, guard.Release(ctx, c))
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
	inside(t, p, func(ctx context.Context, c *conn.Conn, tx *gorm.DB) {
		must(t, tx.Exec("SAVEPOINT seqheal; INSERT INTO users (name) VALUES ('outer')").Error)
		must(t, guard.Set(ctx, c))
		must(t, guard.Undo(ctx, c))
		must(t, guard.Set(ctx, c))
		must(t, guard.Release(ctx, c))
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
	inside(t, p, func(ctx context.Context, c *conn.Conn, tx *gorm.DB) {
		must(t, tx.Exec("INSERT INTO users (name) VALUES ('lost')").Error)
		guard.Abort(ctx, c)
		if err := tx.Exec("SELECT 1").Error; !pgerr.Is(err, pgerr.InFailedTransaction) {
			t.Errorf("a statement after Abort: %v, want 25P02", err)
		}
		guard.Abort(ctx, c) // harmless when it is aborted already
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
	if err := guard.Set(t.Context(), conn.In(db, db.Statement.ConnPool)); !pgerr.Is(err, pgerr.NoActiveTransaction) {
		t.Errorf("Set outside a transaction: %v, want 25P01", err)
	}
}

func TestSetInAnAbortedTransactionIsRefused(t *testing.T) {
	t.Parallel()
	inside(t, pgtest.New(t), func(ctx context.Context, c *conn.Conn, _ *gorm.DB) {
		guard.Abort(ctx, c)
		if err := guard.Set(ctx, c); !pgerr.Is(err, pgerr.InFailedTransaction) {
			t.Errorf("Set: %v, want 25P02", err)
		}
	})
}

func TestConflictClauseGoesBetweenValuesAndTheRest(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, before, after string
		key                 []string
		want                string
	}{
		{"one column", `INSERT INTO "t" ("n") VALUES ($1)`, ` RETURNING "id"`, []string{`"id"`},
			`INSERT INTO "t" ("n") VALUES ($1) ON CONFLICT ("id") DO NOTHING RETURNING "id"`},
		{"two columns", `INSERT INTO "t" ("n") VALUES ($1)`, ``, []string{`"tenant"`, `"The Id"`},
			`INSERT INTO "t" ("n") VALUES ($1) ON CONFLICT ("tenant","The Id") DO NOTHING`},
		{"DEFAULT VALUES", `INSERT INTO "t" DEFAULT VALUES`, ` RETURNING *`, []string{`"id"`},
			`INSERT INTO "t" DEFAULT VALUES ON CONFLICT ("id") DO NOTHING RETURNING *`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := test.before + guard.ConflictClause(test.key) + test.after; got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}

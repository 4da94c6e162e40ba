package conn_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/pgtest"
)

// sent writes down what a pool sends. It is a pgx.QueryTracer.
type sent struct {
	mu         sync.Mutex
	statements []string
}

func (s *sent) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.statements = append(s.statements, data.SQL)
	return ctx
}

func (s *sent) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// A statement_timeout must not bind the ROLLBACK: what ends in there stops the statement
// that comes next on the connection.
func TestAsideUndoesItsSettingsBeforeTheTransaction(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	config, err := pgx.ParseConfig(p.DSN)
	must(t, err)
	var log sent
	config.Tracer = &log
	pool := stdlib.OpenDB(*config)
	t.Cleanup(func() { _ = pool.Close() })
	var statement, lock int64
	must(t, conn.Aside(t.Context(), pool, "SET LOCAL lock_timeout = 70; SET LOCAL statement_timeout = 700", func(c *conn.Conn) error {
		statement, lock = limits(t, c)
		return nil
	}))
	if statement != 700 || lock != 70 {
		t.Errorf("limits are %d and %d ms, want 700 and 70", statement, lock)
	}
	want := []string{"ROLLBACK TO SAVEPOINT seqheal; RELEASE SAVEPOINT seqheal", "rollback"}
	if end := log.statements[max(0, len(log.statements)-2):]; !slices.Equal(end, want) {
		t.Errorf("the last statements are %q, want %q", end, want)
	}
}

// A statement that was not sent, because the context or the time budget has ended, leaves
// nothing to undo: a rollback to its savepoint would abort the caller's transaction.
func TestUndoAfterAStatementThatWasNotSent(t *testing.T) {
	t.Parallel()
	const set, undo = "SAVEPOINT mine; SELECT 1/0", "ROLLBACK TO SAVEPOINT mine; RELEASE SAVEPOINT mine"
	db := pgtest.New(t).Open(nil)
	inside(t, db, func(ctx context.Context, c *conn.Conn, tx *gorm.DB) {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		failure := c.Exec(ended, set)
		if err := c.UndoAfter(ctx, failure, undo); !errors.Is(err, context.Canceled) {
			t.Errorf("after a context that had ended: %v", err)
		}
		release := c.Within(time.Now().Add(-time.Second), 0, 0)
		failure = c.Exec(ctx, set)
		if err := c.UndoAfter(ctx, failure, undo); !errors.Is(err, conn.ErrTimeSpent) {
			t.Errorf("after the time was spent: %v", err)
		}
		release()
		if got := one[int](t, tx, "SELECT 1"); got != 1 {
			t.Errorf("the transaction answers %d", got)
		}
		failure = c.Exec(ctx, set)
		if !pgerr.Is(failure, "22012") {
			t.Fatalf("want a division by zero, got %v", failure)
		}
		must(t, c.UndoAfter(ctx, failure, undo))
		if got := one[int](t, tx, "SELECT 2"); got != 2 {
			t.Errorf("the transaction answers %d", got)
		}
	})
}

package conn

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// secondWait is how long a second connection is waited for, and then its BEGIN. The
// caller holds a connection already: with SetMaxOpenConns(1) there is never another,
// and a pooler without a free server connection answers no BEGIN.
const secondWait = 250 * time.Millisecond

// ErrNoSecond reports that no second connection was free in time.
var ErrNoSecond = errors.New("no second connection was free within 250 ms")

// Exhausted reports whether the pool has no connection to give at once.
func Exhausted(pool *sql.DB) bool {
	stats := pool.Stats()
	return stats.MaxOpenConnections > 0 && stats.InUse >= stats.MaxOpenConnections
}

// Budget limits what is sent on a second connection: all of it until a time, and
// each wait for a lock. A lock limit of zero is the session's own.
type Budget struct {
	Until time.Time
	Lock  time.Duration
}

// OnSecond runs fn on another connection of the pool, in a READ COMMITTED transaction
// that is rolled back; what fn moved in a sequence stays. It returns [ErrNoSecond]
// when no connection is free within 250 ms.
func OnSecond(ctx context.Context, pool *sql.DB, budget Budget, fn func(context.Context, *Conn, Session) error) error {
	return onAnother(ctx, pool, ReadCommittedTx, func(ctx context.Context, c *Conn) error {
		session, err := ReadSession(ctx, c)
		if err != nil {
			return err
		}
		lock := session.LockTimeout
		if budget.Lock > 0 {
			lock = budget.Lock
		}
		defer c.Within(budget.Until, session.StatementTimeout, lock)()
		return fn(ctx, c, session)
	})
}

// Aside runs fn on another connection of the pool with settings, SET LOCALs, in a READ
// COMMITTED transaction that only reads and is rolled back. It returns [ErrNoSecond] when
// no connection is free at once. The settings are undone before the transaction is: a
// statement_timeout that ends in the last microseconds of a ROLLBACK stops the next
// statement on the connection, which is another caller's (10 times in 877,095 with 1 ms on
// a busy machine, measured).
func Aside(ctx context.Context, pool *sql.DB, settings string, fn func(*Conn) error) error {
	if Exhausted(pool) {
		return ErrNoSecond
	}
	readOnly := &sql.TxOptions{Isolation: sql.LevelReadCommitted, ReadOnly: true}
	return onAnother(ctx, pool, readOnly, func(ctx context.Context, c *Conn) error {
		return c.InLimitedSavepoint(ctx, settings, fn)
	})
}

// onAnother runs fn in a transaction on another connection of the pool, and rolls it back.
func onAnother(ctx context.Context, pool *sql.DB, options *sql.TxOptions, fn func(context.Context, *Conn) error) error {
	patient, stop := context.WithCancel(ctx)
	defer stop()
	waiting := time.AfterFunc(secondWait, stop) // a deadline would end the transaction too
	failed := func(err error) error {
		if patient.Err() != nil && ctx.Err() == nil {
			return ErrNoSecond
		}
		return err
	}
	second, err := pool.Conn(patient)
	if err != nil {
		return failed(err)
	}
	defer func() { _ = second.Close() }()
	waiting.Reset(secondWait)
	tx, err := second.BeginTx(patient, options)
	if err != nil {
		return failed(err)
	}
	defer func() { _ = tx.Rollback() }()
	if !waiting.Stop() {
		return ErrNoSecond
	}
	return fn(patient, InTransaction(pool, tx))
}

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

// Exhausted reports whether the pool has no connection to give at once. No pool has none.
func Exhausted(pool *sql.DB) bool {
	if pool == nil {
		return true
	}
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
	second, err := BeginSecond(ctx, pool, options)
	if err != nil {
		return err
	}
	defer second.End()
	return fn(second.Context, InTransaction(pool, second.Tx))
}

// Second is a transaction on another connection of a pool.
type Second struct {
	Conn *sql.Conn
	Tx   *sql.Tx
	// Context is that of the transaction, which ends with it.
	Context context.Context
	// Cancel ends the transaction from outside, as a time limit does.
	Cancel context.CancelFunc
}

// BeginSecond begins a transaction on another connection of the pool. It waits 250 ms for the
// connection and then for the answer to BEGIN, and returns [ErrNoSecond] when one of them does
// not come. Of a pool of one connection, which the caller holds, it asks for none.
func BeginSecond(ctx context.Context, pool *sql.DB, options *sql.TxOptions) (*Second, error) {
	if pool == nil || Exhausted(pool) && pool.Stats().MaxOpenConnections == 1 {
		return nil, ErrNoSecond
	}
	patient, stop := context.WithCancel(ctx)
	waiting := time.AfterFunc(secondWait, stop) // a deadline would end the transaction too
	defer waiting.Stop()
	failed := func(err error) (*Second, error) {
		late := patient.Err() != nil && ctx.Err() == nil
		stop()
		if late {
			err = ErrNoSecond
		}
		return nil, err
	}
	second, err := pool.Conn(patient)
	if err != nil {
		return failed(err)
	}
	waiting.Reset(secondWait)
	tx, err := beginOn(patient, second, options)
	if err != nil {
		return failed(err)
	}
	s := &Second{Conn: second, Tx: tx, Context: patient, Cancel: stop}
	if !waiting.Stop() {
		s.End()
		return nil, ErrNoSecond
	}
	return s, nil
}

// End rolls the transaction back and gives the connection back.
func (s *Second) End() {
	_ = s.Tx.Rollback()
	_ = s.Conn.Close()
	s.Cancel()
}

// beginOn begins a transaction, and gives the connection back where it fails. lib/pq's BEGIN
// waits for its answer although the context has ended, and PgBouncer answers none until a server
// connection is free, which may be the caller's (measured: 120 s): it is left to itself then,
// and the connection is given back when it ends.
func beginOn(ctx context.Context, second *sql.Conn, options *sql.TxOptions) (*sql.Tx, error) {
	type begun struct {
		tx  *sql.Tx
		err error
	}
	done := make(chan begun, 1)
	go func() {
		tx, err := second.BeginTx(ctx, options)
		done <- begun{tx, err}
	}()
	answered := func(b begun) (*sql.Tx, error) {
		if b.err != nil {
			_ = second.Close()
		}
		return b.tx, b.err
	}
	select {
	case b := <-done:
		return answered(b)
	case <-ctx.Done():
	}
	select {
	case b := <-done: // every other driver ends at once
		return answered(b)
	case <-time.After(endWait):
	}
	go func() {
		if b := <-done; b.err == nil {
			_ = b.tx.Rollback()
		}
		_ = second.Close()
	}()
	return nil, ctx.Err()
}

// endWait is how long a BEGIN may take to notice that its context has ended.
const endWait = 100 * time.Millisecond

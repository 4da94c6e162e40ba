package plugin

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/guard"
	"github.com/seqheal/seqheal/internal/pgerr"
)

// transaction is a short one of the plugin's own.
type transaction struct {
	pool      gorm.ConnPool // what the INSERT is sent on
	committer gorm.TxCommitter
	conn      *conn.Conn
}

// beginOwn begins a transaction at the role's default isolation level on the
// pool that the statement uses; through GORM's prepared statements where the
// statement goes through them.
func beginOwn(s *statement) (*transaction, error) {
	return beginOn(s.db, s.db.Statement.Context, nil)
}

func beginOn(db *gorm.DB, ctx context.Context, options *sql.TxOptions) (*transaction, error) {
	var pool gorm.ConnPool
	var err error
	switch beginner := db.Statement.ConnPool.(type) {
	case gorm.TxBeginner:
		pool, err = beginner.BeginTx(ctx, options)
	case gorm.ConnPoolBeginner:
		pool, err = beginner.BeginTx(ctx, options)
	default:
		return nil, gorm.ErrInvalidTransaction
	}
	if err != nil {
		return nil, err
	}
	committer, ok := pool.(gorm.TxCommitter)
	if !ok {
		return nil, gorm.ErrInvalidTransaction
	}
	return &transaction{pool: pool, committer: committer, conn: conn.In(db, pool)}, nil
}

// run sends the statement in the transaction and commits, or rolls back when it
// fails. The result is the statement's.
func (t *transaction) run(s *statement) error {
	t.around(s, func() { s.run() })
	return s.db.Error
}

// around lets fn send the statement in the transaction, and ends it as the
// statement ended: a commit, a rollback after an error or a panic.
func (t *transaction) around(s *statement, fn func()) {
	stmt := s.db.Statement
	outer, outerConn := stmt.ConnPool, s.connection
	stmt.ConnPool, s.connection = t.pool, t.conn
	ended := false
	defer func() {
		stmt.ConnPool, s.connection = outer, outerConn
		if !ended {
			t.rollback()
		}
	}()
	fn()
	if s.db.Error != nil {
		return
	}
	ended = true
	if err := t.committer.Commit(); err != nil {
		s.fail(err)
	}
}

func (t *transaction) rollback() { _ = t.committer.Rollback() }

// outsideForSure asks the server whether a connection that the caller borrowed
// with db.Connection, or wrapped, is outside a transaction: it may be inside a
// manual BEGIN, and beginning and committing there would commit the caller's work.
// A *sql.DB hands out idle connections only. The question is a SAVEPOINT, which
// fails outside a transaction (25P01) and is taken back inside one.
func outsideForSure(ctx context.Context, db *gorm.DB) bool {
	pool := db.Statement.ConnPool
	for {
		prepared, ok := pool.(*gorm.PreparedStmtDB)
		if !ok {
			break
		}
		pool = prepared.ConnPool
	}
	if _, ok := pool.(*sql.DB); ok {
		return true
	}
	c := conn.In(db, pool)
	err := guard.Set(ctx, c)
	if err == nil {
		_ = guard.Release(ctx, c)
	}
	return pgerr.Is(err, pgerr.NoActiveTransaction)
}

// secondWait is how long a second connection is waited for, and its BEGIN then. The
// caller holds one already: with SetMaxOpenConns(1) there is never another, and a
// pooler whose server connections are all held, the caller's among them, answers no
// BEGIN until one is given back.
const secondWait = 250 * time.Millisecond

// exhausted reports whether another connection would have to be waited for.
func exhausted(pool *sql.DB) bool {
	stats := pool.Stats()
	return stats.MaxOpenConnections > 0 && stats.InUse >= stats.MaxOpenConnections
}

var errNoSecond = errors.New("no second connection was free within 250 ms")

// onSecond runs fn in a READ COMMITTED transaction on another connection of the
// pool, and rolls it back: what fn moved in a sequence stays.
func onSecond(ctx context.Context, pool *sql.DB, fn func(context.Context, *conn.Conn) error) error {
	patient, stop := context.WithCancel(ctx)
	defer stop()
	waiting := time.AfterFunc(secondWait, stop) // a deadline would end the transaction too
	failed := func(err error) error {
		if patient.Err() != nil && ctx.Err() == nil {
			return errNoSecond
		}
		return err
	}
	second, err := pool.Conn(patient)
	if err != nil {
		return failed(err)
	}
	defer func() { _ = second.Close() }()
	waiting.Reset(secondWait)
	tx, err := second.BeginTx(patient, readCommitted)
	if err != nil {
		return failed(err)
	}
	defer func() { _ = tx.Rollback() }()
	if !waiting.Stop() {
		return errNoSecond
	}
	return fn(patient, conn.InTransaction(pool, tx))
}

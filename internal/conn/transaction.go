package conn

import (
	"context"
	"database/sql"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgerr"
)

// ReadCommittedTx are the options of a transaction that sees what is committed now.
var ReadCommittedTx = &sql.TxOptions{Isolation: sql.LevelReadCommitted}

// Transaction is a short transaction of the plugin's own.
type Transaction struct {
	// Pool is what an INSERT is sent on, Conn what the plugin's own statements are
	// sent on. Both are the same connection.
	Pool      gorm.ConnPool
	Conn      *Conn
	committer gorm.TxCommitter
}

// Begin begins a transaction on the pool that the statement uses, through GORM's
// prepared statements where the statement goes through them. Without options it has
// the role's default isolation level. It returns [gorm.ErrInvalidTransaction] where
// the pool cannot begin one.
func Begin(ctx context.Context, db *gorm.DB, options *sql.TxOptions) (*Transaction, error) {
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
	return &Transaction{Pool: pool, Conn: In(db, pool), committer: committer}, nil
}

// Commit commits.
func (t *Transaction) Commit() error { return t.committer.Commit() }

// Rollback rolls back; after [Transaction.Commit] it does nothing.
func (t *Transaction) Rollback() { _ = t.committer.Rollback() }

// Inside reports whether the statement's connection is in a transaction as GORM
// knows it: GORM's own or the caller's.
func Inside(db *gorm.DB) bool {
	_, inside := db.Statement.ConnPool.(gorm.TxCommitter)
	return inside
}

// Certain reports whether [Inside] can be believed: database/sql's own transactions are
// what they look like, while a pool of another type may have a transaction's methods
// outside one.
func Certain(db *gorm.DB) bool {
	beneath, _ := beneathPrepared(db.Statement.ConnPool)
	switch beneath.(type) {
	case *sql.Tx, *sql.DB:
		return true
	}
	return false
}

// Outside reports whether a statement that is not [Inside] a transaction is really
// outside one, so that the plugin may begin its own. A connection that the caller
// borrowed with db.Connection, or wrapped, may be inside a manual BEGIN: a
// transaction of the plugin's own would commit the caller's work there. A *sql.DB
// hands out idle connections only and is not asked. Any other pool is asked with a
// SAVEPOINT, which fails outside a transaction (25P01) and is released inside one.
func Outside(ctx context.Context, db *gorm.DB) bool {
	pool, _ := beneathPrepared(db.Statement.ConnPool)
	if _, ok := pool.(*sql.DB); ok {
		return true
	}
	c := In(db, pool)
	err := c.Savepoint(ctx)
	if err == nil {
		_ = c.Release(ctx)
	}
	return pgerr.Is(err, pgerr.NoActiveTransaction)
}

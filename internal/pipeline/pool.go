package pipeline

import (
	"context"
	"database/sql"
	"fmt"

	"gorm.io/gorm"
)

// connPool is a gorm.ConnPool with a QueryContext and an ExecContext of its own. Everything else
// goes to the wrapped pool.
type connPool struct {
	gorm.ConnPool
	query   func(ctx context.Context, query string, args []any) (*sql.Rows, error)
	execute func(ctx context.Context, query string, args []any) (sql.Result, error)
}

func (p *connPool) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return p.query(ctx, query, args)
}

func (p *connPool) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return p.execute(ctx, query, args)
}

// GetDBConn implements gorm.GetDBConnector.
func (p *connPool) GetDBConn() (*sql.DB, error) {
	db := gorm.DB{Config: &gorm.Config{ConnPool: p.ConnPool}}
	return db.DB()
}

// txPool is a connPool in a transaction: GORM finds out by its methods.
type txPool struct {
	connPool
	tx gorm.Tx
}

func (p *txPool) Commit() error   { return p.tx.Commit() }
func (p *txPool) Rollback() error { return p.tx.Rollback() }

func (p *txPool) StmtContext(ctx context.Context, stmt *sql.Stmt) *sql.Stmt {
	return p.tx.StmtContext(ctx, stmt)
}

// ConnPool stands in for Statement.ConnPool while GORM's create callback runs. Its
// first QueryContext or ExecContext is the INSERT and fills the Outcome; a second one
// gets [ErrNotSent]. It implements gorm.Tx where the wrapped pool does.
func (s *Sending) ConnPool() gorm.ConnPool { return standIn(s.pool, s.query, s.execute) }

// standIn is a pool that answers queries with these, and is a gorm.Tx where the wrapped pool is one.
func standIn(wrapped gorm.ConnPool, query func(context.Context, string, []any) (*sql.Rows, error),
	execute func(context.Context, string, []any) (sql.Result, error)) gorm.ConnPool {
	pool := connPool{wrapped, query, execute}
	if tx, ok := wrapped.(gorm.Tx); ok {
		return &txPool{connPool: pool, tx: tx}
	}
	return &pool
}

// execer is what a rewriter is handed to.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// Usable returns the reason why nothing can be pipelined through a connection pool
// whatever its driver, such as a type of the application's own that would see other
// statements than the INSERT.
func Usable(pool gorm.ConnPool) Reason {
	_, _, reason := unwrap(pool)
	return reason
}

// unwrap finds database/sql's pool, connection or transaction beneath GORM's prepared
// statements. prepared reports whether there were any.
func unwrap(pool gorm.ConnPool) (target execer, prepared bool, reason Reason) {
	for {
		switch p := pool.(type) {
		case *gorm.PreparedStmtTX:
			pool, prepared = p.Tx, true
		case *gorm.PreparedStmtDB:
			pool, prepared = p.ConnPool, true
		case *sql.Tx:
			return p, prepared, Reason{}
		case *sql.Conn:
			return p, prepared, Reason{}
		case *sql.DB:
			return p, prepared, Reason{}
		default:
			return nil, prepared, Reason{CauseConnPool, fmt.Sprintf("%T", pool)}
		}
	}
}

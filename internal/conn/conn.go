// Package conn sends the plugin's own statements on a connection of the
// application, so that nothing of them stays behind: not in GORM's
// prepared-statement cache, not in the driver's, not in the session's settings.
package conn

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgerr"
)

// Pool is the part of gorm.ConnPool that the plugin uses.
type Pool interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Conn is one connection inside a transaction: the caller's, GORM's or one that
// the plugin began. It is not safe for concurrent use, as a transaction is not.
type Conn struct {
	pool   Pool
	from   *sql.DB // whose driver it is, nil when unknown
	limits *limits
	// prepares is true where GORM prepares the application's statements.
	prepares bool
}

// In returns the connection of a transaction, or a pool for a single query,
// beneath GORM's prepared statements. db is asked for the driver alone.
func In(db *gorm.DB, pool gorm.ConnPool) *Conn {
	c := &Conn{from: PoolOf(db)}
	c.pool, c.prepares = beneathPrepared(pool)
	return c
}

// beneathPrepared is the pool beneath GORM's prepared statements, if there are any: a session
// that prepares can wrap another one.
func beneathPrepared(pool gorm.ConnPool) (beneath gorm.ConnPool, prepares bool) {
	for {
		switch prepared := pool.(type) {
		case *gorm.PreparedStmtTX:
			pool, prepares = prepared.Tx, true
		case *gorm.PreparedStmtDB:
			pool, prepares = prepared.ConnPool, true
		default:
			return pool, prepares
		}
	}
}

// InTransaction returns the connection of a transaction of the plugin's own.
func InTransaction(from *sql.DB, tx *sql.Tx) *Conn { return &Conn{pool: tx, from: from} }

// PoolOf returns the connection pool behind a statement, also behind its
// transaction: with dbresolver one *gorm.DB has several. For a connection that the
// caller borrowed it is the pool of the *gorm.DB; nil where there is none.
func PoolOf(db *gorm.DB) *sql.DB {
	if pool, err := db.DB(); err == nil {
		return pool
	}
	base := gorm.DB{Config: &gorm.Config{ConnPool: db.ConnPool}}
	pool, _ := base.DB()
	return pool
}

// uncached reports whether the driver is pgx v5, which sends a query with its
// parameters in one round trip and prepares nothing when it is told so in front of
// them. Other drivers do not know such options.
func (c *Conn) uncached() bool {
	if c.from == nil {
		return false
	}
	_, ok := c.from.Driver().(*stdlib.Driver)
	return ok
}

// OnPrimary stands in front of each question, so that it is answered where the INSERT goes:
// Pgpool-II sends other SELECTs to a standby, which may be behind, also in a transaction
// (its documentation, 5.8; measured). Others take it for a comment.
const OnPrimary = "/*NO LOAD BALANCE*/ "

// Exec sends statements without parameters and without a result, several in one
// round trip when separated by semicolons.
func (c *Conn) Exec(ctx context.Context, statements string) error {
	if err := c.limits.check(); err != nil {
		return err
	}
	_, err := c.pool.ExecContext(ctx, statements)
	return err
}

// undoTimeout bounds what is sent after the caller's context has ended.
const undoTimeout = 5 * time.Second

// Undo sends statements that must run even when the time is used up or the
// caller's context has ended, such as the ROLLBACK TO that gives back what was
// borrowed: the caller's transaction may outlive one insert's context.
func (c *Conn) Undo(ctx context.Context, statements string) error {
	if ctx.Err() == nil { // the usual case, without a timer of its own
		if _, err := c.pool.ExecContext(ctx, statements); err == nil || ctx.Err() == nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	_, err := c.pool.ExecContext(ctx, statements)
	return err
}

// UndoAfter is Undo after a failure of statements of which the first are to be undone, such
// as a savepoint. Where the server has not answered there is nothing to undo, and the
// failure is returned: statements were not sent once the context or the time budget had
// ended, and a context that ends meanwhile takes the connection with it.
func (c *Conn) UndoAfter(ctx context.Context, failure error, statements string) error {
	if _, answered := pgerr.From(failure); !answered {
		return failure
	}
	return c.Undo(ctx, statements)
}

// ErrTimeSpent tells that the time budget was used up before a statement was
// sent. The connection is as it was.
var ErrTimeSpent = errors.New("time budget spent")

// Query sends one query and hands each row to scan. The rows are read to the
// end before it returns.
func (c *Conn) Query(ctx context.Context, query string, args []any, scan func(*sql.Rows) error) error {
	return c.query(ctx, ownMode, query, args, scan)
}

func (c *Conn) query(ctx context.Context, mode pgx.QueryExecMode, query string, args []any, scan func(*sql.Rows) error) error {
	if err := c.limits.apply(ctx, c); err != nil {
		return err
	}
	if !c.uncached() {
		return c.ask(ctx, query, args, scan)
	}
	with := &options{mode: mode}
	err := c.ask(ctx, query, slices.Concat([]any{with, mode}, args), scan)
	switch {
	case errors.Is(err, errNotInText):
		err = c.ask(ctx, query, slices.Concat([]any{pgx.QueryExecModeExec}, args), scan)
	case err != nil && !with.arrived:
		err = c.ask(ctx, query, args, scan)
	}
	return err
}

// ask sends a query with these arguments, pgx's options among them.
func (c *Conn) ask(ctx context.Context, query string, args []any, scan func(*sql.Rows) error) (err error) {
	rows, err := c.pool.QueryContext(ctx, OnPrimary+query, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Row sends one query and scans its first row. It returns sql.ErrNoRows without
// one.
func (c *Conn) Row(ctx context.Context, query string, args []any, into ...any) error {
	return c.row(ctx, ownMode, query, args, into)
}

// RowBeside is [Conn.Row] with values of the application's among the parameters, which are
// encoded as in an INSERT.
func (c *Conn) RowBeside(ctx context.Context, query string, args []any, into ...any) error {
	return c.row(ctx, c.insertMode(ctx), query, args, into)
}

// ownMode has pgx put the parameters of the plugin's own queries into the text: the server
// plans such a query in one piece of memory, one with parameters in three (1.2 ms against
// 3.7 for [catalog.Read] on a new connection, 1.2 against 1.6 on one in use; measured).
const ownMode = pgx.QueryExecModeSimpleProtocol

// options stands in front of pgx's own options of a query. Where a wrapper around pgx's connection
// lets database/sql convert parameters, it is the first that cannot be, so that nothing is sent.
type options struct {
	mode    pgx.QueryExecMode
	arrived bool
}

var errNotInText = errors.New("conn: pgx puts no parameters into the text here")

// RewriteQuery implements [pgx.QueryRewriter].
func (o *options) RewriteQuery(_ context.Context, conn *pgx.Conn, query string, args []any) (string, []any, error) {
	o.arrived = true
	set := conn.PgConn().ParameterStatus
	if o.mode == pgx.QueryExecModeSimpleProtocol && (set("standard_conforming_strings") != "on" || set("client_encoding") != "UTF8") {
		return "", nil, errNotInText
	}
	return query, args, nil
}

// insertMode encodes values as an INSERT on this connection does, and prepares nothing: as the
// server describes the parameters, in a round trip more, or as text where the connection has
// that exec mode. A number with a String method is another text in one than in the other
// (measured). It sends nothing.
func (c *Conn) insertMode(ctx context.Context) pgx.QueryExecMode {
	if c.uncached() && !c.prepares {
		var own execMode
		_, _ = c.pool.ExecContext(ctx, "-- seqheal", &own)
		if mode := pgx.QueryExecMode(own); mode == pgx.QueryExecModeExec || mode == pgx.QueryExecModeSimpleProtocol {
			return mode
		}
	}
	return pgx.QueryExecModeDescribeExec
}

// execMode is filled with the connection's own exec mode by pgx, which sends nothing because
// of the error.
type execMode pgx.QueryExecMode

var errNothingSent = errors.New("conn: nothing is sent")

// RewriteQuery implements [pgx.QueryRewriter].
func (m *execMode) RewriteQuery(_ context.Context, conn *pgx.Conn, _ string, _ []any) (string, []any, error) {
	*m = execMode(conn.Config().DefaultQueryExecMode)
	return "", nil, errNothingSent
}

func (c *Conn) row(ctx context.Context, mode pgx.QueryExecMode, query string, args, into []any) error {
	found := false
	err := c.query(ctx, mode, query, args, func(rows *sql.Rows) error {
		found = true
		return rows.Scan(into...)
	})
	if err == nil && !found {
		return sql.ErrNoRows
	}
	return err
}

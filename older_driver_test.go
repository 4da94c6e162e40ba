package seqheal_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"

	pgconn4 "github.com/jackc/pgconn"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/pgerr"
)

// Every field is read from the real type, however it is wrapped.
func TestErrorsOfPgconnV1AreReadByTheirFields(t *testing.T) {
	t.Parallel()
	e := &pgconn4.PgError{
		Code: "23505", Message: "duplicate key", Detail: "Key (id)=(5) already exists.", SchemaName: "public",
		TableName: "users", ConstraintName: "users_pkey", Routine: "_bt_check_unique",
	}
	want := pgerr.Error{
		Code: e.Code, Message: e.Message, Detail: e.Detail, Schema: e.SchemaName,
		Table: e.TableName, Constraint: e.ConstraintName, Routine: e.Routine,
	}
	for name, err := range map[string]error{
		"plain": e, "wrapped": fmt.Errorf("create: %w", e), "joined": errors.Join(io.EOF, e), "as GORM adds one": fmt.Errorf("%v; %w", io.EOF, e),
	} {
		if got, ok := pgerr.From(err); !ok || got != want {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
	}
	if got, ok := pgerr.From((*pgconn4.PgError)(nil)); ok {
		t.Errorf("nil: %+v", got)
	}
}

// older is a driver that connects as pgx v5 does and returns the errors of pgx v4.
// internal/compat runs pgx v4 itself.
type older struct {
	driver.Connector
	db     *gorm.DB
	errors atomic.Int64 // how many were returned
}

// older opens the world's database through that driver, with the world's plugin.
func (w *world) older(t *testing.T) *older {
	t.Helper()
	config, err := pgx.ParseConfig(w.DSN)
	if err != nil {
		t.Fatal(err)
	}
	o := &older{Connector: stdlib.GetConnector(*config)}
	pool := sql.OpenDB(o)
	t.Cleanup(func() { _ = pool.Close() })
	o.db, err = gorm.Open(postgres.New(postgres.Config{Conn: pool}),
		&gorm.Config{SkipDefaultTransaction: w.db.SkipDefaultTransaction, Logger: logger.Discard})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.db.Use(w.plugin); err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *older) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := o.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return olderConn{conn.(*stdlib.Conn), o}, nil
}

type olderConn struct {
	*stdlib.Conn
	driver *older
}

func (c olderConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := c.Conn.QueryContext(ctx, query, args)
	return rows, c.driver.translated(err)
}

func (c olderConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	result, err := c.Conn.ExecContext(ctx, query, args)
	return result, c.driver.translated(err)
}

func (o *older) translated(err error) error {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return err
	}
	o.errors.Add(1)
	return &pgconn4.PgError{
		Severity: e.Severity, Code: e.Code, Message: e.Message, Detail: e.Detail, SchemaName: e.SchemaName,
		TableName: e.TableName, ConstraintName: e.ConstraintName, Routine: e.Routine,
	}
}

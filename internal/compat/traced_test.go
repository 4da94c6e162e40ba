package compat

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"testing"

	pgx5 "github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/seqheal/seqheal/internal/pgtest"
)

// traced is pgx behind a driver of another type, as tracing libraries wrap it:
// nobody can tell from outside that it is pgx.
type traced struct{ driver.Connector }

func openTraced(t *testing.T, p *pgtest.Place) *sql.DB {
	t.Helper()
	config, err := pgx5.ParseConfig(p.DSN)
	if err != nil {
		t.Fatal(err)
	}
	return sql.OpenDB(traced{stdlib.GetConnector(*config)})
}

func (c traced) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return tracedConn{conn.(pgxConn)}, nil
}

func (c traced) Driver() driver.Driver { return tracedDriver{c.Connector.Driver()} }

type tracedDriver struct{ driver.Driver }

// pgxConn is what a tracing library passes on. driver.NamedValueChecker is not
// among it: an argument of pgx's own types is refused by database/sql.
type pgxConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.SessionResetter
}

type tracedConn struct{ pgxConn }

package plugin_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// tapped opens a pool whose every statement is shown to see before it is sent,
// the plugin's own included.
func tapped(t testing.TB, place *pgtest.Place, see func(*tappedConn, string) error) *sql.DB {
	t.Helper()
	config, err := pgx.ParseConfig(place.DSN)
	if err != nil {
		t.Fatal(err)
	}
	pool := sql.OpenDB(tap{stdlib.GetConnector(*config), see})
	t.Cleanup(func() { _ = pool.Close() })
	return pool
}

// openOn opens GORM on a pool.
func openOn(t testing.TB, pool *sql.DB, config *gorm.Config) *gorm.DB {
	t.Helper()
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), config)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func withPlugin(config *gorm.Config, options ...plugin.Option) *gorm.Config {
	own := *config
	own.Logger = logger.Discard
	own.Plugins = map[string]gorm.Plugin{"seqheal": plugin.New(options...)}
	return &own
}

type tap struct {
	driver.Connector
	see func(*tappedConn, string) error
}

// Driver is not pgx's own, so that statements with a savepoint go out one by one and
// each is seen.
func (c tap) Driver() driver.Driver { return tappedDriver{c.Connector.Driver()} }

type tappedDriver struct{ driver.Driver }

func (c tap) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &tappedConn{Conn: conn.(*stdlib.Conn), see: c.see}, nil
}

// tappedConn is one connection of a tapped pool.
type tappedConn struct {
	*stdlib.Conn
	see func(*tappedConn, string) error
}

// kill closes the network connection under the driver.
func (c *tappedConn) kill() error { return c.Conn.Conn().PgConn().Conn().Close() }

func (c *tappedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if err := c.see(c, query); err != nil {
		return nil, err
	}
	return c.Conn.ExecContext(ctx, query, args)
}

func (c *tappedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.see(c, query); err != nil {
		return nil, err
	}
	return c.Conn.QueryContext(ctx, query, args)
}

func (c *tappedConn) BeginTx(ctx context.Context, options driver.TxOptions) (driver.Tx, error) {
	if err := c.see(c, "BEGIN"); err != nil {
		return nil, err
	}
	return c.Conn.BeginTx(ctx, options)
}

func withoutPlugin(config *gorm.Config) *gorm.Config {
	own := *config
	own.Logger = logger.Discard
	return &own
}

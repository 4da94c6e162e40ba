package fault_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// A caller whose context ends right before or right after any one call of the
// driver, while the connection lives (P4, P6, P9). Nothing tells the server, so
// the plugin has to leave the transaction in order by itself.
func TestTheCallerGivesUpBetweenStatements(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds() {
		t.Run(kind.name(), func(t *testing.T) {
			t.Parallel()
			kind.room = newRoom(t)
			calls := kind.giveUpAt(t, 0, false)
			if calls < 5 {
				t.Fatalf("an insert that heals made %d calls", calls)
			}
			for n := range calls {
				for _, after := range []bool{false, true} {
					name := fmt.Sprintf("before call %d", n+1)
					if after {
						name = fmt.Sprintf("after call %d", n+1)
					}
					if !t.Run(name, func(t *testing.T) { kind.giveUpAt(t, n+1, after) }) {
						return
					}
				}
			}
		})
	}
}

// giveUpAt runs the insert and gives up at the n-th call of the driver; 0 is
// never. It returns the number of calls that the insert made.
func (r run) giveUpAt(t *testing.T, n int, after bool) (calls int) {
	own := *r.room
	own.t = t
	r.room = &own
	var counter counter
	r.open(func(config *gorm.Config, plugins ...gorm.Plugin) *gorm.DB {
		return r.tapped(&counter, config, plugins...)
	})
	r.insert(func(giveUp func()) {
		counter.watch(func(call int, over bool) {
			if call == n && over == after {
				giveUp()
			}
		})
	})
	calls = counter.stop()
	if err := r.undisturbed(); n == 0 && err != nil {
		t.Fatal(err)
	}
	commit := noCommit
	if r.err != nil && n > 0 {
		commit = closing // what the INSERT returned may have been read
	}
	r.check(t, commit)
	return calls
}

// tapped opens a pool whose calls are counted.
func (r *run) tapped(c *counter, config *gorm.Config, plugins ...gorm.Plugin) *gorm.DB {
	own, err := pgx.ParseConfig(r.dsn(r.DSNFor(map[string]string{"application_name": r.Schema})))
	if err != nil {
		r.t.Fatal(err)
	}
	pool := sql.OpenDB(tap{stdlib.GetConnector(*own), c})
	r.t.Cleanup(func() { _ = pool.Close() })
	config.Logger = logger.Discard
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), config)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, plugin := range plugins {
		if err := db.Use(plugin); err != nil {
			r.t.Fatal(err)
		}
	}
	return db
}

// counter numbers the calls of a driver from when it is told to watch.
type counter struct {
	mutex sync.Mutex
	see   func(call int, over bool)
	calls int
}

func (c *counter) watch(see func(call int, over bool)) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.see = see
}

func (c *counter) stop() int {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.see = nil
	return c.calls
}

// begins tells that a call begins, and returns what tells that it is over.
func (c *counter) begins() (over func()) {
	c.mutex.Lock()
	see := c.see
	if see != nil {
		c.calls++
	}
	call := c.calls
	c.mutex.Unlock()
	if see == nil {
		return func() {}
	}
	see(call, false)
	return func() { see(call, true) }
}

type tap struct {
	driver.Connector
	counter *counter
}

// Driver is not pgx's own, so that the statements go out one by one and each is
// counted.
func (t tap) Driver() driver.Driver { return tappedDriver{t.Connector.Driver()} }

type tappedDriver struct{ driver.Driver }

func (t tap) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := t.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &tappedConn{conn.(*stdlib.Conn), t.counter}, nil
}

type tappedConn struct {
	*stdlib.Conn
	counter *counter
}

func (c *tappedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	defer c.counter.begins()()
	return c.Conn.ExecContext(ctx, query, args)
}

func (c *tappedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	defer c.counter.begins()()
	return c.Conn.QueryContext(ctx, query, args)
}

func (c *tappedConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	defer c.counter.begins()()
	stmt, err := c.Conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return tappedStmt{stmt.(*stdlib.Stmt), c.counter}, nil
}

func (c *tappedConn) BeginTx(ctx context.Context, options driver.TxOptions) (driver.Tx, error) {
	defer c.counter.begins()()
	tx, err := c.Conn.BeginTx(ctx, options)
	if err != nil {
		return nil, err
	}
	return tappedTx{tx, c.counter}, nil
}

type tappedTx struct {
	driver.Tx
	counter *counter
}

func (t tappedTx) Commit() error {
	defer t.counter.begins()()
	return t.Tx.Commit()
}

func (t tappedTx) Rollback() error {
	defer t.counter.begins()()
	return t.Tx.Rollback()
}

type tappedStmt struct {
	*stdlib.Stmt
	counter *counter
}

func (s tappedStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	defer s.counter.begins()()
	return s.Stmt.ExecContext(ctx, args)
}

func (s tappedStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	defer s.counter.begins()()
	return s.Stmt.QueryContext(ctx, args)
}

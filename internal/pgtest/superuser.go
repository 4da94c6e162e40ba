package pgtest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/seqheal/seqheal/internal/pgserver"
)

// superuser is a pool that goes from one place to the next, since opening a session costs
// more than most tests. Its sessions forget all of a place before they serve another.
type superuser struct {
	*sql.DB
	schema atomic.Pointer[string]
}

// spare are the pools that no place uses.
var spare struct {
	sync.Mutex
	pools []*superuser
}

// superuserIn is a pool whose sessions have the schema first on the search_path.
func superuserIn(server *pgserver.Server, schema string) (*superuser, error) {
	spare.Lock()
	defer spare.Unlock()
	pool := &superuser{}
	if last := len(spare.pools) - 1; last >= 0 {
		pool, spare.pools = spare.pools[last], spare.pools[:last]
	} else {
		config, err := pgx.ParseConfig(server.DSN())
		if err != nil {
			return nil, err
		}
		pool.DB = sql.OpenDB(stdlib.GetConnector(*config, stdlib.OptionAfterConnect(pool.enter), stdlib.OptionResetSession(pool.enter)))
	}
	pool.schema.Store(&schema)
	pool.SetMaxOpenConns(0) // the place before may have changed both
	pool.SetMaxIdleConns(2)
	return pool, nil
}

// enter lets a session that comes from another place forget it. It runs before each use.
func (s *superuser) enter(ctx context.Context, session *pgx.Conn) error {
	const entered = "pgtest place"
	schema := *s.schema.Load()
	before, used := session.PgConn().CustomData()[entered]
	if before == schema {
		return nil
	}
	if used {
		if err := session.DeallocateAll(ctx); err != nil {
			return driver.ErrBadConn
		}
		if _, err := session.Exec(ctx, "DISCARD ALL"); err != nil {
			return driver.ErrBadConn // in a transaction that a test left open
		}
	}
	if _, err := session.Exec(ctx, "SELECT pg_catalog.set_config('search_path', $1, false)", pgx.QueryExecModeExec, schema); err != nil {
		return driver.ErrBadConn
	}
	session.PgConn().CustomData()[entered] = schema
	return nil
}

// leave hands the pool to the next place. A pool with a session in use is closed.
func (s *superuser) leave() {
	if s.Stats().InUse > 0 || s.Ping() != nil {
		_ = s.Close()
		return
	}
	spare.Lock()
	defer spare.Unlock()
	spare.pools = append(spare.pools, s)
}

// CloseSpare closes the pools that no place uses. A test program calls it before it checks for
// leaked goroutines.
func CloseSpare() {
	spare.Lock()
	defer spare.Unlock()
	for _, pool := range spare.pools {
		_ = pool.Close()
	}
	spare.pools = nil
}

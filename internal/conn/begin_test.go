package conn_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"testing"
	"time"

	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgtest"
)

// deaf is a driver whose BEGIN waits for its answer although the context has ended, as lib/pq's.
type deaf struct{ answer chan struct{} }

func (d deaf) Connect(context.Context) (driver.Conn, error) { return d, nil }
func (d deaf) Driver() driver.Driver                        { return nil }
func (d deaf) Prepare(string) (driver.Stmt, error)          { return nil, errors.New("not here") }
func (d deaf) Close() error                                 { return nil }
func (d deaf) Begin() (driver.Tx, error)                    { return nil, errors.New("not here") }
func (d deaf) BeginTx(context.Context, driver.TxOptions) (driver.Tx, error) {
	<-d.answer
	return d, nil
}
func (d deaf) Commit() error   { return nil }
func (d deaf) Rollback() error { return nil }

// A BEGIN that is not answered is not waited for, and its connection is given back when it is.
func TestBeginSecond_withoutAnAnswer(t *testing.T) {
	t.Parallel()
	d := deaf{make(chan struct{})}
	pool := sql.OpenDB(d)
	defer func() { _ = pool.Close() }()
	pool.SetMaxOpenConns(3)
	started := time.Now()
	if _, err := conn.BeginSecond(context.Background(), pool, nil); !errors.Is(err, conn.ErrNoSecond) {
		t.Errorf("error %v, want ErrNoSecond", err)
	}
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if n := pool.Stats().InUse; n != 1 {
		t.Errorf("%d connections in use", n)
	}
	close(d.answer)
	pgtest.Eventually(t, "the connection to be given back", func() bool { return pool.Stats().InUse == 0 })
}

// A pool of one connection, which the caller holds, is not waited for.
func TestBeginSecond_ofAPoolOfOneConnection(t *testing.T) {
	t.Parallel()
	pool := sql.OpenDB(deaf{})
	defer func() { _ = pool.Close() }()
	pool.SetMaxOpenConns(1)
	held, err := pool.Conn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Close() }()
	waited := pool.Stats().WaitCount
	if _, err := conn.BeginSecond(context.Background(), pool, nil); !errors.Is(err, conn.ErrNoSecond) {
		t.Errorf("error %v, want ErrNoSecond", err)
	}
	if n := pool.Stats().WaitCount - waited; n != 0 {
		t.Errorf("it waited %d times for a connection", n)
	}
}

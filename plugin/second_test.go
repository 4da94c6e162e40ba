package plugin_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// GuardOff heals from a second connection, while the caller's transaction is open. One
// that takes no BEGIN is not waited for: a pooler whose only server connection the
// caller holds would answer after minutes.
func TestGuardOffWhereNoServerConnectionIsLeft(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(drifted)
	var seen incidents
	db := behindPooler(t, place)
	if err := db.Use(plugin.New(plugin.WithGuard(plugin.GuardOff), seen.option())); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		err := tx.Create(&user{Name: "new"}).Error
		if ctx.Err() != nil {
			t.Error("the insert waited until its context ended")
		}
		return err
	})
	if !pgerr.Is(err, pgerr.UniqueViolation) {
		t.Errorf("error %v", err)
	}
	if i := seen.one(t); i.Outcome != plugin.Failed {
		t.Errorf("incident %v", i)
	}
}

// The caller's own lock on the table is not waited for: it stays until the transaction ends.
func TestGuardOffBehindTheCallersLock(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(drifted)
	var seen incidents
	db := place.Open(nil, plugin.New(plugin.WithGuard(plugin.GuardOff), seen.option()))
	start := time.Now()
	err := db.Transaction(func(tx *gorm.DB) error {
		if err := tx.Exec("LOCK TABLE users").Error; err != nil {
			return err
		}
		return tx.Transaction(func(inner *gorm.DB) error { return inner.Create(&user{Name: "new"}).Error })
	})
	if took := time.Since(start); !pgerr.Is(err, pgerr.UniqueViolation) || took > 3*time.Second {
		t.Errorf("error %v after %v", err, took)
	}
	if i := seen.one(t); i.Outcome != plugin.Failed || i.Reason != plugin.ReasonTimeout {
		t.Errorf("incident %v", i)
	}
}

// behindPooler opens a place behind a pooler with one connection to the server: while
// one client is in a transaction, the BEGIN of any other waits.
func behindPooler(t *testing.T, place *pgtest.Place) *gorm.DB {
	t.Helper()
	config, err := pgx.ParseConfig(place.DSN)
	if err != nil {
		t.Fatal(err)
	}
	pool := sql.OpenDB(pooler{stdlib.GetConnector(*config), make(chan struct{}, 1)})
	t.Cleanup(func() { _ = pool.Close() })
	db := openOn(t, pool, &gorm.Config{Logger: logger.Discard})
	return db
}

type pooler struct {
	driver.Connector
	server chan struct{}
}

func (p pooler) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := p.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return pooledConn{conn.(*stdlib.Conn), p.server}, nil
}

type pooledConn struct {
	*stdlib.Conn
	server chan struct{}
}

func (c pooledConn) BeginTx(ctx context.Context, options driver.TxOptions) (driver.Tx, error) {
	select {
	case c.server <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	tx, err := c.Conn.BeginTx(ctx, options)
	if err != nil {
		<-c.server
		return nil, err
	}
	return pooledTx{tx, c.server}, nil
}

type pooledTx struct {
	driver.Tx
	server chan struct{}
}

func (t pooledTx) Commit() error {
	defer func() { <-t.server }()
	return t.Tx.Commit()
}

func (t pooledTx) Rollback() error {
	defer func() { <-t.server }()
	return t.Tx.Rollback()
}

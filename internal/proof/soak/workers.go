package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/plugin"
)

// place is how the server is reached: directly, through a proxy that cuts
// connections, and with sessions whose default level takes a snapshot.
type place struct{ Direct, Through, Repeatable, Serializable string }

// pool is GORM with the plugin under one guard.
type pool struct {
	db    *gorm.DB
	guard plugin.Guard
	// cut is true where the connection may break at any moment.
	cut bool
	// level is that of every transaction which does not choose one, LevelDefault for
	// READ COMMITTED.
	level sql.IsolationLevel
}

// workers is a crew that inserts.
type workers struct {
	tag   string
	count int
	pools []pool

	names   atomic.Int64
	stopped context.CancelFunc
	done    sync.WaitGroup
	mutex   sync.Mutex // of batch
	batch   batch
}

// newCrew opens a pool for each guard, one that prepares its statements, one
// through the proxy, and one for each level that takes a snapshot.
func newCrew(at place, tag string, count int) (*workers, error) {
	c := &workers{tag: tag, count: count}
	for _, p := range []struct {
		dsn    string
		config gorm.Config
		guard  plugin.Guard
		level  sql.IsolationLevel
	}{
		{at.Direct, gorm.Config{}, plugin.GuardAuto, sql.LevelDefault},
		{at.Direct, gorm.Config{PrepareStmt: true}, plugin.GuardAuto, sql.LevelDefault},
		{at.Direct, gorm.Config{TranslateError: true}, plugin.GuardSavepoint, sql.LevelDefault},
		{at.Direct, gorm.Config{}, plugin.GuardOff, sql.LevelDefault},
		{at.Through, gorm.Config{}, plugin.GuardAuto, sql.LevelDefault},
		{at.Repeatable, gorm.Config{}, plugin.GuardAuto, sql.LevelRepeatableRead},
		{at.Serializable, gorm.Config{TranslateError: true}, plugin.GuardSavepoint, sql.LevelSerializable},
	} {
		p.config.Logger = logger.Discard
		db, err := gorm.Open(postgres.New(postgres.Config{DSN: p.dsn}), &p.config)
		if err != nil {
			return nil, err
		}
		sqlDB, err := db.DB()
		if err != nil {
			return nil, err
		}
		sqlDB.SetMaxIdleConns(count)
		sqlDB.SetMaxOpenConns(max(2, count/2))
		if err := db.Use(plugin.New(plugin.WithGuard(p.guard), plugin.OnIncident(c.hear))); err != nil {
			return nil, err
		}
		c.pools = append(c.pools, pool{db, p.guard, p.dsn == at.Through, p.level})
	}
	return c, nil
}

func (c *workers) resume() error {
	ctx, stop := context.WithCancel(context.Background())
	c.stopped, c.batch = stop, newBatch()
	for range c.count {
		c.done.Go(func() {
			w := &worker{crew: c, own: map[string][]int64{}}
			for ctx.Err() == nil {
				w.step()
			}
		})
	}
	return nil
}

// pause lets every worker end what it does.
func (c *workers) pause() (batch, error) {
	c.stopped()
	c.done.Wait()
	return c.batch, nil
}

func (c *workers) close() error {
	var broken []error
	for _, p := range c.pools {
		sqlDB, err := p.db.DB()
		if err == nil {
			err = sqlDB.Close()
		}
		broken = append(broken, err)
	}
	return errors.Join(broken...)
}

// attempt is one call; its incidents find it through the context.
type attempt struct {
	reasons []plugin.Reason
	healed  bool
}

type attemptKey struct{}

// hear takes in what the plugin reports, on the goroutine of the insert.
func (c *workers) hear(ctx context.Context, i plugin.Incident) {
	a := ctx.Value(attemptKey{}).(*attempt)
	c.mutex.Lock()
	defer c.mutex.Unlock()
	switch i.Outcome {
	case plugin.Healed:
		c.batch.Counts.Healed++
		a.healed = true
	case plugin.AlreadyHealed:
		c.batch.Counts.AlreadyHealed++
		a.healed = true
	default:
		a.reasons = append(a.reasons, i.Reason)
		if i.Err == nil || i.Table == "" {
			c.batch.Unexpected = append(c.batch.Unexpected, "an incident that says too little: "+i.String())
		}
	}
}

// worker is one goroutine. own holds ids of rows that it has stored and no other
// worker touches, by table.
type worker struct {
	crew *workers
	own  map[string][]int64
}

func (w *worker) name() string {
	return fmt.Sprintf("%s%d", w.crew.tag, w.crew.names.Add(1))
}

func pick[T any](of []T) T { return of[rand.IntN(len(of))] }

package main

import (
	"database/sql"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/plugin"
)

// contender is GORM with one way to survive a drifted sequence.
type contender struct {
	name    string
	plugins func() []gorm.Plugin
	// fences is true for a way that only makes sense in a transaction.
	fences bool

	db    *gorm.DB
	times []time.Duration // of each round's slice
}

// contenders are plain GORM, which is the limit, plain GORM again, which tells
// the noise, seqheal, and what users do instead.
func contenders() []*contender {
	none := func() []gorm.Plugin { return nil }
	return []*contender{
		{name: "plain GORM", plugins: none},
		{name: "plain again", plugins: none},
		{name: "seqheal", plugins: func() []gorm.Plugin { return []gorm.Plugin{plugin.New()} }},
		{name: "savepoints", plugins: func() []gorm.Plugin { return []gorm.Plugin{savepoints{}} }, fences: true},
		{name: "check first", plugins: func() []gorm.Plugin { return []gorm.Plugin{checkFirst{}} }},
	}
}

// open opens GORM on a pool, with the plugins.
func open(pool *sql.DB, config gorm.Config, plugins ...gorm.Plugin) (*gorm.DB, error) {
	config.Logger = logger.Discard
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), &config)
	if err != nil {
		return nil, err
	}
	for _, p := range plugins {
		if err := db.Use(p); err != nil {
			return nil, err
		}
	}
	return db, nil
}

// savepoints puts a savepoint around every INSERT in a transaction, as EF Core
// does for SaveChanges and pgjdbc under autosave=always, and nothing else: what
// it would cost to be able to go on after a duplicate key.
type savepoints struct{}

func (savepoints) Name() string { return "savepoints" }

func (savepoints) Initialize(db *gorm.DB) error {
	create := db.Callback().Create().Get("gorm:create")
	return db.Callback().Create().Replace("gorm:create", func(db *gorm.DB) {
		pool, ctx := db.Statement.ConnPool, db.Statement.Context
		if _, ok := pool.(gorm.TxCommitter); !ok || db.Error != nil {
			create(db)
			return
		}
		if _, err := pool.ExecContext(ctx, "SAVEPOINT s"); err != nil {
			_ = db.AddError(err)
			return
		}
		create(db)
		if _, err := pool.ExecContext(ctx, "RELEASE SAVEPOINT s"); err != nil {
			_ = db.AddError(err)
		}
	})
}

// checkFirst asks before every INSERT whether the sequence is past the table's
// ids, and moves it if it is not, as one writes it by hand.
type checkFirst struct{}

func (checkFirst) Name() string { return "check first" }

func (checkFirst) Initialize(db *gorm.DB) error {
	return db.Callback().Create().Before("gorm:create").Register("check", func(db *gorm.DB) {
		pool, ctx, table := db.Statement.ConnPool, db.Statement.Context, db.Statement.Table
		behind := false
		err := pool.QueryRowContext(ctx, `SELECT coalesce((SELECT max(id) FROM `+table+`) > last_value, false) FROM `+table+`_id_seq`).Scan(&behind)
		if err == nil && behind {
			_, err = pool.ExecContext(ctx, `SELECT setval('`+table+`_id_seq', (SELECT max(id) FROM `+table+`))`)
		}
		_ = db.AddError(err)
	})
}

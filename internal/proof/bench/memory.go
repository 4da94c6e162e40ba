package main

import (
	"context"
	"database/sql"
	"fmt"
	"runtime"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/plugin"
)

// memory measures what the plugin remembers of each table, beside what GORM does.
func memory(ctx context.Context, b *bench) error {
	tables := 1_000
	if b.large {
		tables = 10_000
	}
	const chunk = 250 // a transaction that makes all of them slows down with every one
	for first := 1; first <= tables; first += chunk {
		if err := b.exec(ctx, fmt.Sprintf(`DO $$ BEGIN FOR i IN %d..%d LOOP
			EXECUTE format('CREATE TABLE known_table_%%s (id bigserial PRIMARY KEY, name text)', i);
		END LOOP; END $$`, first, first+chunk-1)); err != nil {
			return err
		}
	}
	plain, err := b.remembered(ctx, tables)
	if err != nil {
		return err
	}
	with, err := b.remembered(ctx, tables, plugin.New())
	if err != nil {
		return err
	}
	each := float64(with-plain) / float64(tables)
	t := newTable("Memory of the tables that are known, after a collection", "tables", "bytes for each", "MB for 10,000")
	t.add(fmt.Sprint(tables), fmt.Sprintf("%.0f", each), fmt.Sprintf("%.1f", each*10_000/1e6))
	t.print()
	return nil
}

// remembered is by how much the heap grows with an insert into each table.
func (b *bench) remembered(ctx context.Context, tables int, plugins ...gorm.Plugin) (int64, error) {
	// The driver's own cache of statements is left out.
	pool, err := sql.Open("pgx", b.server.With(map[string]string{"default_query_exec_mode": "exec"}))
	if err != nil {
		return 0, err
	}
	defer func() { _ = pool.Close() }()
	pool.SetMaxOpenConns(1)
	db, err := open(pool, gorm.Config{}, plugins...)
	if err != nil {
		return 0, err
	}
	var before int64
	for i := range tables + 1 {
		if i == 1 { // the first has made what is made once
			before = heap()
		}
		row := struct {
			ID   int64
			Name string
		}{Name: "new"}
		if err := db.WithContext(ctx).Table(fmt.Sprintf("known_table_%d", max(1, i))).Create(&row).Error; err != nil {
			return 0, err
		}
	}
	after := heap()
	runtime.KeepAlive(db)
	return after - before, nil
}

func heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

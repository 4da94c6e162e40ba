package main

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/plugin"
)

// firstRounds is how often each first insert is measured.
const firstRounds = 101

// firsts measures the first insert of a process into a table beside plain GORM's: the
// plugin is new each time and knows nothing, the connection has sent the statement
// before.
func firsts(ctx context.Context, b *bench) error {
	type row struct {
		ID   int64
		Name string
	}
	kinds := []struct {
		name   string
		insert func(*gorm.DB) error
	}{
		{"one row", func(db *gorm.DB) error { return db.Create(&row{Name: "new"}).Error }},
		{"upsert by the key", func(db *gorm.DB) error {
			return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&row{Name: "new"}).Error
		}},
	}
	if err := b.exec(ctx, "CREATE TABLE first_insert (id bigserial PRIMARY KEY, name text)"); err != nil {
		return err
	}
	pool, err := sql.Open("pgx", b.server.DSN())
	if err != nil {
		return err
	}
	defer func() { _ = pool.Close() }()
	times := make([][3][]time.Duration, len(kinds))
	for round := range firstRounds + 1 {
		for _, k := range rand.Perm(len(kinds)) {
			for _, way := range rand.Perm(2) { // plain GORM; the plugin, whose second insert follows
				var plugins []gorm.Plugin
				if way == 1 {
					plugins = append(plugins, plugin.New())
				}
				db, err := open(pool, gorm.Config{}, plugins...)
				if err != nil {
					return err
				}
				for turn := range way + 1 {
					started := time.Now()
					if err := kinds[k].insert(db.WithContext(ctx).Table("first_insert")); err != nil {
						return err
					}
					if took := time.Since(started); round > 0 {
						times[k][way+turn] = append(times[k][way+turn], took)
					}
				}
			}
		}
	}
	t := newTable("The first insert into a table, in GORM's transaction; ms", "insert", "plain GORM, p50", "first, p50", "first, p99", "second, p50")
	for k, kind := range kinds {
		ms := func(way int, at float64) string {
			return fmt.Sprintf("%.2f", quantile(times[k][way], at).Seconds()*1e3)
		}
		t.add(kind.name, ms(0, 0.5), ms(1, 0.5), ms(1, 0.99), ms(2, 0.5))
	}
	t.print()
	return nil
}

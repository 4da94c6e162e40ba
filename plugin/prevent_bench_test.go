package plugin_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// importedUser is a row of the article's table.
type importedUser struct {
	ID                             int64
	Name, Surname, Email, Password string
}

func (importedUser) TableName() string { return "Users" }

// BenchmarkImportWithPrevention imports 100,000 rows with explicit ids in batches of
// 1,000 into the article's table, with the plugin as it is and with prevention, in turns, and reports the ratio
// of the median times.
func BenchmarkImportWithPrevention(b *testing.B) {
	const rows, batch, rounds = 100_000, 1_000, 9
	for _, m := range modes {
		b.Run(m.name, func(b *testing.B) {
			p := pgtest.New(b)
			p.Exec(`CREATE TABLE "Users" (id bigserial PRIMARY KEY, name text, surname text, email text UNIQUE, password text)`)
			without := p.Open(&m.config, plugin.New())
			with := p.Open(&m.config, plugin.New(plugin.WithPrevention()))
			from := int64(0)
			load := func(db *gorm.DB) float64 {
				users := make([]importedUser, rows)
				for i := range users {
					id := from + int64(i) + 1
					users[i] = importedUser{id, "Jennifer", "Jones", fmt.Sprintf("jennifer%d@example.com", id), "pBHxe*cWnC2ZJKHw"}
				}
				from += rows
				start := time.Now()
				if err := m.within(db, func(tx *gorm.DB) error { return tx.CreateInBatches(users, batch).Error }); err != nil {
					b.Fatal(err)
				}
				spent := time.Since(start)
				p.Exec(`TRUNCATE "Users"`)
				return spent.Seconds()
			}
			for b.Loop() {
				var ratios, seconds []float64
				for range rounds {
					plain := load(without)
					prevented := load(with)
					ratios, seconds = append(ratios, prevented/plain), append(seconds, plain)
				}
				slices.Sort(ratios)
				slices.Sort(seconds)
				b.ReportMetric(ratios[rounds/2], "x-without")
				b.ReportMetric(seconds[rounds/2], "s-without")
				if last := p.Int(`SELECT last_value FROM "Users_id_seq"`); last != from {
					b.Fatalf("the sequence stands at %d, want %d", last, from)
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

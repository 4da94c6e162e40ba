package main

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"time"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/plugin"
)

// healRounds is how often each heal is measured.
const healRounds = 201

// drift is one table whose sequence falls behind again and again.
type drift struct {
	name  string
	table string
	// rows fill the table from 1 on; the gap is kept in every round.
	rows, gap int64
	// times are those of the heals, by way.
	times [2][]time.Duration
}

// healWays are how the insert that heals is sent.
var healWays = [2]struct {
	name   string
	config gorm.Config
}{
	{"no transaction", gorm.Config{SkipDefaultTransaction: true}},
	{"GORM's transaction", gorm.Config{}},
}

// heals measures inserts that meet a drifted sequence, by how far it is behind
// and by how large the table is.
func heals(ctx context.Context, b *bench) error {
	var gaps, sizes []*drift
	for exponent, gap := 0, int64(1); exponent <= 12; exponent, gap = exponent+1, gap*10 {
		switch exponent {
		case 0, 3, 5, 6, 9, 12:
			gaps = append(gaps, &drift{name: power(exponent), table: fmt.Sprintf("gap_%d", exponent), rows: 1, gap: gap})
		}
	}
	for exponent, rows := 3, int64(1000); exponent <= 6 || exponent == 7 && b.large; exponent, rows = exponent+1, rows*10 {
		sizes = append(sizes, &drift{name: power(exponent), table: fmt.Sprintf("rows_%d", exponent), rows: rows, gap: 500})
	}
	if err := b.heal(ctx, gaps); err != nil {
		return err
	}
	if err := b.heal(ctx, sizes); err != nil {
		return err
	}
	panel := lines{title: "An insert that heals, by the sequence's gap", y: "ms", x: "values behind"}
	printHeals("An insert that heals, by how far the sequence is behind; ms", "values behind", gaps)
	printHeals("An insert that heals, 500 values behind, by the table's rows; ms", "rows", sizes)
	for way, w := range healWays {
		for _, q := range []struct {
			name string
			at   float64
		}{{"p50", 0.5}, {"p99", 0.99}} {
			line := line{name: w.name + ", " + q.name, dashed: q.at > 0.5}
			for _, d := range gaps {
				line.points = append(line.points, quantile(d.times[way], q.at).Seconds()*1e3)
			}
			panel.lines = append(panel.lines, line)
		}
	}
	for _, d := range gaps {
		panel.labels = append(panel.labels, d.name)
	}
	b.figures.lines = append(b.figures.lines, panel)
	return nil
}

func printHeals(title, what string, drifts []*drift) {
	t := newTable(title, what, healWays[0].name+", p50", "p99", healWays[1].name+", p50", "p99")
	for _, d := range drifts {
		cells := []string{d.name}
		for _, times := range d.times {
			for _, q := range []float64{0.5, 0.99} {
				cells = append(cells, fmt.Sprintf("%.1f", quantile(times, q).Seconds()*1e3))
			}
		}
		t.add(cells...)
	}
	t.print()
}

// heal measures all of them in interleaved rounds.
func (b *bench) heal(ctx context.Context, drifts []*drift) error {
	for _, d := range drifts {
		if err := b.exec(ctx, fmt.Sprintf(`CREATE TABLE %[1]s (id bigserial PRIMARY KEY, name text);
			INSERT INTO %[1]s (id) SELECT g FROM generate_series(1, %[2]d) g;
			INSERT INTO %[1]s (id) VALUES (%[3]d) ON CONFLICT DO NOTHING; ANALYZE %[1]s`, d.table, d.rows, max(d.rows, d.gap))); err != nil {
			return err
		}
	}
	p := plugin.New()
	pool, err := sql.Open("pgx", b.server.DSN())
	if err != nil {
		return err
	}
	defer func() { _ = pool.Close() }()
	pool.SetMaxOpenConns(1)
	var ways [len(healWays)]*gorm.DB
	for way, w := range healWays {
		if ways[way], err = open(pool, w.config, p); err != nil {
			return err
		}
	}
	for round := range healRounds + 1 {
		for _, i := range rand.Perm(len(drifts)) {
			for way, db := range ways {
				took, err := b.healOnce(ctx, db, drifts[i])
				if err != nil {
					return err
				}
				if round > 0 { // the first reads the catalog for the first time
					drifts[i].times[way] = append(drifts[i].times[way], took)
				}
			}
		}
	}
	// With a gap of 1 the insert's own draw has passed the last row.
	want := int64((healRounds + 1) * len(drifts) * len(ways))
	if s := p.Stats(); s.Healed+s.AlreadyHealed != want || s.Refused+s.Failed != 0 {
		return fmt.Errorf("%+v instead of %d heals", s, want)
	}
	return nil
}

// healOnce moves the sequence back, so that its next value is taken and the
// furthest one is a gap away, and inserts.
func (b *bench) healOnce(ctx context.Context, db *gorm.DB, d *drift) (time.Duration, error) {
	if err := b.exec(ctx, fmt.Sprintf(`WITH first AS (SELECT max(id) - %d + 1 AS id FROM %[2]s), moved AS (SELECT setval('%[2]s_id_seq', id, false) FROM first)
		INSERT INTO %[2]s (id) SELECT id FROM first, moved ON CONFLICT DO NOTHING`, d.gap, d.table)); err != nil {
		return 0, err
	}
	row := struct {
		ID   int64
		Name string
	}{Name: "new"}
	started := time.Now()
	err := db.WithContext(ctx).Table(d.table).Create(&row).Error
	return time.Since(started), err
}

func power(exponent int) string {
	if exponent == 0 {
		return "1"
	}
	digits := []rune("⁰¹²³⁴⁵⁶⁷⁸⁹")
	text := "10"
	for _, digit := range fmt.Sprint(exponent) {
		text += string(digits[digit-'0'])
	}
	return text
}

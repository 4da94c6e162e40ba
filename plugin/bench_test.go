package plugin_test

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// The figures of the README: go test -run '^$' -bench . ./plugin
//
// Times are compared within one run: a round gives each competitor a slice of a
// few milliseconds, in random order, on one connection and one table, and the
// result is the median over the rounds of time / time of plain GORM. Plain GORM
// competes twice: what the second differs from the first is noise.

// member is a row of the benchmarks' table.
type member struct {
	ID                             int64
	Name, Surname, Email, Password string
}

const members = `CREATE TABLE members (id bigserial PRIMARY KEY, name text, surname text, email text, password text)`

func newMember() member {
	return member{Name: "Jennifer", Surname: "Jones", Email: "jennifer@example.com", Password: "pBHxe*cWnC2ZJKHw"}
}

// competitor is GORM with or without the plugin.
type competitor struct {
	name    string
	plugins func(...plugin.Option) []gorm.Plugin
	db      *gorm.DB
	times   []time.Duration // of each round's slice
}

func withGuard(guard plugin.Guard) func(...plugin.Option) []gorm.Plugin {
	return func(options ...plugin.Option) []gorm.Plugin {
		return []gorm.Plugin{plugin.New(append(options, plugin.WithGuard(guard))...)}
	}
}

func without(...plugin.Option) []gorm.Plugin { return nil }

func competitors() []*competitor {
	return []*competitor{
		{name: "plain", plugins: without},
		{name: "plain again", plugins: without},
		{name: "seqheal", plugins: withGuard(plugin.GuardAuto)},
		{name: "GuardSavepoint", plugins: withGuard(plugin.GuardSavepoint)},
	}
}

// insertion is one way to insert; a slice of a round is count statements.
type insertion struct {
	name   string
	config gorm.Config
	rows   int
	count  int
	whole  bool // the slice is one transaction of the caller's
	named  bool // rows name their ids
}

var insertions = []insertion{
	{"no transaction, 1 row", gorm.Config{SkipDefaultTransaction: true}, 1, 20, false, false},
	{"GORM's transaction, 1 row", gorm.Config{}, 1, 10, false, false},
	{"caller's transaction of 100, 1 row", gorm.Config{}, 1, 100, true, false},
	{"GORM's transaction, 100 rows", gorm.Config{}, 100, 3, false, false},
	{"no transaction, 1 row that names its id", gorm.Config{SkipDefaultTransaction: true}, 1, 20, false, true},
	{"GORM's transaction, 100 rows that name their ids", gorm.Config{}, 100, 3, false, true},
}

// lastNamed is the last id that a row of the benchmarks has named.
var lastNamed atomic.Int64

// member is a row of the insertion.
func (in insertion) member() member {
	m := newMember()
	if in.named {
		m.ID = lastNamed.Add(1)
	}
	return m
}

// run inserts count times.
func (in insertion) run(b *testing.B, db *gorm.DB, count int) {
	b.Helper()
	inserts := func(db *gorm.DB) error {
		for range count {
			var err error
			if in.rows == 1 {
				row := in.member()
				err = db.Create(&row).Error
			} else {
				rows := make([]member, in.rows)
				for i := range rows {
					rows[i] = in.member()
				}
				err = db.Create(&rows).Error
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	err := error(nil)
	if in.whole {
		err = db.Transaction(inserts)
	} else {
		err = inserts(db)
	}
	if err != nil {
		b.Fatal(err)
	}
}

const rounds = 201

// BenchmarkInsert compares inserts into a healthy table.
func BenchmarkInsert(b *testing.B) {
	report := newReport("insert into a healthy table", "", "µs", "x plain", "allocations", "more", "statements", "more")
	for _, in := range insertions {
		b.Run(in.name, func(b *testing.B) {
			place, all := pgtest.New(b), competitors()
			place.Exec(members)
			pool, sent := openCounted(b, place.DSN)
			for _, c := range all {
				c.db = openUsing(b, pool, in.config, c.plugins()...)
				in.run(b, c.db, in.count) // reads the catalog once
			}
			for b.Loop() {
				for range rounds {
					for _, i := range rand.Perm(len(all)) {
						c := all[i]
						start := time.Now()
						in.run(b, c.db, in.count)
						c.times = append(c.times, time.Since(start))
					}
				}
			}
			b.ReportMetric(0, "ns/op")
			plain := all[0]
			plainAllocs, plainSent := in.allocations(b, plain), in.statements(b, plain, sent)
			for _, c := range all {
				micros := median(c.times).Seconds() * 1e6 / float64(in.count)
				ratio := medianRatio(c.times, plain.times)
				allocs, sent := in.allocations(b, c), in.statements(b, c, sent)
				name := strings.ReplaceAll(c.name, " ", "-")
				b.ReportMetric(micros, name+"-µs/insert")
				b.ReportMetric(ratio, name+"-ratio")
				report.add("%s: %s\t%.0f\t%.3f\t%.0f\t%+.1f\t%.2f\t%+.2f",
					in.name, c.name, micros, ratio, allocs, allocs-plainAllocs, sent, sent-plainSent)
			}
		})
	}
	report.print()
}

// allocations is what one insert allocates, the least of several tries: the
// pool's own goroutines allocate now and then.
func (in insertion) allocations(b *testing.B, c *competitor) float64 {
	const inserts = 100
	var before, after runtime.MemStats
	var tries []uint64
	for range 5 {
		runtime.ReadMemStats(&before)
		in.run(b, c.db, inserts)
		runtime.ReadMemStats(&after)
		tries = append(tries, after.Mallocs-before.Mallocs)
	}
	return float64(slices.Min(tries)) / inserts
}

// statements is what one insert sends, BEGIN and COMMIT included, after the
// first one into a table.
func (in insertion) statements(b *testing.B, c *competitor, sent *counter) float64 {
	const inserts = 100
	sent.Store(0)
	in.run(b, c.db, inserts)
	return float64(sent.Load()) / inserts
}

// counter counts what a connection sends: each is one round trip at least.
type counter struct{ atomic.Int64 }

func (c *counter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.Add(1)
	return ctx
}

func (c *counter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// openCounted opens a pool of one connection and counts what is sent.
func openCounted(b *testing.B, dsn string) (*sql.DB, *counter) {
	b.Helper()
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		b.Fatal(err)
	}
	sent := new(counter)
	config.Tracer = sent
	pool := stdlib.OpenDB(*config)
	pool.SetMaxOpenConns(1)
	b.Cleanup(func() { _ = pool.Close() })
	return pool, sent
}

func openUsing(b *testing.B, pool *sql.DB, config gorm.Config, plugins ...gorm.Plugin) *gorm.DB {
	b.Helper()
	db := openOn(b, pool, withoutPlugin(&config))
	for _, p := range plugins {
		if err := db.Use(p); err != nil {
			b.Fatal(err)
		}
	}
	return db
}

// BenchmarkHeal measures inserts that meet a drifted sequence.
func BenchmarkHeal(b *testing.B) {
	report := newReport("an insert that heals", "", "further statements", "ms, median", "ms, 90 %")
	for _, gap := range []struct {
		name     string
		furthest int64
		heals    int
	}{
		{"gap 1", 1, 51},
		{"gap 1,000", 1_000, 51},
		{"gap 10^6 - 1 (walked)", 999_999, 11},
		{"gap 10^12 (jumped)", 1_000_000_000_000, 51},
	} {
		for _, way := range []struct {
			name    string
			config  gorm.Config
			plugins func(...plugin.Option) []gorm.Plugin
		}{
			{"no transaction", gorm.Config{SkipDefaultTransaction: true}, withGuard(plugin.GuardAuto)},
			{"GORM's transaction", gorm.Config{}, withGuard(plugin.GuardAuto)},
			{"GORM's transaction, GuardSavepoint", gorm.Config{}, withGuard(plugin.GuardSavepoint)},
		} {
			b.Run(gap.name+", "+way.name, func(b *testing.B) {
				place := pgtest.New(b)
				place.Exec(members)
				var seen incidents
				pool, sent := openCounted(b, place.DSN)
				db := openUsing(b, pool, way.config, way.plugins(seen.option())...)
				insert := func() {
					row := newMember()
					if err := db.Create(&row).Error; err != nil {
						b.Fatal(err)
					}
				}
				insert() // reads the catalog
				sent.Store(0)
				insert()
				healthy := sent.Load()
				var times []time.Duration
				var most int64
				for b.Loop() {
					for range gap.heals {
						place.Exec("DELETE FROM members")
						place.Exec("INSERT INTO members (id) SELECT DISTINCT unnest(ARRAY[1, $1::bigint])", gap.furthest)
						place.Exec("SELECT setval('members_id_seq', 1, false)")
						sent.Store(0)
						start := time.Now()
						insert()
						times = append(times, time.Since(start))
						most = max(most, sent.Load())
					}
				}
				for _, i := range seen.list() {
					if i.Outcome == plugin.Refused || i.Outcome == plugin.Failed {
						b.Fatal(i)
					}
				}
				if len(seen.list()) != len(times) {
					b.Fatalf("%d incidents for %d heals", len(seen.list()), len(times))
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(most-healthy), "further-statements")
				b.ReportMetric(median(times).Seconds()*1e3, "ms/heal")
				slices.Sort(times)
				report.add("%s, %s\t%+d\t%.1f\t%.1f", gap.name, way.name, most-healthy,
					median(times).Seconds()*1e3, times[len(times)*9/10].Seconds()*1e3)
			})
		}
	}
	report.print()
}

// BenchmarkServer measures what the conflict guard costs the server: single-row
// inserts in a loop on the server, with it and without.
func BenchmarkServer(b *testing.B) {
	const inserts = 20_000
	report := newReport("the server's side of a row", "", "WAL bytes", "µs", "x plain")
	b.Run("conflict guard", func(b *testing.B) {
		clauses := []string{"", "ON CONFLICT (id) DO NOTHING"}
		times, wal := make([][]time.Duration, 2), make([][]int64, 2)
		place := pgtest.New(b)
		ctx := context.Background()
		session, err := place.SQL.Conn(ctx)
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = session.Close() }()
		exec := func(statement string) {
			if _, err := session.ExecContext(ctx, statement); err != nil {
				b.Fatalf("%s: %v", statement, err)
			}
		}
		exec("SET wal_compression = off; SET synchronous_commit = off")
		for b.Loop() {
			for round := range 11 {
				for i := range clauses {
					i = (i + round) % len(clauses)
					exec("DROP TABLE IF EXISTS members; " + members + "; CHECKPOINT")
					before := walPosition(b, session)
					start := time.Now()
					exec(fmt.Sprintf(`DO $$ BEGIN FOR i IN 1..%d LOOP
						INSERT INTO members (name, surname, email, password)
						VALUES ('Jennifer', 'Jones', 'jennifer@example.com', 'pBHxe*cWnC2ZJKHw') %s;
					END LOOP; END $$`, inserts, clauses[i]))
					times[i] = append(times[i], time.Since(start))
					wal[i] = append(wal[i], walPosition(b, session)-before)
				}
			}
		}
		b.ReportMetric(0, "ns/op")
		for i, name := range []string{"plain", "with the conflict guard"} {
			bytes := float64(median(wal[i])) / inserts
			micros := median(times[i]).Seconds() * 1e6 / inserts
			b.ReportMetric(bytes, strings.ReplaceAll(name, " ", "-")+"-WAL-B/row")
			report.add("%s\t%.0f\t%.2f\t%.3f", name, bytes, micros, medianRatio(times[i], times[0]))
		}
	})
	report.print()
}

func walPosition(b *testing.B, session *sql.Conn) int64 {
	var position int64
	err := session.QueryRowContext(context.Background(),
		"SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").Scan(&position)
	if err != nil {
		b.Fatal(err)
	}
	return position
}

// median sorts a copy.
func median[T cmp.Ordered](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// medianRatio is the median of the rounds' own ratios.
func medianRatio(times, plain []time.Duration) float64 {
	ratios := make([]float64, len(times))
	for i := range times {
		ratios[i] = float64(times[i]) / float64(plain[i])
	}
	return median(ratios)
}

// report is a table for the README.
type report struct{ lines []string }

func newReport(title string, columns ...string) *report {
	return &report{lines: []string{title + strings.Join(columns, "\t")}}
}

func (r *report) add(format string, values ...any) {
	r.lines = append(r.lines, fmt.Sprintf(format, values...))
}

func (r *report) print() {
	if len(r.lines) == 1 {
		return // every benchmark was deselected
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for i, line := range r.lines {
		fmt.Fprintln(w, "| "+strings.ReplaceAll(line, "\t", "\t| ")+"\t|")
		if i == 0 {
			fmt.Fprintln(w, "|"+strings.Repeat("---\t|", strings.Count(line, "\t")+1))
		}
	}
	_ = w.Flush()
}

// Command compare lets the same herd insert into the same drifted table with what
// applications do against a duplicate key, and prints a table of what became of
// the inserts and of the sequence:
//
//	go run ./herd/compare
package main

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seqheal/seqheal/internal/pgserver"
	"github.com/seqheal/seqheal/internal/proof/herd"
)

var (
	connections = flag.Int("connections", 64, "connections that insert at once")
	inserts     = flag.Int("inserts", 50, "inserts of each connection")
	rounds      = flag.Int("rounds", 9, "rounds of each way, interleaved; the medians are printed")
	gaps        = flag.String("gaps", "1000", "how far the sequence is behind, several with commas between")
)

// The table of a round: every id up to $1 is taken, and the sequence stands at its
// start, or in step when the table is to be healthy.
const (
	table  = `DROP TABLE IF EXISTS rows; CREATE TABLE rows (id bigserial PRIMARY KEY, name text NOT NULL)`
	fill   = `INSERT INTO rows (id, name) SELECT g, 'old ' || g FROM generate_series(1, $1::bigint) g`
	inStep = `SELECT setval('rows_id_seq', max(id)) FROM rows`
	vacuum = `VACUUM ANALYZE rows`
)

// contender is one line of the table.
type contender struct {
	name    string
	way     herd.Way
	healthy bool

	lost, back []int
	times      []time.Duration
}

func contenders() []*contender {
	return []*contender{
		{name: "healthy table, no plugin", way: herd.Nothing, healthy: true},
		{name: "healthy table, seqheal", way: herd.Seqheal, healthy: true},
		{name: string(herd.Nothing), way: herd.Nothing},
		{name: string(herd.SetvalMax), way: herd.SetvalMax},
		{name: string(herd.SetvalGreatest), way: herd.SetvalGreatest},
		{name: string(herd.Seqheal), way: herd.Seqheal},
	}
}

func main() {
	log.SetFlags(0)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := compare(ctx); err != nil {
		log.Fatal(err)
	}
}

func compare(ctx context.Context) error {
	server, err := pgserver.Start()
	if err != nil {
		return err
	}
	defer server.Stop()
	db, err := sql.Open("pgx", server.DSN())
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	fmt.Printf("%d connections × %d inserts, medians of %d rounds (least to most)\n\n", *connections, *inserts, *rounds)
	for text := range strings.SplitSeq(*gaps, ",") {
		gap, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return err
		}
		for _, mode := range herd.Modes {
			all := contenders()
			for round := range *rounds {
				for i := range all {
					c := all[(i+round)%len(all)]
					if err := c.run(ctx, db, server.DSN(), gap, mode); err != nil {
						return fmt.Errorf("%s: %w", c.name, err)
					}
				}
			}
			print(gap, mode, all)
		}
	}
	return nil
}

// run is one round of one contender, on a table of its own.
func (c *contender) run(ctx context.Context, db *sql.DB, dsn string, gap int64, mode herd.Mode) error {
	if _, err := db.ExecContext(ctx, table); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, fill, gap); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, vacuum); err != nil {
		return err
	}
	if c.healthy {
		if _, err := db.ExecContext(ctx, inStep); err != nil {
			return err
		}
	}
	h, err := herd.Open(ctx, herd.Load{DSN: dsn, Tag: "h", Mode: mode, Way: c.way, Connections: *connections, Inserts: *inserts})
	if err != nil {
		return err
	}
	defer func() { _ = h.Close() }()
	unwatch, err := herd.Watch(ctx, dsn, "rows_id_seq")
	if err != nil {
		return err
	}
	result := h.Run(ctx)
	track, err := unwatch()
	if err != nil {
		return err
	}
	c.lost = append(c.lost, len(result.Errors))
	c.back = append(c.back, track.Back)
	c.times = append(c.times, result.Elapsed)
	return nil
}

func print(gap int64, mode herd.Mode, all []*contender) {
	fmt.Printf("%d behind, %s\n\n| way | inserts lost, of %d | sequence stepped back | time × healthy | ms |\n|---|---|---|---|---|\n",
		gap, mode, *connections**inserts)
	for _, c := range all {
		var millis []float64
		for _, time := range c.times {
			millis = append(millis, time.Seconds()*1e3)
		}
		fmt.Printf("| %s | %s | %s | %s | %s |\n", c.name,
			spread(c.lost, "%d"), spread(c.back, "%d"), spread(c.ratios(all[0]), "%.2f"), spread(millis, "%.0f"))
	}
	fmt.Printf("\nseqheal takes %s times as long as on a healthy table.\n\n", spread(all[len(all)-1].ratios(all[1]), "%.2f"))
}

// ratios are the times of each round beside another contender's in that round.
func (c *contender) ratios(to *contender) (ratios []float64) {
	for i, time := range c.times {
		ratios = append(ratios, float64(time)/float64(to.times[i]))
	}
	return ratios
}

// spread writes the median, and least to most where they differ.
func spread[T int | float64](values []T, format string) string {
	sorted := slices.Sorted(slices.Values(values))
	least, middle, most := sorted[0], sorted[len(sorted)/2], sorted[len(sorted)-1]
	if least == most {
		return fmt.Sprintf(format, middle)
	}
	return fmt.Sprintf(format+" ("+format+" to "+format+")", middle, least, most)
}

// Command writer lets eight goroutines insert through GORM in every way, directly
// and through PgBouncer, while the programs that people use on their databases run:
// pg_dump, pg_restore, psql's COPY, reindexdb, PgBouncer's RELOAD and PAUSE. Each
// has a turn, at whose end every row is held against a journal of what was
// acknowledged:
//
//	go run ./writer -for 60s
//
// It ends with exit code 0, or 1 when an insert failed, a row was lost or damaged.
// With -plain it tells what plain GORM comes to. It needs the programs of
// postgresql-client and pgbouncer.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"slices"
	"time"

	"go.uber.org/goleak"
)

var (
	lasts = flag.Duration("for", time.Minute, "how long to run; every tool has a turn in any case")
	turn  = flag.Duration("turn", 2*time.Second, "how long a tool runs")
	plain = flag.Bool("plain", false, "without the plugin")
	only  = flag.String("only", "", "the name of the one operation to run")
)

func main() {
	log.SetFlags(0)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	total, err := write(ctx)
	stop()
	if err == nil && !*plain {
		err = total.broken()
	}
	if err == nil {
		// GORM's cache of prepared statements leaves one of its own (v1.31.2).
		err = goleak.Find(goleak.IgnoreAnyFunction("gorm.io/gorm/internal/lru.NewLRU[...].func1"))
	}
	if err != nil {
		log.Fatalf("FAILED after %s: %v", total, err)
	}
	fmt.Printf("ok: %s\n", total)
}

// total is what came of all turns.
type total struct {
	tally
	runs, refused int
	lasted        time.Duration
}

func (t total) String() string {
	return fmt.Sprintf("%s, %d runs of tools and %d that the writers were ahead of: %s", t.lasted.Round(time.Second), t.runs, t.refused, t.tally)
}

// broken reports a promise that was not kept.
func (t total) broken() error {
	all := slices.Concat(t.failed, t.faults.lost, t.faults.damaged)
	var broken []error
	for _, fault := range all[:min(len(all), 20)] {
		broken = append(broken, errors.New(fault))
	}
	if t.healed == 0 {
		broken = append(broken, errors.New("nothing drifted: not one insert was healed"))
	}
	return errors.Join(broken...)
}

// write gives the operations their turns until the time is over.
func write(ctx context.Context) (total total, err error) {
	started := time.Now()
	shop, err := open(*plain)
	if err != nil {
		return total, err
	}
	defer func() { err = errors.Join(err, shop.close()) }()
	for rotation := 0; ctx.Err() == nil && (rotation == 0 || time.Since(started) < *lasts); rotation++ {
		for _, o := range chosen() {
			if ctx.Err() != nil || rotation > 0 && time.Since(started) >= *lasts {
				break
			}
			if err := shop.turn(ctx, o, &total); err != nil {
				return total, fmt.Errorf("%s: %w", o.name, err)
			}
			total.lasted = time.Since(started)
		}
	}
	return total, nil
}

// chosen are the operations that are wanted.
func chosen() []operation {
	return slices.DeleteFunc(slices.Clone(operations), func(o operation) bool { return *only != "" && o.name != *only })
}

// turn lets the writers work under an operation, and checks what they were told.
func (s *shop) turn(ctx context.Context, o operation, total *total) error {
	if err := s.straighten(); err != nil {
		return err
	}
	pools, tables := s.pooled, keptTables
	if !o.pooled {
		pools = slices.Concat(s.pooled, s.direct)
	}
	if o.cleans {
		tables = append(slices.Clone(tables), cleanedTable, cleanedTable, cleanedTable)
	}
	runs, refused, database := 0, 0, s.database
	result, err := s.crew.work(pools, tables, o.excuses, func() (err error) {
		runs, refused, err = s.repeat(ctx, o)
		return err
	})
	if s.database != database {
		err = errors.Join(err, s.follow())
	}
	if err != nil {
		return err
	}
	found, err := s.check(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	result.faults.add(found)
	if !o.drifts {
		for _, incident := range result.stirred {
			result.failed = append(result.failed, "an incident without drift: "+incident)
		}
	}
	fmt.Printf("%s: %d runs, %d refused: %s\n", o.name, runs, refused, result)
	total.add(result)
	total.runs += runs
	total.refused += refused
	if o.cleans {
		s.journal.forget()
		_, err = s.admin.Exec("TRUNCATE cleaned_rows")
	}
	return err
}

// repeat runs an operation until its turn is over, and once at least. The writers go on
// for a moment then, with what came of it.
func (s *shop) repeat(ctx context.Context, o operation) (runs, refused int, err error) {
	over := time.Now().Add(*turn)
	if o.once {
		pause(ctx, *turn/4)
	}
	for ctx.Err() == nil {
		switch err = o.do(s); {
		case err == nil:
			runs++
			s.margin = max(leastMargin, s.margin*3/4)
		case !overtaken(err):
			return runs, refused, err
		default:
			refused++
			s.margin *= 2
		}
		if runs > 0 && (o.once || time.Now().After(over)) {
			pause(ctx, max(time.Until(over), *turn/4))
			return runs, refused, nil
		}
		if refused == mostRefused {
			return runs, refused, fmt.Errorf("the writers were ahead of every run: %w", err)
		}
	}
	return runs, refused, nil
}

// mostRefused bounds how often the writers may be ahead of a tool in one turn.
const mostRefused = 30

func pause(ctx context.Context, lasts time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(lasts):
	}
}

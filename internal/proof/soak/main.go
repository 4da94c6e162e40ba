// Command soak lets an application of two processes insert, upsert and save
// associations in every way and at every isolation level for as long as it is told,
// while sequences are moved backwards, rows with explicit ids are stored in front of them and connections
// are cut. Every few seconds everything stands still and every row is held
// against what was acknowledged:
//
//	go run ./soak -for 2m
//
// It ends with one line and exit code 0, or 1 when a promise was broken.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"time"

	"go.uber.org/goleak"

	"github.com/seqheal/seqheal/internal/pgserver"
	"github.com/seqheal/seqheal/internal/proof/proxy"
)

var (
	lasts      = flag.Duration("for", 2*time.Minute, "how long to run")
	interval   = flag.Duration("every", 10*time.Second, "how often to stand still and check")
	perProcess = flag.Int("workers", 12, "goroutines that insert, in each of the two processes")
)

func main() {
	log.SetFlags(0)
	flag.Parse()
	if os.Getenv(childCrew) != "" {
		if err := beChild(); err != nil {
			log.Fatal(err)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	total, err := soak(ctx)
	stop()
	if err == nil {
		err = leaks()
	}
	if err != nil {
		log.Fatalf("FAILED after %s: %v", total, err)
	}
	fmt.Printf("ok: %s\n", total)
}

// leaks finds goroutines that are left; GORM's cache of prepared statements
// leaves one of its own (v1.31.2).
func leaks() error {
	if err := goleak.Find(goleak.IgnoreAnyFunction("gorm.io/gorm/internal/lru.NewLRU[...].func1")); err != nil {
		return fmt.Errorf("goroutines are left: %w", err)
	}
	return nil
}

// soak runs the application and checks it, until the time is over or a promise
// is broken.
func soak(ctx context.Context) (total total, err error) {
	server, err := pgserver.Start("max_connections=120")
	if err != nil {
		return total, err
	}
	defer server.Stop()
	admin, err := sql.Open("pgx", server.DSN())
	if err != nil {
		return total, err
	}
	defer func() { err = errors.Join(err, admin.Close()) }()
	if err := createTables(ctx, admin); err != nil {
		return total, err
	}
	cutter, through, err := proxy.StartFor(server.DSN())
	if err != nil {
		return total, err
	}
	defer func() { err = errors.Join(err, cutter.Close()) }()
	at := place{Direct: server.DSN(), Through: through, Repeatable: defaultLevel(server, "repeatable read"), Serializable: defaultLevel(server, "serializable")}
	own, err := newCrew(at, "a", *perProcess)
	if err != nil {
		return total, err
	}
	defer func() { err = errors.Join(err, own.close()) }()
	other, err := startChild(at)
	if err != nil {
		return total, err
	}
	defer func() { err = errors.Join(err, other.close()) }()
	drift, err := startDrift(ctx, server.DSN(), cutter)
	if err != nil {
		return total, err
	}
	defer func() { err = errors.Join(err, drift.close()) }()
	return watch(ctx, admin, []crew{drift, own, other})
}

// defaultLevel is a connection string whose transactions, GORM's and the plugin's
// own too, are at this level unless they say otherwise.
func defaultLevel(server *pgserver.Server, level string) string {
	dsn := server.With(map[string]string{"default_transaction_isolation": level})
	return strings.ReplaceAll(dsn, "+", "%20") // pgx takes + for itself
}

// crew is a part of the application, or what disturbs it. It stands still until
// resume, and pause waits until nothing of it runs.
type crew interface {
	resume() error
	pause() (batch, error)
	close() error
}

// watch lets the crews run, stops them every interval and checks.
func watch(ctx context.Context, admin *sql.DB, crews []crew) (total total, err error) {
	started := time.Now()
	books := newLedger()
	for ctx.Err() == nil && time.Since(started) < *lasts {
		for _, c := range crews {
			if err := c.resume(); err != nil {
				return total, err
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(*interval, *lasts-time.Since(started))):
		}
		for _, c := range crews {
			b, err := c.pause()
			if err != nil {
				return total, err
			}
			books.take(b)
			total.add(b)
		}
		total.Checks++
		broken := books.check(context.WithoutCancel(ctx), admin)
		total.Lasted = time.Since(started).Round(time.Second)
		if broken = errors.Join(broken, total.unexpected()); broken != nil {
			return total, broken
		}
		fmt.Println(total)
		if err := books.trim(context.WithoutCancel(ctx), admin); err != nil {
			return total, err
		}
	}
	return total, nil
}

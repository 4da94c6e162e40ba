// Command bench makes the figures of the README in one run, on a PostgreSQL of
// its own:
//
//	go run ./bench -svg cost.svg
//
// Times are compared within one round only: each round gives every contender a
// slice of a few milliseconds in random order, on one connection and one table,
// and the figure is the median over the rounds of time / time of plain GORM.
package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/seqheal/seqheal/internal/pgserver"
)

// section is one part of the output; what it measures goes into the tables, and
// what is to be seen into the plot.
type section struct {
	name string
	run  func(context.Context, *bench) error
}

// sections are run in this order. A further one needs a line here.
var sections = []section{
	{"insert", inserts},
	{"heal", heals},
	{"first", firsts},
	{"memory", memory},
	{"import", imports},
	{"audit", audits},
}

// bench is one run of the command.
type bench struct {
	svg     string
	wanted  []string // names of sections, all when empty
	rounds  int
	large   bool
	server  *pgserver.Server
	admin   *sql.DB // the superuser's, without GORM
	figures figures
}

func main() {
	log.SetFlags(0)
	var b bench
	var only string
	flag.StringVar(&b.svg, "svg", "", "write the plot to this file")
	flag.StringVar(&only, "sections", "", "run these only, with commas between: insert, heal, first, memory, import, audit")
	flag.IntVar(&b.rounds, "rounds", 41, "rounds of each insert on loopback; at least 9")
	flag.BoolVar(&b.large, "large", os.Getenv("SEQHEAL_LONG") != "", "measure 10,000,000 rows and 10,000 known tables as well")
	flag.Parse()
	if only != "" {
		b.wanted = strings.Split(only, ",")
	}
	b.rounds = max(9, b.rounds)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := b.run(ctx); err != nil {
		log.Fatal(err)
	}
}

func (b *bench) run(ctx context.Context) (err error) {
	started := time.Now()
	// 10,000 tables are dropped in one transaction.
	if b.server, err = pgserver.Start("max_locks_per_transaction=1024"); err != nil {
		return err
	}
	defer b.server.Stop()
	if b.admin, err = sql.Open("pgx", b.server.DSN()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.admin.Close()) }()
	machine, err := b.machine(ctx)
	if err != nil {
		return err
	}
	fmt.Println(machine)
	for _, s := range sections {
		if len(b.wanted) > 0 && !slices.Contains(b.wanted, s.name) {
			continue
		}
		if err := s.run(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	fmt.Printf("\n%s\n", time.Since(started).Round(time.Second))
	if b.svg == "" {
		return nil
	}
	return os.WriteFile(b.svg, b.figures.svg(machine), 0o644)
}

// exec runs statements as superuser.
func (b *bench) exec(ctx context.Context, statements string, args ...any) error {
	if _, err := b.admin.ExecContext(ctx, statements, args...); err != nil {
		return fmt.Errorf("%s: %w", statements, err)
	}
	return nil
}

// machine tells on what the figures were made.
func (b *bench) machine(ctx context.Context) (string, error) {
	var server string
	if err := b.admin.QueryRowContext(ctx, "SHOW server_version").Scan(&server); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, %d cores, %s/%s; %s; PostgreSQL %s; gorm %s, pgx %s", processor(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH,
		runtime.Version(), server, version("gorm.io/gorm"), version("github.com/jackc/pgx/v5")), nil
}

// processor is the name that the kernel gives it.
func processor() string {
	file, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if name, found := strings.CutPrefix(lines.Text(), "model name"); found {
			return strings.Trim(name, " \t:")
		}
	}
	return "unknown processor"
}

func version(module string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "of unknown version"
	}
	for _, dependency := range info.Deps {
		if dependency.Path == module {
			return dependency.Version
		}
	}
	return "of unknown version"
}

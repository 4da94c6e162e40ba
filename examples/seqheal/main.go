// Command audit tells which sequences of a database are behind their tables, and moves
// them: go run ./examples/audit -dsn postgres://…
//
// It exits with 0 when all is in sync, 1 when something is behind, exhausted or nearly
// so, 2 on an error: run it in a pipeline, after a restore or a cut-over.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/plugin"
)

// Exit codes.
const (
	allInSync = 0
	attention = 1
	failure   = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once
	code := run(ctx, os.Args[1:], screen{os.Stdout, colourful(os.Stdout)}, screen{os.Stderr, isTerminal(os.Stderr)})
	os.Exit(code)
}

// screen is where something is written; lively is true for a terminal that shows
// colours, or a progress bar.
type screen struct {
	io.Writer
	lively bool
}

type options struct {
	dsn             string
	fix, dry, json  bool
	schemas, tables list
	timeout         time.Duration
}

// list is a flag that may be given more than once.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }
func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

func parse(arguments []string, out io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("audit", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&o.dsn, "dsn", "", "connection string; DATABASE_URL without it") // a default would be shown by -h
	flags.BoolVar(&o.fix, "fix", false, "move forward the sequences that are behind")
	flags.BoolVar(&o.dry, "dry-run", false, "print the SQL that would move them, ready for psql, and change nothing")
	flags.BoolVar(&o.json, "json", false, "print the findings as a JSON array")
	flags.Var(&o.schemas, "schema", "audit this schema only; may be given more than once")
	flags.Var(&o.tables, "table", "audit this table only, written users or billing.invoices; may be given more than once")
	flags.DurationVar(&o.timeout, "timeout", 5*time.Second, "time for one table")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	if o.dsn == "" {
		o.dsn = os.Getenv("DATABASE_URL")
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.fix && o.dry:
		return o, errors.New("-fix and -dry-run exclude each other")
	case o.json && o.dry:
		return o, errors.New("-json and -dry-run exclude each other")
	case o.dsn == "":
		return o, errors.New("no connection string: give -dsn or set DATABASE_URL")
	}
	return o, nil
}

func run(ctx context.Context, arguments []string, out, diagnostics screen) int {
	o, err := parse(arguments, diagnostics)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return allInSync
	case err != nil:
		_, _ = fmt.Fprintln(diagnostics, "audit:", err)
		return failure
	}
	db, err := open(ctx, o.dsn)
	if err != nil {
		_, _ = fmt.Fprintln(diagnostics, "audit:", withoutPassword(o.dsn, err))
		return failure
	}
	if pool, err := db.DB(); err == nil {
		defer func() { _ = pool.Close() }()
	}
	findings, err := o.audit(ctx, db, diagnostics)
	if write := o.print(out, findings); err == nil {
		err = write
	}
	if err != nil {
		_, _ = fmt.Fprintln(diagnostics, "audit:", withoutPassword(o.dsn, err))
		return failure
	}
	return code(findings, len(o.tables) > 0)
}

func open(ctx context.Context, dsn string) (*gorm.DB, error) {
	db, err := gorm.Open(postgres.Open(dsn), &gorm.Config{Logger: logger.Discard, DisableAutomaticPing: true})
	if err != nil {
		return nil, err
	}
	pool, err := db.DB()
	if err != nil {
		return nil, err
	}
	return db, pool.PingContext(ctx)
}

func (o options) audit(ctx context.Context, db *gorm.DB, diagnostics screen) ([]plugin.Finding, error) {
	scope := []plugin.AuditOption{plugin.WithTableTimeout(o.timeout), plugin.InSchemas(o.schemas...), plugin.OfTables(o.tables...)}
	if o.fix {
		scope = append(scope, plugin.AndResync())
	}
	if diagnostics.lively {
		bar := &bar{out: diagnostics}
		defer bar.clear()
		scope = append(scope, plugin.OnProgress(bar.show))
	}
	return plugin.Audit(ctx, db, scope...)
}

// print writes what was found, the worst first, in the form that was asked for.
func (o options) print(out screen, findings []plugin.Finding) error {
	findings = worstFirst(findings)
	switch {
	case o.json:
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(findings)
	case o.dry:
		return printSQL(out, findings)
	}
	return printTable(out, findings)
}

// code is the exit code that the findings deserve. A column whose default is more than
// nextval is nobody's error, unless somebody asked for its table: nothing was said of it.
func code(findings []plugin.Finding, named bool) int {
	worst := allInSync
	for _, f := range findings {
		switch f.State {
		case plugin.StateBehind, plugin.StateExhausted, plugin.StateNearlyExhausted:
			worst = max(worst, attention)
		case plugin.StateUnreadable:
			if named || f.Reason != plugin.ReasonUnsupported {
				worst = failure
			}
		}
	}
	return worst
}

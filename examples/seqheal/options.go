package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The commands.
const (
	commandAudit = "audit"
	commandFix   = "fix"
	commandSQL   = "sql"
	commandWatch = "watch"
	commandPage  = "page"
	commandCheck = "check"
)

var commands = []string{commandAudit, commandFix, commandSQL, commandWatch, commandPage, commandCheck}

type options struct {
	command   string
	dsn       string
	selection selection
	unused    bool
	explain   bool
	timeout   seconds
	warn      percentage
	critical  percentage
	since     string
	only      levels
	quiet     bool
	json, csv bool
	every     seconds
	dryRun    bool
	listen    string
	yes       bool
	version   bool
}

func (o *options) flags() *flag.FlagSet {
	o.timeout, o.every = seconds(5*time.Second), seconds(time.Minute)
	o.warn, o.critical = 80, 95
	flags := flag.NewFlagSet("seqheal", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	flags.StringVar(&o.dsn, "dsn", "", "")
	flags.Var((*schemaPatterns)(&o.selection.schemas), "schema", "")
	flags.Var((*tablePatterns)(&o.selection.tables), "table", "")
	flags.Var((*tablePatterns)(&o.selection.excluded), "exclude", "")
	flags.BoolVar(&o.unused, "unused", false, "")
	flags.BoolVar(&o.explain, "explain", false, "")
	flags.Var(&o.timeout, "timeout", "")
	flags.Var(&o.warn, "warn", "")
	flags.Var(&o.critical, "critical", "")
	flags.StringVar(&o.since, "since", "", "")
	flags.Var(&o.only, "only", "")
	flags.BoolVar(&o.quiet, "quiet", false, "")
	flags.BoolVar(&o.json, "json", false, "")
	flags.BoolVar(&o.csv, "csv", false, "")
	flags.Var(&o.every, "every", "")
	flags.BoolVar(&o.dryRun, "dry-run", false, "")
	flags.StringVar(&o.listen, "listen", "127.0.0.1:8090", "")
	flags.BoolVar(&o.yes, "yes", false, "")
	flags.BoolVar(&o.version, "version", false, "")
	return flags
}

// parse reads the arguments. Flags may stand before and after the command and the tables.
func (o *options) parse(arguments []string) error {
	flags := o.flags()
	var words []string
	for rest := arguments; ; {
		if err := flags.Parse(rest); err != nil {
			return err
		}
		if flags.NArg() == 0 {
			break
		}
		words, rest = append(words, flags.Arg(0)), flags.Args()[1:]
	}
	if err := o.take(words); err != nil || o.version {
		return err
	}
	if o.dsn == "" {
		o.dsn = os.Getenv("DATABASE_URL")
	}
	return errors.Join(o.contradiction(flags), o.connection())
}

// take reads the words that are no flags: a command, a connection string, tables.
func (o *options) take(words []string) error {
	for i, word := range words {
		switch {
		case word == "help":
			return flag.ErrHelp
		case word == "version" && i == 0:
			o.version = true
		case o.command == "" && slices.Contains(commands, word):
			o.command = word
		case o.dsn == "" && (strings.Contains(word, "://") || strings.Contains(word, "=")):
			o.dsn = word
		case o.command == "":
			return fmt.Errorf("unknown command %q: it is one of %s; a table goes after it", word, strings.Join(commands, ", "))
		default:
			if err := (*tablePatterns)(&o.selection.tables).Set(word); err != nil {
				return err
			}
		}
	}
	if o.command == "" {
		o.command = commandAudit
	}
	if o.command == commandCheck && len(o.selection.tables) > 0 {
		return errors.New("check takes no table: it makes one of its own")
	}
	if o.command == commandFix && o.dryRun {
		o.command, o.dryRun = commandSQL, false
	}
	return nil
}

// notFor are the flags that have no meaning for a command.
var notFor = map[string][]string{
	commandAudit: {"yes", "every", "dry-run", "listen"},
	commandFix:   {"yes", "every", "listen"},
	commandSQL:   {"yes", "every", "listen", "json", "csv", "quiet", "only", "unused", "explain", "since", "warn", "critical"},
	commandWatch: {"yes", "dry-run", "since", "listen"},
	commandPage:  {"yes", "dry-run", "since", "every", "json", "csv", "quiet", "only", "unused", "critical"},
	commandCheck: {"schema", "table", "exclude", "unused", "explain", "timeout", "warn", "critical", "since", "only", "quiet", "json", "csv", "every", "dry-run", "listen"},
}

// contradiction finds flags that exclude each other.
func (o *options) contradiction(flags *flag.FlagSet) error {
	var wrong error
	flags.Visit(func(f *flag.Flag) {
		if slices.Contains(notFor[o.command], f.Name) && wrong == nil {
			wrong = fmt.Errorf("-%s has no meaning for %s", f.Name, o.command)
		}
	})
	switch {
	case wrong != nil:
		return wrong
	case o.json && o.csv:
		return errors.New("-json and -csv exclude each other")
	case o.warn > o.critical && o.command != commandPage:
		return fmt.Errorf("-warn %v is beyond -critical %v", o.warn, o.critical)
	}
	return nil
}

// connecting are the variables that say where to connect.
var connecting = []string{"PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE"}

// connection makes sure that somewhere is said where to connect: a forgotten variable
// must not lead to a database that happens to be on this machine, and is in sync.
func (o *options) connection() error {
	if o.dsn != "" || slices.ContainsFunc(connecting, func(name string) bool { return os.Getenv(name) != "" }) {
		return nil
	}
	return errors.New("no database: give -dsn, or set DATABASE_URL or psql's variables, such as PGHOST, PGDATABASE or PGSERVICE")
}

// seconds is a time; a plain number is of seconds.
type seconds time.Duration

func (s *seconds) String() string { return time.Duration(*s).String() }
func (s *seconds) Set(text string) error {
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		text = strconv.FormatFloat(n, 'f', -1, 64) + "s"
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return errors.New("not a time such as 30s, 2m or 30")
	}
	*s = seconds(d)
	return nil
}

// percentage is a number of percent.
type percentage float64

func (p *percentage) String() string { return strconv.FormatFloat(float64(*p), 'f', -1, 64) }
func (p *percentage) Set(text string) error {
	n, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	if err != nil || !(n > 0 && n <= 100) {
		return errors.New("not a percentage such as 80")
	}
	*p = percentage(n)
	return nil
}

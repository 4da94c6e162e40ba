// Command seqheal finds the PostgreSQL sequences that are behind their tables, nearly used
// up or hidden from you, and moves forward those behind:
//
//	go install github.com/seqheal/seqheal/examples/seqheal@latest
//	seqheal -dsn postgres://…
//
// Run it in a pipeline, after a restore or a cut-over: its exit code tells whether all is
// in sync (0), something needs attention (1), it failed (2) or could not look at
// everything (3).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/seqheal/seqheal/plugin"
)

// Exit codes.
const (
	allInSync = 0
	attention = 1
	failure   = 2
	notAll    = 3
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once
	code := run(ctx, os.Args[1:], screen{os.Stdout, colourful(os.Stdout)}, screen{os.Stderr, isTerminal(os.Stderr)})
	os.Exit(code)
}

// screen is where something is written; lively is true for a terminal that shows colours
// or a progress bar.
type screen struct {
	io.Writer
	lively bool
}

// session is one run of the command.
type session struct {
	options
	out, diagnostics screen
	server           server
	// earlier are the findings of the run that -since names.
	earlier []plugin.Finding
	// headed is true once -csv has written the names of its fields.
	headed bool
}

// run runs the command and returns its exit code.
func run(ctx context.Context, arguments []string, out, diagnostics screen) int {
	s := session{out: out, diagnostics: diagnostics}
	switch err := s.parse(arguments); {
	case errors.Is(err, flag.ErrHelp):
		_, _ = io.WriteString(out, usage)
		return allInSync
	case err != nil:
		return s.fail(fmt.Errorf("%w; see seqheal -h", err))
	case s.version:
		_, _ = fmt.Fprintln(out, version())
		return allInSync
	}
	code, err := s.run(ctx)
	if err != nil {
		return s.fail(err)
	}
	return code
}

// fail writes why the command failed.
func (s *session) fail(err error) int {
	for line := range strings.Lines(s.reason(err)) {
		_, _ = fmt.Fprintln(s.diagnostics, "seqheal:", shown(strings.TrimSuffix(line, "\n")))
	}
	return failure
}

// reason is an error for people.
func (s *session) reason(err error) string {
	return strings.TrimPrefix(withoutPassword(s.dsn, err), "seqheal: ")
}

func (s *session) run(ctx context.Context) (code int, err error) {
	if s.command == commandCheck {
		return s.check(ctx)
	}
	if s.since != "" {
		if s.earlier, err = readEarlier(s.since); err != nil {
			return failure, err
		}
	}
	db, close, err := open(ctx, s.dsn)
	if err != nil {
		return failure, err
	}
	defer close()
	if s.server, err = readServer(ctx, db); err != nil {
		return failure, err
	}
	if err := s.selection.resolve(ctx, db); err != nil {
		return failure, err
	}
	switch s.command {
	case commandSQL:
		return s.printSQL(ctx, db)
	case commandWatch:
		return s.watch(ctx, db)
	case commandPage:
		return s.page(ctx, db)
	}
	return s.once(ctx, db)
}

// version is what go install was told to install.
func version() string {
	text := "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		text = info.Main.Version
	}
	return fmt.Sprintf("seqheal %s (%s, %s/%s)", text, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// Mutants breaks the product on purpose, in one way after the other, and runs the
// test that must notice, after the same tests have passed on the product as it is:
//
//	go run ./mutants            all of them
//	go run ./mutants -run lock  those whose name contains lock
//
// The tree is not touched: the broken file is a copy that the compiler is given
// instead (go test -overlay). It prints a line for each mutant and exits with 1 when
// one survives, and with 2 when one cannot be tried: its text is not in the file
// exactly once, it does not compile, or the test is not there or fails anyway.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/seqheal/seqheal/internal/pgserver"
)

// mutant is one way in which the product could be wrong.
type mutant struct {
	name  string
	edits []edit
	// tests must notice; the first that fails is the one that caught it.
	tests []test
}

// edit replaces text that stands exactly once in a file of the repository.
type edit struct{ file, old, new string }

// test is what go test is given, in the root module.
type test struct{ packageName, run string }

// result is what became of a mutant.
type result struct {
	mutant mutant
	caught string // the test that failed, empty for a survivor
	err    error  // the mutant could not be tried
	took   time.Duration
}

func main() {
	only := flag.String("run", "", "only mutants whose name contains this")
	flag.Parse()
	root, err := rootOf("github.com/seqheal/seqheal")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	var chosen []mutant
	for _, m := range mutants {
		if strings.Contains(m.name, *only) {
			chosen = append(chosen, m)
		}
	}
	if len(chosen) == 0 {
		fmt.Fprintln(os.Stderr, "no mutant is named so")
		os.Exit(2)
	}
	os.Exit(run(root, chosen))
}

// run tries the mutants on one server for all tests, and returns the exit code.
func run(root string, chosen []mutant) int {
	server, err := pgserver.Start()
	if err == nil {
		defer server.Stop()
		if err = os.Setenv(pgserver.DSN, server.DSN()); err == nil {
			err = passUnbroken(root, chosen)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	return show(tryAll(root, chosen))
}

// passUnbroken runs the tests without a mutant, those of a package together: one that
// fails anyway notices nothing.
func passUnbroken(root string, chosen []mutant) error {
	runs := map[string][]string{}
	for _, m := range chosen {
		for _, t := range m.tests {
			if !slices.Contains(runs[t.packageName], t.run) {
				runs[t.packageName] = append(runs[t.packageName], t.run)
			}
		}
	}
	var all []mutant
	for packageName, names := range runs {
		t := test{packageName: packageName, run: strings.Join(names, "|")}
		all = append(all, mutant{name: packageName, tests: []test{t}})
	}
	for _, r := range tryAll(root, all) {
		switch {
		case r.err != nil:
			return r.err
		case r.caught != "":
			return fmt.Errorf("%s fails without a mutant", r.caught)
		}
	}
	return nil
}

// rootOf is the folder of a module that this one replaces or requires.
func rootOf(module string) (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("run this in internal/proof: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// together is how many mutants are tried at once: compiling one uses the time in
// which the other waits for its server.
const together = 3

func tryAll(root string, all []mutant) []result {
	results := make([]result, len(all))
	places := make(chan struct{}, together)
	var done sync.WaitGroup
	for i, m := range all {
		places <- struct{}{}
		done.Go(func() {
			defer func() { <-places }()
			started := time.Now()
			caught, err := try(root, m)
			results[i] = result{mutant: m, caught: caught, err: err, took: time.Since(started)}
		})
	}
	done.Wait()
	return results
}

// show prints the table and returns the exit code.
func show(results []result) (code int) {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "mutant\tcaught by\tseconds")
	for _, r := range results {
		caught := r.caught
		switch {
		case r.err != nil:
			caught, code = "NOT TRIED", 2
		case caught == "":
			caught, code = "SURVIVED", max(code, 1)
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%.1f\n", r.mutant.name, caught, r.took.Seconds())
	}
	_ = table.Flush()
	for _, r := range results {
		if r.err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", r.mutant.name, r.err)
		}
	}
	return code
}

// try builds the mutant beside the tree and runs its tests.
func try(root string, m mutant) (caught string, err error) {
	dir, err := os.MkdirTemp("", "seqheal-mutant-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	overlay := ""
	if len(m.edits) > 0 {
		if overlay, err = build(root, dir, m.edits); err != nil {
			return "", err
		}
	}
	for _, t := range m.tests {
		failed, err := t.fails(root, overlay)
		if err != nil {
			return "", err
		}
		if failed != "" {
			return failed, nil
		}
	}
	return "", nil
}

// build writes the broken files and the list that go test is given.
func build(root, dir string, edits []edit) (overlay string, err error) {
	broken := map[string]string{}
	for _, e := range edits {
		path := filepath.Join(root, filepath.FromSlash(e.file))
		text, there := broken[path]
		if !there {
			content, err := os.ReadFile(path)
			if err != nil {
				return "", err
			}
			text = string(content)
		}
		if n := strings.Count(text, e.old); n != 1 {
			return "", fmt.Errorf("%s holds this %d times, not once: %s", e.file, n, e.old)
		}
		broken[path] = strings.Replace(text, e.old, e.new, 1)
	}
	replace := map[string]string{}
	for path, text := range broken {
		file := filepath.Join(dir, fmt.Sprintf("%d_%s", len(replace), filepath.Base(path)))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return "", err
		}
		replace[path] = file
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, list, 0o600)
}

// limit ends a test in which the mutant waits for ever. Tests that run together have as
// much for each.
const limit = 150 * time.Second

var failedTest = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

// fails runs the test and names the one that failed, empty when none did.
func (t test) fails(root, overlay string) (string, error) {
	longest := limit * time.Duration(1+strings.Count(t.run, "|"))
	ctx, cancel := context.WithTimeout(context.Background(), longest+30*time.Second)
	defer cancel()
	arguments := []string{"test", "-count=1", "-vet=off", "-failfast", "-ldflags=-w", "-timeout", longest.String(), "-v", "-run", t.run, t.packageName}
	if overlay != "" {
		arguments = append(arguments, "-overlay", overlay)
	}
	command := exec.CommandContext(ctx, "go", arguments...)
	command.Dir = root
	out, err := command.CombinedOutput()
	text := string(out)
	var exit *exec.ExitError
	switch {
	case strings.Contains(text, "[build failed]"), strings.Contains(text, "[setup failed]"):
		return "", fmt.Errorf("the mutant does not compile: %s", text)
	case strings.Contains(text, "no tests to run"), !strings.Contains(text, "=== RUN"):
		return "", fmt.Errorf("no test %s in %s: %s", t.run, t.packageName, text)
	case err == nil:
		return "", nil
	case !errors.As(err, &exit):
		return "", err
	}
	failed := failedTest.FindStringSubmatch(text)
	if failed == nil {
		return "", fmt.Errorf("%s in %s failed without a test: %s", t.run, t.packageName, text)
	}
	return strings.TrimPrefix(t.packageName, "./") + ": " + failed[1], nil
}

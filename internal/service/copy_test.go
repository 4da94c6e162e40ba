package service

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// runToEnd runs the program until it ends by itself.
func runToEnd(t *testing.T, dsn string) (code int, out string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), program, "-addr", "127.0.0.1:0")
	command.Env = append(os.Environ(), "DATABASE_URL="+dsn)
	text, err := command.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return command.ProcessState.ExitCode(), string(text)
}

func goIn(t *testing.T, dir string, arguments ...string) string {
	t.Helper()
	return goWith(t, dir, []string{"GOFLAGS=-buildvcs=false"}, arguments...)
}

func goWith(t *testing.T, dir string, environment []string, arguments ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", arguments...)
	command.Dir, command.Env = dir, append(os.Environ(), environment...)
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("go %s: %v: %s", strings.Join(arguments, " "), err, out)
	}
	return string(out)
}

// A copy of the folder compiles, and without its replace directives finds all that it needs in
// the modules as they are published, nothing of this repository's inside.
func TestTheExampleCopies(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(example)); err != nil {
		t.Fatal(err)
	}
	// Compiled with the modules as they are here, where they are compiled already.
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	mod := filepath.Join(dir, "go.mod")
	if err := os.WriteFile(mod, bytes.ReplaceAll(contents(t, mod), []byte("=> ../.."), []byte("=> "+root)), 0o644); err != nil {
		t.Fatal(err)
	}
	goIn(t, dir, "build", "-o", os.DevNull, ".")
	// Without the replace directives every package is found in what is published.
	environment := published(t)
	goWith(t, dir, environment, "mod", "edit", "-dropreplace=github.com/seqheal/seqheal",
		"-dropreplace=github.com/seqheal/seqheal/plugin/metrics", "-dropreplace=github.com/seqheal/seqheal/plugin/otel")
	all := strings.Fields(goWith(t, dir, environment, "list", "-deps", "-f", "{{.ImportPath}}", "."))
	for _, name := range []string{"status", "metrics", "otel"} {
		if !slices.Contains(all, "github.com/seqheal/seqheal/plugin/"+name) {
			t.Errorf("it does not use plugin/%s", name)
		}
	}
	for _, path := range strings.Fields(goWith(t, dir, environment, "list", "-f", `{{join .Imports "\n"}}{{"\n"}}{{join .TestImports "\n"}}`, ".")) {
		if strings.Contains(path, "/internal/") {
			t.Errorf("the example imports %s", path)
		}
	}
}

// The example asks for few modules, the root's version of Go, and not much time to read.
func TestTheExampleIsSmall(t *testing.T) {
	t.Parallel()
	mod := string(contents(t, filepath.Join(example, "go.mod")))
	direct := regexp.MustCompile(`(?m)^\t\S+ v\S+$`).FindAllString(mod, -1)
	if len(direct) == 0 || len(direct) > 10 || strings.Contains(mod, "prometheus/prometheus") {
		t.Errorf("%d requirements: %s", len(direct), strings.Join(direct, ""))
	}
	version := regexp.MustCompile(`(?m)^go (\S+)$`)
	if got, want := version.FindString(mod), version.FindString(string(contents(t, "../../go.mod"))); got != want {
		t.Errorf("the example asks for %q, the root for %q", got, want)
	}
	lines := 0
	for _, file := range filesOf(t, example) {
		if strings.HasSuffix(file, ".go") {
			lines += bytes.Count(contents(t, filepath.Join(example, file)), []byte("\n"))
		}
	}
	if lines == 0 || lines >= 500 {
		t.Errorf("%d lines, docs/operations.md says under 500", lines)
	}
}

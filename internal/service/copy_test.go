package service

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
// the modules as they are published: those that it names, few of them, and nothing of this
// repository's inside.
func TestTheExampleCopies(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(example)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	// Compiled with the modules as they are here, where they are compiled already.
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	mod := filepath.Join(dir, "go.mod")
	if err := os.WriteFile(mod, []byte(strings.ReplaceAll(string(text), "=> ../..", "=> "+root)), 0o644); err != nil {
		t.Fatal(err)
	}
	goIn(t, dir, "build", "-o", os.DevNull, ".")
	// Without the replace directives every package is found in what is published.
	environment := published(t)
	goWith(t, dir, environment, "mod", "edit", "-dropreplace=github.com/seqheal/seqheal",
		"-dropreplace=github.com/seqheal/seqheal/plugin/metrics", "-dropreplace=github.com/seqheal/seqheal/plugin/otel")
	all := goWith(t, dir, environment, "list", "-deps", "-f", "{{.ImportPath}}", ".")
	for _, path := range []string{"github.com/seqheal/seqheal/plugin/status\n", "github.com/seqheal/seqheal/plugin/metrics\n", "github.com/seqheal/seqheal/plugin/otel\n"} {
		if !strings.Contains(all, path) {
			t.Errorf("it does not use %s", path)
		}
	}
	for _, path := range strings.Fields(goWith(t, dir, environment, "list", "-f", `{{join .Imports "\n"}}{{"\n"}}{{join .TestImports "\n"}}`, ".")) {
		if strings.Contains(path, "/internal/") {
			t.Errorf("the example imports %s", path)
		}
	}
	direct := regexp.MustCompile(`(?m)^\t\S+ v\S+$`).FindAllString(string(text), -1)
	if len(direct) > 10 || strings.Contains(string(text), "prometheus/prometheus") {
		t.Errorf("%d requirements: %s", len(direct), strings.Join(direct, ""))
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines += strings.Count(string(source), "\n")
	}
	if lines == 0 || lines >= 500 {
		t.Errorf("%d lines, docs/operations.md says under 500", lines)
	}
	version := regexp.MustCompile(`(?m)^go (\S+)$`)
	rootMod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := version.FindString(string(text)), version.FindString(string(rootMod)); got != want {
		t.Errorf("the example asks for %q, the root for %q", got, want)
	}
}

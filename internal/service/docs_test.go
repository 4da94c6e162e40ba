package service

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every Go snippet that needs these modules, on the page about operations and in the
// README, stands in an example or a test that compiles. The root's docs_test.go checks links.
func TestTheSnippetsCompile(t *testing.T) {
	t.Parallel()
	read := func(file string) string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	examples := read("production_test.go")
	for _, name := range []string{"metrics", "otel", "status"} {
		examples += read(filepath.Join("../../plugin", name, "example_test.go"))
	}
	text, readme := read("../../docs/operations.md"), read("../../README.md")
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```")
	snippets := blocks.FindAllStringSubmatch(text, -1)
	for _, snippet := range blocks.FindAllStringSubmatch(readme, -1) {
		if strings.Contains(snippet[1], "metrics.New(") {
			snippets = append(snippets, snippet)
		}
	}
	for _, snippet := range snippets {
		if !strings.Contains(examples, snippet[1]) {
			t.Errorf("nothing that compiles has\n%s", snippet[1])
		}
	}
	if len(snippets) < 5 {
		t.Errorf("%d snippets", len(snippets))
	}
}

// The runbook has a line for every alert, and for no other.
func TestTheRunbookKnowsEveryAlert(t *testing.T) {
	t.Parallel()
	names := func(file, pattern string) []string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
			found = append(found, match[1])
		}
		slices.Sort(found)
		return found
	}
	alerts := names(filepath.Join(example, "alerts.yml"), `(?m)^      - alert: (\w+)$`)
	if runbook := names("../../docs/operations.md", "`(Seqheal\\w+)`"); !slices.Equal(alerts, runbook) || len(alerts) < 10 {
		t.Errorf("the alerts are\n%q\nthe runbook has\n%q", alerts, runbook)
	}
}

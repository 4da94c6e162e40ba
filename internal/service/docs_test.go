package service

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every Go snippet that needs these modules, on the page about operations and in the
// README, stands in an example or a test that compiles, and every link leads somewhere.
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
	links := regexp.MustCompile(`(?:\]\(|src=")([^)"]+)`).FindAllStringSubmatch(text, -1)
	for _, link := range links {
		if _, err := os.Stat(filepath.Join("../../docs", link[1])); err != nil {
			t.Error(err)
		}
	}
	if len(snippets) < 5 || len(links) < 5 {
		t.Errorf("%d snippets, %d links", len(snippets), len(links))
	}
}

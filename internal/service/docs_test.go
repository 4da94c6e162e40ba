package service

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every Go snippet of the page about operations stands in an example that compiles, and
// every link leads somewhere.
func TestTheSnippetsCompile(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := ""
	for _, name := range []string{"metrics", "otel", "status"} {
		source, err := os.ReadFile(filepath.Join("../../plugin", name, "example_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		examples += string(source)
	}
	snippets := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	for _, snippet := range snippets {
		if !strings.Contains(examples, snippet[1]) {
			t.Errorf("no example has\n%s", snippet[1])
		}
	}
	links := regexp.MustCompile(`(?:\]\(|src=")([^)"]+)`).FindAllStringSubmatch(string(text), -1)
	for _, link := range links {
		if _, err := os.Stat(filepath.Join("../../docs", link[1])); err != nil {
			t.Error(err)
		}
	}
	if len(snippets) < 4 || len(links) < 5 {
		t.Errorf("%d snippets, %d links", len(snippets), len(links))
	}
}

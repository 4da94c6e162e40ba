package seqheal_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every Go snippet of the README stands, line for line, in a compiled example or in a
// program under examples/.
func TestTheReadmesSnippetsAreCompiled(t *testing.T) {
	t.Parallel()
	compiled := ""
	for _, pattern := range []string{"plugin/example*_test.go", "plugin/status/example_test.go", "examples/*/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			compiled += flat(read(t, file))
		}
	}
	snippets := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(read(t, "README.md"), -1)
	if len(snippets) < 5 {
		t.Fatalf("%d snippets", len(snippets))
	}
	for _, snippet := range snippets {
		for part := range strings.SplitSeq(snippet[1], "\n\n") { // imports stand apart
			if !strings.Contains(compiled, flat(part)) {
				t.Errorf("not compiled anywhere:\n%s", part)
			}
		}
	}
}

// What the README points to is there.
func TestTheReadmesLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	text := read(t, "README.md")
	links := regexp.MustCompile(`\]\(([^)#]+)[^)]*\)|src="([^"]+)"`).FindAllStringSubmatch(text, -1)
	if len(links) < 2 {
		t.Fatalf("%d links", len(links))
	}
	for _, link := range links {
		path := link[1] + link[2]
		if _, err := os.Stat(path); err != nil && !strings.HasPrefix(path, "https://") {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, path := range regexp.MustCompile("`((?:plugin|internal|examples|docs|\\.ci)/[A-Za-z0-9_/.-]+)`").FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(path[1]); err != nil {
			t.Error(err)
		}
	}
}

// flat is the text without indentation and empty lines.
func flat(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

package seqheal_test

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/seqheal/seqheal/internal/pgtest"
)

// elsewhere reports whether a Go snippet needs a module of its own. internal/service
// compiles those, and all of docs/operations.md.
func elsewhere(path, snippet string) bool {
	return path == "docs/operations.md" || path == "README.md" && strings.Contains(snippet, "metrics.New(")
}

// page is one Markdown file.
type page struct{ path, text string }

// pages are the README and everything it leads to.
func pages(t *testing.T) (all []page) {
	t.Helper()
	files, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(files, "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md") {
		all = append(all, page{path, read(t, path)})
	}
	return all
}

// blocks are the texts between ``` and ``` of one language.
func (p page) blocks(language string) (texts []string) {
	for _, found := range regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```").FindAllStringSubmatch(p.text, -1) {
		if found[1] == language {
			texts = append(texts, found[2])
		}
	}
	return texts
}

// Every Go snippet compiles: a whole program as it stands, statements in a function
// that has what they use.
func TestDocs_everyGoSnippetCompiles(t *testing.T) {
	t.Parallel()
	dir := moduleBeside(t)
	count := 0
	for _, p := range pages(t) {
		for _, snippet := range p.blocks("go") {
			if elsewhere(p.path, snippet) {
				continue
			}
			count++
			source := snippet
			if !strings.HasPrefix(snippet, "package ") {
				source = wrapped(t, p.path, snippet)
			}
			name := strings.NewReplacer("/", "_", ".", "_").Replace(p.path)
			write(t, filepath.Join(dir, fmt.Sprintf("%s_%d", name, count), "main.go"), source)
		}
	}
	if count < 10 {
		t.Errorf("%d snippets", count)
	}
	vet := exec.Command("go", "vet", "./...")
	vet.Dir = dir
	if out, err := vet.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// moduleBeside makes a module that uses this one, as an application does.
func moduleBeside(t *testing.T) (dir string) {
	t.Helper()
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	mod := strings.Replace(read(t, "go.mod"), "module github.com/seqheal/seqheal\n", "module example.com/application\n", 1)
	mod += "\nrequire github.com/seqheal/seqheal v0.0.0\n\nreplace github.com/seqheal/seqheal => " + here + "\n"
	write(t, filepath.Join(dir, "go.mod"), mod)
	write(t, filepath.Join(dir, "go.sum"), read(t, "go.sum"))
	return dir
}

// imports are the packages that snippets use, by the name under which they do.
var imports = map[string]string{
	"clause": "gorm.io/gorm/clause", "context": "context", "errors": "errors", "fmt": "fmt", "gorm": "gorm.io/gorm", "http": "net/http",
	"log": "log", "logger": "gorm.io/gorm/logger", "os": "os", "plugin": "github.com/seqheal/seqheal/plugin",
	"postgres": "gorm.io/driver/postgres", "slog": "log/slog", "sql": "database/sql", "status": "github.com/seqheal/seqheal/plugin/status", "time": "time",
}

// surroundings is what an application has around a snippet.
const surroundings = `
type User struct {
	ID    int64
	Name  string
	Email string
}

type Order struct {
	ID     int64
	Item   string
	UserID int64
}

var newOrders, importedRows []Order

func incidentsTotal(table, outcome string) {}

func snippet(ctx context.Context, db, admin *gorm.DB, dsn string, mux *http.ServeMux, healing *plugin.Plugin, users []User) error {
	{
%s
	}
	return nil
}

func main() { _ = snippet }
`

// wrapped puts statements into a function.
func wrapped(t *testing.T, path, snippet string) string {
	t.Helper()
	body := fmt.Sprintf(surroundings, snippet)
	file, err := parser.ParseFile(token.NewFileSet(), path, "package main\n"+body, 0)
	if err != nil {
		t.Fatalf("%s: %v\n%s", path, err, snippet)
	}
	used := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok {
			if name, ok := selector.X.(*ast.Ident); ok && imports[name.Name] != "" {
				used[imports[name.Name]] = true
			}
		}
		return true
	})
	var b strings.Builder
	b.WriteString("package main\n")
	for _, path := range slices.Sorted(maps.Keys(used)) {
		fmt.Fprintf(&b, "import %q\n", path)
	}
	return b.String() + body
}

// The README's program prints what the README says.
func TestDocs_theProgramOfTheReadmeRuns(t *testing.T) { // not beside the others: the look for the cause has 5 ms
	readme := page{"README.md", read(t, "README.md")}
	source := readme.blocks("go")[0]
	dir := moduleBeside(t)
	write(t, filepath.Join(dir, "main.go"), source)
	var out []byte
	for range 5 {
		place := pgtest.New(t)
		run := exec.Command("go", "run", ".")
		run.Dir = dir
		run.Env = append(os.Environ(), "DATABASE_URL="+place.DSN)
		var err error
		if out, err = run.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if !strings.Contains(string(out), "takes longer than 5ms") { // the look for the cause, on a busy machine
			break
		}
	}
	got, want := printed(string(out)), printed(readme.blocks("text")[0])
	if got != want {
		t.Errorf("it prints\n%s\ninstead of\n%s", got, want)
	}
}

// printed is an output without what differs from run to run: colours, times, folders, line
// numbers and the schema.
func printed(out string) string {
	for _, replace := range [][2]string{
		{`(?m)^.*SLOW SQL.*\n.*\n`, ""}, // GORM's own, on a busy machine
		{`\x1b\[[0-9;]*m`, ""},
		{`\d{4}/\d\d/\d\d \S+ \S*(/plugin/report\.go):\d+`, "TIME $1"},
		{`sent by \S*/main\.go:\d+`, "sent by main.go"},
		{`"t\d+_\d+"\.`, `"public".`},
		{`\d+(\.\d+)?(ms|µs)`, "DURATION"},
	} {
		out = regexp.MustCompile(replace[0]).ReplaceAllString(out, replace[1])
	}
	return flat(out)
}

// Every relative link, picture, path and anchor leads somewhere.
func TestDocs_everyLinkLeadsSomewhere(t *testing.T) {
	t.Parallel()
	links := regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"`)
	paths := regexp.MustCompile("`((?:plugin|internal|examples|docs|\\.ci|\\.github)/[A-Za-z0-9_/.-]+)`")
	count := 0
	for _, p := range pages(t) {
		for _, found := range links.FindAllStringSubmatch(p.text, -1) {
			link := cmp.Or(found[1], found[2])
			if strings.HasPrefix(link, "https://") || strings.HasPrefix(link, "mailto:") {
				continue
			}
			count++
			file, anchor, _ := strings.Cut(link, "#")
			target := filepath.Join(filepath.Dir(p.path), file)
			if file == "" {
				target = p.path
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %v", p.path, err)
				continue
			}
			if anchor != "" && !slices.Contains(anchors(read(t, target)), anchor) {
				t.Errorf("%s: %s has no heading #%s", p.path, target, anchor)
			}
		}
		for _, found := range paths.FindAllStringSubmatch(p.text, -1) {
			if _, err := os.Stat(found[1]); err != nil {
				t.Errorf("%s: %v", p.path, err)
			}
		}
	}
	if count < 20 {
		t.Errorf("%d links", count)
	}
}

// anchors are the names that GitHub gives to headings.
func anchors(text string) (names []string) {
	text = regexp.MustCompile("(?ms)^```.*?^```").ReplaceAllString(text, "")
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		name := strings.ToLower(heading[1])
		name = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(name, "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
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

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

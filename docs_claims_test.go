package seqheal_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/seqheal/seqheal/internal/pgtest"
)

// The damage that the README shows is what examples/silent prints.
func TestDocs_theDamageInTheReadmeIsShown(t *testing.T) {
	t.Parallel()
	run := exec.Command("go", "run", "./examples/silent")
	run.Env = append(os.Environ(), "SEQHEAL_DSN="+pgtest.New(t).DSN)
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	program, _, _ := strings.Cut(string(out), "Save: ")
	for _, block := range (page{"README.md", read(t, "README.md")}).blocks("") {
		if !strings.HasPrefix(block, "has many: ") {
			continue
		}
		for line := range strings.Lines(block) {
			line, _, _ = strings.Cut(line, "←")
			before, after, found := strings.Cut(program, strings.TrimRight(line, " \n")+"\n")
			if !found {
				t.Errorf("in this order it does not print %q: %s", line, before)
			}
			program = after
		}
		return
	}
	t.Error("the README does not show it")
}

// Every test that a page names exists, and every function in the flow of docs/design.md stands
// in the file beside it.
func TestDocs_whatIsNamedExists(t *testing.T) {
	t.Parallel()
	declared := functions(t)
	names := regexp.MustCompile("`((?:Test|Benchmark|Fuzz|Example)[A-Z][A-Za-z0-9_]*)`")
	count := 0
	for _, p := range pages(t) {
		for _, found := range names.FindAllStringSubmatch(p.text, -1) {
			count++
			if len(declared[found[1]]) == 0 {
				t.Errorf("%s: there is no %s", p.path, found[1])
			}
		}
	}
	if count < 30 {
		t.Errorf("%d tests are named", count)
	}
	rows := regexp.MustCompile("(?m)^\\| `([a-z]+\\.go)` \\| (.*) \\|$").FindAllStringSubmatch(read(t, "docs/design.md"), -1)
	for _, row := range rows {
		for _, name := range regexp.MustCompile("`([A-Za-z]+)`").FindAllStringSubmatch(row[2], -1) {
			if !slices.Contains(declared[name[1]], "internal/heal/"+row[1]) {
				t.Errorf("docs/design.md: %s has no %s", row[1], name[1])
			}
		}
	}
	if len(rows) < 9 {
		t.Errorf("%d files in the flow", len(rows))
	}
}

// functions are the files in which a function of a name stands.
func functions(t *testing.T) map[string][]string {
	t.Helper()
	declared := map[string][]string{}
	find := regexp.MustCompile(`(?m)^func (?:\([^)]*\) )?([A-Za-z0-9_]+)`)
	if err := filepath.WalkDir(".", func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		for _, found := range find.FindAllStringSubmatch(read(t, path), -1) {
			declared[found[1]] = append(declared[found[1]], filepath.ToSlash(path))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return declared
}

// The README's program may be run again: it leaves nothing behind.
func TestDocs_theProgramOfTheReadmeLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := moduleBeside(t)
	write(t, filepath.Join(dir, "main.go"), (page{"README.md", read(t, "README.md")}).blocks("go")[0])
	place := pgtest.New(t)
	for range 2 {
		run := exec.Command("go", "run", ".")
		run.Dir, run.Env = dir, append(os.Environ(), "DATABASE_URL="+place.DSN)
		if out, err := run.CombinedOutput(); err != nil || !strings.Contains(string(out), "stored with id 21\n") {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if left := place.Text("SELECT relname FROM pg_class WHERE relnamespace = '$S'::regnamespace"); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

// The README names every option of New.
func TestDocs_theReadmeNamesEveryOption(t *testing.T) {
	t.Parallel()
	readme := read(t, "README.md")
	options := regexp.MustCompile(`(?m)^func (\w+)\(.*\) Option \{`).FindAllStringSubmatch(read(t, "plugin/options.go"), -1)
	for _, option := range options {
		if !regexp.MustCompile("(?m)^\\|.*`" + option[1] + `\(`).MatchString(readme) {
			t.Errorf("the table of options lacks %s", option[1])
		}
	}
	if len(options) < 8 {
		t.Errorf("%d options", len(options))
	}
}

// Every exported function of the public packages has an example.
func TestDocs_everyFunctionHasAnExample(t *testing.T) {
	t.Parallel()
	function := regexp.MustCompile(`(?m)^func ([A-Z]\w*)\(`)
	count := 0
	for _, folder := range []string{"plugin", "plugin/auditor", "plugin/status", "plugin/metrics", "plugin/otel"} {
		files, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		source, examples := "", ""
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				examples += read(t, file)
			} else {
				source += read(t, file)
			}
		}
		for _, found := range function.FindAllStringSubmatch(source, -1) {
			count++
			if !regexp.MustCompile(`(?m)^func Example` + found[1] + `(_[a-z]\w*)?\(`).MatchString(examples) {
				t.Errorf("%s has no example of %s", folder, found[1])
			}
		}
	}
	if count < 30 {
		t.Errorf("%d functions", count)
	}
}

// Every limit says what happens and what to do.
func TestDocs_everyLimitSaysWhatToDo(t *testing.T) {
	t.Parallel()
	limits := strings.Split(read(t, "docs/limits.md"), "\n## ")[1:]
	for _, limit := range limits {
		name, text, _ := strings.Cut(limit, "\n")
		if strings.Count(text, "**What happens.** ") != 1 || strings.Count(text, "**What to do.** ") != 1 {
			t.Errorf("%s: what happens, and what is to do?", name)
		}
	}
	if len(limits) < 25 {
		t.Errorf("%d limits", len(limits))
	}
}

// Every go run and go test leads to a package, and every -run to a test, from the folder that
// the command or the line before it changes to.
func TestDocs_everyCommandLeadsToAPackage(t *testing.T) {
	t.Parallel()
	commands := regexp.MustCompile("(?:cd (\\S+) && )?\\bgo (?:run|test) ([^`\n#)]*)")
	declared := functions(t)
	count := 0
	for _, p := range pages(t) {
		for _, command := range commands.FindAllStringSubmatch(p.text, -1) {
			packages, wrong := checkCommand(declared, command[1], command[2])
			count += packages
			if wrong != "" {
				t.Errorf("%s: %s: %s", p.path, command[0], wrong)
			}
		}
	}
	if count < 15 {
		t.Errorf("%d packages", count)
	}
}

var (
	packagesOf = regexp.MustCompile(`(?:^| )(\./[\w/]+)`)
	testsOf    = regexp.MustCompile(`-run (\S+)`)
)

// checkCommand counts the packages of a go command in a folder, and says what is not there.
func checkCommand(declared map[string][]string, folder, arguments string) (packages int, wrong string) {
	for _, found := range testsOf.FindAllStringSubmatch(arguments, -1) {
		if !matchesATest(declared, found[1]) {
			wrong = "no test is called " + found[1]
		}
	}
	for _, found := range packagesOf.FindAllStringSubmatch(arguments, -1) {
		packages++
		if !isPackage(folder, found[1]) {
			wrong = "there is no " + found[1]
		}
	}
	return packages, wrong
}

// isPackage reports whether a folder has Go files, from the folder that the command changes to
// or else from one of those that the text names before.
func isPackage(from, folder string) bool {
	candidates := []string{".", "internal/proof", "plugin/metrics", "examples/service"}
	if from != "" {
		candidates = []string{from}
	}
	return slices.ContainsFunc(candidates, func(dir string) bool {
		files, _ := filepath.Glob(filepath.Join(dir, folder, "*.go"))
		return len(files) > 0
	})
}

// matchesATest reports whether a test of this name, or whose name has this part, exists. '^$'
// is for benchmarks alone.
func matchesATest(declared map[string][]string, pattern string) bool {
	if pattern == "'^$'" {
		return true
	}
	for name := range declared {
		if strings.HasPrefix(name, "Test") && strings.Contains(name, pattern) {
			return true
		}
	}
	return false
}

// Links to other sites are few: the forms that the changelog follows, this project's own
// pages, and godoc of what is declared.
func TestDocs_linksToOtherSites(t *testing.T) {
	t.Parallel()
	others := []string{"https://keepachangelog.com/en/1.1.0/", "https://semver.org/spec/v2.0.0.html"}
	own := regexp.MustCompile(`^https://github\.com/seqheal/seqheal/(compare/v[0-9.]+\.\.\.HEAD|releases/tag/v[0-9.]+|security/advisories/new)$`)
	godoc := regexp.MustCompile(`^https://pkg\.go\.dev/github\.com/seqheal/seqheal/(\w[\w/]*)#(\w+)$`)
	for _, p := range pages(t) {
		for _, link := range regexp.MustCompile("https?://[^\\s)>\"`…]+[^\\s)>\"`….,]").FindAllString(p.text, -1) {
			if slices.Contains(others, link) || own.MatchString(link) {
				continue
			}
			if found := godoc.FindStringSubmatch(link); found == nil || !declares(t, found[1], found[2]) {
				t.Errorf("%s links to %s", p.path, link)
			}
		}
	}
}

// declares reports whether a package of this module has an exported type or function.
func declares(t *testing.T, folder, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	declaration := regexp.MustCompile(`(?m)^(?:type|func) ` + name + `\b`)
	return slices.ContainsFunc(files, func(file string) bool { return declaration.MatchString(read(t, file)) })
}

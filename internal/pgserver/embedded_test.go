//go:build unix

package pgserver

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A server from fetched programs has its settings, and takes the programs with it.
func TestProgramsThatWereFetchedGoWithTheServer(t *testing.T) {
	t.Parallel()
	needsPrograms(t)
	var programs string
	server, err := startFrom(func(dir string) (string, error) {
		programs = filepath.Join(dir, "programs")
		return programs, os.Symlink(candidates()[0], programs)
	}, []string{"max_connections=17"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	if n := ask(t, server.DSN(), "SHOW max_connections"); n != "17" {
		t.Errorf("max_connections is %s", n)
	}
	server.Stop()
	if _, err := os.Lstat(programs); !os.IsNotExist(err) {
		t.Errorf("the programs stayed: %v", err)
	}
}

func TestTheModuleThatFetchesIsFoundFromAnyFolderOfTheRepository(t *testing.T) {
	module, err := above(embedded)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(module, "go.mod"))
	if err != nil || !strings.HasPrefix(string(text), "module github.com/seqheal/seqheal/internal/embedded\n") {
		t.Errorf("%s: %v: %s", module, err, text)
	}
	t.Chdir(t.TempDir())
	if _, err := fetched(t.TempDir()); err == nil || !strings.Contains(err.Error(), "does not run inside it") {
		t.Errorf("outside the repository: %v", err)
	}
}

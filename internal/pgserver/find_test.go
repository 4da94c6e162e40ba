package pgserver

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestTheNamedServerIsUsedAndLeftAlone(t *testing.T) {
	t.Setenv(DSN, "postgres://somebody@example.invalid:1/db")
	server, err := Start("max_connections=17")
	if err != nil || server.DSN() != "postgres://somebody@example.invalid:1/db" {
		t.Fatalf("Start = %+v, %v", server, err)
	}
	server.Stop()
	server.Stop()
}

func TestTheNamedFolderIsTheOnlyOneTried(t *testing.T) {
	t.Setenv(Bin, "/no/such/bin")
	if got := candidates(); !slices.Equal(got, []string{"/no/such/bin"}) {
		t.Errorf("candidates = %q", got)
	}
}

func TestTheProgramsOnThePathComeFirst(t *testing.T) {
	whole, half := t.TempDir(), t.TempDir()
	for _, path := range []string{filepath.Join(whole, "postgres"), filepath.Join(whole, "initdb"), filepath.Join(half, "postgres")} {
		if err := os.WriteFile(path, []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", whole)
	if got := candidates(); len(got) == 0 || got[0] != whole {
		t.Errorf("candidates = %q, want %s first", got, whole)
	}
	t.Setenv("PATH", half) // postgres without initdb makes no cluster
	if got := candidates(); slices.Contains(got, half) {
		t.Errorf("candidates = %q, with %s that lacks initdb", got, half)
	}
}

func TestExecutableWantsAProgram(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program, text := filepath.Join(dir, "program"), filepath.Join(dir, "text")
	for path, mode := range map[string]os.FileMode{program: 0o755, text: 0o644} {
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]bool{program: true, text: false, dir: false, filepath.Join(dir, "none"): false} {
		if got := executable(path); got != want {
			t.Errorf("executable(%s) = %v", path, got)
		}
	}
}

func TestVersionReadsTheNumberInThePath(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]int{
		"/usr/lib/postgresql/15/bin": 15, "/usr/lib/postgresql/9.6/bin": 9, "/opt/homebrew/opt/postgresql@17/bin": 17,
		"/opt/homebrew/opt/postgresql/bin": 0, "": 0, "/99999999999999999999/16/bin": 16,
	} {
		if got := version(path); got != want {
			t.Errorf("version(%s) = %d, want %d", path, got, want)
		}
	}
}

func TestWithChangesTheConnectionString(t *testing.T) {
	t.Parallel()
	const dsn = "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable"
	for _, test := range []struct {
		name, dsn  string
		parameters map[string]string
		want       string
	}{
		{"nothing", dsn, nil, dsn},
		{"a parameter", dsn, map[string]string{"search_path": "a b,c"}, "postgres://postgres@127.0.0.1:5432/postgres?search_path=a+b%2Cc&sslmode=disable"},
		{"another value", dsn, map[string]string{"sslmode": "require"}, "postgres://postgres@127.0.0.1:5432/postgres?sslmode=require"},
		{"database and role", dsn, map[string]string{"dbname": "other", "user": "app"}, "postgres://app@127.0.0.1:5432/other?sslmode=disable"},
		{"key and value", "host=localhost user=postgres", map[string]string{"search_path": "a b"}, "host=localhost user=postgres search_path='a b'"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := (&Server{dsn: test.dsn}).With(test.parameters); got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}

// Command embedded downloads the server programs of PostgreSQL to a folder, for a machine that
// has none:
//
//	cd internal/embedded && go run . FOLDER
//
// It is a module of its own, so that the main module, and with it an application's module
// graph, does not require github.com/fergusstrange/embedded-postgres.
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	embedded "github.com/fergusstrange/embedded-postgres"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: embedded FOLDER")
		os.Exit(2)
	}
	if err := fetch(os.Args[1], embedded.DefaultConfig()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// fetch downloads the programs, or takes them from the cache in the user's home, and
// unpacks them, initdb and postgres in folder/bin. It starts nothing.
func fetch(folder string, config embedded.Config) error {
	dir, err := os.MkdirTemp("", "seqheal-embedded-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	temporary := os.Getenv("TMPDIR")
	defer func() { _ = os.Setenv("TMPDIR", temporary) }()
	if err := os.Setenv("TMPDIR", dir); err != nil { // the library leaves its log there
		return err
	}
	// The library has no function that only fetches. Its Start unpacks before it starts a
	// server, and a folder that is no cluster, with an empty PG_VERSION, stops it there.
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(data, "PG_VERSION"), nil, 0o600); err != nil {
		return err
	}
	failed := embedded.NewDatabase(config.BinariesPath(folder).DataPath(data).
		RuntimePath(filepath.Join(dir, "runtime")).Port(0).Logger(io.Discard)).Start()
	for _, program := range []string{"initdb", "postgres"} {
		if _, err := os.Stat(filepath.Join(folder, "bin", program)); err != nil {
			return fmt.Errorf("embedded-postgres gave no %s: %w", program, failed)
		}
	}
	return nil
}

package pgserver

import (
	"fmt"
	"os"
	"path/filepath"

	embedded "github.com/fergusstrange/embedded-postgres"
)

// startEmbedded fetches server programs and starts them, where the machine has
// none.
func startEmbedded() (*Server, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "seqheal-embedded-")
	if err != nil {
		return nil, err
	}
	postgres := embedded.NewDatabase(embedded.DefaultConfig().
		Port(uint32(port)).RuntimePath(filepath.Join(dir, "runtime")).DataPath(filepath.Join(dir, "data")))
	if err := postgres.Start(); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return &Server{
		dsn: fmt.Sprintf("postgres://postgres:postgres@127.0.0.1:%d/postgres?sslmode=disable", port),
		dir: dir,
		stop: func() {
			_ = postgres.Stop()
			_ = os.RemoveAll(dir)
		},
	}, nil
}

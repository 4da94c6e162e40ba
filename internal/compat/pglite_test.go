//go:build unix

package compat

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	pgx5 "github.com/jackc/pgx/v5"
)

// pgliteSocket is the npm package that lets PGlite, PostgreSQL compiled for node, listen.
const pgliteSocket = "@electric-sql/pglite-socket@0.2.17"

// startPGlite installs PGlite once into the user's cache and starts it in memory.
func startPGlite(t *testing.T) (dsn string) {
	t.Helper()
	node := program(t, "node", "nodejs")
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(cache, "seqheal", "pglite-socket-0.2.17")
	server := filepath.Join(home, "node_modules", ".bin", "pglite-server")
	if _, err := os.Stat(server); err != nil {
		if out, err := exec.Command("npm", "install", "--prefix", home, "--no-audit", "--no-fund", "--silent", pgliteSocket).CombinedOutput(); err != nil {
			t.Fatalf("npm install %s: %v: %s", pgliteSocket, err, out)
		}
	}
	port := freePort(t)
	keepRunning(t, nil, node, server, fmt.Sprintf("--port=%d", port), "--max-connections=8")
	dsn = fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", port)
	// It compiles its server first, which takes ten seconds on an idle core.
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	for tick := time.Tick(50 * time.Millisecond); ; {
		c, err := pgx5.Connect(ctx, dsn)
		if err == nil {
			_ = c.Close(ctx)
			return dsn
		}
		select {
		case <-tick:
		case <-ctx.Done():
			t.Fatalf("PGlite does not answer: %v", err)
		}
	}
}

// P1, P5: PGlite has one session, which its clients share in turn, each until the end of
// its transaction. Every shape of insert is healed there.
func TestHealsOnPGlite(t *testing.T) {
	t.Parallel()
	dsn := startPGlite(t)
	everyShapeThrough(t, dsn, poolTo(t, dsn), nil)
}

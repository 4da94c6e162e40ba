//go:build unix

package compat

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seqheal/seqheal/internal/pgtest"
)

// The command goes through PgBouncer with the connection string as it is: it prepares
// nothing, so two clients in turn meet no statement of each other.
func TestTheCommandThroughPgBouncer(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "seqheal")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", binary, "./examples/seqheal")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, settings := range []string{"pool_mode = transaction", "pool_mode = session"} {
		t.Run(settings, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(drifted)
			prepares := !strings.Contains(settings, "transaction") || poolerPrepares(t, poolerProgram(t))
			if !prepares { // nor does a statement outlive a transaction by chance, on the one server connection
				settings += "\nserver_reset_query = DISCARD ALL\nserver_reset_query_always = 1"
			}
			bouncer := startPooler(t, p, 1, settings)
			p.Exec("GRANT CREATE ON SCHEMA $S TO PUBLIC")
			// The check prepares what an application does.
			unprepared := struct {
				code int
				want string
			}{0, "all 15 kinds of insert heal here"}
			if !prepares {
				unprepared.code, unprepared.want = 2, "add default_query_exec_mode=exec to the connection string"
			}
			dsn := "postgres://someone@" + bouncer.address + "/app?sslmode=disable"
			for _, run := range []struct {
				arguments []string
				code      int
				want      string
			}{
				{[]string{"audit", "-schema", p.Schema}, 1, "1 column checked: 1 behind"},
				{[]string{"audit", "-schema", p.Schema}, 1, "1 column checked: 1 behind"},
				{[]string{"sql", "-schema", p.Schema}, 1, "20 values forward"},
				{[]string{"fix", "-schema", p.Schema}, 0, "moved 1 sequence"},
				{[]string{"audit", "-schema", p.Schema, "-unused"}, 0, "1 column checked: 1 in sync"},
				{[]string{"check", "-yes"}, unprepared.code, unprepared.want},
				{[]string{"check", "-yes", "-dsn", dsn + "&default_query_exec_mode=exec"}, 0, "all 15 kinds of insert heal here"},
			} {
				c := exec.CommandContext(t.Context(), binary, append([]string{"-dsn", dsn}, run.arguments...)...)
				c.Env = append(os.Environ(), "DATABASE_URL=")
				out, _ := c.CombinedOutput()
				if code := c.ProcessState.ExitCode(); code != run.code || !strings.Contains(string(out), run.want) {
					t.Errorf("%q: exit code %d: %s", run.arguments, code, out)
				}
			}
		})
	}
}

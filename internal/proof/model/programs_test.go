// Package model lets random programs run against a model in memory: what the
// server holds, what the caller gets and what the plugin reports must be what a
// server whose sequences never drift would do. It holds tests only.
package model

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// programCount is how many programs one run takes, unless SEQHEAL_PROGRAMS says
// otherwise; workers is how many share them, each in a schema of
// its own; one of them has the associations.
const (
	programCount = 3_000
	workers      = 5
	// tenants is how many schemas with the same tables a program may work in.
	tenants = 2
)

func count() int {
	if n, err := strconv.Atoi(os.Getenv("SEQHEAL_PROGRAMS")); err == nil && n > 0 {
		return n
	}
	return programCount
}

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given {
		_ = flag.Set("rapid.checks", strconv.Itoa((count()+workers-1)/workers))
	}
	os.Exit(m.Run())
}

// TestPrograms runs the programs. A failure prints the seed, with which
//
//	go test ./model -run 'TestPrograms/tables_1' -rapid.seed=…
//
// runs the same program again.
func TestPrograms(t *testing.T) {
	t.Run("all", func(t *testing.T) {
		var create []string
		for i := range kinds {
			create = append(create, kinds[i].create())
		}
		t.Run("shop", func(t *testing.T) {
			t.Parallel()
			w := newWorker(t, shopSchema, 1)
			rapid.Check(t, func(t *rapid.T) { runShop(t, w, shopPrograms.Draw(t, "program")) })
		})
		for n := range workers - 1 {
			t.Run(fmt.Sprint("tables ", n+1), func(t *testing.T) {
				t.Parallel()
				w := newWorker(t, strings.Join(create, ";"), tenants)
				rapid.Check(t, func(t *rapid.T) { runTable(t, w, programs.Draw(t, "program")) })
			})
		}
	})
	tally.check(t)
}

package auditor_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
	"github.com/seqheal/seqheal/plugin/auditor"
)

const tables = `CREATE TABLE users (id bigserial PRIMARY KEY); INSERT INTO users VALUES (7); CREATE TABLE well (id bigserial PRIMARY KEY)`

// P9: before Run nothing is sent; afterwards the result is there, is renewed, and with
// the context everything ends.
func TestRunAuditsUntilItsContextEnds(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(tables)
	db := place.OpenDSN(place.DSNFor(map[string]string{"application_name": place.Schema}), nil)
	a := auditor.New(db, auditor.Every(time.Millisecond), auditor.With(plugin.InSchemas(place.Schema)))
	if r := a.Latest(); r.Findings != nil || !r.Read.IsZero() || !r.Tried.IsZero() || r.Err != nil {
		t.Errorf("before the first audit %+v", r)
	}
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { a.Run(ctx); close(ended) }()
	state := func(table string) plugin.State {
		for _, f := range a.Latest().Findings {
			if f.Table == table {
				return f.State
			}
		}
		return ""
	}
	pgtest.Eventually(t, "the first audit", func() bool { return state("users") == plugin.StateBehind && state("well") == plugin.StateInSync })
	if r := a.Latest(); r.Read.IsZero() || !r.Read.Equal(r.Tried) || r.Took <= 0 || r.Err != nil {
		t.Errorf("after the first audit %+v", r)
	}
	if _, err := plugin.Resync(t.Context(), db, place.Schema+".users"); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, "the next audit", func() bool { return state("users") == plugin.StateInSync })
	end()
	<-ended
	if r := a.Latest(); r.Err != nil || len(r.Findings) != 2 {
		t.Errorf("the end of the program counts as a failed audit: %+v", r)
	}
	a.Run(ctx) // returns at once
}

// A failed audit keeps the findings from before and says why; one that is cut off is a
// failed one.
func TestAFailedAuditKeepsTheFindings(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(tables)
	db := place.Open(nil)
	a := auditor.New(db, auditor.With(plugin.InSchemas(place.Schema)))
	first := a.Audit(t.Context())
	if len(first.Findings) != 2 || first.Err != nil {
		t.Fatalf("%+v", first)
	}
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	_ = pool.Close()
	second := a.Audit(t.Context())
	if second.Err == nil || len(second.Findings) != 2 || !second.Read.Equal(first.Read) || !second.Tried.After(first.Tried) {
		t.Errorf("%+v", second)
	}
	cut := auditor.New(place.Open(nil), auditor.Timeout(time.Nanosecond)).Audit(t.Context())
	if cut.Err == nil || !strings.Contains(cut.Err.Error(), "not all could be read within 1ns") || !cut.Read.IsZero() || cut.Findings != nil {
		t.Errorf("%+v", cut)
	}
}

// A replica that is not chosen sends nothing, and one that is no longer chosen has no
// result.
func TestIfChoosesWhichReplicaAudits(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(tables)
	var leader atomic.Bool
	var asked atomic.Int64
	db := place.Open(nil)
	a := auditor.New(db, auditor.Every(time.Millisecond), auditor.If(func(context.Context) bool {
		asked.Add(1)
		return leader.Load()
	}))
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { a.Run(ctx); close(ended) }()
	defer func() { end(); <-ended }()
	pgtest.Eventually(t, "the question", func() bool { return asked.Load() > 2 })
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	if r := a.Latest(); !r.Tried.IsZero() {
		t.Errorf("audited without being chosen: %+v, %+v", r, pool.Stats())
	}
	leader.Store(true)
	pgtest.Eventually(t, "an audit", func() bool { return !a.Latest().Read.IsZero() })
	leader.Store(false)
	pgtest.Eventually(t, "the result to go", func() bool { return a.Latest().Tried.IsZero() })
}

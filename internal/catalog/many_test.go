package catalog_test

import (
	"context"
	"testing"
	"time"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgtest"
)

// After a restore the catalog has no statistics. A plan that reads pg_depend anew for
// each table takes 14 s for these tables.
func TestManyTablesBeforeAnalyze(t *testing.T) {
	p := pgtest.New(t)
	p.Exec(`DO $$ BEGIN FOR i IN 1..3000 LOOP EXECUTE format('CREATE TABLE t%s (id bigserial PRIMARY KEY)', i); END LOOP; END $$`)
	where := catalog.Where{Schemas: []string{p.Schema}}
	reading(t, p.Open(nil), func(ctx context.Context, c *conn.Conn) {
		fed, err := catalog.ReadFed(ctx, c, where)
		if err != nil || len(fed) != 3000 {
			t.Fatalf("%d columns, %v", len(fed), err)
		}
		for name, read := range map[string]func() error{
			"references": func() error { return catalog.ReadReferences(ctx, c, fed) },
			"textual":    func() error { _, err := catalog.ReadTextual(ctx, c, where); return err },
			"inserted":   func() error { _, err := catalog.ReadInserted(ctx, c, fed); return err },
			"unused":     func() error { _, err := catalog.ReadUnused(ctx, c, where); return err },
		} {
			began := time.Now()
			if err := read(); err != nil || time.Since(began) > 5*time.Second {
				t.Errorf("%s: %v after %s", name, err, time.Since(began))
			}
			t.Log(name, time.Since(began))
		}
	})
}

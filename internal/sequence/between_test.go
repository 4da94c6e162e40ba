package sequence_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/internal/sequence"
)

// watched is a transaction in which something happens before each query.
type watched struct {
	*sql.Tx
	before func(query string)
}

func (w *watched) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	w.before(query)
	return w.Tx.QueryContext(ctx, query, args...)
}

// P3: bulk writers draw without the advisory lock. However far they come before the
// statement that sets the sequence, it is not set back: that statement draws itself.
func TestNobodyComesBetweenTheDrawAndTheSetval(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]string{"": "CACHE 1", "with CACHE": "CACHE 20"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(`CREATE TABLE t (id bigserial PRIMARY KEY); ALTER SEQUENCE t_id_seq ` + options)
			tx, err := p.SQL.Begin()
			must(t, err)
			defer func() { _ = tx.Rollback() }()
			const ahead = trillion + 1_000_000
			drew := 0
			c := conn.In(p.Open(nil), &watched{Tx: tx, before: func(query string) {
				if strings.Contains(query, "setval") {
					drew++
					p.Exec("SELECT setval('t_id_seq', $1)", ahead)
				}
			}})
			table, err := catalog.Read(t.Context(), c, catalog.Name{Table: "t"}, catalog.Name{})
			must(t, err)
			_, err = sequence.Advance(t.Context(), c, sequence.Goal{Table: table, Target: trillion, Rows: 1})
			must(t, err)
			if last := p.Int("SELECT last_value FROM t_id_seq"); drew != 1 || last < ahead {
				t.Errorf("the sequence is set %d times and stands at %d, behind the %d of the others", drew, last, int64(ahead))
			}
		})
	}
}

func TestAdvanceHoldsTheLockUntilItIsUndone(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE TABLE t (id bigserial PRIMARY KEY)`)
	r := begin(t, p.Open(nil))
	held := func() int64 {
		return p.Int("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1::int8::oid AND granted", r.table.Sequence.OID)
	}
	must(t, r.conn.Savepoint(r.ctx))
	if _, err := sequence.Advance(r.ctx, r.conn, r.goal(500)); err != nil || held() != 1 {
		t.Errorf("%d locks are held, %v", held(), err)
	}
	must(t, r.conn.RollBack(r.ctx))
	if n := held(); n != 0 {
		t.Errorf("%d locks are left", n)
	}
}

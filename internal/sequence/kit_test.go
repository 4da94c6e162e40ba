package sequence_test

import (
	"context"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/internal/sequence"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// trip is one transaction in which a sequence is looked at and moved.
type trip struct {
	t       *testing.T
	ctx     context.Context
	tx      *gorm.DB
	conn    *conn.Conn
	session conn.Session
	table   *catalog.Table
}

// begin reads table t in a transaction that ends with the test.
func begin(t *testing.T, db *gorm.DB) *trip {
	t.Helper()
	tx := db.Begin()
	must(t, tx.Error)
	t.Cleanup(func() { tx.Rollback() })
	r := &trip{t: t, ctx: t.Context(), tx: tx, conn: conn.In(tx, tx.Statement.ConnPool)}
	var err error
	r.session, err = conn.ReadSession(r.ctx, r.conn)
	must(t, err)
	r.table, err = catalog.Read(r.ctx, r.conn, catalog.Name{Table: "t"}, catalog.Name{})
	must(t, err)
	return r
}

// goal goes past target for one row, without a look at the rows.
func (r *trip) goal(target int64) sequence.Goal {
	return sequence.Goal{Table: r.table, Target: target, Rows: 1, Role: r.session.Role}
}

// advance moves the sequence inside a savepoint that it takes back.
func (r *trip) advance(goal sequence.Goal) (sequence.Move, error) {
	r.t.Helper()
	must(r.t, r.conn.Savepoint(r.ctx))
	move, err := sequence.Advance(r.ctx, r.conn, goal)
	must(r.t, r.conn.RollBack(r.ctx))
	return move, err
}

// next is what an insert on this connection draws.
func (r *trip) next() int64 {
	r.t.Helper()
	var n int64
	must(r.t, r.conn.Row(r.ctx, "SELECT nextval($1::int8::oid::regclass)", []any{r.table.Sequence.OID}, &n))
	return n
}

func (r *trip) look(beside *sequence.Beside) (sequence.Position, error) {
	return sequence.ReadMax(r.ctx, r.conn, r.table, beside)
}

// besideFirst are the values of the key's first columns.
func (r *trip) besideFirst(values ...any) *sequence.Beside {
	return &sequence.Beside{Columns: r.table.Key[:len(values)], Sets: [][]any{values}}
}

// asRole opens the place as a role that may use the schema and what grants say;
// $R stands for the role.
func asRole(t *testing.T, p *pgtest.Place, grants string) *gorm.DB {
	t.Helper()
	role := p.Role()
	p.Exec(strings.ReplaceAll(grants, "$R", role))
	return p.OpenDSN(p.DSNFor(map[string]string{"user": role}), nil)
}

// wantRefusal checks the reason and that the text names what to do.
func wantRefusal(t *testing.T, err error, reason sequence.Reason, texts ...string) {
	t.Helper()
	refusal := sequence.Explain(err)
	if !refusal.Has(reason) || !refusal.Refused {
		t.Fatalf("%v (%+v), want refused for %s", err, refusal, reason)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q does not say %q", err, text)
		}
	}
}

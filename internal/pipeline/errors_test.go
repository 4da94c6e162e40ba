package pipeline_test

import (
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/internal/pipeline"
)

var modes = []string{"cache_statement", "cache_describe", "describe_exec", "exec"}

// serverErrors are INSERTs that the server refuses. parsed says that it does so before it
// runs them.
var serverErrors = []struct {
	code   string
	parsed bool
	insert string
	args   []any
}{
	{"23505", false, "INSERT INTO e (id, n) VALUES ($1, $2)", []any{1, 1}},
	{"23503", false, "INSERT INTO e (id, n, owner) VALUES ($1, $2, $3)", []any{2, 1, 5}},
	{"23502", false, "INSERT INTO e (id) VALUES ($1)", []any{2}},
	{"23514", false, "INSERT INTO e (id, n) VALUES ($1, $2)", []any{2, 100}},
	{"22P02", false, "INSERT INTO e (id, n, m) VALUES ($1, $2, $3)", []any{2, 1, "sad"}},
	{"22001", false, "INSERT INTO e (id, n, s) VALUES ($1, $2, $3)", []any{2, 1, "long"}},
	{"22012", false, "INSERT INTO e (id, n) VALUES ($1, 1 / $2::integer)", []any{2, 0}},
	{"55000", true, "INSERT INTO joined (id) VALUES ($1)", []any{2}},
	{"42P10", false, "INSERT INTO e (id, n) VALUES ($1, $2) ON CONFLICT (n) DO NOTHING", []any{2, 1}},
	{"42703", true, "INSERT INTO e (id, gone) VALUES ($1, $2)", []any{2, 1}},
	{"42P01", true, "INSERT INTO gone (id) VALUES ($1)", []any{2}},
	{"42601", true, "INSERT INTO e (id) VALUESS ($1)", []any{2}},
}

func TestPool_handsOverTheErrorsOfPgx(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			p := pgtest.New(t)
			b := begin(t, open(t, p, map[string]string{"default_query_exec_mode": mode}))
			b.sql(`CREATE TYPE mood AS ENUM ('happy'); CREATE TABLE owner (id bigint PRIMARY KEY);
				CREATE TABLE e (id bigint PRIMARY KEY, n integer NOT NULL CHECK (n < 100), owner bigint REFERENCES owner, m mood, s varchar(3));
				CREATE VIEW joined AS SELECT 1 AS id; INSERT INTO e VALUES (1, 1)`)
			for _, c := range serverErrors {
				for _, suffix := range []string{"", " RETURNING id"} {
					got := b.both(c.code+suffix, c.insert+suffix, c.args...)
					o := b.piped.outcome
					open := !c.parsed || mode == "exec" // pgx parses beforehand in the other modes
					if !strings.Contains(got, "SQLSTATE "+c.code) || o.Failed != pipeline.StepInsert || o.Err == nil || o.SavepointOpen != open {
						t.Errorf("%s: %s %+v", c.code, got, o)
					}
				}
			}
			b.both("afterwards", "INSERT INTO e (id, n) VALUES ($1, $2) RETURNING *", 7, 8)
		})
	}
}

// The savepoint of a failed INSERT is open: ROLLBACK TO it brings the transaction back.
func TestSending_leavesTheSavepointOfACollisionOpen(t *testing.T) {
	p := pgtest.New(t)
	p.Exec("CREATE TABLE $S.e (id bigint PRIMARY KEY); INSERT INTO $S.e VALUES (1)")
	b := begin(t, open(t, p, nil))
	b.piped.exec("INSERT INTO e VALUES ($1)", 2)
	b.piped.exec("INSERT INTO e VALUES ($1)", 1)
	if o := b.piped.outcome; o.Failed != pipeline.StepInsert || !o.SavepointOpen {
		t.Fatalf("%+v", o)
	}
	b.sql("ROLLBACK TO SAVEPOINT seqheal; RELEASE SAVEPOINT seqheal")
	b.piped.exec("INSERT INTO e VALUES ($1)", 3)
	if o := b.piped.outcome; o.Failed != pipeline.StepNone || o.SavepointOpen || o.Rows != 1 {
		t.Fatalf("%+v", o)
	}
	if err := b.tx.Commit(); err != nil {
		t.Fatal(err)
	}
	same(t, "stored", "1\n2\n3", p.Text("SELECT id FROM $S.e ORDER BY id"))
}

func TestSending_parsesARewrittenTextInsideTheSavepoint(t *testing.T) {
	p := pgtest.New(t)
	p.Exec("CREATE TABLE $S.e (id bigint PRIMARY KEY)")
	b := begin(t, open(t, p, nil))
	b.piped.plan.Rewritten = true
	for range 2 {
		got := b.piped.exec("INSERT INTO e (gone) VALUES ($1)", 1)
		if o := b.piped.outcome; !strings.Contains(got, "42703") || o.Failed != pipeline.StepInsert || !o.SavepointOpen {
			t.Fatalf("%s %+v", got, o)
		}
		b.sql("ROLLBACK TO SAVEPOINT seqheal; RELEASE SAVEPOINT seqheal")
	}
	for range 2 {
		b.piped.exec("INSERT INTO e (id) VALUES ($1 + (SELECT count(*) FROM e))", 1)
		if o := b.piped.outcome; o.Err != nil || o.SavepointOpen {
			t.Fatalf("%+v", o)
		}
	}
	// What cannot be encoded is found after the savepoint was set, once a connection.
	b.piped.exec("INSERT INTO e (id) VALUES ($1 + 10)", struct{}{})
	if o := b.piped.outcome; o.Failed != pipeline.StepInsert || !o.SavepointOpen {
		t.Fatalf("%+v", o)
	}
	b.sql("RELEASE SAVEPOINT seqheal")
}

func TestPool_survivesWhatCannotBeEncoded(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			p := pgtest.New(t)
			p.Exec("CREATE TABLE $S.e (id bigint, n integer)")
			b := begin(t, open(t, p, map[string]string{"default_query_exec_mode": mode}))
			const insert = "INSERT INTO e VALUES ($1, $2) RETURNING *"
			for range 2 {
				b.both("encode", insert, 1, struct{ a chan int }{})
				if o := b.piped.outcome; o.Failed != pipeline.StepInsert || o.SavepointOpen {
					t.Errorf("%+v", o)
				}
				b.both("overflow", insert, 1, int64(1)<<40)
				b.both("in order", insert, 1, 2)
			}
			if mode != "exec" { // where the server counts
				b.both("too few", insert, 1)
				b.both("too many", insert, 1, 2, 3)
				b.both("too many", "INSERT INTO e VALUES ($1, $2)", 1, 2, 3)
			}
			b.both("in order", insert, 1, 2)
		})
	}
}

func TestSending_refusesWhatPlainMustSay(t *testing.T) {
	p := pgtest.New(t)
	p.Exec("CREATE TABLE $S.e (id bigint)")
	db := open(t, p, nil)
	refused := func(want pipeline.Cause, s *sender, text string, args ...any) {
		t.Helper()
		sending := pipeline.New(s.tx, s.plan)
		_, err := sending.ConnPool().ExecContext(t.Context(), text, args...)
		if got := sending.Outcome().NotSent; err != pipeline.ErrNotSent || got.Cause != want {
			t.Errorf("%v, %v; want %v", err, got, pipeline.Reason{Cause: want})
		}
	}
	outside := &sender{t: t, tx: db, plan: inSavepoint}
	refused(pipeline.CauseOutside, outside, "INSERT INTO e VALUES ($1)", 1)
	b := begin(t, db)
	refused(pipeline.CauseParameters, b.piped, "INSERT INTO e SELECT $1", make([]any, 65536)...)
	refused(pipeline.CauseText, b.piped, "INSERT INTO e DEFAULT VALUES")
	refused(pipeline.CauseInside, &sender{t: t, tx: b.tx}, "INSERT INTO e VALUES ($1)", 1)
	refused(pipeline.CauseConnPool, &sender{t: t, tx: &ownPool{b.tx}}, "INSERT INTO e VALUES ($1)", 1)
}

func TestSending_sendsItsStatementOnce(t *testing.T) {
	p := pgtest.New(t)
	p.Exec("CREATE TABLE $S.e (id bigint)")
	b := begin(t, open(t, p, nil))
	pool := pipeline.New(b.tx, inSavepoint).ConnPool()
	if _, err := pool.ExecContext(t.Context(), "INSERT INTO e VALUES ($1)", 1); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.ExecContext(t.Context(), "INSERT INTO e VALUES ($1)", 1); err != pipeline.ErrNotSent {
		t.Error(err)
	}
}

func TestSending_tellsARELEASEThatFailed(t *testing.T) {
	p := pgtest.New(t)
	p.Exec("CREATE TABLE $S.e (id bigint)")
	l := newLink(t, p)
	l.replace = map[string]string{"RELEASE SAVEPOINT seqheal": "RELEASE SAVEPOINT seqhurt"}
	b := begin(t, l.open(t, nil))
	got := b.piped.query("INSERT INTO e VALUES ($1) RETURNING id", 1)
	if o := b.piped.outcome; !strings.Contains(got, "3B001") || o.Failed != pipeline.StepRelease || !o.SavepointOpen || o.Rows != 1 {
		t.Errorf("%s %+v", got, o)
	}
	b.sql("ROLLBACK TO SAVEPOINT seqheal")
	b.both("afterwards, plain fails too", "INSERT INTO gone VALUES ($1)", 1)
}

// ownPool is a pool of the application's, which would see other statements than it sent.
type ownPool struct{ gorm.ConnPool }

func TestPool_saysInAnAbortedTransactionWhatPgxSays(t *testing.T) {
	p := pgtest.New(t)
	p.Exec("CREATE TABLE $S.e (id bigint)")
	var seen [2][]string
	for i := range seen {
		b := begin(t, open(t, p, nil))
		s := []*sender{b.plain, b.piped}[i]
		const known, unknown = "INSERT INTO e VALUES ($1) RETURNING id", "INSERT INTO e VALUES ($1 + 1) RETURNING id"
		s.query(known, 1)
		_, _ = b.tx.Exec("broken")
		for _, text := range []string{known, known, unknown} {
			seen[i] = append(seen[i], s.query(text, 1))
		}
		seen[i] = append(seen[i], seeError(b.tx.Commit()))
		if s.outcome.SavepointOpen {
			t.Errorf("%+v", s.outcome)
		}
	}
	same(t, "errors", seen[0], seen[1])
}

func TestPool_countsArgumentsAsPreparedStatementsDo(t *testing.T) {
	p := pgtest.New(t)
	p.Exec("CREATE TABLE $S.e (id bigint, n integer)")
	for _, mode := range append(modes, "simple_protocol") { // GORM prepares in all of them
		tx, err := gorm.NewPreparedStmtDB(open(t, p, map[string]string{"default_query_exec_mode": mode}), 0, 0).BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.(gorm.TxCommitter).Rollback() }()
		plain, piped := &sender{t: t, tx: tx}, &sender{t: t, tx: tx, pipeline: true, plan: inSavepoint}
		const insert = "INSERT INTO e VALUES ($1, $2) RETURNING *"
		for _, args := range [][]any{{1}, {1, 2, 3}, {1, 2}, {"1", nil}} {
			same(t, mode, plain.query(insert, args...), piped.query(insert, args...))
			same(t, mode, plain.exec(insert, args...), piped.exec(insert, args...))
		}
	}
}

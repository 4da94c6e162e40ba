package pipeline_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/internal/pipeline"
)

const (
	free  = "SELECT 1 / CASE WHEN EXISTS (SELECT 1 FROM e WHERE id = 50) THEN 0 ELSE 1 END"
	taken = "SELECT 1 / CASE WHEN EXISTS (SELECT 1 FROM e WHERE id = 1) THEN 0 ELSE 1 END"
)

const insertAsked = "INSERT INTO e (id, n) VALUES ($1, $2)"

// explain is a question that the server plans.
func explain(conflict string) pipeline.Question {
	return pipeline.Question{SQL: "EXPLAIN (FORMAT JSON) INSERT INTO e (id, n) VALUES (2, 2) ON CONFLICT " + conflict}
}

func TestSending_asksBeforeTheINSERT(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			p := pgtest.New(t)
			p.Exec("CREATE TABLE $S.e (id bigint PRIMARY KEY, n integer); INSERT INTO $S.e VALUES (1, 1)")
			b := begin(t, open(t, p, map[string]string{"default_query_exec_mode": mode}))
			upsert := explain("(id) DO UPDATE SET n = 3")
			for range 2 {
				b.asked(0, "", pipeline.Question{SQL: free})
				b.asked(0, "", pipeline.Question{SQL: free}, upsert)
				b.asked(1, "22012", upsert, pipeline.Question{SQL: taken})
				b.asked(0, "22012", pipeline.Question{SQL: taken})
				b.asked(1, "42P10", pipeline.Question{SQL: free}, explain("(n) DO UPDATE SET n = 3"))
				b.asked(1, "42703", pipeline.Question{SQL: free}, explain("(id) DO UPDATE SET gone = 3"))
				b.asked(0, "42601", pipeline.Question{SQL: "SELECT 1; SELECT 2"})
			}
			b.piped.plan.Questions = []pipeline.Question{upsert}
			b.piped.exec(insertAsked, 2, 2)
			if answers := b.piped.outcome.Answers; len(answers) != 1 || !strings.Contains(answers[0], "ModifyTable") {
				t.Errorf("answers: %v", answers)
			}
		})
	}
}

// asked sends the INSERT behind questions, of which one fails with the code, or none.
func (b *beside) asked(failed int, code string, questions ...pipeline.Question) {
	b.t.Helper()
	b.sql("SAVEPOINT test")
	b.piped.plan = pipeline.Plan{Savepoint: true, Rewritten: true, Questions: questions}
	got := b.piped.query(insertAsked+" RETURNING id", 2, 2)
	o := b.piped.outcome
	if code == "" {
		if o.Err != nil || o.SavepointOpen || len(o.Answers) != len(questions) || o.Rows != 1 {
			b.t.Errorf("%v: %s %+v", questions, got, o)
		}
		b.sql("ROLLBACK TO test; RELEASE test")
		return
	}
	if o.Failed != pipeline.StepQuestion || o.Question != failed || !o.SavepointOpen || !strings.Contains(got, code) {
		b.t.Errorf("%v: %s %+v", questions, got, o)
	}
	b.sql("ROLLBACK TO SAVEPOINT seqheal; RELEASE SAVEPOINT seqheal; RELEASE test")
}

func TestSending_keepsTheSavepointOpenWhenAskedTo(t *testing.T) {
	p := pgtest.New(t)
	p.Exec("CREATE TABLE $S.e (id bigint PRIMARY KEY); INSERT INTO $S.e VALUES (1)")
	b := begin(t, open(t, p, nil))
	b.piped.plan.KeepOpen = true
	b.piped.query("INSERT INTO e VALUES ($1) ON CONFLICT DO NOTHING RETURNING id", 2)
	if o := b.piped.outcome; !o.SavepointOpen || o.Rows != 1 || o.Err != nil {
		t.Fatalf("%+v", o)
	}
	b.sql("ROLLBACK TO SAVEPOINT seqheal; RELEASE SAVEPOINT seqheal")
	_ = b.tx.Commit()
	same(t, "rolled back", "1", p.Text("SELECT id FROM $S.e"))
}

// trips counts what a function sends.
func (l *link) trips(do func()) int64 {
	before := l.writes.Load()
	do()
	return l.writes.Load() - before
}

func TestSending_takesOneTrip(t *testing.T) {
	p := pgtest.New(t)
	p.Exec("CREATE TABLE $S.e (id bigint PRIMARY KEY, n integer)")
	l := newLink(t, p)
	b := begin(t, l.open(t, nil))
	const insert = "INSERT INTO e (id, n) VALUES ($1, $2)"
	id := 0
	send := func(plan pipeline.Plan) func() {
		return func() {
			id++
			b.piped.plan = plan
			b.piped.exec(insert, id, id)
			if o := b.piped.outcome; o.Err != nil {
				t.Errorf("%+v", o)
			}
		}
	}
	asking := pipeline.Plan{Savepoint: true, Rewritten: true, Questions: []pipeline.Question{{SQL: free, Prepare: true}}}
	b.plain.exec(insert, -1, -1)
	same(t, "new text", int64(2), l.trips(send(inSavepoint)))
	same(t, "plain keeps its statement", int64(1), l.trips(func() { b.plain.exec(insert, -2, -2) }))
	same(t, "known text", int64(1), l.trips(send(inSavepoint)))
	same(t, "new question", int64(1), l.trips(send(asking)))
	same(t, "known question", int64(1), l.trips(send(asking)))
	same(t, "prepared question", int64(1), l.trips(send(asking)))
	id = 0 // collisions need no new statement
	same(t, "collision", int64(1), l.trips(func() { b.piped.plan = inSavepoint; b.piped.exec(insert, 1, 1) }))
	b.sql("ROLLBACK TO SAVEPOINT seqheal; RELEASE SAVEPOINT seqheal")
	id = 5
	same(t, "after a collision", int64(1), l.trips(send(inSavepoint)))
	b.piped.exec(insert, 9, "x")
	b.sql("ROLLBACK TO SAVEPOINT seqheal; RELEASE SAVEPOINT seqheal")
	same(t, "after another error", int64(2), l.trips(send(inSavepoint)))
}

func TestSending_isATransactionByItselfOutsideOne(t *testing.T) {
	p := pgtest.New(t)
	p.Exec(`CREATE TABLE $S.e (id bigint PRIMARY KEY, n integer, UNIQUE (n) DEFERRABLE INITIALLY DEFERRED); INSERT INTO $S.e VALUES (1, 1)`)
	l := newLink(t, p)
	db := l.open(t, nil)
	conn, err := l.open(t, nil).Conn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	const insert = "INSERT INTO e (id, n) VALUES ($1, $2) RETURNING id"
	for name, s := range map[string]*sender{"pool": {t: t, tx: db, pipeline: true}, "connection": {t: t, tx: conn, pipeline: true}} {
		plain := &sender{t: t, tx: s.tx}
		s.plan.Questions = []pipeline.Question{{SQL: free}}
		_ = plain.exec("SET application_name = 'pinged'") // pgx pings a connection's second user
		s.query(insert, 2, 2)
		p.Exec("DELETE FROM $S.e WHERE id = 2")
		same(t, name+" one trip", int64(1), l.trips(func() { s.query(insert, 2, 2) }))
		s.plan.Questions = []pipeline.Question{{SQL: taken}}
		if got := s.query(insert, 3, 3); !strings.Contains(got, "22012") || s.outcome.Failed != pipeline.StepQuestion || s.outcome.SavepointOpen {
			t.Errorf("%s %+v", got, s.outcome)
		}
		s.plan.Questions = nil
		same(t, name+" at commit", plain.query(insert, 4, 1), s.query(insert, 4, 1))
		same(t, name+" failed", pipeline.StepCommit, s.outcome.Failed)
		const exec = "INSERT INTO e (id, n) VALUES ($1, $2)"
		same(t, name+" exec at commit", plain.exec(exec, 4, 1), s.exec(exec, 4, 1))
		const none = "INSERT INTO e (id, n) SELECT $1, $2 WHERE false RETURNING id"
		same(t, name+" none", plain.query(none, 4, 1), s.query(none, 4, 1))
		same(t, name+" collision", plain.query(insert, 1, 5), s.query(insert, 1, 5))
		same(t, name+" stored", "1\n2", p.Text("SELECT id FROM $S.e ORDER BY 1"))
		p.Exec("DELETE FROM $S.e WHERE id = 2")
	}
}

// counted counts the prepared questions.
const counted = "SELECT count(*) FROM pg_prepared_statements WHERE name ~ '^seqheal' AND statement ~ 'LOAD BALANCE'"

// A question that may be prepared is, where the connection prepares statements, when it is
// asked a second time, within a trip that goes out anyway.
func TestSending_preparesWhatIsAskedAgain(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			p := pgtest.New(t)
			p.Exec("CREATE TABLE $S.e (id bigint PRIMARY KEY, n integer); INSERT INTO $S.e VALUES (1, 1)")
			b := begin(t, open(t, p, map[string]string{"default_query_exec_mode": mode}))
			prepared := func() (n int64) {
				b.t.Helper()
				err := b.tx.QueryRow(counted, pgx.QueryExecModeSimpleProtocol).Scan(&n)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
			want := int64(0)
			if mode == "cache_statement" {
				want = 1
			}
			b.piped.exec(insertAsked, -1, 1) // the INSERT is known
			b.asked(0, "", pipeline.Question{SQL: free, Prepare: true})
			same(t, "asked once", int64(0), prepared())
			b.asked(0, "", pipeline.Question{SQL: free, Prepare: true})
			same(t, "asked twice", want, prepared())
			b.asked(0, "", pipeline.Question{SQL: free, Prepare: true})
			same(t, "asked three times", want, prepared())
			for range 3 {
				b.asked(0, "22012", pipeline.Question{SQL: taken, Prepare: true})
			}
			same(t, "one that refuses stays", 2*want, prepared())
			for range 3 {
				b.asked(0, "", pipeline.Question{SQL: "SELECT 'as text'"})
			}
			same(t, "one that may not be prepared", 2*want, prepared())
			b.sql("DEALLOCATE ALL")
			b.asked(0, "", pipeline.Question{SQL: free, Prepare: true})
			b.sql("DEALLOCATE ALL")
			b.asked(0, "22012", pipeline.Question{SQL: taken, Prepare: true})
			for i := range 100 {
				question := pipeline.Question{SQL: fmt.Sprintf("SELECT %d", i), Prepare: true}
				b.asked(0, "", question)
				b.asked(0, "", question)
			}
			b.asked(0, "", pipeline.Question{SQL: free, Prepare: true}) // closes what is no longer wanted
			if n := prepared(); n > 32 || (n > 20) != (want > 0) {
				t.Errorf("%d questions are prepared after 100, want at most 32", n)
			}
		})
	}
}

package pipeline_test

import (
	"context"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/internal/pipeline"
)

var addresses = regexp.MustCompile(`\S+:\d+->\S+:\d+`)

// cuts sends an INSERT while the connection is cut after each byte of its trip, and
// returns the errors that were seen.
func cuts(t *testing.T, p *pgtest.Place, plan *pipeline.Plan) map[string]bool {
	t.Helper()
	step := 1
	if testing.Short() {
		step = 7
	}
	seen := map[string]bool{}
	l := newLink(t, p)
	for i := 1; !l.cut(t, plan, i, 0, seen); i += step {
	}
	for i := 1; !l.cut(t, plan, 0, i, seen); i += step {
	}
	return seen
}

// cut sends one INSERT and reports whether it was over before the cut.
func (l *link) cut(t *testing.T, plan *pipeline.Plan, sent, received int, seen map[string]bool) (over bool) {
	t.Helper()
	db := l.open(t, nil)
	defer func() { _ = db.Close() }()
	s := &sender{t: t, tx: db, pipeline: plan != nil}
	if plan != nil {
		s.plan = *plan
	}
	const insert = "INSERT INTO e (id, v) VALUES ($1, $2) RETURNING id"
	if plan == nil || plan.Savepoint {
		tx := begin(t, db).tx
		defer func() { _ = tx.Rollback() }()
		s.tx = tx
	} else {
		s.query(insert, 1, "first") // pgx pings a connection's second user
	}
	s.query(insert, 2, "second") // it is prepared now
	l.arm(sent, received)
	got := s.query(insert, 3, "third")
	hadSent, hadReceived := l.passed()
	l.arm(0, 0)
	if strings.HasPrefix(got, "error") {
		seen[addresses.ReplaceAllString(got, "")] = true
	}
	if s.outcome.SavepointOpen {
		t.Errorf("cut at %d, %d: savepoint open", sent, received)
	}
	return hadSent < sent || sent == 0 && hadReceived < received
}

func TestPool_failsAsPgxWhenTheConnectionIsCut(t *testing.T) {
	p := pgtest.New(t)
	p.Exec("CREATE TABLE $S.e (id bigint, v text)")
	before := runtime.NumGoroutine()
	plain := cuts(t, p, nil)
	if len(plain) == 0 {
		t.Error("no cut was seen")
	}
	t.Log(plain)
	for _, plan := range []pipeline.Plan{{Savepoint: true}, {Savepoint: true, Questions: []pipeline.Question{{SQL: "SELECT 1"}}}, {}} {
		for text := range cuts(t, p, &plan) {
			if !plain[text] {
				t.Errorf("%+v: %s; plain has %v", plan, text, plain)
			}
		}
	}
	pgtest.Eventually(t, "no goroutine stays", func() bool { return runtime.NumGoroutine() <= before })
}

// A context that ends while the server works closes the connection, as without a pipeline.
func TestPool_failsAsPgxWhenItsContextEnds(t *testing.T) {
	p := pgtest.New(t)
	p.Exec("CREATE TABLE $S.e (id bigint)")
	const insert = "INSERT INTO e SELECT $1 FROM pg_sleep(20) RETURNING id"
	for name, end := range map[string]func() (context.Context, context.CancelFunc){
		"canceled": func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(100*time.Millisecond, cancel)
			return ctx, cancel
		},
		"deadline": func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.Background(), 100*time.Millisecond)
		},
		"before": func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			return ctx, cancel
		},
	} {
		t.Run(name, func(t *testing.T) {
			var texts []string
			for _, piped := range []bool{false, true} {
				b := begin(t, open(t, p, nil))
				var pool gorm.ConnPool = b.tx
				sending := pipeline.New(b.tx, inSavepoint)
				if piped {
					pool = sending.ConnPool()
				}
				ctx, cancel := end()
				defer cancel()
				rows, err := pool.QueryContext(ctx, insert, 1)
				text := see(t, rows, err)
				_, err = b.tx.Exec("SELECT 1")
				texts = append(texts, text+seeError(err))
				if o := sending.Outcome(); piped && (o.SavepointOpen || o.Err == nil) {
					t.Errorf("%+v", o)
				}
			}
			same(t, name, texts[0], texts[1])
		})
	}
}

func TestPool_handsOverErrorsOfDatabaseSQL(t *testing.T) {
	p := pgtest.New(t)
	p.Exec("CREATE TABLE $S.e (id bigint)")
	b := begin(t, open(t, p, nil))
	if err := b.tx.Commit(); err != nil {
		t.Fatal(err)
	}
	const insert = "INSERT INTO e VALUES ($1) RETURNING id"
	same(t, "transaction ended", b.plain.query(insert, 1), b.piped.query(insert, 1))
	db := open(t, p, nil)
	_ = db.Close()
	plain, piped := &sender{t: t, tx: db}, &sender{t: t, tx: db, pipeline: true}
	same(t, "pool closed", plain.query(insert, 1), piped.query(insert, 1))
	var texts []string
	for _, piped := range []bool{false, true} { // the server ends the connection
		b := begin(t, open(t, p, nil))
		var pid int
		if err := b.tx.QueryRow("SELECT pg_backend_pid()").Scan(&pid); err != nil {
			t.Fatal(err)
		}
		p.Int("SELECT pg_terminate_backend($1)::int", pid)
		pgtest.Eventually(t, "the end of the session", func() bool { return p.Int("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid) == 0 })
		s := b.plain
		if piped {
			s = b.piped
		}
		texts = append(texts, s.query(insert, 1))
		if s.outcome.SavepointOpen {
			t.Errorf("%+v", s.outcome)
		}
	}
	same(t, "terminated", texts[0], texts[1])
}

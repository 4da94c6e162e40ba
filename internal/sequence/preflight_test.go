package sequence_test

import (
	"strings"
	"testing"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/internal/sequence"
)

func TestPreflightAsksWhetherOneOfTheNextValuesIsTaken(t *testing.T) {
	t.Parallel()
	const serial = `CREATE TABLE t (id bigserial PRIMARY KEY);`
	const descending = serial + `ALTER SEQUENCE t_id_seq INCREMENT -1 NO MINVALUE MAXVALUE -1 START -1 RESTART;`
	for _, test := range []struct {
		name, setup string
		count       int64
		named       []int64
		want        bool
	}{
		{"no rows", serial, 3, nil, false},
		{"the first value", serial + `INSERT INTO t VALUES (1)`, 3, nil, true},
		{"the last of the values", serial + `INSERT INTO t VALUES (100)`, 100, nil, true},
		{"far behind them", serial + `INSERT INTO t VALUES (2147483647)`, 3, nil, false},
		{"the last value itself is used up", serial + `SELECT setval('t_id_seq', 20); INSERT INTO t VALUES (20)`, 3, nil, false},
		{"the next value", serial + `SELECT setval('t_id_seq', 20); INSERT INTO t VALUES (21)`, 3, nil, true},
		{"downwards", descending + `INSERT INTO t VALUES (-2)`, 3, nil, true},
		{"downwards, rows behind", descending + `SELECT setval('t_id_seq', -20); INSERT INTO t VALUES (-20), (5)`, 3, nil, false},
		{"between the sequence's steps", serial + `ALTER SEQUENCE t_id_seq INCREMENT 2; INSERT INTO t VALUES (2), (4)`, 3, []int64{6}, false},
		{"on one of its steps", serial + `ALTER SEQUENCE t_id_seq INCREMENT 2; INSERT INTO t VALUES (5)`, 3, nil, true},
		{"an id of its own on a step", serial + `ALTER SEQUENCE t_id_seq INCREMENT 2`, 3, []int64{5}, true},
		{"an id of the statement's own", serial, 3, []int64{500, 2}, true},
		{"an id of its own behind", serial + `SELECT setval('t_id_seq', 20)`, 3, []int64{20, 500}, false},
		{"an id of its own downwards", descending, 3, []int64{-3}, true},
		{"a cache and an id of its own", serial + `ALTER SEQUENCE t_id_seq CACHE 20`, 3, []int64{4}, true},
		{"a cache", serial + `ALTER SEQUENCE t_id_seq CACHE 20; INSERT INTO t VALUES (3)`, 3, nil, true},
		{"a key without an index of its own", `CREATE TABLE t (id bigserial, x int, PRIMARY KEY (x, id)); INSERT INTO t VALUES (1, 1)`, 3, nil, false},
		{"a step that could overflow", serial + `ALTER SEQUENCE t_id_seq INCREMENT 4611686018427387904; INSERT INTO t VALUES (1)`, 3, nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(test.setup)
			r := begin(t, p.Open(nil))
			if got, err := sequence.Preflight(r.ctx, r.conn, r.table, sequence.Ahead{Count: test.count, Named: test.named}); err != nil || got != map[bool]sequence.Answer{true: sequence.Taken}[test.want] {
				t.Errorf("Preflight = %v, %v; want %v", got, err, test.want)
			}
			if limit := r.setting("lock_timeout"); limit != "0" {
				t.Errorf("the transaction goes on with lock_timeout %s", limit)
			}
		})
	}
}

func TestPreflightBesideAValue(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, setup string
		named       []int64
		want        bool
	}{
		{"another value", `INSERT INTO t VALUES (2, 3)`, nil, false},
		{"the value", `INSERT INTO t VALUES (1, 3)`, nil, true},
		{"between the sequence's steps", `INSERT INTO t VALUES (1, 2)`, []int64{4}, false},
		{"an id of the statement's own", ``, []int64{5}, true},
		{"far behind", `INSERT INTO t VALUES (1, 501)`, []int64{501}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(`CREATE TABLE t (x int, id bigserial, PRIMARY KEY (x, id)); ALTER SEQUENCE t_id_seq INCREMENT 2; ` + test.setup)
			r := begin(t, p.Open(nil))
			ahead := sequence.Ahead{Count: 3, Named: test.named, Beside: r.besideFirst(1)}
			if got, err := sequence.Preflight(r.ctx, r.conn, r.table, ahead); err != nil || got != map[bool]sequence.Answer{true: sequence.Taken}[test.want] {
				t.Errorf("Preflight = %v, %v; want %v", got, err, test.want)
			}
		})
	}
}

// setting reads a setting of the transaction, which must be alive.
func (r *trip) setting(name string) (value string) {
	r.t.Helper()
	must(r.t, r.conn.Row(r.ctx, "SELECT current_setting($1)", []any{name}, &value))
	return value
}

// A session with CACHE draws what it holds first, and then whatever the others
// have left of the sequence.
func TestPreflightLooksBehindTheSessionsCache(t *testing.T) {
	t.Parallel()
	for name, grants := range map[string]string{
		"the sequence can be read": "GRANT USAGE, SELECT ON SEQUENCE t_id_seq TO $R;",
		"it can only be drawn":     "GRANT USAGE ON SEQUENCE t_id_seq TO $R;",
	} {
		for key, beside := range map[string]bool{"PRIMARY KEY (id)": false, "PRIMARY KEY (x, id)": true} {
			t.Run(name+", "+key, func(t *testing.T) {
				t.Parallel()
				p := pgtest.New(t)
				p.Exec(`CREATE TABLE t (x int DEFAULT 1, id bigserial, ` + key + `); ALTER SEQUENCE t_id_seq CACHE 5`)
				r := begin(t, asRole(t, p, "GRANT SELECT ON t TO $R;"+grants))
				r.next() // 2 to 5 are cached
				p.Exec(`SELECT setval('t_id_seq', 1000); INSERT INTO t (id) VALUES (1003)`)
				ahead := sequence.Ahead{Count: 8}
				if beside {
					ahead.Beside = r.besideFirst(1)
				}
				if got, err := sequence.Preflight(r.ctx, r.conn, r.table, ahead); err != nil || got != sequence.Taken {
					t.Errorf("Preflight = %v, %v", got, err)
				}
			})
		}
	}
}

func TestPreflightLeavesAnAbortedTransactionAborted(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE TABLE t (id bigserial PRIMARY KEY)`)
	r := begin(t, p.Open(nil))
	must(t, r.conn.Savepoint(r.ctx)) // as a failed insert leaves it
	if err := r.conn.Exec(r.ctx, "SELECT 1 / 0"); err == nil {
		t.Fatal("no error")
	}
	if taken, err := sequence.Preflight(r.ctx, r.conn, r.table, sequence.Ahead{Count: 1}); taken == sequence.Taken || err == nil {
		t.Errorf("Preflight = %v, %v", taken, err)
	}
	if err := r.conn.Exec(r.ctx, "SELECT 1"); !pgerr.Is(err, pgerr.InFailedTransaction) {
		t.Errorf("the transaction goes on: %v", err)
	}
}

func TestPreflightDoesNotLookInSerializable(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE TABLE t (id bigserial PRIMARY KEY); INSERT INTO t VALUES (1)`)
	r := begin(t, p.OpenDSN(p.DSNFor(map[string]string{"default_transaction_isolation": "serializable"}), nil))
	if got, err := sequence.Preflight(r.ctx, r.conn, r.table, sequence.Ahead{Count: 3}); err != nil || got != sequence.Free {
		t.Errorf("Preflight = %v, %v", got, err)
	}
	if n := p.Int("SELECT count(*) FROM pg_locks WHERE mode = 'SIReadLock' AND relation IN ('$S.t'::regclass, '$S.t_pkey'::regclass)"); n != 0 {
		t.Errorf("%d SIREAD locks are left on the table", n)
	}
}

func TestPreflightGivesUpOnALockedTable(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE TABLE t (id bigserial PRIMARY KEY)`)
	r := begin(t, p.Open(nil))
	holder, err := p.SQL.Begin()
	must(t, err)
	defer func() { _ = holder.Rollback() }()
	_, err = holder.Exec("LOCK TABLE t")
	must(t, err)
	if taken, err := sequence.Preflight(r.ctx, r.conn, r.table, sequence.Ahead{Count: 3}); taken == sequence.Taken || !sequence.Explain(err).Has(sequence.Timeout) {
		t.Errorf("Preflight = %v, %v; want a timeout", taken, err)
	}
	if limit := r.setting("lock_timeout"); limit != "0" {
		t.Errorf("the transaction goes on with lock_timeout %s", limit)
	}
}

func TestMayBeBehindIsFalseOnlyWhereNoRowLiesInFront(t *testing.T) {
	t.Parallel()
	const serial = `CREATE TABLE t (id bigserial PRIMARY KEY); SELECT setval('t_id_seq', 20);`
	for _, test := range []struct {
		name, setup string
		want        bool
	}{
		{"no rows", serial, false},
		{"rows behind", serial + `INSERT INTO t VALUES (19)`, false},
		{"a row where it stands", serial + `INSERT INTO t VALUES (20)`, true},
		{"a row in front", serial + `INSERT INTO t VALUES (500)`, true},
		{"a cache tells nothing", serial + `ALTER SEQUENCE t_id_seq CACHE 20`, true},
		{"downwards", `CREATE TABLE t (id bigserial PRIMARY KEY); ALTER SEQUENCE t_id_seq INCREMENT -1 NO MINVALUE MAXVALUE -1 START -1 RESTART;
			SELECT setval('t_id_seq', -20); INSERT INTO t VALUES (-19), (5)`, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(test.setup)
			r := begin(t, p.Open(nil))
			if got, err := sequence.MayBeBehind(r.ctx, r.conn, r.table); err != nil || got != test.want {
				t.Errorf("MayBeBehind = %v, %v; want %v", got, err, test.want)
			}
		})
	}
}

// USAGE is enough to ask, so that a duplicate of the caller's own is not sent twice.
func TestMayBeBehind_withoutTheRightToReadTheSequence(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE TABLE t (id bigserial PRIMARY KEY); SELECT setval('t_id_seq', 20); INSERT INTO t VALUES (19)`)
	r := begin(t, asRole(t, p, "GRANT SELECT ON t TO $R; GRANT USAGE ON SEQUENCE t_id_seq TO $R"))
	if got, err := sequence.MayBeBehind(r.ctx, r.conn, r.table); err != nil || got {
		t.Errorf("MayBeBehind = %v, %v", got, err)
	}
	p.Exec(`INSERT INTO t VALUES (20)`)
	if got, err := sequence.MayBeBehind(r.ctx, r.conn, r.table); err != nil || !got {
		t.Errorf("MayBeBehind = %v, %v", got, err)
	}
}

func TestDrawnIsTaken_looksForTheValueOfThisSession(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE TABLE t (id bigserial PRIMARY KEY); CREATE TABLE heir () INHERITS (t); INSERT INTO t VALUES (2); INSERT INTO heir VALUES (3)`)
	r := begin(t, p.Open(nil))
	if answer, err := sequence.DrawnIsTaken(r.ctx, r.conn, r.table, nil, false); answer != sequence.Unknown || !pgerr.Is(err, pgerr.ObjectNotReady) {
		t.Errorf("nothing was drawn: %v, %v", answer, err)
	}
	for _, want := range []sequence.Answer{sequence.Free, sequence.Taken, sequence.Free} { // 3 is a row of another table
		r.next()
		if got, err := sequence.DrawnIsTaken(r.ctx, r.conn, r.table, nil, false); err != nil || got != want {
			t.Errorf("answer %v, %v; want %v", got, err, want)
		}
	}
}

func TestDrawnIsTaken_besideTheKeysOtherColumns(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE TABLE t (x boolean, id bigserial, y text, PRIMARY KEY (x, id, y)); INSERT INTO t VALUES (true, 1, 'a'), (false, 2, 'a'), (true, 3, 'b')`)
	r := begin(t, p.Open(nil))
	beside := &sequence.Beside{Columns: []catalog.Column{r.table.Key[0], r.table.Key[2]}, Sets: [][]any{{true, "a"}}}
	if answer, err := sequence.DrawnIsTaken(r.ctx, r.conn, r.table, beside, false); answer != sequence.Unknown || !pgerr.Is(err, pgerr.ObjectNotReady) {
		t.Errorf("nothing was drawn: %v, %v", answer, err)
	}
	for _, want := range []sequence.Answer{sequence.Taken, sequence.Free, sequence.Free} {
		r.next()
		if got, err := sequence.DrawnIsTaken(r.ctx, r.conn, r.table, beside, false); err != nil || got != want {
			t.Errorf("answer %v, %v; want %v", got, err, want)
		}
	}
}

// A question holds no lock on the table when the statement follows, and waits for no other
// session's on a partition.
func TestQuestion_holdsNoLock(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		schema  string
		ahead   sequence.Ahead
		reads   bool
		answers sequence.Answer // beside a locked partition
	}{
		"a table":             {"CREATE TABLE t (id bigserial PRIMARY KEY)", sequence.Ahead{Count: 1}, true, sequence.Free},
		"partitions":          {"CREATE TABLE t (id bigserial PRIMARY KEY) PARTITION BY HASH (id); CREATE TABLE t_0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE t_1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1)", sequence.Ahead{Count: 1}, true, sequence.Unknown},
		"asked afterwards":    {"CREATE TABLE t (id bigserial PRIMARY KEY) PARTITION BY HASH (id); CREATE TABLE t_0 PARTITION OF t FOR VALUES WITH (MODULUS 1, REMAINDER 0)", sequence.Ahead{Count: 1, Afterwards: true, NotHere: true}, false, sequence.Free},
		"only the ids it has": {"CREATE TABLE t (id bigserial PRIMARY KEY) PARTITION BY HASH (id); CREATE TABLE t_0 PARTITION OF t FOR VALUES WITH (MODULUS 1, REMAINDER 0)", sequence.Ahead{Count: 1, Afterwards: true, Named: []int64{700}}, false, sequence.Free},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(c.schema)
			r := begin(t, p.Open(nil))
			question, ok := sequence.Ask(r.table, c.ahead)
			if !ok {
				t.Fatal("no question")
			}
			must(t, r.conn.Savepoint(r.ctx))
			if reads := strings.Contains(question.Look, " FROM ONLY "+r.table.QuotedName()) || strings.Contains(question.Look, " FROM "+r.table.QuotedName()+" "); reads != c.reads {
				t.Errorf("it reads the table: %t; %s", reads, question.Look)
			}
			must(t, r.conn.Exec(r.ctx, strings.Join(question.Statements(), "; ")))
			var locks int
			must(t, r.conn.Row(r.ctx, "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation AND c.relkind <> 'S' WHERE c.relnamespace = $1::text::regnamespace AND l.pid = pg_backend_pid()", []any{p.Schema}, &locks))
			if locks != 0 {
				t.Fatalf("%d locks", locks)
			}
			if r.table.Partitioned {
				maintenance, err := p.SQL.Begin()
				must(t, err)
				_, err = maintenance.Exec("LOCK TABLE " + p.Schema + ".t_0")
				must(t, err)
				err = r.conn.Exec(r.ctx, strings.Join(question.Statements(), "; "))
				if got := sequence.AnswerOf(err); got != c.answers {
					t.Errorf("beside a locked partition: %v, %v", got, err)
				}
				must(t, maintenance.Rollback())
			}
			must(t, r.conn.RollBack(r.ctx))
		})
	}
}

// Rows of tables that inherit from the table are none of its own: they cannot collide.
func TestInheritingTables(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE TABLE t (id bigserial PRIMARY KEY); CREATE TABLE heir () INHERITS (t); INSERT INTO t VALUES (20); INSERT INTO heir VALUES (1), (2), (900)`)
	r := begin(t, p.Open(nil))
	if got, err := r.look(nil); err != nil || got.Value != 20 {
		t.Errorf("the furthest row is %+v, %v; want 20", got, err)
	}
	if got, err := sequence.Preflight(r.ctx, r.conn, r.table, sequence.Ahead{Count: 1}); err != nil || got != sequence.Free {
		t.Errorf("the look answers %v, %v", got, err)
	}
	r.next()
	p.Exec(`DELETE FROM t`)
	if got, err := sequence.MayBeBehind(r.ctx, r.conn, r.table); err != nil || got {
		t.Errorf("MayBeBehind = %v, %v", got, err)
	}
}

// A question is asked of the table that was read and no other: not of one that took its
// name, nor of a sequence that took its place or counts otherwise.
func TestPreflight_noticesThatTheTableIsAnotherOne(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"made anew":         `DROP TABLE t; CREATE TABLE t (id bigserial PRIMARY KEY)`,
		"renamed":           `ALTER TABLE t RENAME TO other`,
		"another default":   `CREATE SEQUENCE s; ALTER TABLE t ALTER id SET DEFAULT nextval('$S.s')`,
		"another increment": `ALTER SEQUENCE t_id_seq INCREMENT 2`,
		"another cache":     `ALTER SEQUENCE t_id_seq CACHE 7`,
		"a cycle":           `ALTER SEQUENCE t_id_seq CYCLE`,
		"a renamed column":  `ALTER TABLE t RENAME id TO key`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(`CREATE TABLE t (id bigserial PRIMARY KEY)`)
			db := p.Open(nil)
			before := begin(t, db)
			must(t, before.tx.Commit().Error)
			p.Exec(change)
			tx := db.Begin()
			must(t, tx.Error)
			t.Cleanup(func() { tx.Rollback() })
			c := conn.In(tx, tx.Statement.ConnPool)
			if got, err := sequence.Preflight(t.Context(), c, before.table, sequence.Ahead{Count: 1}); err != nil || got != sequence.Stale {
				t.Errorf("answer %v, %v", got, err)
			}
			must(t, tx.Exec("SELECT 1").Error)
		})
	}
}

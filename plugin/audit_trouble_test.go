package plugin_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

const (
	behindA = `CREATE TABLE a (id serial PRIMARY KEY); INSERT INTO a VALUES (10);`
	behindB = `CREATE TABLE b (id serial PRIMARY KEY); INSERT INTO b VALUES (20);`
	behindC = `CREATE TABLE c (id serial PRIMARY KEY); INSERT INTO c VALUES (30);`
)

// What a role may not read or move is named with the next step, and the rest is done.
func TestAnAuditByARoleWithFewRights(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(behindA + behindB + behindC + `CREATE TABLE d (id serial PRIMARY KEY); INSERT INTO d VALUES (40);
		CREATE TABLE e (id serial PRIMARY KEY); INSERT INTO e VALUES (50); CREATE TABLE f (id serial PRIMARY KEY); INSERT INTO f VALUES (60);
		CREATE TABLE g (id serial PRIMARY KEY); INSERT INTO g VALUES (20000000)`)
	role := p.Role()
	p.Exec(strings.ReplaceAll(`GRANT SELECT ON a, c, d, e, f, g TO $R; GRANT ALL ON SEQUENCE a_id_seq, b_id_seq, e_id_seq TO $R;
		GRANT USAGE ON SEQUENCE c_id_seq, g_id_seq TO $R; GRANT SELECT ON SEQUENCE f_id_seq TO $R; ALTER TABLE e ENABLE ROW LEVEL SECURITY`, "$R", role))
	db := p.OpenDSN(p.DSNFor(map[string]string{"user": role}), nil)
	findings, err := plugin.Audit(t.Context(), db, plugin.InSchemas(p.Schema))
	const want = `a.id integer behind 0 of 10 behind 10
b.id integer unreadable permission
c.id integer behind 0 of 30 behind 30
d.id integer unreadable permission
e.id integer unreadable row_security
f.id integer behind 0 of 60 behind 60
g.id integer behind 0 of 20000000 behind 20000000`
	if got := toldAll(findings); err != nil || got != want {
		t.Errorf("audit: %v\n got %s\nwant %s", err, got, want)
	}
	findings, err = plugin.Audit(t.Context(), db, plugin.InSchemas(p.Schema), plugin.AndResync())
	const after = `a.id integer in_sync 10 of 10 moved 1 to 10
b.id integer unreadable permission
c.id integer in_sync 30 of 30 moved 1 to 30
d.id integer unreadable permission
e.id integer unreadable row_security
f.id integer behind 0 of 60 behind 60 permission
g.id integer behind 0 of 20000000 behind 20000000 permission`
	if got := toldAll(findings); got != after {
		t.Errorf("resync:\n got %s\nwant %s", got, after)
	}
	for _, advice := range []string{
		`GRANT SELECT ("id") ON "$S"."b" TO "$R"`, `GRANT SELECT ON SEQUENCE "$S"."d_id_seq" TO "$R"`, `table "$S"."e": row-level security hides rows from role "$R"`,
		`GRANT USAGE ON SEQUENCE "$S"."f_id_seq" TO "$R"`, `GRANT UPDATE ON SEQUENCE "$S"."g_id_seq" TO "$R"`,
	} {
		advice = strings.NewReplacer("$S", p.Schema, "$R", role).Replace(advice)
		if err == nil || !strings.Contains(err.Error(), advice) {
			t.Errorf("the error does not say %s: %v", advice, err)
		}
	}
	if next := p.Int("SELECT nextval('f_id_seq')"); next != 1 {
		t.Errorf("a sequence that was not moved gives %d", next)
	}
}

// UPDATE alone lets a role draw, and not ask for the last value: PostgreSQL 18 answers
// null, as for a sequence that never gave one.
func TestAnAuditByARoleThatMayOnlyUpdateTheSequence(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE TABLE a (id serial PRIMARY KEY); INSERT INTO a SELECT FROM generate_series(1, 10)`)
	role := p.Role()
	p.Exec("GRANT SELECT ON a TO " + role + "; GRANT UPDATE ON SEQUENCE a_id_seq TO " + role)
	findings, err := plugin.Audit(t.Context(), p.OpenDSN(p.DSNFor(map[string]string{"user": role}), nil), plugin.OfTables("a"))
	if got := toldAll(findings); err != nil || got != "a.id integer unreadable permission" || !strings.Contains(findings[0].Err.Error(), "GRANT SELECT ON SEQUENCE") {
		t.Errorf("%v\n%s: %v", err, got, findings)
	}
}

// The right that is missing may be the one on the schema.
func TestAnAuditByARoleThatMayNotUseTheSchema(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(behindA)
	role := p.Role()
	p.Exec("GRANT SELECT ON a TO " + role + "; GRANT ALL ON SEQUENCE a_id_seq TO " + role + "; REVOKE USAGE ON SCHEMA $S FROM " + role)
	findings, err := plugin.Audit(t.Context(), p.OpenDSN(p.DSNFor(map[string]string{"user": role}), nil), plugin.InSchemas(p.Schema))
	want := fmt.Sprintf(`table "%[1]s"."a": role "%[2]s" may not use its schema; GRANT USAGE ON SCHEMA "%[1]s" TO "%[2]s"`, p.Schema, role)
	if len(findings) != 1 || err != nil || findings[0].Reason != plugin.ReasonPermission || findings[0].Err.Error() != want {
		t.Errorf("%v\n%v", err, findings)
	}
}

// A table that goes away between the reading of the catalog and the look at the table
// is named, and the rest is done.
func TestATableIsDroppedWhileAnAuditRuns(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(behindA + behindB + behindC)
	findings, err := plugin.Audit(t.Context(), p.Open(nil), plugin.InSchemas(p.Schema), plugin.AndResync(), plugin.OnProgress(func(done, _ int) {
		if done == 0 {
			p.Exec("DROP TABLE b")
		}
	}))
	const want = `a.id integer in_sync 10 of 10 moved 1 to 10
b.id integer unreadable not_found
c.id integer in_sync 30 of 30 moved 1 to 30`
	if got := toldAll(findings); got != want || err == nil || !strings.Contains(err.Error(), `"b": `) || strings.Contains(err.Error(), `"a": `) {
		t.Errorf("%v\n got %s\nwant %s", err, got, want)
	}
}

// A lock of somebody's migration is waited for briefly; the rest is done.
func TestATableIsLockedWhileAnAuditRuns(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(behindA + behindB + behindC)
	holder, err := p.SQL.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Rollback() }()
	if _, err := holder.Exec("LOCK TABLE b"); err != nil {
		t.Fatal(err)
	}
	findings, err := plugin.Audit(t.Context(), p.Open(nil), plugin.InSchemas(p.Schema), plugin.AndResync())
	const want = `a.id integer in_sync 10 of 10 moved 1 to 10
b.id integer unreadable timeout
c.id integer in_sync 30 of 30 moved 1 to 30`
	if got := toldAll(findings); got != want || err == nil || !strings.Contains(err.Error(), `"b": `) {
		t.Errorf("%v\n got %s\nwant %s", err, got, want)
	}
	_ = holder.Rollback()
	if next := p.Int("SELECT nextval('b_id_seq')"); next != 1 {
		t.Errorf("the sequence that was not moved gives %d", next)
	}
}

// A sequence that another session holds is given up after the table's time; the rest is
// done, and no lock stays.
func TestASequenceIsLockedWhileAResyncRuns(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(behindA + behindB + behindC)
	holder, err := p.SQL.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Rollback() }()
	if _, err := holder.Exec("SELECT pg_advisory_xact_lock(1936028008, $1::oid::int4)", p.Int("SELECT 'b_id_seq'::regclass::oid::int8")); err != nil {
		t.Fatal(err)
	}
	findings, err := plugin.Audit(t.Context(), p.Open(nil), plugin.InSchemas(p.Schema), plugin.AndResync(), plugin.WithTableTimeout(300*time.Millisecond))
	if got := toldAll(findings); !strings.Contains(got, "b.id integer behind 0 of 20 behind 20 timeout") || !strings.Contains(got, "c.id integer in_sync 30 of 30 moved 1 to 30") ||
		err == nil || !strings.Contains(err.Error(), `"b_id_seq" was not moved`) {
		t.Errorf("%v\n%s", err, got)
	}
	if n := p.Int("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1936028008 AND objid = 'b_id_seq'::regclass AND pid <> pg_backend_pid()"); n != 1 {
		t.Errorf("%d advisory locks instead of the holder's", n)
	}
}

// Ctrl-C in the middle: what was moved is told, what was not is named, and nothing is
// half moved.
func TestAnAuditIsInterrupted(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(behindA + behindB + behindC)
	db := p.Open(nil)
	ctx, cancel := context.WithCancel(t.Context())
	findings, err := plugin.Audit(ctx, db, plugin.InSchemas(p.Schema), plugin.AndResync(), plugin.OnProgress(func(done, total int) {
		if done == 4 && total == 6 { // three read, one moved
			cancel()
		}
	}))
	if got := toldAll(findings); !errors.Is(err, context.Canceled) || got != `a.id integer in_sync 10 of 10 moved 1 to 10
b.id integer behind 0 of 20 behind 20 canceled
c.id integer behind 0 of 30 behind 30 canceled` {
		t.Errorf("%v\n%s", err, got)
	}
	for sequence, want := range map[string]int64{"a": 11, "b": 1, "c": 1} {
		if next := p.Int("SELECT nextval('" + sequence + "_id_seq')"); next != want {
			t.Errorf("%s_id_seq gives %d, want %d", sequence, next, want)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	findings, err = plugin.Audit(cancelled, db, plugin.InSchemas(p.Schema), plugin.OnProgress(func(done, _ int) {
		if done == 0 {
			cancel()
		}
	}))
	if len(findings) != 3 || findings[0].State != plugin.StateUnreadable || findings[0].Err == nil || !errors.Is(err, context.Canceled) {
		t.Errorf("%v\n%s", err, toldAll(findings))
	}
	if findings, err := plugin.Audit(t.Context(), db, plugin.InSchemas(p.Schema)); err != nil || len(findings) != 3 {
		t.Errorf("the pool is not usable any more: %v", err)
	}
}

// An audit reads only: it works in a read-only transaction and leaves it usable; a
// resync there is refused.
func TestAnAuditInsideATransaction(t *testing.T) {
	t.Parallel()
	for _, options := range []*sql.TxOptions{{}, {ReadOnly: true}, {ReadOnly: true, Isolation: sql.LevelRepeatableRead}, {Isolation: sql.LevelSerializable}} {
		for _, prepare := range []bool{false, true} {
			t.Run(fmt.Sprint(*options, prepare), func(t *testing.T) {
				t.Parallel()
				p := pgtest.New(t)
				p.Exec(behindA + behindB)
				db := p.Open(&gorm.Config{PrepareStmt: prepare})
				err := db.Transaction(func(tx *gorm.DB) error {
					findings, err := plugin.Audit(t.Context(), tx, plugin.OfTables("a", "b", "none"))
					const want = "none.  unreadable not_found\na.id integer behind 0 of 10 behind 10\nb.id integer behind 0 of 20 behind 20"
					if got := toldAll(findings); err != nil || got != want {
						t.Errorf("%v\n got %s\nwant %s", err, got, want)
					}
					findings, err = plugin.Resync(t.Context(), tx, "a")
					if options.ReadOnly {
						if len(findings) != 1 || findings[0].Reason != plugin.ReasonReadOnly || err == nil {
							t.Errorf("%v\n%s", err, toldAll(findings))
						}
					} else if got := toldAll(findings); err != nil || got != "a.id integer in_sync 10 of 10 moved 1 to 10" {
						t.Errorf("%v\n%s", err, got)
					}
					return tx.Exec("SELECT 1 FROM a").Error
				}, options)
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// A DryRun session sends nothing that changes anything.
func TestAResyncInADryRunOnlyAudits(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(behindA)
	findings, err := plugin.Resync(t.Context(), p.Open(nil).Session(&gorm.Session{DryRun: true}), "a")
	if got, next := toldAll(findings), p.Int("SELECT nextval('a_id_seq')"); err != nil || got != "a.id integer behind 0 of 10 behind 10" || next != 1 {
		t.Errorf("%v: the sequence gives %d\n%s", err, next, got)
	}
}

func TestAnAuditMayTakeItsTime(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(behindA)
	findings, err := plugin.Audit(t.Context(), p.Open(nil), plugin.OfTables("a"), plugin.WithTableTimeout(1000*time.Hour))
	if got := toldAll(findings); err != nil || got != "a.id integer behind 0 of 10 behind 10" {
		t.Errorf("%v\n%s", err, got)
	}
}

// A connection on which the caller has begun by hand is left in its transaction.
func TestAnAuditInsideAManualBegin(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(behindA)
	err := p.Open(nil).Connection(func(tx *gorm.DB) error {
		if err := tx.Exec("BEGIN; INSERT INTO a VALUES (15)").Error; err != nil {
			return err
		}
		findings, err := plugin.Resync(t.Context(), tx, "a")
		if got := toldAll(findings); err != nil || got != "a.id integer in_sync 15 of 15 moved 1 to 15" {
			t.Errorf("%v\n%s", err, got)
		}
		return tx.Exec("COMMIT").Error
	})
	if rows := p.Text("SELECT id FROM a ORDER BY id"); err != nil || rows != "10\n15" {
		t.Errorf("%v: rows %s", err, rows)
	}
}

// At no time does an audit hold more than 200 locks on relations, and none stays.
func TestAnAuditHoldsFewLocks(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`DO $$ BEGIN FOR i IN 1..150 LOOP EXECUTE format('CREATE TABLE t_%s (id serial PRIMARY KEY, n int UNIQUE)', i); END LOOP; END $$;
		CREATE TABLE parted (id bigserial, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
		DO $$ BEGIN FOR i IN 1..150 LOOP EXECUTE format('CREATE TABLE parted_%s PARTITION OF parted FOR VALUES IN (%s)', i, i); END LOOP; END $$;
		INSERT INTO t_77 VALUES (5); INSERT INTO parted VALUES (9, 150)`)
	locks := func(pid uint32) int64 {
		return p.Int("SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE l.pid = $1 AND c.oid >= 16384", int64(pid))
	}
	var most atomic.Int64
	var pid uint32
	pool := tapped(t, p, func(c *tappedConn, query string) error {
		pid = c.Conn.Conn().PgConn().PID()
		if strings.HasPrefix(query, "ROLLBACK TO") {
			most.Store(max(most.Load(), locks(pid)))
		}
		return nil
	})
	db := openOn(t, pool, withoutPlugin(&gorm.Config{}))
	err := db.Transaction(func(tx *gorm.DB) error {
		findings, err := plugin.Audit(t.Context(), tx, plugin.InSchemas(p.Schema))
		if err != nil || len(findings) != 151 || !strings.Contains(toldAll(findings), "parted.id bigint behind 0 of 9") || !strings.Contains(toldAll(findings), "t_77.id integer behind 0 of 5") {
			t.Errorf("%v\n%s", err, toldAll(findings))
		}
		if n := locks(pid); n != 0 {
			t.Errorf("%d locks are left", n)
		}
		return err
	})
	if n := most.Load(); err != nil || n > 200 || n < 100 {
		t.Errorf("%v: %d locks at once", err, n)
	}
}

func TestProgressOfAnAuditOnlyGrows(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(behindA + behindB + behindC)
	var told []string
	_, err := plugin.Audit(t.Context(), p.Open(nil), plugin.InSchemas(p.Schema), plugin.AndResync(), plugin.OnProgress(func(done, total int) {
		told = append(told, fmt.Sprintf("%d/%d", done, total))
	}))
	if got := strings.Join(told, " "); err != nil || got != "0/3 3/3 4/6 5/6 6/6" {
		t.Errorf("%v: %s", err, got)
	}
}

// Rows that are drawn while an audit looks more closely are not in front of the sequence.
func TestAnAuditOfABusyTableWithASentinel(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE TABLE a (id serial PRIMARY KEY); INSERT INTO a SELECT FROM generate_series(1, 20); INSERT INTO a VALUES (2147483640)`)
	findings, err := plugin.Audit(t.Context(), p.Open(nil), plugin.OfTables("a"), plugin.OnProgress(func(done, _ int) {
		if done == 1 {
			p.Exec(`INSERT INTO a SELECT FROM generate_series(1, 5)`)
		}
	}))
	if got := toldAll(findings); err != nil || got != "a.id integer in_sync 25 of 25 left 2147483640" {
		t.Errorf("%v\n%s", err, got)
	}
}

// A resync beside a running application takes nothing back: no id is given twice.
func TestAResyncBesideInserts(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(drifted)
	db := p.Open(nil, plugin.New())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			if _, err := plugin.Resync(t.Context(), db, "users"); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	seen := map[int64]bool{}
	for i := range 300 {
		u := user{Name: fmt.Sprint("new ", i)}
		if err := db.Create(&u).Error; err != nil || seen[u.ID] || u.ID <= 20 {
			t.Fatalf("insert %d: id %d, %v", i, u.ID, err)
		}
		seen[u.ID] = true
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if rows := p.Text("SELECT id, name FROM users WHERE id <= 20 ORDER BY id"); rows != oldRows() {
		t.Errorf("old rows: %s", rows)
	}
}

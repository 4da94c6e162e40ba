package resync_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/seqheal/seqheal/internal/guard"
	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/internal/resync"
)

func TestLookFindsTheFurthestRowInTheSequencesOwnRange(t *testing.T) {
	t.Parallel()
	const serial = `CREATE TABLE t (id bigserial PRIMARY KEY);`
	const shared = `CREATE SEQUENCE s; CREATE TABLE t (id bigint DEFAULT nextval('s') PRIMARY KEY); INSERT INTO t VALUES (20);`
	found := func(value int64) resync.Sight { return resync.Sight{Value: value, Found: true} }
	for _, test := range []struct {
		name, setup string
		want        resync.Sight
	}{
		{"no rows", serial, resync.Sight{}},
		{"rows", serial + `INSERT INTO t VALUES (3), (20), (7)`, found(20)},
		{"rows below the range", serial + `INSERT INTO t VALUES (-5), (0)`, resync.Sight{}},
		{"another node's range", serial + `ALTER SEQUENCE t_id_seq MAXVALUE 1000; INSERT INTO t VALUES (20), (5000)`, found(20)},
		{"downwards", serial + `ALTER SEQUENCE t_id_seq INCREMENT -1 NO MINVALUE MAXVALUE -1 START -1 RESTART; INSERT INTO t VALUES (-3), (-20), (5)`, found(-20)},
		{"the ends of bigint", serial + `INSERT INTO t VALUES (9223372036854775807)`, found(9223372036854775807)},
		{"an int column", `CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t VALUES (20)`, found(20)},
		{"a smallint column under a bigint sequence", `CREATE SEQUENCE s; CREATE TABLE t (id smallint DEFAULT nextval('s') PRIMARY KEY); INSERT INTO t VALUES (20)`, found(20)},
		{"a numeric column", `CREATE SEQUENCE s; CREATE TABLE t (id numeric(30,0) DEFAULT nextval('s') PRIMARY KEY);
			INSERT INTO t VALUES (20), (100000000000000000000)`, found(20)},
		{"a column with a hostile name", `CREATE TABLE t ("a"" = 1) --" bigserial PRIMARY KEY); INSERT INTO t VALUES (20)`, found(20)},
		{"partitions", `CREATE TABLE t (id bigserial PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (1) TO (10);
			CREATE TABLE t_2 PARTITION OF t DEFAULT; INSERT INTO t VALUES (3), (20)`, found(20)},
		{"a sister table", shared + `CREATE TABLE u (id bigint DEFAULT nextval('s') PRIMARY KEY); INSERT INTO u VALUES (500)`, found(500)},
		{"a sister column that is no key", shared + `CREATE TABLE u (n int DEFAULT nextval('s') UNIQUE); INSERT INTO u VALUES (500)`, found(500)},
		{"a sister that is behind", shared + `CREATE TABLE u (id bigint DEFAULT nextval('s') PRIMARY KEY); INSERT INTO u VALUES (5)`, found(20)},
		{"an empty sister", shared + `CREATE TABLE u (id bigint DEFAULT nextval('s') PRIMARY KEY)`, found(20)},
		{"a sister without an index", shared + `CREATE TABLE u (id bigint DEFAULT nextval('s')); INSERT INTO u VALUES (500)`, found(20)},
		{"a sister of text", shared + `CREATE TABLE u (id text DEFAULT nextval('s') PRIMARY KEY); INSERT INTO u VALUES ('x')`, found(20)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(test.setup)
			if got, err := begin(t, p.Open(nil)).look(nil); err != nil || got != test.want {
				t.Errorf("Look = %+v, %v; want %+v", got, err, test.want)
			}
		})
	}
}

func TestLookKeepsToThePrefixThatCanCollide(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE DOMAIN "Tenant Id" AS varchar(8); CREATE TABLE t (tenant "Tenant Id", region uuid, id bigserial, PRIMARY KEY (tenant, region, id));
		INSERT INTO t VALUES ('a', '00000000-0000-0000-0000-000000000001', 20), ('a', '00000000-0000-0000-0000-000000000002', 30),
		('b''; --', '00000000-0000-0000-0000-000000000001', 40)`)
	r := begin(t, p.Open(nil))
	for _, test := range []struct {
		tenant, region string
		want           resync.Sight
	}{
		{"a", "00000000-0000-0000-0000-000000000001", resync.Sight{Value: 20, Found: true}},
		{"a", "00000000-0000-0000-0000-000000000002", resync.Sight{Value: 30, Found: true}},
		{"b'; --", "00000000-0000-0000-0000-000000000001", resync.Sight{Value: 40, Found: true}},
		{"c", "00000000-0000-0000-0000-000000000001", resync.Sight{}},
	} {
		prefix := &resync.Prefix{Columns: r.table.Key[:2], Values: []string{test.tenant, test.region}}
		if got, err := r.look(prefix); err != nil || got != test.want {
			t.Errorf("Look in %s, %s = %+v, %v; want %+v", test.tenant, test.region, got, err, test.want)
		}
	}
}

func TestLookLeavesOutSistersThatTheRoleMayNotRead(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE SEQUENCE s; CREATE TABLE t (id bigint DEFAULT nextval('s') PRIMARY KEY); CREATE TABLE secret (id bigint DEFAULT nextval('s') PRIMARY KEY);
		CREATE TABLE hidden (id bigint DEFAULT nextval('s') PRIMARY KEY); ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
		INSERT INTO t VALUES (20); INSERT INTO secret VALUES (500); INSERT INTO hidden VALUES (600)`)
	db := asRole(t, p, `GRANT SELECT ON t, hidden TO $R; GRANT USAGE ON SEQUENCE s TO $R`)
	if got, err := begin(t, db).look(nil); err != nil || got.Value != 20 {
		t.Errorf("Look = %+v, %v; want 20", got, err)
	}
}

// One locked sister costs 100 ms; several of them must not eat up the budget.
func TestLookPassesSistersThatAreLocked(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE SEQUENCE s; CREATE TABLE t (id bigint DEFAULT nextval('s') PRIMARY KEY); INSERT INTO t VALUES (20)`)
	holder, err := p.SQL.Begin()
	must(t, err)
	defer func() { _ = holder.Rollback() }()
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		p.Exec(`CREATE TABLE ` + name + ` (id bigint DEFAULT nextval('s') PRIMARY KEY); INSERT INTO ` + name + ` VALUES (500)`)
		_, err := holder.Exec("LOCK TABLE " + name)
		must(t, err)
	}
	p.Exec(`CREATE TABLE z (id bigint DEFAULT nextval('s') PRIMARY KEY); INSERT INTO z VALUES (700)`)
	r := begin(t, p.Open(nil))
	must(t, guard.Set(r.ctx, r.conn))
	release := r.conn.Within(time.Now().Add(2*time.Second), 0, 0)
	got, err := r.look(nil)
	release()
	must(t, guard.Undo(r.ctx, r.conn))
	if err != nil || got.Value != 700 {
		t.Errorf("Look = %+v, %v; want 700", got, err)
	}
	if n := r.next(); n != 1 {
		t.Errorf("the transaction is not usable any more: %d", n)
	}
}

// waiting counts the sessions that wait for table t.
func waiting(p *pgtest.Place) int64 {
	return p.Int("SELECT count(*) FROM pg_locks WHERE relation = '$S.t'::regclass AND NOT granted")
}

func TestLooksAtOneSequenceAreShared(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE TABLE t (id bigserial PRIMARY KEY); INSERT INTO t VALUES (20)`)
	db := p.Open(nil)
	const lookers = 8
	trips := make([]*trip, lookers)
	for i := range trips {
		trips[i] = begin(t, db)
	}
	holder, err := p.SQL.Begin()
	must(t, err)
	defer func() { _ = holder.Rollback() }()
	_, err = holder.Exec("LOCK TABLE t")
	must(t, err)
	var looks resync.Looks
	var started, done sync.WaitGroup
	started.Add(lookers)
	for _, r := range trips {
		done.Go(func() {
			started.Done()
			if got, err := looks.Look(r.ctx, r.conn, r.session, r.table, nil); err != nil || got.Value != 20 {
				t.Errorf("Look = %+v, %v; want 20", got, err)
			}
		})
	}
	started.Wait()
	pgtest.Eventually(t, "one to look", func() bool { return waiting(p) > 0 })
	if n := waiting(p); n != 1 {
		t.Errorf("%d sessions look at once", n)
	}
	must(t, holder.Rollback())
	done.Wait()
}

func TestTheTroubleOfOneLookIsNotShared(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE TABLE t (id bigserial PRIMARY KEY); INSERT INTO t VALUES (20)`)
	db := p.Open(nil)
	first, second := begin(t, db), begin(t, db)
	holder, err := p.SQL.Begin()
	must(t, err)
	defer func() { _ = holder.Rollback() }()
	_, err = holder.Exec("LOCK TABLE t")
	must(t, err)
	var looks resync.Looks
	var leader, follower sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	leader.Go(func() {
		if _, err := looks.Look(ctx, first.conn, first.session, first.table, nil); err == nil {
			t.Error("the look that was given up succeeded")
		}
	})
	pgtest.Eventually(t, "the first to look", func() bool { return waiting(p) == 1 })
	follower.Go(func() {
		if got, err := looks.Look(second.ctx, second.conn, second.session, second.table, nil); err != nil || got.Value != 20 {
			t.Errorf("Look = %+v, %v; want 20", got, err)
		}
	})
	cancel()
	leader.Wait()
	must(t, holder.Rollback())
	follower.Wait()
}

func TestExistsTellsWhetherARowHoldsTheValue(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE TABLE t (id bigserial PRIMARY KEY); INSERT INTO t VALUES (3), (20), (-9223372036854775808)`)
	r := begin(t, p.Open(nil))
	for value, want := range map[int64]bool{3: true, 20: true, 4: false, -9223372036854775808: true, 9223372036854775807: false} {
		if got, err := resync.Exists(r.ctx, r.conn, r.table, value); err != nil || got != want {
			t.Errorf("Exists(%d) = %v, %v; want %v", value, got, err, want)
		}
	}
}

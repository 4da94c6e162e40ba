package pipeline_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/internal/pipeline"
)

// What made a prepared statement unusable is of no concern to the caller: it is prepared
// anew and sent again, inside the savepoint.
func TestSending_preparesAgainWhatIsOutdated(t *testing.T) {
	for _, mode := range modes {
		for _, change := range []string{
			"DEALLOCATE ALL", "ALTER TABLE e ALTER COLUMN n TYPE text", "ALTER TABLE e ADD COLUMN late integer DEFAULT 7",
			"DROP TABLE e; CREATE TABLE e (n integer, id bigint PRIMARY KEY)", "SET search_path = pg_temp; CREATE TEMP TABLE e (id integer, n smallint)",
		} {
			t.Run(mode+" "+change, func(t *testing.T) {
				p := pgtest.New(t)
				p.Exec("CREATE TABLE $S.e (id bigint PRIMARY KEY, n integer)")
				b := begin(t, open(t, p, map[string]string{"default_query_exec_mode": mode}))
				const insert = "INSERT INTO e (id, n) VALUES ($1, $2) RETURNING *"
				b.piped.query(insert, 1, "1")
				b.sql(change)
				got := b.piped.query(insert, 2, "2")
				if o := b.piped.outcome; o.Err != nil || o.SavepointOpen || o.Rows != 1 {
					t.Errorf("%s: %s %+v", change, got, o)
				}
				b.sql("SAVEPOINT fresh")
				want := (&sender{t: t, tx: b.tx}).query(strings.Replace(insert, "INTO", "INTO /**/", 1), 3, "3")
				b.sql("ROLLBACK TO fresh")
				same(t, "afterwards", want, b.piped.query(insert, 3, "3"))
			})
		}
	}
}

func TestSending_survivesDISCARDALL(t *testing.T) {
	p := pgtest.New(t)
	p.Exec("CREATE TABLE $S.e (id bigint PRIMARY KEY)")
	db := open(t, p, nil)
	insert := "INSERT INTO " + p.Schema + ".e VALUES ($1)"
	for i := range 3 {
		outside := &sender{t: t, tx: db, pipeline: true}
		outside.exec(insert, i)
		b := begin(t, db)
		b.piped.exec(insert, 10+i)
		if o := []pipeline.Outcome{outside.outcome, b.piped.outcome}; o[0].Err != nil || o[1].Err != nil || o[1].SavepointOpen {
			t.Errorf("%+v", o)
		}
		if err := b.tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec("DISCARD ALL"); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "stored", int64(6), p.Int("SELECT count(*) FROM $S.e"))
}

// An error of a trigger that looks like an outdated statement is the caller's.
func TestSending_resendsNothingForAnErrorOfTheCallers(t *testing.T) {
	p := pgtest.New(t)
	p.Exec(`CREATE TABLE $S.e (id bigint PRIMARY KEY); CREATE SEQUENCE $S.runs;
		CREATE FUNCTION $S.f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('$S.runs');
			RAISE EXCEPTION 'prepared statement "x" does not exist' USING ERRCODE = '26000'; END $$;
		CREATE TRIGGER t BEFORE INSERT ON $S.e FOR EACH ROW EXECUTE FUNCTION $S.f()`)
	b := begin(t, open(t, p, nil))
	b.piped.exec("INSERT INTO e VALUES ($1)", 1)
	if o := b.piped.outcome; o.Failed != pipeline.StepInsert || !o.SavepointOpen {
		t.Errorf("%+v", o)
	}
	same(t, "runs", int64(1), p.Int("SELECT last_value FROM $S.runs"))
}

func TestSending_boundsPreparedStatements(t *testing.T) {
	for _, c := range []struct {
		parameters   map[string]string
		texts, limit int
	}{
		{nil, scaled(10_000), 512},
		{map[string]string{"statement_cache_capacity": "1"}, 50, 1},
		{map[string]string{"statement_cache_capacity": "20"}, 200, 20},
	} {
		t.Run(fmt.Sprint(c.limit), func(t *testing.T) {
			p := pgtest.New(t)
			p.Exec("CREATE TABLE $S.e (id bigint)")
			b := begin(t, open(t, p, c.parameters))
			for i := range c.texts {
				b.piped.exec(fmt.Sprintf("INSERT INTO e /* %d */ VALUES ($1)", i), i)
				if err := b.piped.outcome.Err; err != nil {
					t.Fatal(err)
				}
			}
			var stored, prepared int
			row := b.tx.QueryRow("SELECT (SELECT count(*) FROM e), count(*) FROM pg_prepared_statements WHERE name ~ '^seqheal_'")
			if err := row.Scan(&stored, &prepared); err != nil || stored != c.texts || prepared > c.limit+1 {
				t.Errorf("%d of %d stored, %d prepared, %v", stored, c.texts, prepared, err)
			}
		})
	}
}

// scaled is n, less with -short.
func scaled(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

func TestSending_leavesNothingBehind(t *testing.T) {
	p := pgtest.New(t)
	p.Exec("CREATE UNLOGGED TABLE $S.e (id bigserial PRIMARY KEY, v text)")
	db := open(t, p, nil)
	insertMany(t, db, 100)
	goroutines, heap := footprint()
	insertMany(t, db, scaled(10_000))
	pgtest.Eventually(t, "as many goroutines and as much memory as before", func() bool {
		goroutinesAfter, heapAfter := footprint()
		return goroutinesAfter <= goroutines && heapAfter <= heap+1<<20
	})
}

// insertMany reads every second result to its end.
func insertMany(t *testing.T, db *sql.DB, n int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	for i := range n {
		rows, err := pipeline.New(tx, inSavepoint).ConnPool().QueryContext(ctx, "INSERT INTO e (v) VALUES ($1) RETURNING id", "v")
		if err != nil {
			t.Fatal(err)
		}
		for i%2 == 0 && rows.Next() {
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func footprint() (goroutines int, heap uint64) {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return runtime.NumGoroutine(), m.HeapAlloc
}

// A statement that failed is closed by the next pipeline: prepared anew at each try, it
// would otherwise stay on the server as often as it failed.
func TestSending_closesStatementsThatFailed(t *testing.T) {
	p := pgtest.New(t)
	p.Exec("CREATE TABLE $S.e (n integer)")
	b := begin(t, open(t, p, nil))
	const tries = 20
	for i := range tries {
		got := b.piped.exec("INSERT INTO e VALUES (1 / $1::integer)", 0)
		if !strings.Contains(got, "22012") {
			t.Fatalf("%d: %s", i, got)
		}
		b.sql("ROLLBACK TO SAVEPOINT seqheal; RELEASE SAVEPOINT seqheal")
	}
	b.piped.exec("INSERT INTO e VALUES ($1)", 1)
	var prepared int
	if err := b.tx.QueryRow("SELECT count(*) FROM pg_prepared_statements WHERE name ~ '^seqheal_'").Scan(&prepared); err != nil || prepared != 1 {
		t.Errorf("%d statements are prepared after %d failed, %v", prepared, tries, err)
	}
}

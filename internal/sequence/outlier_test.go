package sequence_test

import (
	"testing"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/internal/sequence"
)

func TestARowNearTheEndOfTheRangeIsLeftBehind(t *testing.T) {
	t.Parallel()
	const upTo20 = `INSERT INTO t SELECT g FROM generate_series(1, 20) g;`
	seen := func(value int64) sequence.Position { return sequence.Position{Value: value, Found: true} }
	for _, test := range []struct {
		name, setup string
		target      int64
		want        sequence.Move
	}{
		{"a sentinel", `CREATE TABLE t (id serial PRIMARY KEY);` + upTo20 + `INSERT INTO t VALUES (2147483640)`, 2147483640,
			sequence.Move{From: 1, To: 20, Moved: true, Outlier: seen(2147483640)}},
		{"the last value of all", `CREATE TABLE t (id serial PRIMARY KEY);` + upTo20 + `INSERT INTO t VALUES (2147483647)`, 2147483647,
			sequence.Move{From: 1, To: 20, Moved: true, Outlier: seen(2147483647)}},
		{"rows in the middle are passed", `CREATE TABLE t (id smallserial PRIMARY KEY);` + upTo20 + `INSERT INTO t VALUES (9000), (32767)`, 32767,
			sequence.Move{From: 1, To: 9000, Moved: true, Outlier: seen(32767)}},
		{"rows in the further half stay too", `CREATE TABLE t (id smallserial PRIMARY KEY);` + upTo20 + `INSERT INTO t VALUES (30000), (32767)`, 32767,
			sequence.Move{From: 1, To: 20, Moved: true, Outlier: seen(32767)}},
		{"downwards", `CREATE TABLE t (id serial PRIMARY KEY); ALTER SEQUENCE t_id_seq INCREMENT -1 MINVALUE -2147483648 MAXVALUE -1 START -1 RESTART;
			INSERT INTO t SELECT -g FROM generate_series(1, 20) g; INSERT INTO t VALUES (-2147483640)`, -2147483640,
			sequence.Move{From: -1, To: -20, Moved: true, Outlier: seen(-2147483640)}},
		{"nothing else in the way", `CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t VALUES (2147483640); SELECT setval('t_id_seq', 20)`, 2147483640,
			sequence.Move{From: 20, To: 21, Outlier: seen(2147483640)}},
		{"a little behind the dense rows", `CREATE TABLE t (id smallserial PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 20000); INSERT INTO t VALUES (32767)`, 32767,
			sequence.Move{From: 1, To: 20000, Moved: true, Outlier: seen(32767)}},
		{"dense up to the end", `CREATE TABLE t (id smallserial PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 32760)`, 32760,
			sequence.Move{From: 1, To: 32760, Moved: true}},
		{"far from the end", `CREATE TABLE t (id serial PRIMARY KEY);` + upTo20 + `INSERT INTO t VALUES (1000000000)`, 1000000000,
			sequence.Move{From: 1, To: 1000000000, Moved: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(test.setup)
			r := begin(t, p.Open(nil))
			goal := r.goal(test.target)
			goal.Below = r.conn
			if move, err := r.advance(goal); err != nil || move != test.want {
				t.Errorf("moved %+v, %v; want %+v", move, err, test.want)
			}
		})
	}
}

func TestRowsUpToTheVeryEndExhaustTheSequence(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE TABLE t (id smallserial PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 32767)`)
	r := begin(t, p.Open(nil))
	goal := r.goal(32767)
	goal.Below = r.conn
	_, err := r.advance(goal)
	wantRefusal(t, err, sequence.Exhausted, `ALTER COLUMN "id" TYPE bigint`, `AS bigint`)
}

func TestWithoutALookAnOutlierIsTakenAsItIs(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t VALUES (2147483640)`)
	r := begin(t, p.Open(nil))
	if move, err := r.advance(r.goal(2147483640)); err != nil || move.To != 2147483640 || move.Outlier.Found {
		t.Errorf("moved %+v, %v", move, err)
	}
}

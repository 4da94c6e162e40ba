package sequence_test

import (
	"fmt"
	"testing"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/internal/sequence"
)

const trillion = 1_000_000_000_000

func TestAdvanceMovesForwardInTheSequencesOwnSteps(t *testing.T) {
	t.Parallel()
	const serial = `CREATE TABLE t (id bigserial PRIMARY KEY);`
	altered := func(options string) string { return serial + `ALTER SEQUENCE t_id_seq ` + options + `;` }
	for _, test := range []struct {
		name, setup string
		target      int64
		margin      int64
		want        sequence.Move
		next        int64
	}{
		{"a short walk", serial, 20, 0, sequence.Move{From: 1, To: 20, Moved: true}, 21},
		{"the sequence was used", serial + `SELECT setval('t_id_seq', 5)`, 20, 0, sequence.Move{From: 5, To: 20, Moved: true}, 21},
		{"a margin", serial, 20, 64, sequence.Move{From: 1, To: 84, Moved: true}, 85},
		{"a far walk in slices", serial, 250_000, 0, sequence.Move{From: 1, To: 250_000, Moved: true}, 250_001},
		{"a jump", serial, trillion, 0, sequence.Move{From: 1, To: trillion, Moved: true}, trillion + 1},
		{"downwards", altered(`INCREMENT -1 MINVALUE -9000 MAXVALUE -1 START -1 RESTART`), -20, 0, sequence.Move{From: -1, To: -20, Moved: true}, -21},
		{"a jump downwards", altered(`INCREMENT -1 NO MINVALUE MAXVALUE -1 START -1 RESTART`), -trillion, 0, sequence.Move{From: -1, To: -trillion, Moved: true}, -trillion - 1},
		{"steps of 7 keep their phase", altered(`INCREMENT 7 START 3 RESTART`), 1000, 0, sequence.Move{From: 3, To: 1004, Moved: true}, 1011},
		{"steps of 7 keep their phase in a jump", altered(`INCREMENT 7 START 3 RESTART`), trillion, 0,
			sequence.Move{From: 3, To: 1_000_000_000_002, Moved: true}, 1_000_000_000_009},
		{"steps of -7 keep their phase in a jump", altered(`INCREMENT -7 NO MINVALUE MAXVALUE -1 START -3 RESTART`), -trillion, 0,
			sequence.Move{From: -3, To: -1_000_000_000_002, Moved: true}, -1_000_000_000_009},
		{"longer steps than the way", altered(`INCREMENT 1000`), 20, 0, sequence.Move{From: 1, To: 1001, Moved: true}, 2001},
		{"a jump over the whole of bigint", altered(`MINVALUE -9223372036854775808 START -9223372036854775808 RESTART`), 9223372036854775806, 0,
			sequence.Move{From: -9223372036854775808, To: 9223372036854775806, Moved: true}, 9223372036854775807},
		{"an int column under a bigint sequence", `CREATE SEQUENCE s; CREATE TABLE t (id int DEFAULT nextval('s') PRIMARY KEY)`, 2_000_000_000, 0,
			sequence.Move{From: 1, To: 2_000_000_000, Moved: true}, 2_000_000_001},
		{"past it already", serial + `SELECT setval('t_id_seq', 500)`, 20, 0, sequence.Move{From: 500, To: 501}, 502},
		{"past it by one", serial + `SELECT setval('t_id_seq', 20)`, 20, 0, sequence.Move{From: 20, To: 21, Next: true}, 22},
		{"reached by the draw itself", serial + `SELECT setval('t_id_seq', 19)`, 20, 0, sequence.Move{From: 19, To: 20, Moved: true}, 21},
		{"past it already, a margin does not move it", serial + `SELECT setval('t_id_seq', 30)`, 20, 64, sequence.Move{From: 30, To: 31}, 32},
		{"past it already downwards", altered(`INCREMENT -1 NO MINVALUE MAXVALUE -1 START -500 RESTART`), -20, 0, sequence.Move{From: -499, To: -500}, -501},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(test.setup)
			r := begin(t, p.Open(nil))
			goal := r.goal(test.target)
			goal.Margin = test.margin
			move, err := r.advance(goal)
			if err != nil || move != test.want {
				t.Errorf("moved %+v, %v; want %+v", move, err, test.want)
			}
			if next := r.next(); next != test.next {
				t.Errorf("the insert draws %d, want %d", next, test.next)
			}
		})
	}
}

func TestAdvanceDrawsOneValueOfAHealthySequence(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE TABLE t (id bigserial PRIMARY KEY); ALTER SEQUENCE t_id_seq CACHE 20; SELECT setval('t_id_seq', 500)`)
	r := begin(t, p.Open(nil))
	if move, err := r.advance(r.goal(20)); err != nil || move.Moved || move.To != 501 {
		t.Errorf("moved %+v, %v", move, err)
	}
	if last := p.Int("SELECT last_value FROM t_id_seq"); last != 520 {
		t.Errorf("the sequence stands at %d, want one cache of 20 behind 500", last)
	}
}

// What a session has cached tells nothing of a sequence that was set back meanwhile.
func TestAdvanceOfASequenceThatWasSetBack(t *testing.T) {
	t.Parallel()
	for name, grants := range map[string]string{
		"the sequence can be read": "GRANT USAGE, SELECT ON SEQUENCE t_id_seq TO $R;",
		"it can only be drawn":     "GRANT USAGE ON SEQUENCE t_id_seq TO $R;",
	} {
		for _, left := range []int{0, 1, 3} {
			t.Run(fmt.Sprintf("%s, %d left in the cache", name, left), func(t *testing.T) {
				t.Parallel()
				p := pgtest.New(t)
				p.Exec(`CREATE TABLE t (id bigserial PRIMARY KEY); ALTER SEQUENCE t_id_seq CACHE 5; SELECT setval('t_id_seq', 100)`)
				r := begin(t, asRole(t, p, "GRANT SELECT ON t TO $R;"+grants))
				for range 5 - left {
					r.next()
				}
				p.Exec(`SELECT setval('t_id_seq', 10)`)
				if move, err := r.advance(r.goal(30)); err != nil || move.To < 30 {
					t.Errorf("moved %+v, %v", move, err)
				}
				for range 12 {
					if next := r.next(); next <= 30 {
						t.Errorf("an insert draws %d", next)
					}
				}
			})
		}
	}
}

func TestAdvancePassesValuesThatTheSessionCached(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		target   int64
		shared   string // what others do to the sequence meanwhile
		moved    bool
		at, next int64
	}{
		{"a walk", 1000, ``, true, 1000, 1001},
		{"a jump", trillion, ``, true, trillion, trillion + 1},
		{"within the cache", 15, ``, true, 22, 23},
		{"others are far ahead", 1000, `SELECT setval('t_id_seq', 5000)`, false, 5002, 5003},
		{"others are a little ahead", 1000, `SELECT setval('t_id_seq', 990)`, true, 1000, 1001},
		{"others are ahead, a jump", trillion, `SELECT setval('t_id_seq', 999999999999)`, false, trillion + 1, trillion + 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(`CREATE TABLE t (id bigserial PRIMARY KEY); ALTER SEQUENCE t_id_seq CACHE 20`)
			r := begin(t, p.Open(nil))
			if first := r.next(); first != 1 {
				t.Fatalf("the session cached from %d", first)
			}
			if test.shared != "" {
				p.Exec(test.shared)
			}
			before := p.Int("SELECT last_value FROM t_id_seq")
			move, err := r.advance(r.goal(test.target))
			if err != nil || move.Moved != test.moved || move.To != test.at {
				t.Errorf("moved %+v, %v; want to %d, moved %v", move, err, test.at, test.moved)
			}
			if next := r.next(); next != test.next {
				t.Errorf("the insert draws %d, want %d", next, test.next)
			}
			if last := p.Int("SELECT last_value FROM t_id_seq"); last < before || last < test.target {
				t.Errorf("the sequence went from %d to %d", before, last)
			}
		})
	}
}

func TestAdvanceWalksWhereTheRoleMayOnlyDraw(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE TABLE t (id bigserial PRIMARY KEY)`)
	r := begin(t, asRole(t, p, `GRANT USAGE ON SEQUENCE t_id_seq TO $R`))
	if move, err := r.advance(r.goal(200_000)); err != nil || move.To != 200_000 || !move.Moved {
		t.Fatalf("moved %+v, %v", move, err)
	}
	if next := r.next(); next != 200_001 {
		t.Errorf("the insert draws %d", next)
	}
}

func TestAdvanceRefusesWithTheRightThatIsMissing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, grant string
		target      int64
		want        string
	}{
		{"too far to walk", `GRANT USAGE ON SEQUENCE t_id_seq TO $R`, trillion, `GRANT UPDATE ON SEQUENCE "%[1]s"."t_id_seq" TO "%[2]s"`},
		{"a step too far to walk", `GRANT USAGE ON SEQUENCE t_id_seq TO $R`, 10_000_003, `GRANT UPDATE ON SEQUENCE "%[1]s"."t_id_seq" TO "%[2]s"`},
		{"the whole of bigint", `GRANT USAGE ON SEQUENCE t_id_seq TO $R; ALTER SEQUENCE t_id_seq MINVALUE -9223372036854775808 RESTART -9223372036854775808`,
			9223372036854775806, `9223372036854775807 steps behind`},
		{"may not draw", `GRANT SELECT ON SEQUENCE t_id_seq TO $R`, 20, `GRANT USAGE ON SEQUENCE "%[1]s"."t_id_seq" TO "%[2]s"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(`CREATE TABLE t (id bigserial PRIMARY KEY)`)
			r := begin(t, asRole(t, p, test.grant))
			move, err := r.advance(r.goal(test.target))
			wantRefusal(t, err, sequence.Permission, fmt.Sprintf(test.want+"%.0[1]s%.0[2]s", p.Schema, r.session.Role), `"t"`)
			if move.Moved && move.To != move.From && move.To > 10 {
				t.Errorf("it moved all the same: %+v", move)
			}
		})
	}
}

func TestAdvanceRefusesWhereNoValueIsLeft(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, setup string
		target      int64
		rows        int64
	}{
		{"the sequence is at its end", `CREATE TABLE t (id bigserial PRIMARY KEY); ALTER SEQUENCE t_id_seq MAXVALUE 100; SELECT setval('t_id_seq', 100)`, 100, 1},
		{"a row holds the last value", `CREATE TABLE t (id bigserial PRIMARY KEY); ALTER SEQUENCE t_id_seq MAXVALUE 100`, 100, 1},
		{"a target beyond the sequence", `CREATE TABLE t (id bigserial PRIMARY KEY); ALTER SEQUENCE t_id_seq MAXVALUE 100`, 5000, 1},
		{"a target beyond the type", `CREATE SEQUENCE s; CREATE TABLE t (id smallint DEFAULT nextval('s') PRIMARY KEY)`, 32767, 1},
		{"fewer values than rows", `CREATE TABLE t (id smallserial PRIMARY KEY)`, 32760, 8},
		{"downwards", `CREATE TABLE t (id bigserial PRIMARY KEY); ALTER SEQUENCE t_id_seq INCREMENT -1 MINVALUE -100 MAXVALUE -1 START -1 RESTART`, -100, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(test.setup)
			r := begin(t, p.Open(nil))
			goal := r.goal(test.target)
			goal.Rows = test.rows
			move, err := r.advance(goal)
			wantRefusal(t, err, sequence.Exhausted)
			if move.Moved {
				t.Errorf("it moved all the same: %+v", move)
			}
		})
	}
}

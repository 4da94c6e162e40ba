package sequence_test

import (
	"sync"
	"testing"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/internal/sequence"
)

// healers is how many move one sequence at once, each on its own connection.
const healers = 32

func TestHealersOfOneSequenceNeverStepItBackwards(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, options string
		target        int64
		descending    bool
	}{
		{"walk", ``, 5_000, false},
		{"jump", ``, trillion, false},
		{"jump with CACHE", `CACHE 20`, trillion, false},
		{"walk downwards", `INCREMENT -1 NO MINVALUE MAXVALUE -1 START -1 RESTART`, -5_000, true},
		{"jump downwards with CACHE", `INCREMENT -7 NO MINVALUE MAXVALUE -1 START -1 RESTART CACHE 20`, -trillion, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(`CREATE TABLE t (id bigserial PRIMARY KEY)`)
			if test.options != "" {
				p.Exec(`ALTER SEQUENCE t_id_seq ` + test.options)
			}
			db := p.Open(nil)
			r := begin(t, db)
			// Each draws three values: two of an insert behind the move and, before
			// it, one that leaves values in the session's cache.
			drawn := make([][]int64, healers)
			var started, done sync.WaitGroup
			started.Add(healers)
			for i := range healers {
				done.Go(func() { drawn[i] = healOnce(t, db, r.table, test.target, &started) })
			}
			done.Wait()
			seen := map[int64]bool{}
			for i, values := range drawn {
				for j, value := range values {
					if seen[value] {
						t.Errorf("%d was handed out twice: the sequence stepped back", value)
					}
					seen[value] = true
					if j > 0 && !r.table.Sequence.Reached(value, test.target) {
						t.Errorf("healer %d drew %d behind its move to %d", i, value, test.target)
					}
				}
			}
			if n := p.Int("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1::int8::oid", r.table.Sequence.OID); n != 0 {
				t.Errorf("%d advisory locks are left", n)
			}
		})
	}
}

// healOnce draws, waits for the others, moves the sequence and draws twice.
func healOnce(t *testing.T, db *gorm.DB, table *catalog.Table, target int64, started *sync.WaitGroup) (drawn []int64) {
	ctx := t.Context()
	err := db.Connection(func(own *gorm.DB) error {
		tx := own.Begin()
		defer tx.Rollback()
		c := conn.In(tx, tx.Statement.ConnPool)
		draw := func() error {
			var value int64
			err := c.Row(ctx, "SELECT nextval($1::int8::oid::regclass)", []any{table.Sequence.OID}, &value)
			drawn = append(drawn, value)
			return err
		}
		err := draw()
		started.Done()
		started.Wait()
		if err != nil {
			return err
		}
		if err := c.Savepoint(ctx); err != nil {
			return err
		}
		if _, err := sequence.Advance(ctx, c, sequence.Goal{Table: table, Target: target, Rows: 2}); err != nil {
			return err
		}
		if err := c.RollBack(ctx); err != nil {
			return err
		}
		if err := draw(); err != nil {
			return err
		}
		return draw()
	})
	if err != nil {
		t.Error(err)
	}
	return drawn
}

func TestAHealerWaitsForTheOneBeforeIt(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`CREATE TABLE t (id bigserial PRIMARY KEY)`)
	db := p.Open(nil)
	first, second := begin(t, db), begin(t, db)
	must(t, first.conn.Savepoint(first.ctx))
	if move, err := sequence.Advance(first.ctx, first.conn, first.goal(500)); err != nil || move.To != 500 {
		t.Fatalf("the first moved %+v, %v", move, err)
	}
	ended := make(chan error, 1)
	var move sequence.Move
	go func() {
		var err error
		move, err = sequence.Advance(second.ctx, second.conn, second.goal(1000))
		ended <- err
	}()
	pgtest.Eventually(t, "the second to wait", func() bool {
		return p.Int("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1::int8::oid AND NOT granted", first.table.Sequence.OID) == 1
	})
	must(t, first.conn.RollBack(first.ctx)) // the transaction goes on without the lock
	if err := <-ended; err != nil || move.From != 500 || move.To != 1000 {
		t.Errorf("the second moved %+v, %v", move, err)
	}
}

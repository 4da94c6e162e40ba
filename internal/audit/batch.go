package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/sequence"
)

// Sequences that are a short way behind are moved many in one transaction. One by one,
// ten thousand of them took 5.7 s after the reading, together 0.5 s (measured).
const (
	// movesAtOnce is how many sequences one transaction moves.
	movesAtOnce = 100
	// shortWay is the longest way that is gone so, in values.
	shortWay = 10_000
	// few is how many are moved one by one all the same.
	few = 10
)

// drawAll draws a value from each sequence, which takes the locks on the sequences
// themselves: nothing may be waited for under the advisory locks that walkAll takes.
//
// $1  a JSON array of the sequences' oids
//
//	place  in the array, from 1
//	first  the value
const drawAll = `
SELECT s.place, pg_catalog.nextval(s.oid::pg_catalog.int8::pg_catalog.oid::pg_catalog.regclass) AS first
FROM pg_catalog.json_array_elements_text($1::pg_catalog.text::pg_catalog.json) WITH ORDINALITY s(oid, place)`

// walkAll draws from each sequence until it is past its target; nextval only moves
// forward. It does not wait: a sequence that another session is moving is skipped.
// Those that are skipped are moved one by one.
//
// $1  a JSON array of [oid, target, increment]
// $2  sequence.LockClass
// $3  the longest way, in values: a sequence that was set far back since is skipped
//
//	place  in the array, from 1
//	last   the sequence's last value, null when it was skipped
const walkAll = `
SELECT s.place, CASE WHEN pg_catalog.pg_try_advisory_xact_lock($2::pg_catalog.int4, s.oid::pg_catalog.int4) THEN (
    SELECT CASE WHEN (s.target - d.v) / s.increment > $3::pg_catalog.int8 THEN NULL WHEN (s.target - d.v) / s.increment > 0 THEN (
        SELECT CASE WHEN s.increment > 0 THEN pg_catalog.max(w.v) ELSE pg_catalog.min(w.v) END
        FROM (SELECT pg_catalog.nextval(s.oid::pg_catalog.regclass) AS v
              FROM pg_catalog.generate_series(1, pg_catalog.ceil((s.target - d.v) / s.increment)::pg_catalog.int8) OFFSET 0) w)
      ELSE d.v END
    FROM (SELECT pg_catalog.nextval(s.oid::pg_catalog.regclass) AS v OFFSET 0) d) END AS last
FROM (
  SELECT e.place, (e.one->>0)::pg_catalog.int8::pg_catalog.oid AS oid, (e.one->>1)::pg_catalog.numeric AS target, (e.one->>2)::pg_catalog.numeric AS increment
  FROM pg_catalog.json_array_elements($1::pg_catalog.text::pg_catalog.json) WITH ORDINALITY e(one, place) OFFSET 0) s`

// group is the columns that one sequence feeds, and the furthest of them.
type group struct {
	columns  []*Column
	furthest *Column
}

func groupOf(columns []*Column) group {
	g := group{columns: columns, furthest: columns[0]}
	for _, c := range columns[1:] {
		if c.Furthest.Found && !g.furthest.Sequence.Reached(g.furthest.Furthest.Value, c.Furthest.Value) {
			g.furthest = c
		}
	}
	return g
}

// short reports whether the sequence may be moved along with others: a short way, and
// nothing about it that has to be looked at more closely.
func (g group) short(session conn.Session) bool {
	seq := g.furthest.Sequence
	for _, c := range g.columns {
		if c.Estimated || c.Judge() == Exhausted {
			return false
		}
	}
	return sequence.Permitted(&g.furthest.Table, session) == nil && seq.CanUse && seq.Cache == 1 &&
		g.furthest.Behind() <= shortWay && !sequence.Cramped(&g.furthest.Table, g.furthest.Last, g.furthest.Furthest.Value)
}

// moveTogether moves groups in one transaction and returns those that are left to be
// moved one by one. The error ends the audit.
func (r *Report) moveTogether(ctx context.Context, within Transaction, groups []group) (rest []group, err error) {
	moves := make([]sequence.Move, len(groups))
	done := make([]bool, len(groups))
	err = within(ctx, func(ctx context.Context, c *conn.Conn) error {
		defer r.limit(c)()
		return walk(ctx, c, groups, moves, done)
	})
	if lost(ctx, err) {
		return groups, err
	}
	for i, g := range groups {
		if err != nil || !done[i] {
			rest = append(rest, g)
			continue
		}
		for _, column := range g.columns {
			column.took(moves[i], nil)
		}
		r.progress(1)
	}
	return rest, nil
}

func walk(ctx context.Context, c *conn.Conn, groups []group, moves []sequence.Move, done []bool) error {
	oids := make([]int64, len(groups))
	ways := make([][3]int64, len(groups))
	for i, g := range groups {
		seq := g.furthest.Sequence
		oids[i], ways[i] = seq.OID, [3]int64{seq.OID, g.furthest.Furthest.Value, seq.Increment}
	}
	drawn, err := json.Marshal(oids)
	if err != nil {
		return err
	}
	err = c.Query(ctx, drawAll, []any{string(drawn)}, func(rows *sql.Rows) error {
		var place, first int64
		if err := rows.Scan(&place, &first); err != nil {
			return err
		}
		g := groups[place-1]
		moves[place-1] = firstDraw(g, first)
		done[place-1] = g.furthest.Sequence.Reached(first, g.furthest.Furthest.Value)
		return nil
	})
	if err != nil {
		return err
	}
	// Where the draw was enough the way is empty: one further value would be used up.
	var left []int
	var rest [][3]int64
	for i := range groups {
		if !done[i] {
			left, rest = append(left, i), append(rest, ways[i])
		}
	}
	if len(left) == 0 {
		return nil
	}
	walked, err := json.Marshal(rest)
	if err != nil {
		return err
	}
	return c.Query(ctx, walkAll, []any{string(walked), int64(sequence.LockClass), int64(shortWay)}, func(rows *sql.Rows) error {
		var place int64
		var last sql.NullInt64
		if err := rows.Scan(&place, &last); err != nil {
			return err
		}
		if i := left[place-1]; last.Valid {
			moves[i].To, moves[i].Moved, done[i] = last.Int64, true, true
		}
		return nil
	})
}

// firstDraw is the move that one draw made: from the value before it. That draw went
// past the last row, or another session had moved the sequence before.
func firstDraw(g group, first int64) sequence.Move {
	seq, from := g.furthest.Sequence, first
	if sequence.Distance(first, seq.First()) >= sequence.Magnitude(seq.Increment) {
		from = first - seq.Increment
	}
	return sequence.Move{From: from, To: first, Moved: sequence.Distance(first, g.furthest.Furthest.Value) < sequence.Magnitude(seq.Increment)}
}

// together moves the groups that are a short way behind, when there are many, and
// returns the others.
func (r *Report) together(ctx context.Context, within Transaction, groups []group) (rest []group, err error) {
	var short []group
	for _, g := range groups {
		if g.short(r.session) {
			short = append(short, g)
		} else {
			rest = append(rest, g)
		}
	}
	if len(short) <= few {
		return groups, nil
	}
	for len(short) > 0 {
		some := short[:min(len(short), movesAtOnce)]
		short = short[len(some):]
		left, err := r.moveTogether(ctx, within, some)
		rest = append(rest, left...)
		if err != nil {
			return append(rest, short...), err
		}
	}
	return rest, nil
}

// deadline is when the time for one table is over.
func (r *Report) deadline() time.Time { return time.Now().Add(r.scope.TableTimeout) }

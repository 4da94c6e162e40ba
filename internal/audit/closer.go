package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/sequence"
)

// lookCloser reads more of the columns of which the furthest value tells too little: of a
// large table without an index, near the end of the range, and in front of a sequence
// that cycles.
func (r *Report) lookCloser(ctx context.Context, within Transaction) error {
	for _, c := range r.all() {
		question := r.question(c)
		if question == nil {
			continue
		}
		err := within(ctx, func(ctx context.Context, cn *conn.Conn) error {
			defer r.limit(cn)()
			return question(ctx, cn)
		})
		if lost(ctx, err) {
			return err
		}
		if err != nil {
			c.unreadable(r.trouble(c, err))
		}
	}
	return nil
}

// question is what is still to be asked of a column, nil for nothing.
func (r *Report) question(c *Column) func(context.Context, *conn.Conn) error {
	switch {
	case c.Err != nil:
		return nil
	case c.unseen:
		return c.estimate
	case c.inFront() && c.Sequence.Cycle:
		return c.findNext
	case c.inFront() && sequence.Cramped(&c.Table, c.Last, c.Furthest.Value):
		return func(ctx context.Context, cn *conn.Conn) error { return c.makeRoom(ctx, cn, r.scope.Inside) }
	}
	return nil
}

// makeRoom leaves out a value near the end of the range. Of the rows before it only
// those in front of the sequence are then known. The sequence is read again, for rows
// may have been drawn since it was.
func (c *Column) makeRoom(ctx context.Context, cn *conn.Conn, inside bool) (err error) {
	c.Furthest.Value, c.Outlier, err = sequence.Room(ctx, cn, &c.Table, c.Last, c.Furthest.Value)
	if err != nil || !c.Outlier.Found {
		return err
	}
	c.Furthest.Found = c.Furthest.Value != c.Last
	var last sql.NullInt64
	var called sql.NullBool
	if err := cn.Row(ctx, "SELECT s.last_value, s.is_called FROM "+lastFrom(c.Sequence, inside)+" s", nil, &last, &called); err != nil {
		return err
	}
	c.takeLast(last, called)
	return nil
}

// estimate answers the furthest value among those that ANALYZE has noted for a
// column: the bounds of its histogram and its most common values, of which the
// first and the last are within the range that was sampled. A row for the column
// at least, null without statistics.
//
//	$1  a JSON array of [schema, table] pairs
//	$2  the column
//	$3, $4  the sequence's bounds
//
//	%s  aggregate
const estimate = `
SELECT pg_catalog.%s(v.value)::pg_catalog.int8
FROM pg_catalog.json_array_elements($1::pg_catalog.text::pg_catalog.json) e
JOIN pg_catalog.pg_stats s ON s.schemaname = (e->>0)::pg_catalog.name AND s.tablename = (e->>1)::pg_catalog.name
  AND s.attname = $2::pg_catalog.text::pg_catalog.name
CROSS JOIN LATERAL pg_catalog.unnest(s.histogram_bounds::pg_catalog.text::pg_catalog.numeric[]
  || s.most_common_vals::pg_catalog.text::pg_catalog.numeric[]) v(value)
WHERE v.value BETWEEN $3::pg_catalog.int8 AND $4::pg_catalog.int8`

func (c *Column) estimate(ctx context.Context, cn *conn.Conn) error {
	names := [][2]string{{c.Schema, c.Name}}
	for _, d := range c.Below {
		names = append(names, [2]string{d.Schema, d.Name})
	}
	pairs, err := json.Marshal(names)
	if err != nil {
		return err
	}
	var furthest sql.NullInt64
	seq := c.Sequence
	if err := cn.Row(ctx, fmt.Sprintf(estimate, seq.Aggregate()), []any{string(pairs), c.FedColumn(), seq.Min, seq.Max}, &furthest); err != nil {
		return err
	}
	if !furthest.Valid && !c.Furthest.Found {
		return noIndex(c.Fed, "so only a sequential scan would find its furthest value, and there are no statistics to estimate it from")
	}
	c.Estimated = true
	c.Furthest = c.Furthest.With(seq, sequence.Position{Value: furthest.Int64, Found: furthest.Valid})
	return nil
}

// next answers the row nearest to a sequence among those in front of it.
//
//	%[1]s min or max   %[2]s column   %[3]s table   %[4]s the comparison "in front of"
//	%[5]d last value   %[6]d, %[7]d the sequence's bounds
const next = `SELECT pg_catalog.%[1]s(%[2]s)::pg_catalog.int8 FROM %[3]s
WHERE %[2]s %[4]s '%[5]d'::pg_catalog.int8 AND %[2]s BETWEEN '%[6]d'::pg_catalog.int8 AND '%[7]d'::pg_catalog.int8`

func (c *Column) findNext(ctx context.Context, cn *conn.Conn) error {
	nearest, beyond := "min", ">"
	if c.Sequence.Descending() {
		nearest, beyond = "max", "<"
	}
	var value sql.NullInt64
	text := fmt.Sprintf(next, nearest, catalog.Quote(c.FedColumn()), c.QuotedName(), beyond, c.Last, c.Sequence.Min, c.Sequence.Max)
	err := cn.Row(ctx, text, nil, &value)
	c.Next = sequence.Position{Value: value.Int64, Found: value.Valid}
	return err
}

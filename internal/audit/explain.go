package audit

import (
	"cmp"
	"context"
	"slices"

	"github.com/seqheal/seqheal/internal/cause"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/facts"
	"github.com/seqheal/seqheal/internal/sequence"
)

// mostExplained is how many columns are explained, the furthest behind first: each takes
// a transaction of its own.
const mostExplained = 50

// Explained is what lies in front of a sequence that is behind, and why.
type Explained struct {
	Front  cause.Front
	Causes []cause.Cause
}

// Explain looks for what made the sequences drift that are behind, and sets Explained of
// their columns. remembered is what the process remembers of a sequence, nil for nothing. A
// look that fails says so in its column; the error is that of a lost connection or context.
func (r *Report) Explain(ctx context.Context, within Transaction, remembered func(facts.Sequence) *facts.Memory) error {
	var behind []*Column
	for _, c := range r.Columns {
		if c.Err == nil && c.Behind() > 0 {
			behind = append(behind, c)
		}
	}
	slices.SortStableFunc(behind, func(a, b *Column) int { return cmp.Compare(b.Behind(), a.Behind()) })
	for n, c := range behind {
		if err := r.explain(ctx, within, n, c, remembered); err != nil {
			return err
		}
	}
	return nil
}

// explain explains the nth column.
func (r *Report) explain(ctx context.Context, within Transaction, n int, c *Column, remembered func(facts.Sequence) *facts.Memory) error {
	q := c.question()
	if m := remembered(facts.Sequence{Database: r.session.Database, OID: c.Sequence.OID}); m != nil {
		q.Given, q.GivenAt, _ = m.Given()
		if named := m.LastNamed(); named != nil && named.Column == c.FedColumn() {
			q.Named = named
		}
	}
	c.Explained = &Explained{Front: q.Front(cause.Seen{})}
	if reason := r.unseen(n, c); reason != "" {
		c.Explained.Causes = []cause.Cause{cause.Without(reason)}
		return nil
	}
	var seen cause.Seen
	err := within(ctx, func(ctx context.Context, conn *conn.Conn) (err error) {
		if err = conn.Exec(ctx, q.Limits()); err == nil {
			seen, err = q.Look(ctx, conn)
		}
		return err
	})
	if lost(ctx, err) {
		return err
	}
	c.Explained.Front, c.Explained.Causes = q.Front(seen), q.Judge(seen, err)
	return nil
}

// question is what is asked of a column that is behind.
func (c *Column) question() cause.Question {
	next := c.Last + c.Sequence.Increment // it is behind, so that there is a next value
	if sequence.Distance(c.Last, c.Furthest.Value) < sequence.Magnitude(c.Sequence.Increment) {
		next = c.Furthest.Value
	}
	return cause.Question{Table: &c.Table, Limit: lookLock, At: c.Last, From: next, To: c.Furthest.Value}
}

// unseen says why the rows in front of the nth column must not be looked at, empty where
// they may.
func (r *Report) unseen(n int, c *Column) string {
	switch {
	case n >= mostExplained:
		return "the rows in front were not looked at: other sequences are further behind"
	case r.session.Isolation == conn.Serializable:
		return "the rows in front are not looked at in SERIALIZABLE"
	case !c.indexed():
		return "the rows in front were not looked at: no index begins with the column"
	}
	return ""
}

package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/sequence"
)

// Move moves forward the sequences that are behind, each in a transaction of its
// own, with what was read as the look: draw, lock, move, as a heal does. One that
// cannot be moved does not stop the others: its columns say why. The error is that
// of a connection that failed or a context that ended.
func (r *Report) Move(ctx context.Context, within Transaction) error {
	behind := r.behind()
	r.moves = len(behind)
	groups := make([]group, len(behind))
	for i, columns := range behind {
		groups[i] = groupOf(columns)
	}
	rest, err := r.together(ctx, within, groups)
	if err != nil {
		r.giveUpMoving(rest, err)
		return err
	}
	for _, g := range rest {
		if err := r.moveOne(ctx, within, g); lost(ctx, err) {
			r.giveUpMoving(rest, err)
			return err
		}
		r.progress(1)
	}
	return nil
}

// behind groups the columns by their sequence, for those sequences that a column
// that was asked for lies in front of.
func (r *Report) behind() [][]*Column {
	groups := map[int64][]*Column{}
	var order []int64
	for _, c := range r.Columns {
		if c.Behind() > 0 {
			if groups[c.Sequence.OID] == nil {
				order = append(order, c.Sequence.OID)
			}
			groups[c.Sequence.OID] = append(groups[c.Sequence.OID], c)
		}
	}
	for _, c := range r.all() { // the others that draw from it, in front of it or not
		if c.Fed == nil || !c.read || c.Err != nil {
			continue
		}
		if group := groups[c.Sequence.OID]; group != nil && !slices.Contains(group, c) {
			groups[c.Sequence.OID] = append(group, c)
		}
	}
	all := make([][]*Column, len(order))
	for i, oid := range order {
		all[i] = groups[oid]
	}
	return all
}

// moveOne moves one sequence past the furthest of its columns.
func (r *Report) moveOne(ctx context.Context, within Transaction, g group) error {
	furthest := g.furthest
	var move sequence.Move
	err := sequence.Permitted(&furthest.Table, r.session)
	if err == nil && furthest.Estimated {
		err = noIndex(furthest.Fed, "and the furthest value is only estimated")
	}
	if err == nil {
		err = within(ctx, func(ctx context.Context, c *conn.Conn) (err error) {
			defer c.Within(r.deadline(), r.session.StatementTimeout, r.session.LockTimeout)()
			goal := sequence.Goal{Table: &furthest.Table, Target: furthest.Furthest.Value, Rows: 1, Below: c, Role: r.session.Role}
			move, err = sequence.Advance(ctx, c, goal)
			return err
		})
	}
	for _, c := range g.columns {
		c.took(move, err)
	}
	return err
}

// took adds what became of the column's sequence.
func (c *Column) took(move sequence.Move, err error) {
	if err != nil {
		c.refuseMove(err)
		return
	}
	c.Last, c.Move = move.To, &move
}

func (c *Column) refuseMove(err error) {
	known := sequence.Explain(err)
	if !known.Refused { // a refusal names the table already
		known = &sequence.Refusal{Reason: known.Reason, Err: fmt.Errorf(
			"table %s: sequence %s was not moved: %w%s", c.QuotedName(), c.Sequence.QuotedName(), err, advice(known.Reason))}
	}
	c.Err = known
}

// giveUpMoving marks what was not moved because the context ended or the connection
// failed.
func (r *Report) giveUpMoving(groups []group, err error) {
	for _, g := range groups {
		for _, c := range g.columns {
			if c.Move == nil && c.Err == nil {
				c.refuseMove(err)
			}
		}
	}
}

// Failures are the errors of the columns, each naming its table: those that could
// not be read, but for columns whose default is more than nextval and which were
// not asked for by name, and those whose sequence could not be moved.
func (r *Report) Failures() error {
	var all []error
	for _, c := range r.Columns {
		if c.Err == nil || sequence.Explain(c.Err).Has(sequence.Unsupported) && len(r.scope.Tables) == 0 {
			continue
		}
		all = append(all, c.Err)
	}
	return errors.Join(all...)
}

package catalog

import (
	"context"
	"database/sql"
	"errors"

	"github.com/seqheal/seqheal/internal/conn"
)

// View is the way from the view that a statement names to the table below.
type View struct {
	OID          int64
	Schema, Name string
	// Between is the number of further views between this one and the table.
	Between int
	// Columns maps the view's columns to the table's. Those that are expressions are
	// missing.
	Columns map[string]string
	// InsteadOf is true when one of these views has a trigger INSTEAD OF INSERT that fires.
	// Such a trigger decides itself where the row goes.
	InsteadOf bool
	// Rule is true when one of these views has a rule on INSERT or UPDATE.
	Rule bool
}

// Shown returns the name under which the view shows a column of the table.
func (v *View) Shown(column string) (name string, ok bool) {
	for shown, base := range v.Columns {
		if base == column && (!ok || shown < name) {
			name, ok = shown, true
		}
	}
	return name, ok
}

// shows reports whether the view shows the column under its own name.
func (v *View) shows(column string) bool { return v.Columns[column] == column }

// readViewQuery asks for the query behind a view, as the tree that the server keeps.
// Every role may read it; nothing is locked.
//
// $1  the view's oid
const readViewQuery = `
SELECT w.ev_action::pg_catalog.text FROM pg_catalog.pg_rewrite w
WHERE w.ev_class = $1::pg_catalog.int8::pg_catalog.oid AND w.rulename = '_RETURN'`

// mostViews bounds how many views are followed. The server's own stack ends
// sooner.
const mostViews = 64

// path is a view that was followed: the views from the named one on, and how the columns
// of each map to the next.
type path struct {
	views []*relation
	steps []step
	// queries are the views' queries as the server keeps them.
	queries []string
}

// step maps a view's columns to those of the one relation that it selects from, by
// number.
type step struct {
	relation int64
	columns  map[int64]int64
}

// follow asks for what stands behind a view, down to the table. The table is nil
// when a view selects from none, or from several.
func follow(ctx context.Context, c *conn.Conn, view *relation) (*path, *relation, error) {
	way := &path{}
	for at := view; len(way.views) < mostViews; {
		if at == nil || at.kind != "v" {
			return way, at, nil
		}
		text, err := viewQuery(ctx, c, at)
		if err != nil {
			return nil, nil, err
		}
		next, ok := readStep(text)
		if !ok {
			return way, nil, nil
		}
		way.views, way.steps, way.queries = append(way.views, at), append(way.steps, next), append(way.queries, text)
		if at, err = relationOf(ctx, c, next.relation); err == nil && at == nil {
			err = errChanged
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return way, nil, nil
}

// viewQuery asks for the query of a view.
func viewQuery(ctx context.Context, c *conn.Conn, view *relation) (string, error) {
	var text sql.NullString
	err := c.Row(ctx, readViewQuery, []any{view.oid}, &text)
	if errors.Is(err, sql.ErrNoRows) {
		err = errChanged // the view was dropped since it was read
	}
	return text.String, err
}

// view describes the way to the table at its end.
func (p *path) view(table *relation) *View {
	first := p.views[0]
	v := &View{OID: first.oid, Schema: first.schema, Name: first.name, Between: len(p.views) - 1, Columns: map[string]string{}}
	for _, shown := range first.columns {
		number := p.through(0, shown.Number)
		for _, base := range table.columns {
			if base.Number == number {
				v.Columns[shown.Name] = base.Name
			}
		}
	}
	for _, view := range p.views {
		v.Rule = v.Rule || writes(view.rules)
		v.InsteadOf = v.InsteadOf || triggersOf(view.triggers, true).InsteadOf
	}
	return v
}

// through is the table's column behind a column of the view at this place, by number; 0, which
// no column has, where it is an expression.
func (p *path) through(place int, number int64) int64 {
	for _, s := range p.steps[place:] {
		number = s.columns[number]
	}
	return number
}

// shadow has the views' defaults stand for the table's. A view's counts before that of what
// it selects from (PostgreSQL manual, ALTER VIEW). Through a trigger INSTEAD OF or a rule no
// row comes to the table by itself.
func (p *path) shadow(table *relation) {
	if v := p.view(table); v.InsteadOf || v.Rule {
		return
	}
	table.shadowed = map[int64]shadow{}
	for i := len(p.views) - 1; i >= 0; i-- {
		view := p.views[i]
		for _, shown := range view.columns {
			parts := view.defaultOf(shown.Number)
			if len(parts) == 0 {
				continue
			}
			number := p.through(i, shown.Number)
			if number == 0 {
				continue // an expression, into which nothing is inserted
			}
			schema := view.schema
			if view.temporary {
				schema = ownTemporary
			}
			table.shadowed[number] = shadow{names: []string{schema, view.name, shown.Name}, parts: parts}
		}
	}
}

package statement

import (
	"slices"
	"strings"

	"gorm.io/gorm/clause"
)

// Target is what an ON CONFLICT clause waits for.
type Target int

const (
	// NoConflict: the statement has no ON CONFLICT.
	NoConflict Target = iota
	// OnKey: the primary key, by its columns or its name.
	OnKey
	// OnOther: another unique index.
	OnOther
	// OnAny: DO NOTHING without a target, any unique index.
	OnAny
)

// ConflictTarget tells which of a table's unique indexes the statement's ON
// CONFLICT waits for. key and constraint are the primary key's columns and name;
// primary is the column that clause.PrimaryKey stands for, "" for none. Where a
// constraint is named GORM fills the columns too, and the constraint wins in the
// SQL.
func (in Insert) ConflictTarget(key []string, constraint, primary string) Target {
	c := in.OnConflict
	switch {
	case c == nil:
		return NoConflict
	case c.OnConstraint != "":
		name, _, ok := identifier(strings.TrimSpace(c.OnConstraint))
		if ok && name == constraint {
			return OnKey
		}
		return OnOther
	case len(c.Columns) == 0:
		return OnAny
	}
	if len(c.Columns) != len(key) {
		return OnOther
	}
	for _, column := range c.Columns {
		name := columnName(column.Name)
		if column.Name == clause.PrimaryKey {
			name = primary
		}
		if column.Raw || !slices.Contains(key, name) {
			return OnOther
		}
	}
	return OnKey
}

// ConflictsOnExpression reports whether ON CONFLICT waits for an index over more than columns.
func (in Insert) ConflictsOnExpression() bool {
	return in.OnConflict != nil && slices.ContainsFunc(in.OnConflict.Columns, func(c clause.Column) bool { return c.Raw })
}

// Package catalog knows what the server says about a table's primary key and
// the sequence that feeds it.
package catalog

import (
	"math"
	"regexp"
)

// Table is one table as read from the catalog at one moment.
type Table struct {
	OID    int64
	Schema string
	Name   string
	// Own is true for the table that the statement names, directly or through a
	// view, false for one that a trigger inserted into.
	Own bool
	// Constraint is the primary key's name, empty without one. The server names
	// it in a 23505.
	Constraint string
	// KeysBelow is true for a partitioned table without a primary key whose partitions
	// have some. Key is then one of theirs.
	KeysBelow bool
	// Key holds the primary key's columns in the order of the index.
	Key []Column
	// Column is the index in Key of the column that a sequence feeds, -1 when
	// none does.
	Column   int
	Sequence Sequence
	// Unsupported says why the sequence must never be moved although a collision
	// may come from it, empty when it may be.
	Unsupported string
	// Indexed is true when an index begins with the column, so that its maximum
	// costs one index descent.
	Indexed bool
	// RowSecurity is true when policies hide rows from this role.
	RowSecurity bool
	// InsertTrigger is true when a user trigger fires on INSERT, enabled or not.
	InsertTrigger bool
	// UpsertTrigger is true when a trigger would notice that an ON CONFLICT clause
	// was left out: a row trigger BEFORE INSERT, which may find ids itself, or a
	// statement trigger on UPDATE, which DO UPDATE fires even when no row is updated.
	UpsertTrigger bool
	// UpdateTrigger is true when a row trigger BEFORE UPDATE may keep rows of an
	// upsert from being updated and returned.
	UpdateTrigger bool
	// Partitioned is true for a partitioned table or a partition.
	Partitioned bool
	// Detour is true for a view and for a table with a rule: rows inserted into it
	// end up in another table, and so does the collision.
	Detour bool
	// InitiallyDeferred keys are checked at COMMIT, after every chance to heal.
	InitiallyDeferred bool
	// Selectable is true when this role may read every column of the key.
	Selectable bool
	// NotGuardable says why the conflict guard must not be used, empty when the
	// table qualifies for it.
	NotGuardable string

	// Violated is the table that the server named in the error, when it is
	// another one: the partition below this table, or the base table of a view.
	Violated Violated
}

// Violated is what tells whether a 23505 is one of the primary key.
type Violated struct {
	Schema, Name string
	// Constraint is its primary key's name.
	Constraint string
	// Others are the names of its other unique indexes.
	Others []string
}

// Column is a column of the primary key.
type Column struct {
	Name string
	// Type is the base type's name in pg_catalog, domains resolved.
	Type string
	// Declared is the column's own type as format_type writes it, for SQL text.
	Declared string
}

// Sequence is a sequence's definition and what this role may do with it.
type Sequence struct {
	OID       int64
	Schema    string
	Name      string
	Min, Max  int64
	Increment int64
	Cache     int64
	Cycle     bool
	CanUse    bool // USAGE or UPDATE: nextval
	CanUpdate bool // UPDATE: setval
	CanRead   bool // SELECT: last_value
	// Feeders is the number of columns, in whatever tables, whose default draws
	// from it; partitions are not counted beside their root.
	Feeders int64
}

// Fed reports whether a sequence feeds a column of the primary key.
func (t *Table) Fed() bool { return t != nil && t.Column >= 0 }

// FedColumn is the name of the column that the sequence feeds.
func (t *Table) FedColumn() string { return t.Key[t.Column].Name }

// QuotedKey returns the key's column names, ready for SQL text.
func (t *Table) QuotedKey() []string {
	key := make([]string, len(t.Key))
	for i, column := range t.Key {
		key[i] = Quote(column.Name)
	}
	return key
}

// QuotedName is the schema-qualified name, ready for SQL text.
func (t *Table) QuotedName() string { return Quote(t.Schema, t.Name) }

// QuotedName is the schema-qualified name, ready for SQL text.
func (s Sequence) QuotedName() string { return Quote(s.Schema, s.Name) }

// Descending reports whether the sequence counts downwards.
func (s Sequence) Descending() bool { return s.Increment < 0 }

// Aggregate is the name of the aggregate that finds the furthest value.
func (s Sequence) Aggregate() string {
	if s.Descending() {
		return "min"
	}
	return "max"
}

// First is where the sequence's range begins in its own direction.
func (s Sequence) First() int64 {
	if s.Descending() {
		return s.Max
	}
	return s.Min
}

// Reached reports whether value lies at or beyond target in the sequence's own
// direction.
func (s Sequence) Reached(value, target int64) bool {
	if s.Descending() {
		return value <= target
	}
	return value >= target
}

// Further returns the one of both that the sequence reaches later.
func (s Sequence) Further(a, b int64) int64 {
	if s.Reached(a, b) {
		return a
	}
	return b
}

// Contains reports whether the sequence can ever hand out a value in this place:
// rows of other nodes' ranges and sentinels lie outside.
func (s Sequence) Contains(value int64) bool { return s.Min <= value && value <= s.Max }

// Limit is the last value that can be stored, by the sequence's bounds and the
// column's type.
func (t *Table) Limit() int64 {
	low, high := int64(math.MinInt64), int64(math.MaxInt64)
	switch t.Key[t.Column].Type {
	case "int2":
		low, high = math.MinInt16, math.MaxInt16
	case "int4":
		low, high = math.MinInt32, math.MaxInt32
	}
	if t.Sequence.Descending() {
		return max(low, t.Sequence.Min)
	}
	return min(high, t.Sequence.Max)
}

// nextvalOnly matches a default, as pg_get_expr writes it, that is nextval of
// one sequence and nothing else. An integer cast around it changes no value.
// nextval('s')*1000+7 or 'ORD-'||nextval('s') depend on their sequence in the
// same way in pg_depend, and moving it to max(id) would ruin them (measured).
var nextvalOnly = regexp.MustCompile(
	`^\(*(?:pg_catalog\.)?nextval\('(?:[^']|'')+'::regclass\)\)*(?:::(?:integer|bigint|smallint|numeric(?:\(\d+,0\))?))?\)*$`)

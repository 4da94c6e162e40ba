// Package catalog knows what the server says about a table's keys and the sequences
// that feed them. It asks for raw facts in short questions and judges them in Go.
package catalog

import (
	"math"
	"slices"
)

// Table is one table as read from the catalog at one moment.
type Table struct {
	OID    int64
	Schema string
	Name   string
	// Own is true for the table that the statement names, directly or through a
	// view that shows the key's columns under their names, false for one that a
	// trigger inserted into.
	Own bool
	// View is the way to this table from the view that the statement names, nil when it
	// names the table itself.
	View *View
	// Identity is what was read: the name that was asked for and what it stood for.
	Identity Identity
	// Uncommitted is true when what was read may be undone with the own transaction: a row
	// of the catalog is its own, or it holds a lock of DDL on the table.
	Uncommitted bool
	// Snapshot is true when the facts were read at a level that takes a snapshot. INSERT
	// uses the catalog of the moment instead.
	Snapshot bool

	// Constraint is the key's name, empty without one. The server names it in a 23505.
	// The key is the primary key, or a unique index where a sequence feeds no column of
	// the primary key and one of that index.
	Constraint string
	// KeysBelow is true for a partitioned table without a primary key whose partitions
	// have some. Key is then one of theirs.
	KeysBelow bool
	// Key holds the key's columns in the order of the index.
	Key []Column
	// Column is the index in Key of the column that a sequence feeds, -1 when
	// none does.
	Column   int
	Sequence Sequence
	// Draws is how many columns of the table have the sequence in their default: a row
	// that leaves all of them out draws as many values, in the columns' order.
	Draws int64
	// Keys is the same table by each key that a sequence feeds, this one among them:
	// Constraint, Key, Column, Sequence and what follows from them are that key's. It is
	// empty for the tables that have one such key, which is nearly all. An index over the
	// columns of such a key and more is none: it is never violated alone.
	Keys []*Table
	// Uniques are all unique indexes and exclusion constraints of the table, valid or not,
	// and those of its partitions that do not belong to one of the table.
	Uniques []UniqueIndex
	// DeferrableTwin is true when another unique constraint over the key's columns is
	// deferrable. ON CONFLICT (key) infers both and then fails with 55000.
	DeferrableTwin bool
	// Unsupported says why the sequence must never be moved although a collision
	// may come from it, empty when it may be.
	Unsupported string
	// Indexed is true when an index begins with the column, so that its maximum
	// costs one index descent.
	Indexed bool
	// InitiallyDeferred keys are checked at COMMIT, after every chance to heal.
	InitiallyDeferred bool

	// Triggers is what triggers can do on the table, on its partitions and on the views
	// in front of it.
	Triggers Triggers
	// Rules is true when a rule on INSERT or UPDATE stands on the table, on a partition or
	// on a view in front of it.
	Rules bool
	// RowSecurity is true when policies of the table hide rows from this role.
	RowSecurity bool
	// TreeRowSecurity is RowSecurity of the table or of one of its partitions.
	TreeRowSecurity bool
	// DefaultCalls is true when the default of a column calls a function that is not the
	// server's own.
	DefaultCalls bool
	// DomainDefault is true when a column without a default has a domain with one.
	DomainDefault bool
	// UserCatalog is true for a table that logical decoding reads as a catalog.
	UserCatalog bool
	// CanInsert is true when this role may INSERT into a column.
	CanInsert bool
	// Selectable is true when this role may read every column of the key.
	Selectable bool
	// Readable is true when this role may read the table's system columns: by SELECT on the
	// table, not on columns.
	Readable bool
	// Temporary tables are seen by their own session alone.
	Temporary bool
	// Partitioned is true for a partitioned table or a partition.
	Partitioned bool
	// Partitions counts the tables below a partitioned table.
	Partitions Partitions
	// Foreign is true for a foreign table, whose rows are elsewhere.
	Foreign bool
	// Elsewhere is true for a foreign table and for a partitioned one with a foreign
	// partition. Its unique indexes are the other server's, so that a 23505 names neither
	// table nor constraint, and Key may be nothing but the column that a sequence feeds.
	Elsewhere bool
	// Unlinked is true where the server does not say what defaults and identity columns
	// refer to, so that their sequences are not known. PostgreSQL always does.
	Unlinked bool
	// NotGuardable says why the conflict guard must not be used, empty when the
	// table qualifies for it.
	NotGuardable string

	// Violated is the table that the server named in the error: this one, or a partition
	// below it.
	Violated Violated

	// Detour is true for a view that was not followed to a table, and for a table with a
	// rule: rows inserted into it end up in another table, and so does the collision.
	Detour bool
}

// Violated names the table of an error, to decide whether a 23505 is the key's.
type Violated struct {
	Schema, Name string
	// Constraint is its primary key's name, empty without one.
	Constraint string
}

// Column is a column of a key.
type Column struct {
	Name string
	// Type is the base type's name in pg_catalog, domains resolved.
	Type string
	// Declared is the column's own type as format_type writes it, for SQL text.
	Declared string
	// Domain is true when the type is a domain.
	Domain bool
}

// UniqueIndex is a unique index or an exclusion constraint.
type UniqueIndex struct {
	// OID is the index's, and Table that of the table that it stands on.
	OID, Table int64
	Name       string
	// Columns are its key's columns, empty text for an expression.
	Columns []string
	Primary bool
	// Immediate is false for a deferrable constraint.
	Immediate bool
	// Valid is false while the index is built, and after that failed.
	Valid      bool
	Exclusion  bool
	Partial    bool
	Expression bool
}

// Fed reports whether a sequence feeds a column of the key.
func (t *Table) Fed() bool { return t != nil && t.Column >= 0 }

// FedColumn is the name of the column that the sequence feeds.
func (t *Table) FedColumn() string { return t.Key[t.Column].Name }

// IsTarget reports whether the statement's rows go into the table, directly or through a view,
// and not where a trigger or a rule sends them.
func (t *Table) IsTarget() bool {
	return t.Own || t.View != nil && !t.View.InsteadOf && !t.View.Rule
}

// Shown is the statement's name for a column of the table, "" for one that a view does not
// show.
func (t *Table) Shown(column string) string {
	if t.View == nil {
		return column
	}
	name, _ := t.View.Shown(column)
	return name
}

// ShownFed is the statement's name for the column that the sequence feeds, "" for a table whose
// key none does.
func (t *Table) ShownFed() string {
	if !t.Fed() {
		return ""
	}
	return t.Shown(t.FedColumn())
}

// ByKeys is the table by each key that a sequence feeds; the table itself where there is
// one key or none.
func (t *Table) ByKeys() []*Table {
	if len(t.Keys) > 0 {
		return t.Keys
	}
	return []*Table{t}
}

// KeyName tells the keys of a table apart, at different moments too. The zero value is of
// one that no sequence feeds.
type KeyName struct{ Constraint, Column string }

// KeyName names the key by which the table is described.
func (t *Table) KeyName() KeyName {
	if !t.Fed() {
		return KeyName{}
	}
	return KeyName{Constraint: t.Constraint, Column: t.FedColumn()}
}

// ByKey is the table by this key, by one in which the same column is fed where the
// constraint has another name now, and the table as it is when there is none.
func (t *Table) ByKey(name KeyName) *Table {
	found := t
	for _, key := range t.Keys {
		switch {
		case key.KeyName() == name:
			return key
		case key.FedColumn() == name.Column && found.KeyName().Column != name.Column:
			found = key
		}
	}
	return found
}

// HasKey reports whether these are the columns of the key, in any order.
func (t *Table) HasKey(columns []string) bool {
	return len(columns) == len(t.Key) && t.Within(columns)
}

// Provisional reports whether the facts must not stand in for others: they were read in a
// transaction that has changed the catalog, or under a snapshot.
func (t *Table) Provisional() bool { return t.Uncommitted || t.Snapshot }

// IntegerKey reports whether the key is one plain smallint, integer or bigint column, the
// values of which the server stores as they are sent.
func (t *Table) IntegerKey() bool {
	return len(t.Key) == 1 && !t.Key[0].Domain && integral(t.Key[0].Type, -1)
}

// OnlyKeyIsUnique reports whether nothing but the key can keep a row out: there is no
// other unique index or exclusion constraint, on the table or on any partition.
func (t *Table) OnlyKeyIsUnique() bool {
	if t.Elsewhere {
		return false // not known
	}
	for _, unique := range t.Uniques {
		own := unique.Table == t.OID && unique.Name == t.Constraint
		if !own && !(t.KeysBelow && unique.Primary) {
			return false
		}
	}
	return true
}

// DrawnByTrigger reports whether no default draws from the sequence but, as far as is known,
// a row trigger does.
func (t *Table) DrawnByTrigger() bool { return t.Fed() && len(t.Identity.Key) > 0 }

// Covers reports whether the index has the columns of the table's key among its own, so
// that a row with a key that exists violates it or the key.
func (x UniqueIndex) Covers(t *Table) bool {
	return x.Table == t.OID && !x.Exclusion && x.Immediate && t.Within(x.Columns)
}

// Within reports whether the columns of the key are all among these.
func (t *Table) Within(columns []string) bool {
	return !slices.ContainsFunc(t.Key, func(column Column) bool { return !slices.Contains(columns, column.Name) })
}

// KeyNames are the key's column names.
func (t *Table) KeyNames() []string {
	names := make([]string, len(t.Key))
	for i, column := range t.Key {
		names[i] = column.Name
	}
	return names
}

// QuotedKey returns the key's column names, ready for SQL text.
func (t *Table) QuotedKey() []string {
	key := make([]string, len(t.Key))
	for i, column := range t.Key {
		key[i] = Quote(column.Name)
	}
	return key
}

// FullName is the name that stands for the table under every search_path.
func (t *Table) FullName() Name { return Name{Schema: t.Schema, Table: t.Name} }

// QuotedName is the schema-qualified name, ready for SQL text.
func (t *Table) QuotedName() string { return Quote(t.Schema, t.Name) }

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

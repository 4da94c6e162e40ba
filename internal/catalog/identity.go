package catalog

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seqheal/seqheal/internal/conn"
)

// Identity is what facts about a table were read of. Names and oids alone are none: a
// name comes to stand for another table, and another database has equal oids.
type Identity struct {
	// Target is the name as the statement gives it, and Named the oid of the table or view
	// that it stood for.
	Target Name
	Named  int64
	// Database, Role, SearchPath and TempSchema are the session's. TempSchema is the oid
	// of its schema for temporary tables, 0 without one.
	Database, Role, SearchPath string
	TempSchema                 int64
	// OID, Schema and Name are the table's, the one below when Target is a view.
	OID          int64
	Schema, Name string
	// Temporary is true for a temporary table.
	Temporary bool
	// Column is the key's column that a sequence feeds, empty when none does.
	Column string
	// Default is the oid of that column's default in pg_attrdef, 0 for an identity column
	// and where a trigger draws. DefaultOf are the schema and name of the view whose default
	// it is, and its column; nil for the table's own.
	Default   int64
	DefaultOf []string
	// Sequence is the oid of the sequence, 0 without one.
	Sequence         int64
	Increment, Cache int64
	Cycle            bool
	// Uniques are the oids of the table's own unique indexes, in order, with commas.
	Uniques string
	// Views are the views in front of the table, the named one first.
	Views []ViewQuery
	// Key are the key's columns when no default and no identity feeds one of them.
	Key []KeyColumn
}

// ViewQuery identifies the query behind a view, because CREATE OR REPLACE VIEW keeps the view's
// oid, and the view's own defaults.
type ViewQuery struct {
	OID int64
	MD5 string
	// Defaults are the oids in pg_attrdef, in order, with commas.
	Defaults string
}

// KeyColumn is a column of a key as it was when it was read.
type KeyColumn struct {
	Number int64
	Name   string
	// Default is the oid of its default in pg_attrdef, 0 without one.
	Default int64
	// Identity is true for an identity column, which a view's default hides.
	Identity bool
}

// identity says what was read.
func (r *reading) identity(t *Table) Identity {
	f := r.table
	i := Identity{
		Target: r.target, Database: f.session.database, Role: f.session.role, SearchPath: f.session.searchPath, TempSchema: f.session.tempSchema,
		OID: f.oid, Schema: f.schema, Name: f.name, Temporary: f.temporary, Uniques: f.uniques(),
	}
	if r.named != nil {
		i.Named = r.named.oid
	}
	if r.way != nil && r.reached {
		for n, view := range r.way.views {
			i.Views = append(i.Views, ViewQuery{OID: view.oid, MD5: fmt.Sprintf("%x", md5.Sum([]byte(r.way.queries[n]))), Defaults: view.defaultOIDs()})
		}
	}
	if !r.reached {
		i.Target, i.Named = Name{Schema: f.schema, Table: f.name}, f.oid
	}
	identity := false
	if t.Fed() {
		a, _ := f.column(t.FedColumn())
		i.Column, i.Default, i.DefaultOf = a.Name, f.feed(a).def, f.shadowed[a.Number].names
		identity = a.Identity && i.Default == 0
		i.Sequence, i.Increment, i.Cache, i.Cycle = t.Sequence.OID, t.Sequence.Increment, t.Sequence.Cache, t.Sequence.Cycle
	}
	if i.Default == 0 && !identity {
		for _, number := range r.key() {
			a := f.number(number)
			i.Key = append(i.Key, KeyColumn{Number: number, Name: a.Name, Default: feedBy(f.defaultOf(number)).def, Identity: a.Identity})
		}
	}
	return i
}

// Check is an SQL expression that is true when the name still stands for what was read:
// the same table, role and database, the key's column filled by the same default or
// identity, and its sequence with the same INCREMENT, CACHE and CYCLE. It is false, or the
// statement fails, when one of them is another. A sequence may be renamed and moved to
// another schema meanwhile, a table may not.
//
// It is made of functions that read the catalog of the moment under every snapshot. The
// exception is a key that no sequence feeds: its defaults are read as the snapshot shows
// them. Of a view it checks the name and the table below, but not whether the view was replaced.
//
// The parameters of a sequence are left out where the role has no right to them: it cannot
// ask for its values either. The expression has no parameters and no side effect, and no lock stays.
func (i Identity) Check() string {
	parts := []string{
		standsFor(i.Target) + " = " + oid(i.Named),
		"current_user::pg_catalog.text = " + Literal(i.Role),
		"pg_catalog.current_database()::pg_catalog.text = " + Literal(i.Database),
	}
	switch {
	case i.Default != 0:
		parts = append(parts, i.sameDefault())
	case i.Sequence != 0:
		parts = append(parts, i.sameOwner())
	}
	if len(i.Key) > 0 {
		parts = append(parts, i.sameKey())
	}
	if i.Sequence != 0 {
		parts = append(parts, i.sameParameters())
	}
	for _, view := range i.Views {
		parts = append(parts, view.same())
	}
	return "CASE WHEN " + upToDate + " THEN coalesce(" + strings.Join(parts, " AND ") + ", false) ELSE false END"
}

// ErrOutdated reports that the table changed after the transaction's snapshot: SELECTs show it as
// it was, and the INSERT finds it as it is.
var ErrOutdated = errors.New("the table changed after the transaction's snapshot; retry the transaction")

// upToDate is [ErrOutdated] where the table is not what the catalog has at this moment.
func (t *Table) upToDate(ctx context.Context, c *conn.Conn) error {
	same := false
	switch err := c.Row(ctx, "SELECT "+t.Identity.Check(), nil, &same); {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrOutdated, err)
	case !same:
		return ErrOutdated
	}
	return nil
}

// uniques are the oids of the unique indexes as [Identity.Uniques] has them.
func (r *relation) uniques() string {
	var oids []int64
	for _, x := range r.indexes {
		if x.Unique {
			oids = append(oids, x.OID)
		}
	}
	return commas(oids)
}

// CheckAllKeys is [Identity.Check], and false as well when a unique index was added, dropped or
// replaced, for a statement that waits for any of them.
func (i Identity) CheckAllKeys() string {
	return i.Check() + " AND " + listed("x.indexrelid", "pg_catalog.pg_index x WHERE x.indrelid = "+oid(i.OID)+" AND x.indisunique", i.Uniques)
}

// listed holds while the catalog has the rows with these oids, in order, with commas.
func listed(column, rows, oids string) string {
	return fmt.Sprintf("coalesce((SELECT pg_catalog.string_agg(%[1]s::pg_catalog.text, ',' ORDER BY %[1]s) FROM %[2]s), '') = %[3]s", column, rows, Literal(oids))
}

// commas is how listed has them.
func commas(oids []int64) string {
	slices.Sort(oids)
	return strings.Trim(list(slices.Compact(oids)), "[]")
}

// standsFor is the oid of what a name stands for, null when that is nothing. A literal
// cast to regclass would be resolved while the statement is parsed, before [upToDate]
// runs.
func standsFor(name Name) string {
	quoted := Quote(name.Table)
	if name.Schema != "" {
		quoted = Quote(name.Schema, name.Table)
	}
	return "pg_catalog.to_regclass(" + Literal(quoted) + ")::pg_catalog.oid"
}

func oid(oid int64) string { return fmt.Sprintf("'%d'::pg_catalog.oid", oid) }

// ownTemporary is what pg_identify_object_as_address calls the session's temporary schema.
const ownTemporary = "pg_temp"

// sameDefault holds while the default exists and is the column's. 2604 is pg_attrdef; a
// default that is set anew gets another oid. The names come back as an array, so that
// no quoting has to be matched.
func (i Identity) sameDefault() string {
	names := i.DefaultOf
	if names == nil {
		names = []string{i.Schema, i.Name, i.Column}
		if i.Temporary {
			names[0] = ownTemporary
		}
	}
	return fmt.Sprintf("(pg_catalog.pg_identify_object_as_address(2604::pg_catalog.oid, %s, 0)).object_names = ARRAY[%s, %s, %s]::pg_catalog.text[]",
		oid(i.Default), Literal(names[0]), Literal(names[1]), Literal(names[2]))
}

// same holds while the view has the same query and the same defaults, as the statement's
// snapshot shows them.
func (v ViewQuery) same() string {
	return fmt.Sprintf("(SELECT pg_catalog.md5(w.ev_action::pg_catalog.text) FROM pg_catalog.pg_rewrite w WHERE w.ev_class = %s AND w.rulename = '_RETURN') = %s AND %s",
		oid(v.OID), Literal(v.MD5), listed("d.oid", "pg_catalog.pg_attrdef d WHERE d.adrelid = "+oid(v.OID), v.Defaults))
}

// defaultOIDs are the oids of the relation's defaults, in order, with commas.
func (r *relation) defaultOIDs() string {
	var oids []int64
	for _, d := range r.defaults {
		oids = append(oids, d.Default)
	}
	return commas(oids)
}

// sameOwner holds while the sequence is the column's own, by identity or OWNED BY.
func (i Identity) sameOwner() string {
	return fmt.Sprintf("pg_catalog.pg_get_serial_sequence(%s, %s)::pg_catalog.regclass::pg_catalog.oid = %s",
		Literal(Quote(i.Schema, i.Name)), Literal(i.Column), oid(i.Sequence))
}

// sameParameters holds while the sequence counts as it did. has_sequence_privilege is null
// for an oid that is gone.
func (i Identity) sameParameters() string {
	return fmt.Sprintf("CASE pg_catalog.has_sequence_privilege(%[1]s, 'USAGE,SELECT,UPDATE') WHEN true THEN "+
		"(SELECT (p.increment, p.cache_size, p.cycle_option) = (%[2]d, %[3]d, %[4]t) FROM pg_catalog.pg_sequence_parameters(%[1]s) p) "+
		"WHEN false THEN true ELSE false END", oid(i.Sequence), i.Increment, i.Cache, i.Cycle)
}

// sameKey holds while the key's columns are the same ones with the same defaults, and none has
// become an identity column.
func (i Identity) sameKey() string {
	columns := make([]string, len(i.Key))
	for n, column := range i.Key {
		columns[n] = fmt.Sprintf("(%d, %s, '%d', %t)", column.Number, Literal(column.Name), column.Default, column.Identity)
	}
	return fmt.Sprintf("(SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum "+
		"WHERE a.attrelid = %s AND NOT a.attisdropped AND (a.attnum, a.attname, coalesce(d.oid, 0), a.attidentity <> '') IN (%s)) = %d",
		oid(i.OID), strings.Join(columns, ", "), len(i.Key))
}

// stillNamed asks for the name of an index.
//
//	$1 the index's oid
const stillNamed = "SELECT relname::pg_catalog.text FROM pg_catalog.pg_class WHERE oid = $1::pg_catalog.int8::pg_catalog.oid"

// StillNamed reports whether the index has the name that was read. It sends one SELECT, which
// reads what the transaction's snapshot shows.
func StillNamed(ctx context.Context, c *conn.Conn, x UniqueIndex) bool {
	var name string
	return c.Row(ctx, stillNamed, []any{x.OID}, &name) == nil && name == x.Name
}

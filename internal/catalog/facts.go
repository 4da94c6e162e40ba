package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/seqheal/seqheal/internal/conn"
)

// relation holds the raw facts of one relation: a table, partitioned or foreign
// table, or view.
type relation struct {
	oid                  int64
	schema, name, kind   string
	partition, temporary bool
	own                  bool // the row in pg_class is of the own transaction
	session              session
	rowSecurity          bool // policies are active for the role
	insertable           bool // the role may INSERT into a column
	readable             bool // the role may SELECT from the table, system columns included
	options              []string
	rules                []rule
	triggers             []trigger
	indexes              []index
	deferred             []deferral
	columns              []attribute
	defaults             []dependency
	owned                []ownership
	// shadowed are the columns that a view in front of the table fills by a default of its
	// own, by number.
	shadowed map[int64]shadow
}

// shadow is a view's default, which an INSERT into the view takes instead of the column's own
// or its identity.
type shadow struct {
	names []string // the view's schema and name, and its column
	parts []dependency
}

// session is what the facts were read by.
type session struct {
	database, role, searchPath string
	tempSchema                 int64
	isolation                  string
	wrote                      bool // the transaction has an id, so it may have changed the catalog
}

// Each of the following is one row of a catalog. Own is true when the own
// transaction wrote it.
type (
	rule struct {
		Event   string // ev_type: 1 SELECT, 2 UPDATE, 3 INSERT, 4 DELETE
		Enabled string // ev_enabled, as a trigger's
		Own     bool
	}
	trigger struct {
		Type       int    // tgtype's bits
		Enabled    string // tgenabled: O origin, R replica, A always, D disabled
		Internal   bool
		Constraint bool // it belongs to a constraint
		Own        bool
	}
	index struct {
		OID       int64
		Table     int64
		Name      string
		Primary   bool
		Unique    bool
		Immediate bool
		Valid     bool
		Exclusion bool
		Btree     bool
		Partial   bool
		Keys      int     // how many of Columns are the key, without those of INCLUDE
		Columns   []int64 // attnum, 0 for an expression
		Names     []string
		Own       bool
	}
	deferral struct {
		Index    int64
		Deferred bool // INITIALLY DEFERRED
		Own      bool
	}
	attribute struct {
		Number        int64
		Name          string
		Type          string
		TypeOID       int64
		Declared      string
		Modifier      int64
		Domain        bool
		DomainDefault bool
		HasDefault    bool
		Identity      bool
		Selectable    bool
		Own           bool
	}
	// dependency is a column's default and one object that it refers to.
	dependency struct {
		Column  int64
		Default int64 // pg_attrdef's oid
		Calls   bool  // a function that is not the server's own
		Object  int64
		Kind    string // relkind of Object when it is a relation
		Text    string // of a default that refers to a sequence
		Own     bool
	}
	ownership struct {
		Column   int64
		Sequence int64
		Type     string // deptype: i identity, a owned
	}
)

// readRelation asks for the raw facts of one relation, one row or none. It waits for no
// table lock: pg_get_expr locks the table that its second argument names, and a
// default refers to no column, so that 0 will do (measured on 12, 15 and 18).
//
// $1      the oid, 0 to go by name
// $2      the quoted name, for the search_path; ” when a schema is given
// $3, $4  name and schema. Casting to name cuts over-long ones as the server does. The
// schema is not resolved by regclass, which needs USAGE on it.
//
// Arrays are JSON text, null when empty:
//
//	options     storage parameters
//	rules       pg_rewrite, the SELECT rule of a view included
//	triggers    pg_trigger
//	indexes     pg_index; 403 is the btree access method
//	deferred    keys that are INITIALLY DEFERRED or new; conindid of a foreign key is the key
//	            that it refers to
//	columns     pg_attribute, with the type
//	defaults    pg_attrdef, a row for each object that one refers to
//	owned       sequences that belong to a column
const readRelation = `
SELECT c.oid::pg_catalog.int8, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relkind::pg_catalog.text,
  c.relispartition, c.relpersistence = 't', pg_catalog.age(c.xmin) <= 0,
  pg_catalog.current_database()::pg_catalog.text, current_user::pg_catalog.text, pg_catalog.current_setting('search_path'),
  pg_catalog.pg_my_temp_schema()::pg_catalog.int8,
  pg_catalog.current_setting('transaction_isolation'), pg_catalog.txid_current_if_assigned() IS NOT NULL,
  pg_catalog.row_security_active(c.oid), pg_catalog.has_any_column_privilege(c.oid, 'INSERT'),
  pg_catalog.has_table_privilege(c.oid, 'SELECT'),
  pg_catalog.array_to_json(c.reloptions)::pg_catalog.text AS options,
  CASE WHEN c.relhasrules THEN (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_object('event', w.ev_type, 'enabled', w.ev_enabled, 'own', pg_catalog.age(w.xmin) <= 0))::pg_catalog.text
    FROM pg_catalog.pg_rewrite w WHERE w.ev_class = c.oid) END AS rules,
  CASE WHEN c.relhastriggers THEN (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_object('type', g.tgtype, 'enabled', g.tgenabled, 'internal', g.tgisinternal,
      'constraint', g.tgconstraint <> 0, 'own', pg_catalog.age(g.xmin) <= 0))::pg_catalog.text
    FROM pg_catalog.pg_trigger g WHERE g.tgrelid = c.oid) END AS triggers,
  CASE WHEN c.relhasindex THEN (
    SELECT pg_catalog.json_agg(pg_catalog.json_build_object('oid', i.indexrelid::pg_catalog.int8, 'table', i.indrelid::pg_catalog.int8, 'name', x.relname,
      'primary', i.indisprimary, 'unique', i.indisunique, 'immediate', i.indimmediate, 'valid', i.indisvalid, 'exclusion', i.indisexclusion,
      'btree', x.relam = 403, 'partial', i.indpred IS NOT NULL, 'keys', i.indnkeyatts, 'columns', i.indkey::pg_catalog.int2[],
      'own', pg_catalog.age(i.xmin) <= 0))::pg_catalog.text
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid) END AS indexes,
  (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('index', o.conindid::pg_catalog.int8, 'deferred', o.condeferred, 'own', pg_catalog.age(o.xmin) <= 0))::pg_catalog.text
   FROM pg_catalog.pg_constraint o WHERE o.conrelid = c.oid AND o.contype IN ('p', 'u', 'x') AND (o.condeferred OR pg_catalog.age(o.xmin) <= 0)) AS deferred,
  (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('number', a.attnum, 'name', a.attname, 'type', t.typname, 'typeoid', t.oid::pg_catalog.int8,
     'declared', pg_catalog.format_type(a.atttypid, a.atttypmod), 'modifier', a.atttypmod, 'domain', t.typtype = 'd', 'domaindefault', t.typdefaultbin IS NOT NULL,
     'hasdefault', a.atthasdef, 'identity', a.attidentity <> '', 'selectable', pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT'),
     'own', pg_catalog.age(a.xmin) <= 0))::pg_catalog.text
   FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
   WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
  (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('column', d.adnum, 'default', d.oid::pg_catalog.int8,
     'calls', coalesce(x.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass, false), 'object', x.refobjid::pg_catalog.int8, 'kind', s.relkind,
     'text', CASE WHEN s.relkind = 'S' THEN pg_catalog.pg_get_expr(d.adbin, 0) END, 'own', pg_catalog.age(d.xmin) <= 0))::pg_catalog.text
   FROM pg_catalog.pg_attrdef d
   LEFT JOIN pg_catalog.pg_depend x ON x.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND x.objid = d.oid
   LEFT JOIN pg_catalog.pg_class s ON s.oid = x.refobjid AND x.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
   WHERE d.adrelid = c.oid) AS defaults,
  (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('column', x.refobjsubid, 'sequence', x.objid::pg_catalog.int8, 'type', x.deptype))::pg_catalog.text
   FROM pg_catalog.pg_depend x JOIN pg_catalog.pg_class s ON s.oid = x.objid AND s.relkind = 'S'
   WHERE x.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND x.refobjid = c.oid AND x.refobjsubid > 0
     AND x.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND x.deptype IN ('i', 'a')) AS owned
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'f') AND c.oid = CASE
  WHEN $1::pg_catalog.int8 <> 0 THEN $1::pg_catalog.int8::pg_catalog.oid
  WHEN $2::pg_catalog.text <> '' THEN (SELECT CASE WHEN ` + upToDate + ` THEN pg_catalog.to_regclass($2::pg_catalog.text)::pg_catalog.oid END)
  ELSE (SELECT r.oid FROM pg_catalog.pg_class r WHERE r.relname = $3::pg_catalog.text::pg_catalog.name AND r.relnamespace = CASE $4::pg_catalog.text
    WHEN 'pg_temp' THEN pg_catalog.pg_my_temp_schema()
    ELSE (SELECT h.oid FROM pg_catalog.pg_namespace h WHERE h.nspname = $4::pg_catalog.text::pg_catalog.name) END) END`

// upToDate is an SQL condition that always holds. In an open transaction a session
// resolves names as it last knew them, until it takes a lock that it does not
// hold yet (measured: a view that was dropped was still found). pg_relation_size takes
// one, on a catalog that no statement uses, and releases it.
const upToDate = "pg_catalog.pg_relation_size('pg_catalog.pg_default_acl'::pg_catalog.regclass) >= 0"

// relationNamed asks for the relation that a name stands for, nil when there is none.
func relationNamed(ctx context.Context, c *conn.Conn, name Name) (*relation, error) {
	switch {
	case name.Table == "":
		return nil, nil
	case name.Schema == "":
		return relationBy(ctx, c, int64(0), Quote(name.Table), "", "")
	}
	return relationBy(ctx, c, int64(0), "", name.Table, name.Schema)
}

// relationOf asks for the relation with this oid, nil when there is none.
func relationOf(ctx context.Context, c *conn.Conn, oid int64) (*relation, error) {
	return relationBy(ctx, c, oid, "", "", "")
}

func relationBy(ctx context.Context, c *conn.Conn, args ...any) (*relation, error) {
	var r *relation
	err := c.Query(ctx, readRelation, args, func(rows *sql.Rows) (err error) {
		r, err = scanRelation(rows)
		return err
	})
	return r, err
}

func scanRelation(rows *sql.Rows) (*relation, error) {
	r := &relation{}
	s := &r.session
	var texts [8]sql.NullString
	err := rows.Scan(&r.oid, &r.schema, &r.name, &r.kind, &r.partition, &r.temporary, &r.own,
		&s.database, &s.role, &s.searchPath, &s.tempSchema, &s.isolation, &s.wrote,
		&r.rowSecurity, &r.insertable, &r.readable,
		&texts[0], &texts[1], &texts[2], &texts[3], &texts[4], &texts[5], &texts[6], &texts[7])
	if err != nil {
		return nil, err
	}
	for i, into := range []any{&r.options, &r.rules, &r.triggers, &r.indexes, &r.deferred, &r.columns, &r.defaults, &r.owned} {
		if err := decode(texts[i], into); err != nil {
			return nil, err
		}
	}
	r.nameColumns()
	return r, nil
}

// decode reads an array that the server sent as JSON text, null when it is empty.
func decode(text sql.NullString, into any) error {
	if !text.Valid {
		return nil
	}
	if err := json.Unmarshal([]byte(text.String), into); err != nil {
		return fmt.Errorf("read %s: %w", text.String, err)
	}
	return nil
}

// nameColumns gives the indexes the names of their key columns, ” for an expression.
func (r *relation) nameColumns() {
	names := map[int64]string{}
	for _, a := range r.columns {
		names[a.Number] = a.Name
	}
	for i := range r.indexes {
		x := &r.indexes[i]
		x.Columns = x.Columns[:min(x.Keys, len(x.Columns))]
		for _, number := range x.Columns {
			x.Names = append(x.Names, names[number])
		}
	}
}

// column finds a column by its name.
func (r *relation) column(name string) (attribute, bool) {
	for _, a := range r.columns {
		if a.Name == name {
			return a, true
		}
	}
	return attribute{}, false
}

// primary is the primary key's index, nil without one.
func (r *relation) primary() *index {
	for i := range r.indexes {
		if r.indexes[i].Primary {
			return &r.indexes[i]
		}
	}
	return nil
}

// plain reports whether no column of the key is an expression.
func (x index) plain() bool {
	for _, number := range x.Columns {
		if number == 0 {
			return false
		}
	}
	return true
}

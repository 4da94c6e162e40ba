package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/seqheal/seqheal/internal/conn"
)

// Fed is one column that a sequence feeds, whether or not it is in a key.
type Fed struct {
	// Table holds this one column as its key, so that what looks at keys and moves
	// their sequences serves here too. Its constraint and guard are not read.
	Table
	// Wanted is false for a column that was not asked for and is there because it
	// shares its sequence with one that was.
	Wanted bool
	// Shown is the column's type with its modifiers, for people.
	Shown string
	// DefaultOID is the column's default in pg_attrdef, 0 for an identity column. Its
	// text is not read: pg_get_expr locks the table (measured).
	DefaultOID int64
	// Start is the sequence's first value.
	Start int64
	// Reachable is false for a table in a schema that the role may not use.
	Reachable bool
	// Below are the tables that inherit from this one, partitions included.
	Below []Descendant
	// Indexes counts the table's own indexes: to look at it locks each of them.
	Indexes int64
	// Subscribed is true when a subscription writes into the table or a partition of it.
	Subscribed bool
	// References are the foreign keys that point to the column and whose type is
	// another one, as ReadReferences found them.
	References []Reference
}

// Descendant is a table whose rows are seen through another one.
type Descendant struct {
	OID          int64
	Schema, Name string
	// Root is the table at the top.
	Root int64
	// Indexed and Selectable are as in Table, for the column of the same name.
	Indexed, Selectable bool
	// Storage is false for a table that holds no rows of its own.
	Storage, Foreign bool
	Indexes          int64
}

// domainBase joins what a domain t stands on in the end, and its modifier; without a
// row for any other type.
const domainBase = `LEFT JOIN LATERAL (
    WITH RECURSIVE below AS (
      SELECT t.typbasetype AS oid, t.typtypmod AS typmod WHERE t.typtype = 'd'
      UNION ALL
      SELECT d.typbasetype, d.typtypmod FROM below JOIN pg_catalog.pg_type d ON d.oid = below.oid AND d.typtype = 'd'
    )
    SELECT b.oid, b.typname, below.typmod FROM below JOIN pg_catalog.pg_type b ON b.oid = below.oid AND b.typtype <> 'd'
  ) base ON true`

// readFed lists the columns that sequences feed, a row for each. Partitions are
// left to their root, but for those that draw from a sequence of their own (rows come
// into these directly, too); other sessions' temporary tables and the system's are left
// to themselves.
//
// $1  a JSON array of schemas, [] for all that the role may use
// $2  a JSON array of the oids of tables, [] for all
// $3  with [] for schemas: those that the role may not use as well
//
//	wanted            it is in one of the schemas and one of the tables, or a partition of one
//	relkind           r, p or f
//	indexed           a valid whole-table btree begins with the column
//	indexes           how many indexes the table has
//	reachable         the role may use the table's schema
//	selectable        the role may read the column
//	seq_last          the role may ask for the last value, by SELECT or by pg_sequence_last_value
//	start             the sequence's START
//	subscribed        a subscription writes into it, or into a table right below it
//	reached           it shares its sequence with a wanted one: by a window, for a semi-join is
//	                  planned for a handful of rows and took 9 s for 10,000 (measured)
//
// The others are as in readTable.
const readFed = `
WITH fed AS MATERIALIZED (
  SELECT DISTINCT ON (d.adrelid, d.adnum) d.adrelid AS relid, d.adnum AS attnum, x.refobjid AS seq, d.oid AS default_oid
  FROM pg_catalog.pg_depend x
  JOIN pg_catalog.pg_class s ON s.oid = x.refobjid AND s.relkind = 'S'
  JOIN pg_catalog.pg_attrdef d ON d.oid = x.objid
  WHERE x.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND x.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
  UNION ALL
  SELECT x.refobjid, x.refobjsubid, x.objid, NULL
  FROM pg_catalog.pg_depend x
  JOIN pg_catalog.pg_class s ON s.oid = x.objid AND s.relkind = 'S'
  WHERE x.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND x.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    AND (x.deptype = 'i' OR x.deptype = 'a'
      AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_attrdef d WHERE d.adrelid = x.refobjid AND d.adnum = x.refobjsubid)
      AND EXISTS (SELECT 1 FROM pg_catalog.pg_trigger g WHERE g.tgrelid = x.refobjid AND NOT g.tgisinternal
                  AND g.tgenabled <> 'D' AND g.tgtype & 7 = 7))
), seen AS MATERIALIZED (
  SELECT f.*, c.relname, c.relkind, c.relhassubclass, n.nspname, n.oid AS nspoid,
    CASE WHEN $1::pg_catalog.text <> '[]' THEN n.nspname::pg_catalog.text IN (SELECT pg_catalog.json_array_elements_text($1::pg_catalog.text::pg_catalog.json))
         ELSE $3::pg_catalog.bool OR $2::pg_catalog.text <> '[]' OR pg_catalog.has_schema_privilege(n.oid, 'USAGE') END
    AND ($2::pg_catalog.text = '[]' OR coalesce(pg_catalog.pg_partition_root(c.oid::pg_catalog.regclass)::pg_catalog.oid, c.oid) IN (
      SELECT e::pg_catalog.int8::pg_catalog.oid FROM pg_catalog.json_array_elements_text($2::pg_catalog.text::pg_catalog.json) e)) AS wanted
  FROM fed f
  JOIN pg_catalog.pg_class c ON c.oid = f.relid AND c.relkind IN ('r','p','f') AND (NOT c.relispartition OR NOT EXISTS (
    SELECT 1 FROM fed r WHERE r.seq = f.seq AND r.relid = pg_catalog.pg_partition_root(c.oid::pg_catalog.regclass)::pg_catalog.oid))
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND NOT pg_catalog.pg_is_other_temp_schema(n.oid)
), sharing AS MATERIALIZED (
  SELECT s.*, pg_catalog.bool_or(s.wanted) OVER same AS reached, pg_catalog.count(*) OVER same AS feeders
  FROM seen s WINDOW same AS (PARTITION BY s.seq)
)
SELECT v.wanted, v.relid::pg_catalog.int8, v.nspname::pg_catalog.text, v.relname::pg_catalog.text, v.relkind::pg_catalog.text, v.relhassubclass,
  pg_catalog.row_security_active(v.relid) AS row_security,
  EXISTS (SELECT 1 FROM pg_catalog.pg_index b JOIN pg_catalog.pg_class bc ON bc.oid = b.indexrelid
          WHERE bc.relam = 403 AND b.indrelid = v.relid AND b.indisvalid AND b.indpred IS NULL AND b.indkey[0] = v.attnum) AS indexed,
  (SELECT pg_catalog.count(*) FROM pg_catalog.pg_index b WHERE b.indrelid = v.relid) AS indexes,
  coalesce(pg_catalog.has_schema_privilege(v.nspoid, 'USAGE'), false) AS reachable,
  coalesce(pg_catalog.has_column_privilege(v.relid, a.attnum, 'SELECT'), false) AS selectable,
  a.attname::pg_catalog.text, coalesce(base.typname, t.typname)::pg_catalog.text AS typname,
  pg_catalog.format_type(a.atttypid, NULL) AS declared, pg_catalog.format_type(a.atttypid, a.atttypmod) AS shown,
  coalesce(base.typmod, a.atttypmod) AS typmod,
  coalesce(v.default_oid::pg_catalog.int8, 0) AS default_oid,
  v.seq::pg_catalog.int8 AS seq_oid, sn.nspname::pg_catalog.text AS seq_schema, sc.relname::pg_catalog.text AS seq_name,
  q.seqstart, q.seqmin, q.seqmax, q.seqincrement, q.seqcache, q.seqcycle,
  coalesce(pg_catalog.has_sequence_privilege(v.seq, 'USAGE,UPDATE'), false) AS seq_use,
  coalesce(pg_catalog.has_sequence_privilege(v.seq, 'UPDATE'), false) AS seq_update,
  coalesce(pg_catalog.has_schema_privilege(sn.oid, 'USAGE') AND pg_catalog.has_sequence_privilege(v.seq, 'SELECT'), false) AS seq_select,
  coalesce(pg_catalog.has_sequence_privilege(v.seq, 'USAGE,SELECT'), false) AS seq_last,
  v.feeders,
  v.relid IN (SELECT u.srrelid FROM pg_catalog.pg_subscription_rel u)
    OR v.relid IN (SELECT i.inhparent FROM pg_catalog.pg_subscription_rel u JOIN pg_catalog.pg_inherits i ON i.inhrelid = u.srrelid) AS subscribed
FROM sharing v
JOIN pg_catalog.pg_attribute a ON a.attrelid = v.relid AND a.attnum = v.attnum AND NOT a.attisdropped
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
` + domainBase + `
JOIN pg_catalog.pg_class sc ON sc.oid = v.seq
JOIN pg_catalog.pg_namespace sn ON sn.oid = sc.relnamespace
JOIN pg_catalog.pg_sequence q ON q.seqrelid = v.seq
WHERE v.reached
ORDER BY v.nspname, v.relname, v.attnum`

// Where is which columns are listed.
type Where struct {
	// Schemas are the schemas, none for all that the role may use.
	Schemas []string
	// EverySchema adds those that the role may not use.
	EverySchema bool
	// Tables are the oids of tables, none for all.
	Tables []int64
}

// ReadFed lists the columns that sequences feed, in the order of their names, together
// with the columns that share a sequence with them. Two queries; it locks no table.
func ReadFed(ctx context.Context, c *conn.Conn, where Where) ([]*Fed, error) {
	var fed []*Fed
	roots := map[int64][]*Fed{}
	err := c.Query(ctx, readFed, []any{list(where.Schemas), list(where.Tables), where.EverySchema}, func(rows *sql.Rows) error {
		f, descends, err := scanFed(rows)
		if err != nil {
			return err
		}
		fed = append(fed, f)
		if descends {
			roots[f.OID] = append(roots[f.OID], f)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the catalog for the columns that sequences feed: %w", err)
	}
	if err := readBelow(ctx, c, roots); err != nil {
		return nil, err
	}
	return fed, nil
}

// list is a JSON array, which every driver sends as text.
func list[T any](values []T) string {
	if len(values) == 0 {
		return "[]"
	}
	text, _ := json.Marshal(values) // strings and integers
	return string(text)
}

func scanFed(rows *sql.Rows) (f *Fed, descends bool, err error) {
	f = &Fed{Table: Table{Own: true}}
	var column Column
	var kind string
	var typmod int64
	seq := &f.Sequence
	err = rows.Scan(&f.Wanted, &f.OID, &f.Schema, &f.Name, &kind, &descends, &f.RowSecurity, &f.Indexed, &f.Indexes, &f.Reachable, &f.Selectable,
		&column.Name, &column.Type, &column.Declared, &f.Shown, &typmod, &f.DefaultOID,
		&seq.OID, &seq.Schema, &seq.Name, &f.Start, &seq.Min, &seq.Max, &seq.Increment, &seq.Cache, &seq.Cycle,
		&seq.CanUse, &seq.CanUpdate, &seq.CanRead, &seq.CanAsk, &seq.Feeders, &f.Subscribed)
	f.Key = []Column{column}
	f.Partitioned, f.Foreign = kind == "p", kind == "f"
	f.Unsupported = unsupportedType(column, typmod)
	return f, descends, err
}

// DefaultIs takes in the text of the column's default, which may be more than nextval
// of its sequence.
func (f *Fed) DefaultIs(text string) {
	if f.Unsupported == "" {
		f.Unsupported = unsupportedDefault(f.Key[0], text)
	}
}

// readBelow lists the tables below roots.
//
// $1  a JSON array of [root's oid, column's name] pairs
//
//	root, oid, schema, name
//	storage     it holds rows itself
//	foreign     it is a foreign table
//	indexed     as in readFed, for the column of the same name
//	indexes, selectable
const readDescendants = `
WITH RECURSIVE root AS (
  SELECT (e->>0)::pg_catalog.int8::pg_catalog.oid AS oid, e->>1 AS attname
  FROM pg_catalog.json_array_elements($1::pg_catalog.text::pg_catalog.json) e
), below AS (
  SELECT r.oid AS root, r.attname, i.inhrelid AS oid FROM root r JOIN pg_catalog.pg_inherits i ON i.inhparent = r.oid
  UNION
  SELECT b.root, b.attname, i.inhrelid FROM below b JOIN pg_catalog.pg_inherits i ON i.inhparent = b.oid
)
SELECT b.root::pg_catalog.int8, b.attname, c.oid::pg_catalog.int8, n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
  c.relkind = 'r', c.relkind = 'f',
  EXISTS (SELECT 1 FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class xc ON xc.oid = x.indexrelid
          WHERE xc.relam = 403 AND x.indrelid = c.oid AND x.indisvalid AND x.indpred IS NULL AND x.indkey[0] = a.attnum) AS indexed,
  (SELECT pg_catalog.count(*) FROM pg_catalog.pg_index x WHERE x.indrelid = c.oid) AS indexes,
  coalesce(pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')
    AND NOT pg_catalog.row_security_active(c.oid), false) AS selectable
FROM below b
JOIN pg_catalog.pg_class c ON c.oid = b.oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = b.attname::pg_catalog.name AND NOT a.attisdropped
ORDER BY c.oid`

func readBelow(ctx context.Context, c *conn.Conn, roots map[int64][]*Fed) error {
	if len(roots) == 0 {
		return nil
	}
	var pairs [][2]any
	for oid, columns := range roots {
		for _, f := range columns {
			pairs = append(pairs, [2]any{oid, f.FedColumn()})
		}
	}
	err := c.Query(ctx, readDescendants, []any{list(pairs)}, func(rows *sql.Rows) error {
		var d Descendant
		var column string
		if err := rows.Scan(&d.Root, &column, &d.OID, &d.Schema, &d.Name, &d.Storage, &d.Foreign, &d.Indexed, &d.Indexes, &d.Selectable); err != nil {
			return err
		}
		for _, f := range roots[d.Root] {
			if f.FedColumn() == column {
				f.Below = append(f.Below, d)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the catalog for partitions: %w", err)
	}
	return nil
}

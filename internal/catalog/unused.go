package catalog

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/seqheal/seqheal/internal/conn"
)

// Unused is a sequence that nothing in the catalog draws from.
type Unused struct {
	Sequence
	// Table and Column are what the sequence belongs to and is dropped with, in its own
	// schema; empty without one.
	Table, Column string
}

// readUnused lists the sequences from which no default, identity column, view, rule or
// policy draws. A column with a trigger that may draw for it uses the one that it owns.
// The server does not know what functions and programs draw from, nor a default that
// names its sequence in a text. OFFSET 0 is as in readTextual.
//
// $1  a JSON array of schemas, [] for all that the role may use
// $2  with [] for schemas: those that the role may not use as well
//
//	oid, nspname, relname, seqincrement   the sequence
//	owner_table, owner_column             what owns it, '' without one
const readUnused = `
SELECT c.oid::pg_catalog.int8, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, q.seqincrement,
  coalesce(t.relname, '')::pg_catalog.text AS owner_table, coalesce(a.attname, '')::pg_catalog.text AS owner_column
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_sequence q ON q.seqrelid = c.oid
LEFT JOIN pg_catalog.pg_depend o ON o.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND o.objid = c.oid
  AND o.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND o.deptype IN ('a', 'i') AND o.refobjsubid > 0
LEFT JOIN pg_catalog.pg_class t ON t.oid = o.refobjid
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = o.refobjid AND a.attnum = o.refobjsubid
WHERE c.relkind = 'S' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND NOT pg_catalog.pg_is_other_temp_schema(n.oid)
  AND CASE WHEN $1::pg_catalog.text <> '[]' THEN n.nspname::pg_catalog.text IN (SELECT pg_catalog.json_array_elements_text($1::pg_catalog.text::pg_catalog.json))
           ELSE $2::pg_catalog.bool OR pg_catalog.has_schema_privilege(n.oid, 'USAGE') END
  AND coalesce(o.deptype, 'a') <> 'i'
  AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend x WHERE x.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND x.refobjid = c.oid
                  AND x.classid <> 'pg_catalog.pg_type'::pg_catalog.regclass OFFSET 0) -- its row type's, up to 13
  AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_trigger g WHERE g.tgrelid = o.refobjid AND NOT g.tgisinternal AND g.tgenabled <> 'D' AND g.tgtype & 7 = 7 OFFSET 0)
ORDER BY n.nspname, c.relname`

// ReadUnused lists the sequences that nothing in the catalog draws from, in the order of
// their names. One query; it locks nothing.
func ReadUnused(ctx context.Context, c *conn.Conn, where Where) ([]Unused, error) {
	var unused []Unused
	err := c.Query(ctx, readUnused, []any{list(where.Schemas), where.EverySchema}, func(rows *sql.Rows) error {
		var u Unused
		if err := rows.Scan(&u.OID, &u.Schema, &u.Name, &u.Increment, &u.Table, &u.Column); err != nil {
			return err
		}
		unused = append(unused, u)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the catalog for unused sequences: %w", err)
	}
	return unused, nil
}

package catalog

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/seqheal/seqheal/internal/conn"
)

// Textual is a column whose default calls nextval with a text, as in nextval('s'::text), so
// that the catalog does not know which sequence feeds it.
type Textual struct {
	Schema, Table, Column string
	// Shown is the column's type with its modifiers, for people.
	Shown string
}

// readTextual lists the columns whose default calls nextval and depends on no sequence. It
// looks for the function's oid in the stored expression, because pg_get_expr locks the table.
// OFFSET 0 keeps NOT EXISTS from becoming a join: before the catalog is analyzed, as after a
// restore, that join read all of pg_depend for each column, 160 s for 10,000 (measured).
//
// $1, $2, $3  as in readFed
//
//	nspname, relname, attname, shown  the column
const readTextual = `
SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text, a.attname::pg_catalog.text, pg_catalog.format_type(a.atttypid, a.atttypmod) AS shown
FROM pg_catalog.pg_attrdef d
JOIN pg_catalog.pg_class c ON c.oid = d.adrelid AND c.relkind IN ('r','p') AND NOT c.relispartition
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND NOT pg_catalog.pg_is_other_temp_schema(n.oid)
  AND CASE WHEN $1::pg_catalog.text <> '[]' THEN n.nspname::pg_catalog.text IN (SELECT pg_catalog.json_array_elements_text($1::pg_catalog.text::pg_catalog.json))
           ELSE $3::pg_catalog.bool OR $2::pg_catalog.text <> '[]' OR pg_catalog.has_schema_privilege(n.oid, 'USAGE') END
  AND ($2::pg_catalog.text = '[]' OR c.oid IN (
      SELECT e::pg_catalog.int8::pg_catalog.oid FROM pg_catalog.json_array_elements_text($2::pg_catalog.text::pg_catalog.json) e))
  AND d.adbin::pg_catalog.text LIKE '%:funcid ' || 'pg_catalog.nextval(pg_catalog.regclass)'::pg_catalog.regprocedure::pg_catalog.oid::pg_catalog.text || ' %'
  AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend x JOIN pg_catalog.pg_class s ON s.oid = x.refobjid AND s.relkind = 'S'
    WHERE x.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND x.objid = d.oid AND x.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass OFFSET 0)
ORDER BY n.nspname, c.relname, a.attnum`

// ReadTextual lists the columns whose default calls nextval with a text, in the order of
// their names. One query; it locks no table.
func ReadTextual(ctx context.Context, c *conn.Conn, where Where) ([]Textual, error) {
	var found []Textual
	err := c.Query(ctx, readTextual, []any{list(where.Schemas), list(where.Tables), where.EverySchema}, func(rows *sql.Rows) error {
		var t Textual
		if err := rows.Scan(&t.Schema, &t.Table, &t.Column, &t.Shown); err != nil {
			return err
		}
		found = append(found, t)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the catalog for defaults that call nextval: %w", err)
	}
	return found, nil
}

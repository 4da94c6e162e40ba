package catalog

import (
	"context"
	"database/sql"

	"github.com/seqheal/seqheal/internal/conn"
)

// baseType is what a domain stands on in the end.
type baseType struct {
	name     string
	modifier int64
}

// readBaseTypes asks for the types below domains, a row for each domain.
//
// $1  a JSON array of the domains' oids
//
//	domain     its oid
//	typname    the type's name in pg_catalog
//	typmod     its modifier, which the innermost domain holds
const readBaseTypes = `
WITH RECURSIVE below AS (
  SELECT t.oid AS domain, t.typbasetype AS oid, t.typtypmod AS typmod
  FROM pg_catalog.json_array_elements_text($1::pg_catalog.text::pg_catalog.json) e
  JOIN pg_catalog.pg_type t ON t.oid = e::pg_catalog.int8::pg_catalog.oid
  UNION ALL
  SELECT b.domain, d.typbasetype, d.typtypmod FROM below b JOIN pg_catalog.pg_type d ON d.oid = b.oid AND d.typtype = 'd'
)
SELECT b.domain::pg_catalog.int8, t.typname::pg_catalog.text, b.typmod
FROM below b JOIN pg_catalog.pg_type t ON t.oid = b.oid AND t.typtype <> 'd'`

func baseTypesOf(ctx context.Context, c *conn.Conn, domains []int64) (map[int64]baseType, error) {
	found := map[int64]baseType{}
	if len(domains) == 0 {
		return found, nil
	}
	err := c.Query(ctx, readBaseTypes, []any{list(domains)}, func(rows *sql.Rows) error {
		var domain int64
		var base baseType
		err := rows.Scan(&domain, &base.name, &base.modifier)
		found[domain] = base
		return err
	})
	return found, err
}

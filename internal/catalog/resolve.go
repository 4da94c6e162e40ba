package catalog

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/seqheal/seqheal/internal/conn"
)

// resolve finds relations by name.
//
// $1  a JSON array of [schema, name] pairs, schema ” to search
//
//	ord      the pair's place, from 1
//	oid      null when there is none; for a partition, its root
//	schema   of the relation itself
//	relkind  of the relation itself
const resolve = `
SELECT e.ord, coalesce(pg_catalog.pg_partition_root(c.oid::pg_catalog.regclass)::pg_catalog.oid, c.oid)::pg_catalog.int8, coalesce(c.nspname::pg_catalog.text, ''), coalesce(c.relkind::pg_catalog.text, '')
FROM pg_catalog.json_array_elements($1::pg_catalog.text::pg_catalog.json) WITH ORDINALITY AS e(pair, ord)
LEFT JOIN LATERAL (
  SELECT k.oid, k.relkind, n.nspname FROM pg_catalog.pg_class k JOIN pg_catalog.pg_namespace n ON n.oid = k.relnamespace
  WHERE k.relname = (e.pair->>1)::pg_catalog.name AND k.relkind IN ('r','p','v','m','f')
    AND CASE WHEN e.pair->>0 = '' THEN pg_catalog.pg_table_is_visible(k.oid) ELSE n.nspname = (e.pair->>0)::pg_catalog.name END) c ON true
ORDER BY e.ord`

// Relation is what a name stands for.
type Relation struct {
	Name   Name
	OID    int64
	Schema string
	Found  bool
	// View is true for a view, plain or materialized, which no sequence feeds.
	View bool
}

// Resolve finds the relations of these names, a partition's root in its place, in
// one query.
func Resolve(ctx context.Context, c *conn.Conn, names []Name) ([]Relation, error) {
	pairs := make([][2]string, len(names))
	relations := make([]Relation, len(names))
	for i, name := range names {
		pairs[i] = [2]string{name.Schema, name.Table}
		relations[i].Name = name
	}
	err := c.Query(ctx, resolve, []any{list(pairs)}, func(rows *sql.Rows) error {
		var place int64
		var oid sql.NullInt64
		var schema, kind string
		if err := rows.Scan(&place, &oid, &schema, &kind); err != nil {
			return err
		}
		r := &relations[place-1]
		r.OID, r.Schema, r.Found, r.View = oid.Int64, schema, oid.Valid, kind == "v" || kind == "m"
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the catalog for the tables' names: %w", err)
	}
	return relations, nil
}

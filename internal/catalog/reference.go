package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"math"

	"github.com/seqheal/seqheal/internal/conn"
)

// Reference is a column of a foreign key that points to a column that a sequence feeds,
// and whose type is another one.
type Reference struct {
	Constraint, Schema, Table, Column string
	// Type is the base type's name in pg_catalog, domains resolved; Shown is the
	// column's type for people.
	Type, Shown string
}

// Limit is the last value that the column can hold in the sequence's direction.
func (r Reference) Limit(seq Sequence) int64 {
	low, high := int64(math.MinInt32), int64(math.MaxInt32)
	if r.Type == "int2" {
		low, high = math.MinInt16, math.MaxInt16
	}
	if seq.Descending() {
		return low
	}
	return high
}

// readReferences lists the columns of foreign keys that are int2 or int4 and point to a
// column of another type, a row for each. The constraints of partitions are left to the
// one that they come from.
//
//	target, target_column   the column pointed to
//	conname                 the foreign key
//	nspname, relname, attname, typname, shown
//	                        the column that points: its names, its base type, its type with modifiers
const readReferences = `
SELECT k.confrelid::pg_catalog.int8 AS target, target.attname::pg_catalog.text AS target_column, k.conname::pg_catalog.text,
  n.nspname::pg_catalog.text, c.relname::pg_catalog.text, a.attname::pg_catalog.text,
  coalesce(base.typname, t.typname)::pg_catalog.text AS typname, pg_catalog.format_type(a.atttypid, a.atttypmod) AS shown
FROM pg_catalog.pg_constraint k
CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(k.conkey), pg_catalog.unnest(k.confkey)) AS pair(own, target)
JOIN pg_catalog.pg_attribute target ON target.attrelid = k.confrelid AND target.attnum = pair.target
JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = pair.own AND a.atttypid <> target.atttypid
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
` + domainBase + `
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND coalesce(base.typname, t.typname) IN ('int2', 'int4')
ORDER BY n.nspname, c.relname, a.attnum, k.conname`

// ReadReferences gives each column the foreign keys that point to it and whose type is
// another one. One query; it locks no table.
func ReadReferences(ctx context.Context, c *conn.Conn, fed []*Fed) error {
	type target struct {
		oid    int64
		column string
	}
	columns := make(map[target]*Fed, len(fed))
	for _, f := range fed {
		columns[target{f.OID, f.FedColumn()}] = f
	}
	err := c.Query(ctx, readReferences, nil, func(rows *sql.Rows) error {
		var to target
		var r Reference
		if err := rows.Scan(&to.oid, &to.column, &r.Constraint, &r.Schema, &r.Table, &r.Column, &r.Type, &r.Shown); err != nil {
			return err
		}
		if f := columns[to]; f != nil {
			f.References = append(f.References, r)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the catalog for foreign keys: %w", err)
	}
	return nil
}

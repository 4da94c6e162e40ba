package catalog

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/seqheal/seqheal/internal/conn"
)

// readInserted answers how many rows were inserted into tables, as the server's
// statistics count them, a row for each table with any.
//
// $1  a JSON array of the oids of tables
//
//	oid       the table
//	inserted  rows inserted since the statistics began, those that were rolled back included
//	seconds   how long ago that was: when the database's were reset, or the server's began
const readInserted = `
SELECT i.oid::pg_catalog.int8, i.inserted, EXTRACT(epoch FROM pg_catalog.now() - i.began)::pg_catalog.float8 AS seconds
FROM (
  SELECT e.oid, pg_catalog.pg_stat_get_tuples_inserted(e.oid) AS inserted, b.began
  FROM (SELECT t::pg_catalog.int8::pg_catalog.oid AS oid FROM pg_catalog.json_array_elements_text($1::pg_catalog.text::pg_catalog.json) t) e
  CROSS JOIN (
    SELECT coalesce(pg_catalog.pg_stat_get_db_stat_reset_time(d.oid), pg_catalog.pg_stat_get_bgwriter_stat_reset_time()) AS began
    FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()) b
) i WHERE i.inserted > 0 AND i.began IS NOT NULL`

// Inserted is how many rows were inserted into a table, and in what time.
type Inserted struct {
	Rows int64
	In   time.Duration
}

// ReadInserted counts the rows inserted into each column's table and those below it, by
// the table's oid, as far as the server's statistics tell. One query; it locks no table.
func ReadInserted(ctx context.Context, c *conn.Conn, fed []*Fed) (map[int64]Inserted, error) {
	above := map[int64][]int64{}
	var oids []int64
	note := func(oid, root int64) {
		if above[oid] == nil {
			oids = append(oids, oid)
		}
		above[oid] = append(above[oid], root)
	}
	seen := map[int64]bool{}
	for _, f := range fed {
		if seen[f.OID] {
			continue
		}
		seen[f.OID] = true
		note(f.OID, f.OID)
		for _, d := range f.Below {
			note(d.OID, f.OID)
		}
	}
	inserted := map[int64]Inserted{}
	err := c.Query(ctx, readInserted, []any{list(oids)}, func(rows *sql.Rows) error {
		var oid, count int64
		var seconds float64
		if err := rows.Scan(&oid, &count, &seconds); err != nil {
			return err
		}
		for _, root := range above[oid] {
			inserted[root] = Inserted{Rows: inserted[root].Rows + count, In: time.Duration(seconds * float64(time.Second))}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the server's statistics: %w", err)
	}
	return inserted, nil
}

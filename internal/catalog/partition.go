package catalog

import (
	"context"
	"database/sql"
	"errors"

	"github.com/seqheal/seqheal/internal/conn"
)

// Partitions counts the tables below a partitioned table, at every level.
type Partitions struct {
	// Count is the number of those that hold rows, foreign ones included.
	Count int64
	// Foreign is the number of those whose rows are on another server.
	Foreign int64
	// Bare is the number of those on this server that have no index at all.
	Bare int64
}

// AllForeign reports whether every row is on another server.
func (p Partitions) AllForeign() bool { return p.Count > 0 && p.Foreign == p.Count }

// tree holds the raw facts of the tables below a partitioned table.
type tree struct {
	Partitions
	rowSecurity bool
	own         bool
	rules       []rule
	triggers    []trigger
	indexes     []index // unique and exclusion, those attached to an index above left out
}

// readTree asks for what stands on the partitions below a table, one row. It walks
// pg_inherits itself, because pg_partition_tree locks every partition. Rules and triggers are
// sent once for each kind, indexes once for each shape, so that a thousand partitions
// answer like one.
//
// $1  the partitioned table's oid
// $2  the oid of the partition whose indexes come first
//
//	partitions, foreign   how many hold rows, and how many of those are foreign
//	bare                  how many of the others have no index
//	row_security          policies of one of them are active for the role
//	own                   the own transaction wrote one's row in pg_class
//	rules, triggers       JSON as in readRelation
//	indexes               JSON as in readRelation, with the names of the columns
const readTree = `
WITH RECURSIVE below AS (
  SELECT i.inhrelid AS oid FROM pg_catalog.pg_inherits i WHERE i.inhparent = $1::pg_catalog.int8::pg_catalog.oid
  UNION ALL
  SELECT i.inhrelid FROM below b JOIN pg_catalog.pg_inherits i ON i.inhparent = b.oid
), part AS MATERIALIZED (
  SELECT c.oid, c.relkind, c.relhasindex, c.xmin FROM below b JOIN pg_catalog.pg_class c ON c.oid = b.oid
)
SELECT pg_catalog.count(*) FILTER (WHERE p.relkind <> 'p'), pg_catalog.count(*) FILTER (WHERE p.relkind = 'f'),
  pg_catalog.count(*) FILTER (WHERE p.relkind = 'r' AND NOT p.relhasindex) AS bare,
  coalesce(pg_catalog.bool_or(pg_catalog.row_security_active(p.oid)), false) AS row_security,
  coalesce(pg_catalog.bool_or(pg_catalog.age(p.xmin) <= 0), false) AS own,
  (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('event', u.ev_type, 'enabled', u.ev_enabled, 'own', u.own))::pg_catalog.text
   FROM (SELECT DISTINCT w.ev_type, w.ev_enabled, pg_catalog.age(w.xmin) <= 0 AS own
         FROM part JOIN pg_catalog.pg_rewrite w ON w.ev_class = part.oid) u) AS rules,
  (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('type', u.tgtype, 'enabled', u.tgenabled, 'internal', u.tgisinternal,
     'constraint', u.of_constraint, 'own', u.own))::pg_catalog.text
   FROM (SELECT DISTINCT g.tgtype, g.tgenabled, g.tgisinternal, g.tgconstraint <> 0 AS of_constraint, pg_catalog.age(g.xmin) <= 0 AS own
         FROM part JOIN pg_catalog.pg_trigger g ON g.tgrelid = part.oid) u) AS triggers,
  (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('oid', u.indexrelid::pg_catalog.int8, 'table', u.indrelid::pg_catalog.int8, 'name', u.relname,
     'primary', u.indisprimary, 'unique', u.indisunique, 'immediate', u.indimmediate, 'valid', u.indisvalid, 'exclusion', u.indisexclusion,
     'btree', u.btree, 'partial', u.partial, 'keys', u.indnkeyatts, 'columns', u.indkey, 'names', u.names, 'own', u.own)
     ORDER BY u.indrelid <> $2::pg_catalog.int8::pg_catalog.oid, u.indexrelid)::pg_catalog.text
   FROM (SELECT DISTINCT ON (i.indisprimary, i.indisunique, i.indimmediate, i.indisvalid, i.indisexclusion, x.relam, i.indpred IS NOT NULL, k.names)
           i.indexrelid, i.indrelid, x.relname, i.indisprimary, i.indisunique, i.indimmediate, i.indisvalid, i.indisexclusion,
           x.relam = 403 AS btree, i.indpred IS NOT NULL AS partial, i.indnkeyatts, i.indkey::pg_catalog.int2[] AS indkey, k.names, pg_catalog.age(i.xmin) <= 0 AS own
         FROM part JOIN pg_catalog.pg_index i ON i.indrelid = part.oid JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
         CROSS JOIN LATERAL (
           SELECT ARRAY(SELECT coalesce(a.attname::pg_catalog.text, '') FROM pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY AS m(attnum, ord)
             LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = m.attnum
             WHERE m.ord <= i.indnkeyatts ORDER BY m.ord) AS names) k
         WHERE (i.indisunique OR i.indisexclusion) AND NOT x.relispartition
         ORDER BY i.indisprimary, i.indisunique, i.indimmediate, i.indisvalid, i.indisexclusion, x.relam, i.indpred IS NOT NULL, k.names,
           i.indrelid <> $2::pg_catalog.int8::pg_catalog.oid, i.indexrelid) u) AS indexes
FROM part p`

// treeOf asks for the tables below a partitioned table. hit is the one whose indexes come
// first, 0 for none.
func treeOf(ctx context.Context, c *conn.Conn, oid, hit int64) (*tree, error) {
	t := &tree{}
	var rules, triggers, indexes sql.NullString
	err := c.Row(ctx, readTree, []any{oid, hit}, &t.Count, &t.Foreign, &t.Bare, &t.rowSecurity, &t.own, &rules, &triggers, &indexes)
	if err != nil {
		return nil, err
	}
	err = errors.Join(decode(rules, &t.rules), decode(triggers, &t.triggers), decode(indexes, &t.indexes))
	return t, err
}

// primary is the primary key of one partition, the first one's, nil when none has one.
func (t *tree) primary() *index {
	if t == nil {
		return nil
	}
	for i := range t.indexes {
		if t.indexes[i].Primary {
			return &t.indexes[i]
		}
	}
	return nil
}

// readAncestors asks for the partitioned tables above a partition, the nearest first, the
// partition itself left out.
//
// $1  the partition's oid
const readAncestors = `
SELECT a.relid::pg_catalog.oid::pg_catalog.int8
FROM pg_catalog.pg_partition_ancestors($1::pg_catalog.int8::pg_catalog.oid::pg_catalog.regclass) WITH ORDINALITY AS a(relid, place)
WHERE a.place > 1
ORDER BY a.place`

func ancestorsOf(ctx context.Context, c *conn.Conn, r *relation) (ancestors []int64, err error) {
	if !r.partition {
		return nil, nil
	}
	err = c.Query(ctx, readAncestors, []any{r.oid}, func(rows *sql.Rows) error {
		var oid int64
		if err := rows.Scan(&oid); err != nil {
			return err
		}
		ancestors = append(ancestors, oid)
		return nil
	})
	return ancestors, err
}

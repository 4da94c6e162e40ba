package catalog

import (
	"context"
	"database/sql"

	"github.com/seqheal/seqheal/internal/conn"
)

// Sequence is a sequence's definition and what this role may do with it.
type Sequence struct {
	OID       int64
	Schema    string
	Name      string
	Min, Max  int64
	Increment int64
	Cache     int64
	Cycle     bool
	CanUse    bool // USAGE or UPDATE: nextval
	CanUpdate bool // UPDATE: setval
	CanRead   bool // SELECT, and USAGE on its schema: last_value
	CanAsk    bool // USAGE or SELECT: currval, pg_sequence_last_value
	// Feeders is the number of columns, in whatever tables, whose default draws
	// from it; partitions are not counted beside their root.
	Feeders int64
}

// readSequences asks for the definitions of sequences, a row for each that exists.
//
// $1  a JSON array of oids
//
// As an array they are found by index; a join is planned for a hundred of them.
//
//	oid, schema, name
//	min, max, increment, cache, cycle
//	use, update, read, ask   the role's rights, as in [Sequence]
//	feeders             columns that draw from it, by default or identity, partitions left out
const readSequences = `
SELECT s.oid::pg_catalog.int8, n.nspname::pg_catalog.text, s.relname::pg_catalog.text,
  q.seqmin, q.seqmax, q.seqincrement, q.seqcache, q.seqcycle,
  pg_catalog.has_sequence_privilege(s.oid, 'USAGE,UPDATE'), pg_catalog.has_sequence_privilege(s.oid, 'UPDATE'),
  pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_sequence_privilege(s.oid, 'SELECT'),
  pg_catalog.has_sequence_privilege(s.oid, 'USAGE,SELECT'),
  (SELECT pg_catalog.count(*) FROM pg_catalog.pg_depend x
   JOIN pg_catalog.pg_attrdef d ON d.oid = x.objid
   JOIN pg_catalog.pg_class t ON t.oid = d.adrelid AND NOT t.relispartition
   WHERE x.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
     AND x.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND x.refobjid = s.oid)
  + (SELECT pg_catalog.count(*) FROM pg_catalog.pg_depend x
     WHERE x.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND x.objid = s.oid AND x.deptype = 'i') AS feeders
FROM pg_catalog.pg_class s
JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace
JOIN pg_catalog.pg_sequence q ON q.seqrelid = s.oid
WHERE s.oid = ANY (ARRAY(
  SELECT e::pg_catalog.int8::pg_catalog.oid FROM pg_catalog.json_array_elements_text($1::pg_catalog.text::pg_catalog.json) e))`

// sequencesOf asks for the sequences with these oids. One that is gone is missing in the
// answer.
func sequencesOf(ctx context.Context, c *conn.Conn, oids []int64) (map[int64]Sequence, error) {
	found := map[int64]Sequence{}
	if len(oids) == 0 {
		return found, nil
	}
	err := c.Query(ctx, readSequences, []any{list(oids)}, func(rows *sql.Rows) error {
		var s Sequence
		err := rows.Scan(&s.OID, &s.Schema, &s.Name, &s.Min, &s.Max, &s.Increment, &s.Cache, &s.Cycle,
			&s.CanUse, &s.CanUpdate, &s.CanRead, &s.CanAsk, &s.Feeders)
		found[s.OID] = s
		return err
	})
	return found, err
}

// QuotedName is the schema-qualified name, ready for SQL text.
func (s Sequence) QuotedName() string { return Quote(s.Schema, s.Name) }

// Descending reports whether the sequence counts downwards.
func (s Sequence) Descending() bool { return s.Increment < 0 }

// Aggregate is the name of the aggregate that finds the furthest value.
func (s Sequence) Aggregate() string {
	if s.Descending() {
		return "min"
	}
	return "max"
}

// First is where the sequence's range begins in its own direction.
func (s Sequence) First() int64 {
	if s.Descending() {
		return s.Max
	}
	return s.Min
}

// Reached reports whether value lies at or beyond target in the sequence's own
// direction.
func (s Sequence) Reached(value, target int64) bool {
	if s.Descending() {
		return value <= target
	}
	return value >= target
}

// Further returns the one of both that the sequence reaches later.
func (s Sequence) Further(a, b int64) int64 {
	if s.Reached(a, b) {
		return a
	}
	return b
}

// Contains reports whether the sequence can ever hand out a value in this place:
// rows of other nodes' ranges and sentinels lie outside.
func (s Sequence) Contains(value int64) bool { return s.Min <= value && value <= s.Max }

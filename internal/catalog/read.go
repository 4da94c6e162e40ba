package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/seqheal/seqheal/internal/conn"
)

// ErrNotFound tells that no such table is visible to the role.
var ErrNotFound = errors.New("table not found in the catalog")

// Name is a table's name as the server reads it, without quotes. An empty
// schema leaves it to the search_path.
type Name struct{ Schema, Table string }

// baseType joins what a domain t stands on in the end, and its modifier; without a
// row for any other type.
const baseType = `LEFT JOIN LATERAL (
    WITH RECURSIVE below AS (
      SELECT t.typbasetype AS oid, t.typtypmod AS typmod WHERE t.typtype = 'd'
      UNION ALL
      SELECT d.typbasetype, d.typtypmod FROM below JOIN pg_catalog.pg_type d ON d.oid = below.oid AND d.typtype = 'd'
    )
    SELECT b.oid, b.typname, below.typmod FROM below JOIN pg_catalog.pg_type b ON b.oid = below.oid AND b.typtype <> 'd'
  ) base ON true`

// readTable describes one table, a row for each column of its primary key, or
// one row with nulls there when it has none.
//
// $1, $2: table and schema as the statement names them, schema ” to search.
// $3, $4: table and schema that the server named in a 23505, ” without one.
// Names are cast to name, which cuts over-long ones as the server did. 403 is the
// btree access method in every version.
//
// The table described ("subject") is the statement's when it is the violated one
// or a partitioned table above it; otherwise (a view, a trigger's insert into
// another table) the violated one's root: rows come in through there, and its
// default draws the values.
//
//	own                it is the statement's own table, or below the view that the statement names
//	                   and the view has the key column under its own name
//	key_name           the primary key's name, null without one; the key columns are then those of a
//	                   partition that has one, which a root with a foreign partition cannot have
//	                   (pg_partition_tree would lock every one of them)
//	immediate          the key is not deferrable (pg_index.indimmediate)
//	deferred           the key is checked at COMMIT
//	arbiter            the key's index is a valid, plain btree that ON CONFLICT can use
//	not_guardable      why the conflict guard cannot be used, null when it can (DESIGN section 4)
//	insert_trigger     a user trigger fires on INSERT (bit 4 of tgtype)
//	upsert_trigger     a row trigger BEFORE INSERT (bits 1, 2, 4), or one for each statement
//	                   on UPDATE (bit 16 without 1): ON CONFLICT cannot be left out unseen
//	update_trigger     a row trigger BEFORE UPDATE (bits 1, 2, 16), which may skip rows
//	indexed            a valid whole-table btree begins with the column
//	detour             rows named for it end up in other tables: a view, or a rule
//	violated_*         the table of the error and its unique indexes, p before the name of
//	                   the primary key's, u before the others'
//	attname, typname   the key column and its type, domains resolved
//	declared           the type as declared, ready for SQL text
//	identity, default  how the column is filled
//	seq_*              the sequence that the default or the identity draws from; without either, the
//	                   one that the column owns, when a row trigger BEFORE INSERT can draw from it
//	feeders            columns that draw from it, by default or identity, partitions left out
const readTable = `
WITH named AS MATERIALIZED (
  SELECT c.oid
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relname = $1::pg_catalog.text::pg_catalog.name AND c.relkind IN ('r','p','v','f')
    AND CASE $2::pg_catalog.text
        WHEN '' THEN pg_catalog.pg_table_is_visible(c.oid)
        WHEN 'pg_temp' THEN n.oid = pg_catalog.pg_my_temp_schema()
        ELSE n.nspname = $2::pg_catalog.text::pg_catalog.name END
), violated AS MATERIALIZED (
  SELECT c.oid
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relname = $3::pg_catalog.text::pg_catalog.name
    AND n.nspname = $4::pg_catalog.text::pg_catalog.name AND c.relkind IN ('r','p')
), pair AS MATERIALIZED (
  SELECT (SELECT oid FROM named) AS named,
         coalesce((SELECT oid FROM violated), (SELECT oid FROM named)) AS violated
), subject AS MATERIALIZED (
  SELECT p.named, p.violated, CASE
    WHEN p.named = p.violated THEN p.named
    WHEN p.named IN (SELECT a.relid FROM pg_catalog.pg_partition_ancestors(p.violated::pg_catalog.regclass) a) THEN p.named
    ELSE coalesce(pg_catalog.pg_partition_root(p.violated::pg_catalog.regclass)::pg_catalog.oid, p.violated) END AS oid
  FROM pair p
), keycol AS MATERIALIZED (
  SELECT s.oid AS relid, k.ord, a.attnum, a.attname, a.attidentity,
         coalesce(base.typname, t.typname) AS typname,
         pg_catalog.format_type(a.atttypid, NULL) AS declared,
         CASE WHEN coalesce(base.oid, t.oid) = 'pg_catalog.numeric'::pg_catalog.regtype
              THEN coalesce(base.typmod, a.atttypmod) END AS typmod,
         d.oid AS default_oid, pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS default_text
  FROM subject s
  JOIN pg_catalog.pg_index i ON i.indexrelid = coalesce(
    (SELECT p.indexrelid FROM pg_catalog.pg_index p WHERE p.indrelid = s.oid AND p.indisprimary),
    (WITH RECURSIVE below AS (
       SELECT s.oid AS relid
       UNION ALL
       SELECT h.inhrelid FROM below JOIN pg_catalog.pg_inherits h ON h.inhparent = below.relid
       JOIN pg_catalog.pg_class hc ON hc.oid = h.inhrelid AND hc.relispartition
     ) SELECT p.indexrelid FROM below JOIN pg_catalog.pg_index p ON p.indrelid = below.relid AND p.indisprimary
     ORDER BY below.relid <> s.violated LIMIT 1))
  CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY AS k(attnum, ord)
  JOIN pg_catalog.pg_attribute ka ON ka.attrelid = i.indrelid AND ka.attnum = k.attnum
  JOIN pg_catalog.pg_attribute a ON a.attrelid = s.oid AND a.attname = ka.attname
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  ` + baseType + `
  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  WHERE k.ord <= i.indnkeyatts
), fed AS (
  SELECT keycol.*, CASE
    WHEN attidentity <> '' THEN (
      SELECT x.objid FROM pg_catalog.pg_depend x
      WHERE x.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
        AND x.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
        AND x.refobjid = keycol.relid AND x.refobjsubid = keycol.attnum AND x.deptype = 'i' LIMIT 1)
    WHEN default_oid IS NULL THEN (
      SELECT x.objid FROM pg_catalog.pg_depend x
      JOIN pg_catalog.pg_class sc ON sc.oid = x.objid AND sc.relkind = 'S'
      WHERE x.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
        AND x.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
        AND x.refobjid = keycol.relid AND x.refobjsubid = keycol.attnum AND x.deptype = 'a'
        AND EXISTS (SELECT 1 FROM pg_catalog.pg_trigger g WHERE g.tgrelid = keycol.relid AND NOT g.tgisinternal
                    AND g.tgenabled <> 'D' AND g.tgtype & 7 = 7) LIMIT 1)
    ELSE (
      SELECT x.refobjid FROM pg_catalog.pg_depend x
      JOIN pg_catalog.pg_class sc ON sc.oid = x.refobjid AND sc.relkind = 'S'
      WHERE x.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND x.objid = keycol.default_oid
        AND x.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass LIMIT 1) END AS seq
  FROM keycol
)
SELECT c.oid::pg_catalog.int8, 
  coalesce(c.oid = s.named OR nk.relkind = 'v' AND EXISTS (
    SELECT 1 FROM pg_catalog.pg_attribute va
    WHERE va.attrelid = nk.oid AND va.attname = fed.attname AND NOT va.attisdropped), false) AS own,
  n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
  keyclass.relname::pg_catalog.text AS key_name,
  coalesce(i.indimmediate, false) AS immediate,
  coalesce(con.condeferred, false) AS deferred,
  coalesce(i.indisvalid AND NOT i.indisexclusion AND keyclass.relam = 403, false) AS arbiter,
  pg_catalog.row_security_active(c.oid) AS row_security,
  EXISTS (SELECT 1 FROM pg_catalog.pg_trigger g
          WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgtype & 4 <> 0) AS insert_trigger,
  EXISTS (SELECT 1 FROM pg_catalog.pg_trigger g
          WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND (g.tgtype & 7 = 7 OR g.tgtype & 17 = 16)) AS upsert_trigger,
  EXISTS (SELECT 1 FROM pg_catalog.pg_trigger g
          WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgtype & 19 = 19) AS update_trigger,
  c.relkind = 'p' OR c.relispartition AS partitioned,
  EXISTS (SELECT 1 FROM pg_catalog.pg_rewrite w WHERE w.ev_class = c.oid) AS detour,
  CASE
    WHEN c.relkind <> 'r' THEN 'not an ordinary table'
    WHEN nk.relkind = 'v' THEN 'a view in front of it'
    WHEN c.relispartition THEN 'a partition'
    WHEN EXISTS (SELECT 1 FROM pg_catalog.pg_rewrite w
                 WHERE w.ev_class = c.oid AND w.ev_type IN ('2', '3')) THEN 'a rule'
    WHEN EXISTS (SELECT 1 FROM pg_catalog.pg_attrdef d
                 JOIN pg_catalog.pg_depend x ON x.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND x.objid = d.oid
                 WHERE d.adrelid = c.oid AND x.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass) THEN 'a default that calls a user-defined function'
    WHEN EXISTS (SELECT 1 FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
                 WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND NOT a.atthasdef
                   AND t.typdefaultbin IS NOT NULL) THEN 'a domain with a default'
    WHEN NOT pg_catalog.has_any_column_privilege(c.oid, 'INSERT') THEN 'no right to insert'
    WHEN EXISTS (SELECT 1 FROM pg_catalog.unnest(c.reloptions) o
                 WHERE o ~* '^user_catalog_table=(t|true|on|yes|1)$') THEN 'a user catalog table'
  END AS not_guardable,
  EXISTS (SELECT 1 FROM pg_catalog.pg_index b JOIN pg_catalog.pg_class bc ON bc.oid = b.indexrelid
          WHERE bc.relam = 403 AND b.indrelid = c.oid AND b.indisvalid AND b.indpred IS NULL AND b.indkey[0] = fed.attnum) AS indexed,
  vn.nspname::pg_catalog.text AS violated_schema, v.relname::pg_catalog.text AS violated_name,
  pg_catalog.array_to_json(ARRAY(
    SELECT CASE WHEN q.indisprimary THEN 'p' ELSE 'u' END || x.relname::pg_catalog.text
    FROM pg_catalog.pg_index q JOIN pg_catalog.pg_class x ON x.oid = q.indexrelid
    WHERE q.indrelid = v.oid AND q.indisunique))::pg_catalog.text AS violated_indexes,
  fed.attname::pg_catalog.text, fed.typname::pg_catalog.text,
  fed.declared, coalesce(fed.typmod, -1) AS typmod,
  coalesce(fed.attidentity::pg_catalog.text <> '', false) AS identity, coalesce(fed.default_text, '') AS default_text,
  coalesce(pg_catalog.has_column_privilege(c.oid, fed.attnum, 'SELECT'), false) AS selectable,
  sc.oid::pg_catalog.int8 AS seq_oid, sn.nspname::pg_catalog.text AS seq_schema, sc.relname::pg_catalog.text AS seq_name,
  q.seqmin, q.seqmax, q.seqincrement, q.seqcache, q.seqcycle,
  pg_catalog.has_sequence_privilege(sc.oid, 'USAGE,UPDATE') AS seq_use,
  pg_catalog.has_sequence_privilege(sc.oid, 'UPDATE') AS seq_update,
  pg_catalog.has_sequence_privilege(sc.oid, 'SELECT') AS seq_select,
  (SELECT pg_catalog.count(*) FROM pg_catalog.pg_depend x
   JOIN pg_catalog.pg_attrdef xd ON xd.oid = x.objid
   JOIN pg_catalog.pg_class xc ON xc.oid = xd.adrelid AND NOT xc.relispartition
   WHERE x.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
     AND x.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND x.refobjid = sc.oid)
  + (SELECT pg_catalog.count(*) FROM pg_catalog.pg_depend x
     WHERE x.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND x.objid = sc.oid AND x.deptype = 'i') AS feeders
FROM subject s
JOIN pg_catalog.pg_class c ON c.oid = s.oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class v ON v.oid = s.violated
JOIN pg_catalog.pg_namespace vn ON vn.oid = v.relnamespace
LEFT JOIN pg_catalog.pg_class nk ON nk.oid = s.named
LEFT JOIN pg_catalog.pg_index i ON i.indrelid = c.oid AND i.indisprimary
LEFT JOIN pg_catalog.pg_class keyclass ON keyclass.oid = i.indexrelid
LEFT JOIN pg_catalog.pg_constraint con ON con.conrelid = c.oid AND con.contype = 'p'
LEFT JOIN fed ON true
LEFT JOIN pg_catalog.pg_class sc ON sc.oid = fed.seq
LEFT JOIN pg_catalog.pg_namespace sn ON sn.oid = sc.relnamespace
LEFT JOIN pg_catalog.pg_sequence q ON q.seqrelid = sc.oid
ORDER BY fed.ord`

// Read describes the table that a statement inserts into, in one query on c.
// violated is the table that the server named in a 23505, the zero Name without
// one; the table described is then the one whose key collided. It returns
// ErrNotFound when there is none.
func Read(ctx context.Context, c *conn.Conn, target, violated Name) (*Table, error) {
	args := []any{target.Table, target.Schema, violated.Table, violated.Schema}
	var table *Table
	err := c.Query(ctx, readTable, args, func(rows *sql.Rows) error {
		if table == nil {
			table = &Table{Column: -1}
		}
		return scan(rows, table)
	})
	if err != nil {
		return nil, fmt.Errorf("read the catalog for table %s: %w", target.Table, err)
	}
	if table == nil {
		return nil, ErrNotFound
	}
	table.settle()
	return table, nil
}

// scan takes in one column of the key.
func scan(rows *sql.Rows, t *Table) error {
	var (
		keyName, attname, typname, declared, notGuardable sql.NullString
		indexes, defaultText                              string
		immediate, arbiter, indexed, identity, selectable bool
		own                                               bool
		typmod                                            int64
		seq                                               nullSequence
	)
	err := rows.Scan(&t.OID, &own, &t.Schema, &t.Name, &keyName, &immediate, &t.InitiallyDeferred, &arbiter,
		&t.RowSecurity, &t.InsertTrigger, &t.UpsertTrigger, &t.UpdateTrigger, &t.Partitioned, &t.Detour, &notGuardable, &indexed,
		&t.Violated.Schema, &t.Violated.Name, &indexes,
		&attname, &typname, &declared, &typmod, &identity, &defaultText, &selectable,
		&seq.oid, &seq.schema, &seq.name, &seq.min, &seq.max, &seq.increment, &seq.cache, &seq.cycle,
		&seq.use, &seq.update, &seq.read, &seq.feeders)
	if err != nil {
		return err
	}
	t.Own = own && (t.Own || len(t.Key) == 0)
	t.Constraint, t.NotGuardable = keyName.String, notGuardable.String
	if t.NotGuardable == "" && !(immediate && arbiter) {
		t.NotGuardable = "a key that cannot decide a conflict"
	}
	if err := t.Violated.read(indexes); err != nil {
		return err
	}
	if !attname.Valid {
		return nil
	}
	t.Selectable = selectable && (t.Selectable || len(t.Key) == 0)
	t.Key = append(t.Key, Column{
		Name: attname.String, Type: typname.String, Declared: declared.String,
	})
	if t.Column >= 0 || !seq.oid.Valid {
		return nil
	}
	t.Column, t.Indexed, t.Sequence = len(t.Key)-1, indexed, seq.sequence()
	t.KeysBelow = !keyName.Valid
	if t.NotGuardable == "" && !identity && !t.Sequence.CanUse {
		// The insert itself fails with 42501, which must not look like a guard
		// that the server rejects.
		t.NotGuardable = "no right to draw from the sequence"
	}
	t.Unsupported = unsupportedType(t.Key[t.Column], typmod)
	if t.Unsupported == "" && !identity {
		t.Unsupported = unsupportedDefault(t.Key[t.Column], defaultText)
	}
	return nil
}

// unsupportedType says why a column of this type has no sequence that may be moved,
// empty when it may have one.
func unsupportedType(column Column, typmod int64) string {
	if integral(column.Type, typmod) {
		return ""
	}
	return "column " + Quote(column.Name) + " has type " + column.Type + ", not an integer"
}

// unsupportedDefault says why the sequence in this default must never be moved, empty
// when it may be.
func unsupportedDefault(column Column, text string) string {
	if text == "" || nextvalOnly.MatchString(text) {
		return ""
	}
	return "the default of column " + Quote(column.Name) + " is " + text + ", more than nextval of its sequence"
}

// read takes in violated_indexes.
func (v *Violated) read(indexes string) error {
	var marked []string
	if err := json.Unmarshal([]byte(indexes), &marked); err != nil {
		return err
	}
	v.Others = nil
	for _, index := range marked {
		if name, primary := strings.CutPrefix(index, "p"); primary {
			v.Constraint = name
		} else {
			v.Others = append(v.Others, index[1:])
		}
	}
	return nil
}

// settle adds what follows from the whole key. Texts that are alike are kept
// once: a table is remembered as long as the program runs.
func (t *Table) settle() {
	alike(&t.Violated.Schema, t.Schema)
	alike(&t.Sequence.Schema, t.Schema)
	alike(&t.Violated.Name, t.Name)
	alike(&t.Violated.Constraint, t.Constraint)
	switch {
	case t.NotGuardable != "":
	case !t.Fed():
		t.NotGuardable = "no sequence feeds the key"
	case t.Unsupported != "":
		t.NotGuardable = t.Unsupported
	case t.InsertTrigger:
		t.NotGuardable = "a trigger on INSERT"
	case t.Sequence.Cycle:
		t.NotGuardable = "the sequence cycles"
	case !t.Selectable:
		t.NotGuardable = "no SELECT on the key"
	case t.RowSecurity:
		t.NotGuardable = "row-level security"
	}
}

func alike(text *string, other string) {
	if *text == other {
		*text = other
	}
}

// integral reports whether every value of the type is a whole number. The scale
// of numeric stands in the low eleven bits of its modifier (measured on 12 to
// 18); without a modifier fractions are allowed.
func integral(typname string, typmod int64) bool {
	switch typname {
	case "int2", "int4", "int8":
		return true
	case "numeric":
		return typmod >= 4 && (typmod-4)&0x7ff == 0
	}
	return false
}

type nullSequence struct {
	oid, min, max, increment, cache, feeders sql.NullInt64
	schema, name                             sql.NullString
	cycle, use, update, read                 sql.NullBool
}

func (s nullSequence) sequence() Sequence {
	return Sequence{
		OID: s.oid.Int64, Schema: s.schema.String, Name: s.name.String,
		Min: s.min.Int64, Max: s.max.Int64, Increment: s.increment.Int64, Cache: s.cache.Int64,
		Cycle: s.cycle.Bool, CanUse: s.use.Bool, CanUpdate: s.update.Bool, CanRead: s.read.Bool, Feeders: s.feeders.Int64,
	}
}

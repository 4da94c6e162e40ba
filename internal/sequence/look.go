package sequence

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
)

// Position is the furthest value that was found.
type Position struct {
	Value int64
	Found bool
}

// Beside is the values of a key's other columns: rows count that hold one of these sets. They
// are the application's own, and go out as parameters.
type Beside struct {
	Columns []catalog.Column
	// Sets have a value for each of the columns.
	Sets [][]any
}

// values is the sets as an SQL VALUES list named b, with the columns b0, b1, …, and the
// parameters, which come behind args.
func (b *Beside) values(sets [][]any, args []any) (string, []any) {
	rows := make([]string, len(sets))
	for i, set := range sets {
		row := make([]string, len(set))
		for j, value := range set {
			args = append(args, value)
			row[j] = fmt.Sprintf("$%d::%s", len(args), b.Columns[j].Declared)
		}
		rows[i] = "(" + strings.Join(row, ", ") + ")"
	}
	names := make([]string, len(b.Columns))
	for j := range b.Columns {
		names[j] = fmt.Sprintf("b%d", j)
	}
	return "(VALUES " + strings.Join(rows, ", ") + ") b(" + strings.Join(names, ", ") + ")", args
}

// conditions are the SQL that a row of the table t has the values of b, each after an AND.
func (b *Beside) conditions() string {
	var text strings.Builder
	for j, column := range b.Columns {
		fmt.Fprintf(&text, " AND t.%s = b.b%d", catalog.Quote(column.Name), j)
	}
	return text.String()
}

// ReadMax reads the furthest value of the column within the sequence's own bounds: the
// maximum, or the minimum of a descending sequence. It sends one query, one for each
// thousand sets, and one more when other columns draw from the same sequence. c must be in a savepoint that is
// rolled back on error.
func ReadMax(ctx context.Context, c *conn.Conn, t *catalog.Table, beside *Beside) (Position, error) {
	low, high := t.Sequence.Min, t.Sequence.Max
	position, err := furthest(ctx, c, t, beside, low, high)
	if err != nil || t.Sequence.Feeders <= 1 {
		return position, err
	}
	return readSisters(ctx, c, t, position)
}

// furthest is the maximum (minimum when descending) of the column between two
// values, by an index.
func furthest(ctx context.Context, c *conn.Conn, t *catalog.Table, beside *Beside, low, high int64) (Position, error) {
	return furthestWhere(ctx, c, t, beside, low, high, "")
}

// mostSets bounds the parameters of one query, of which the protocol allows 65,535.
const mostSets = 1000

// furthestWhere is furthest among the rows of the very table that fulfil a further condition,
// SQL about t that begins with AND.
func furthestWhere(ctx context.Context, c *conn.Conn, t *catalog.Table, beside *Beside, low, high int64, further string) (found Position, err error) {
	column, aggregate := "t."+catalog.Quote(t.FedColumn()), "pg_catalog."+t.Sequence.Aggregate()
	text := "SELECT " + aggregate + "(" + column + ")::pg_catalog.int8 AS v FROM " + itself(t) + " t" +
		" WHERE " + column + " BETWEEN $1::pg_catalog.int8 AND $2::pg_catalog.int8" + further
	var value sql.NullInt64
	if beside == nil {
		err = c.Row(ctx, text, []any{low, high}, &value)
		return Position{Value: value.Int64, Found: value.Valid}, err
	}
	for sets := range slices.Chunk(beside.Sets, mostSets) {
		values, args := beside.values(sets, []any{low, high})
		each := "SELECT " + aggregate + "(m.v) FROM " + values + " CROSS JOIN LATERAL (" + text + beside.conditions() + ") m"
		if err = c.RowBeside(ctx, each, args, &value); err != nil {
			return Position{}, err
		}
		found = found.With(t.Sequence, Position{Value: value.Int64, Found: value.Valid})
	}
	return found, nil
}

// TakenBetween reports whether a row holds a value behind before and up to last, in the
// sequence's own direction.
func TakenBetween(ctx context.Context, c *conn.Conn, t *catalog.Table, beside *Beside, before, last int64) (bool, error) {
	low, high := before+1, last
	if t.Sequence.Descending() {
		low, high = last, before-1
	}
	found, err := furthest(ctx, c, t, beside, low, high)
	return found.Found, err
}

// Exists reports whether a row holds the value, beside the given values of the key's
// other columns, by an index where there is one.
func Exists(ctx context.Context, c *conn.Conn, t *catalog.Table, value int64, beside *Beside) (taken bool, err error) {
	found, err := furthest(ctx, c, t, beside, value, value)
	return found.Found, err
}

// itself is the table without those that inherit from it, whose rows its key says nothing
// about; partitions are no such tables.
func itself(t *catalog.Table) string {
	if t.Partitioned {
		return t.QuotedName()
	}
	return "ONLY " + t.QuotedName()
}

// sisters lists the other columns that draw from a sequence, those with an index
// that begins with them and with the right to read them. Partitions are left to
// their root.
//
//	schema, name, column   of each
const sisters = `
SELECT n.nspname::pg_catalog.text, r.relname::pg_catalog.text, a.attname::pg_catalog.text
FROM (
  SELECT d.adrelid AS relid, d.adnum AS attnum
  FROM pg_catalog.pg_depend x JOIN pg_catalog.pg_attrdef d ON d.oid = x.objid
  WHERE x.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
    AND x.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    AND x.refobjid = $1::pg_catalog.int8::pg_catalog.oid
  UNION ALL
  SELECT x.refobjid, x.refobjsubid
  FROM pg_catalog.pg_depend x
  WHERE x.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
    AND x.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    AND x.objid = $1::pg_catalog.int8::pg_catalog.oid AND x.deptype = 'i') f
JOIN pg_catalog.pg_class r ON r.oid = f.relid AND NOT r.relispartition
JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = f.relid AND a.attnum = f.attnum
WHERE NOT (f.relid = $2::pg_catalog.int8::pg_catalog.oid AND a.attname = $3::pg_catalog.text::pg_catalog.name)
  AND a.atttypid IN ('pg_catalog.int2'::pg_catalog.regtype, 'pg_catalog.int4'::pg_catalog.regtype, 'pg_catalog.int8'::pg_catalog.regtype)
  AND pg_catalog.has_column_privilege(r.oid, a.attnum, 'SELECT')
  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
  AND NOT pg_catalog.row_security_active(r.oid)
  AND EXISTS (SELECT 1 FROM pg_catalog.pg_index i WHERE i.indrelid = r.oid AND i.indisvalid
              AND i.indpred IS NULL AND i.indkey[0] = a.attnum)
ORDER BY r.oid, a.attnum LIMIT 64`

// sisterLock is the lock_timeout of [setAside] around the look at one sister table: it is
// best effort, and a table under ACCESS EXCLUSIVE must not stop the heal (measured: it
// stopped 16 of 16 healers).
const sisterLock = 100 * time.Millisecond

// readSisters extends a position by the other columns that draw from the sequence:
// moving it past one table only would hand the next collision to its sister.
// What cannot be read is left out.
func readSisters(ctx context.Context, c *conn.Conn, t *catalog.Table, position Position) (Position, error) {
	var others []catalog.Table
	err := c.Query(ctx, sisters, []any{t.Sequence.OID, t.OID, t.FedColumn()}, func(rows *sql.Rows) error {
		sister := catalog.Table{Sequence: t.Sequence}
		var column string
		if err := rows.Scan(&sister.Schema, &sister.Name, &column); err != nil {
			return err
		}
		sister.Key = []catalog.Column{{Name: column}}
		others = append(others, sister)
		return nil
	})
	if err != nil {
		return Position{}, err
	}
	for i := range others {
		if err := c.Exec(ctx, setAside); err != nil {
			return Position{}, err
		}
		release := c.LockWithin(sisterLock)
		found, err := furthest(ctx, c, &others[i], nil, t.Sequence.Min, t.Sequence.Max)
		release()
		if undo := c.Undo(ctx, takeBack); undo != nil {
			return Position{}, undo
		}
		if err == nil {
			position = position.With(t.Sequence, found)
		}
	}
	return position, nil
}

// With is the further of two positions.
func (s Position) With(seq catalog.Sequence, other Position) Position {
	switch {
	case !other.Found:
		return s
	case !s.Found:
		return other
	}
	return Position{Value: seq.Further(s.Value, other.Value), Found: true}
}

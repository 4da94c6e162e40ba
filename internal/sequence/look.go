package sequence

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"reflect"
	"strconv"
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

// Prefix fixes the values of the key columns that stand before the sequence's
// column, for a key whose index does not begin with that column: the maximum is
// then taken among the rows that can collide.
type Prefix struct {
	Columns []catalog.Column
	Values  []string
}

// conditions is the SQL that fixes the columns, each after an AND, and args with
// the values behind them. It is empty for nil.
func (p *Prefix) conditions(args []any) (string, []any) {
	if p == nil {
		return "", args
	}
	var b strings.Builder
	for i, fixed := range p.Columns {
		args = append(args, p.Values[i])
		fmt.Fprintf(&b, " AND %s = $%d::pg_catalog.text::%s", catalog.Quote(fixed.Name), len(args), fixed.Declared)
	}
	return b.String(), args
}

// ReadMax reads the furthest value of the column within the sequence's own bounds: the
// maximum, or the minimum of a descending sequence. It sends one query, and one more
// when other columns draw from the same sequence. c must be in a savepoint that is
// rolled back on error.
func ReadMax(ctx context.Context, c *conn.Conn, t *catalog.Table, prefix *Prefix) (Position, error) {
	low, high := t.Sequence.Min, t.Sequence.Max
	position, err := furthest(ctx, c, t, prefix, low, high)
	if err != nil || t.Sequence.Feeders <= 1 {
		return position, err
	}
	return readSisters(ctx, c, t, position)
}

// furthest is the maximum (minimum when descending) of the column between two
// values, by an index.
func furthest(ctx context.Context, c *conn.Conn, t *catalog.Table, prefix *Prefix, low, high int64) (Position, error) {
	return furthestWhere(ctx, c, t, prefix, low, high, "")
}

// furthestWhere is furthest among the rows that fulfil a further condition, SQL
// that begins with AND.
func furthestWhere(ctx context.Context, c *conn.Conn, t *catalog.Table, prefix *Prefix, low, high int64, further string) (Position, error) {
	column := catalog.Quote(t.FedColumn())
	text := "SELECT pg_catalog." + t.Sequence.Aggregate() + "(" + column + ")::pg_catalog.int8 FROM " + t.QuotedName() +
		" WHERE " + column + " BETWEEN $1::pg_catalog.int8 AND $2::pg_catalog.int8" + further
	also, args := prefix.conditions([]any{low, high})
	text += also
	var value sql.NullInt64
	err := c.Row(ctx, text, args, &value)
	return Position{Value: value.Int64, Found: value.Valid}, err
}

// taken reports whether a row holds a value in (after, after + count steps]. The
// caller has made sure that the window does not overflow.
func taken(ctx context.Context, c *conn.Conn, t *catalog.Table, prefix *Prefix, after, count int64) (bool, error) {
	low, high := after+1, after+count*t.Sequence.Increment
	if t.Sequence.Descending() {
		low, high = high, after-1
	}
	position, err := furthest(ctx, c, t, prefix, low, high)
	return position.Found, err
}

// TakenBetween reports whether a row holds a value behind before and up to last, in the
// sequence's own direction.
func TakenBetween(ctx context.Context, c *conn.Conn, t *catalog.Table, before, last int64) (bool, error) {
	low, high := before+1, last
	if t.Sequence.Descending() {
		low, high = last, before-1
	}
	found, err := furthest(ctx, c, t, nil, low, high)
	return found.Found, err
}

// Exists reports whether a row holds the value, beside the given values of the key's
// other columns, by an index where there is one.
func Exists(ctx context.Context, c *conn.Conn, t *catalog.Table, value int64, beside *Prefix) (taken bool, err error) {
	also, args := beside.conditions([]any{value})
	err = c.Row(ctx, "SELECT EXISTS (SELECT 1 FROM "+itself(t)+" t WHERE t."+catalog.Quote(t.FedColumn())+" = $1::pg_catalog.int8"+also+")", args, &taken)
	return taken, err
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

// Savepoint around the look at one sister table: it is best effort, and a table
// under ACCESS EXCLUSIVE must not stop the heal (measured: it stopped 16 of 16
// healers).
const (
	sisterLock = 100 * time.Millisecond

	setLook  = "SAVEPOINT seqheal_look; SET LOCAL lock_timeout = 100"
	undoLook = "ROLLBACK TO SAVEPOINT seqheal_look; RELEASE SAVEPOINT seqheal_look"
)

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
		if err := c.Exec(ctx, setLook); err != nil {
			return Position{}, err
		}
		release := c.LockWithin(sisterLock)
		found, err := furthest(ctx, c, &others[i], nil, t.Sequence.Min, t.Sequence.Max)
		release()
		if undo := c.Undo(ctx, undoLook); undo != nil {
			return Position{}, undo
		}
		if err == nil {
			position = position.With(t.Sequence, found)
		}
	}
	return position, nil
}

// With returns the further of two sights.
func (s Position) With(seq catalog.Sequence, other Position) Position {
	switch {
	case !other.Found:
		return s
	case !s.Found:
		return other
	}
	return Position{Value: seq.Further(s.Value, other.Value), Found: true}
}

// Text writes a value of a key column as the server reads it. It reports false
// for a value whose text is the driver's own business: a number with a String
// method goes as a number into one column and as its name into another.
func Text(value any) (string, bool) {
	if valuer, ok := value.(driver.Valuer); ok {
		if v := reflect.ValueOf(value); v.Kind() == reflect.Pointer && v.IsNil() {
			return "", false
		}
		sent, err := valuer.Value()
		if err != nil {
			return "", false
		}
		value = sent
	}
	switch v := value.(type) {
	case time.Time:
		if _, offset := v.Zone(); -60 < offset && offset < 0 {
			return "", false // Format writes "+00:00:-17"
		}
		// The drivers send no more than the server's microseconds, cut off.
		return v.Truncate(time.Microsecond).Format("2006-01-02 15:04:05.999999Z07:00:00"), true
	case fmt.Stringer:
		return "", false
	}
	v := reflect.ValueOf(value)
	switch {
	case v.Kind() == reflect.String:
		return v.String(), true
	case v.CanInt():
		return strconv.FormatInt(v.Int(), 10), true
	case v.CanUint():
		return strconv.FormatUint(v.Uint(), 10), true
	}
	return "", false
}

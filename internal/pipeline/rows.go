package pipeline

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// rowSet is a result of pgx's that was read to its end.
type rowSet struct {
	columns []column
	values  []driver.Value // of all rows, one after the other
	// broken is the error of the row after the last, when a value could not be
	// decoded. last is what comes after all rows.
	broken, last error
	next         int // index into values
}

type column struct {
	pgconn.FieldDescription
	typeName string // as the connection knows the type, empty for an unknown one
}

// readRows decodes all rows. It is called under database/sql's lock of the connection:
// decoding uses the connection's type map, which the next statement may change.
func readRows(types *pgtype.Map, reader *pgconn.ResultReader) rowSet {
	var set rowSet
	var decode []decoder
	for reader.NextRow() {
		if decode == nil {
			decode = decoders(types, reader.FieldDescriptions())
		}
		if set.broken == nil {
			set.add(decode, reader.Values())
		}
	}
	set.columns = columns(types, reader.FieldDescriptions())
	return set
}

func columns(types *pgtype.Map, fields []pgconn.FieldDescription) []column {
	all := make([]column, len(fields))
	for i, field := range fields {
		all[i].FieldDescription = field
		if t, ok := types.TypeForOID(field.DataTypeOID); ok {
			all[i].typeName = t.Name
		}
	}
	return all
}

func (s *rowSet) add(decode []decoder, raw [][]byte) {
	for i, source := range raw {
		var value driver.Value
		if source != nil {
			var err error
			if value, err = decode[i](source); err != nil {
				s.broken = fmt.Errorf("convert field %d failed: %w", i, err)
				s.values = s.values[:len(s.values)-i]
				return
			}
		}
		s.values = append(s.values, value)
	}
}

// openRows returns rows of database/sql's, which come from a driver alone. The driver's goroutine
// ends before it returns; the rows live on.
func openRows(ctx context.Context, rows driver.Rows) (*sql.Rows, error) {
	db := sql.OpenDB(oneQuery{rows})
	opened, err := db.QueryContext(ctx, "")
	_ = db.Close()
	return opened, err
}

// oneQuery is the driver.Connector and driver.Conn of one query.
type oneQuery struct{ rows driver.Rows }

var errOneQuery = errors.New("pipeline: rows only")

func (q oneQuery) Connect(context.Context) (driver.Conn, error) { return q, nil }
func (oneQuery) Driver() driver.Driver                          { return nil }
func (oneQuery) Prepare(string) (driver.Stmt, error)            { return nil, errOneQuery }
func (oneQuery) Begin() (driver.Tx, error)                      { return nil, errOneQuery }
func (oneQuery) Close() error                                   { return nil }

// QueryContext implements driver.QueryerContext.
func (q oneQuery) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	return q.rows, nil
}

// Close implements driver.Rows.
func (s *rowSet) Close() error { return nil }

// Columns implements driver.Rows, as all that follows does what pgx's stdlib.Rows does.
func (s *rowSet) Columns() []string {
	names := make([]string, len(s.columns))
	for i, c := range s.columns {
		names[i] = c.Name
	}
	return names
}

func (s *rowSet) Next(dest []driver.Value) error {
	switch {
	case s.next < len(s.values):
		s.next += copy(dest, s.values[s.next:])
		return nil
	case s.broken != nil:
		return s.broken
	case s.last != nil:
		return s.last
	}
	return io.EOF
}

func (s *rowSet) ColumnTypeDatabaseTypeName(index int) string {
	if name := s.columns[index].typeName; name != "" {
		return strings.ToUpper(name)
	}
	return strconv.FormatInt(int64(s.columns[index].DataTypeOID), 10)
}

const varHeaderSize = 4

func (s *rowSet) ColumnTypeLength(index int) (int64, bool) {
	switch c := s.columns[index]; c.DataTypeOID {
	case pgtype.TextOID, pgtype.ByteaOID:
		return math.MaxInt64, true
	case pgtype.VarcharOID, pgtype.BPCharOID:
		return int64(c.TypeModifier - varHeaderSize), true
	case pgtype.VarbitOID:
		return int64(c.TypeModifier), true
	}
	return 0, false
}

func (s *rowSet) ColumnTypePrecisionScale(index int) (precision, scale int64, ok bool) {
	if s.columns[index].DataTypeOID != pgtype.NumericOID {
		return 0, 0, false
	}
	modifier := s.columns[index].TypeModifier - varHeaderSize
	return int64((modifier >> 16) & 0xffff), int64(modifier & 0xffff), true
}

var scanTypes = map[uint32]reflect.Type{
	pgtype.Float8OID: reflect.TypeFor[float64](), pgtype.Float4OID: reflect.TypeFor[float32](), pgtype.NumericOID: reflect.TypeFor[float64](),
	pgtype.Int8OID: reflect.TypeFor[int64](), pgtype.Int4OID: reflect.TypeFor[int32](), pgtype.Int2OID: reflect.TypeFor[int16](),
	pgtype.BoolOID: reflect.TypeFor[bool](), pgtype.ByteaOID: reflect.TypeFor[[]byte](), pgtype.DateOID: reflect.TypeFor[time.Time](),
	pgtype.TimestampOID: reflect.TypeFor[time.Time](), pgtype.TimestamptzOID: reflect.TypeFor[time.Time](),
}

func (s *rowSet) ColumnTypeScanType(index int) reflect.Type {
	if t, ok := scanTypes[s.columns[index].DataTypeOID]; ok {
		return t
	}
	return reflect.TypeFor[string]()
}

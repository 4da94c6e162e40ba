package pipeline

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
	"reflect"

	"gorm.io/gorm"
)

// Counter counts the rows that an INSERT stores or changes, as the server does. GORM's own count of
// a slice under DO NOTHING includes elements that it skips because RETURNING names a field which
// they have set (measured).
type Counter struct {
	pool gorm.ConnPool
	rows int64
}

// NewCounter counts the rows of the next statement on a connection pool or transaction.
func NewCounter(pool gorm.ConnPool) *Counter { return &Counter{pool: pool} }

// Rows is valid after the statement was handed to [Counter.ConnPool].
func (c *Counter) Rows() int64 { return c.rows }

// ConnPool stands in for Statement.ConnPool while GORM's create callback runs, as
// [Sending.ConnPool] does. What the statement returns is read to its end first.
func (c *Counter) ConnPool() gorm.ConnPool { return standIn(c.pool, c.query, c.execute) }

func (c *Counter) query(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	rows, err := c.pool.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	read := &readRowSet{}
	c.rows = read.from(rows)
	return openRows(ctx, read)
}

func (c *Counter) execute(ctx context.Context, query string, args []any) (sql.Result, error) {
	result, err := c.pool.ExecContext(ctx, query, args...)
	if err == nil {
		c.rows, _ = result.RowsAffected() // a driver that cannot tell gives GORM none either
	}
	return result, err
}

// readRowSet is the rows of any driver, read to their end.
type readRowSet struct {
	names  []string
	types  []*sql.ColumnType
	values []driver.Value // of all rows, one after the other
	last   error          // what comes after them, nil for their end
	next   int            // index into values
}

// from reads and closes rows, and returns how many there were.
func (s *readRowSet) from(rows *sql.Rows) (count int64) {
	defer func() {
		if err := rows.Close(); s.last == nil {
			s.last = err
		}
	}()
	if s.names, s.last = rows.Columns(); s.last != nil {
		return 0
	}
	if s.types, s.last = rows.ColumnTypes(); s.last != nil {
		return 0
	}
	row := make([]any, len(s.names))
	for i := range row {
		row[i] = new(any)
	}
	for rows.Next() {
		if s.last = rows.Scan(row...); s.last != nil {
			return count
		}
		for _, value := range row {
			s.values = append(s.values, *value.(*any))
		}
		count++
	}
	s.last = rows.Err()
	return count
}

// The driver.Rows of the same values and types.
func (s *readRowSet) Columns() []string { return s.names }
func (s *readRowSet) Close() error      { return nil }

func (s *readRowSet) Next(dest []driver.Value) error {
	switch {
	case s.next < len(s.values):
		s.next += copy(dest, s.values[s.next:])
		return nil
	case s.last != nil:
		return s.last
	}
	return io.EOF
}

func (s *readRowSet) ColumnTypeDatabaseTypeName(index int) string {
	return s.types[index].DatabaseTypeName()
}

func (s *readRowSet) ColumnTypeLength(index int) (int64, bool) { return s.types[index].Length() }

func (s *readRowSet) ColumnTypeNullable(index int) (nullable, ok bool) {
	return s.types[index].Nullable()
}

func (s *readRowSet) ColumnTypePrecisionScale(index int) (precision, scale int64, ok bool) {
	return s.types[index].DecimalSize()
}

func (s *readRowSet) ColumnTypeScanType(index int) reflect.Type { return s.types[index].ScanType() }

// Package statement is one INSERT as GORM built it: read, rendered once, rewritten
// where a strategy needs it, and sent again.
//
// The clauses are the truth, not the caller's struct: Select, Omit, maps,
// batches and default tags are all resolved in the VALUES clause, and
// Select("Name").Create(&User{ID: 7}) does not send the 7.
package statement

import (
	"database/sql/driver"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// Insert is one INSERT statement, before it is sent.
type Insert struct {
	// Values holds the columns and rows as they will be rendered.
	Values clause.Values
	// OnConflict is the statement's ON CONFLICT, nil without one.
	OnConflict *clause.OnConflict
	// Plain is true when nothing but GORM's own clauses stand before VALUES: no
	// clause.Insert with a table or a modifier, no builder of the caller's.
	Plain bool
	// BareReturning is true for RETURNING without columns or with *. GORM then
	// fills a slice from scratch instead of element by element.
	BareReturning bool
}

// Read takes the INSERT out of a statement's clauses. It reports false for a
// statement whose shape it does not know, which then must be left alone.
func Read(clauses map[string]clause.Clause) (Insert, bool) {
	values, ok := clauses["VALUES"].Expression.(clause.Values)
	if !ok || !rectangular(values) {
		return Insert{}, false
	}
	in := Insert{Values: values, Plain: plain(clauses)}
	if c, ok := clauses["ON CONFLICT"]; ok {
		onConflict, known := c.Expression.(clause.OnConflict)
		if !known || decorated(c) {
			return Insert{}, false
		}
		in.OnConflict = &onConflict
	}
	if c, ok := clauses["RETURNING"]; ok {
		returning, _ := c.Expression.(clause.Returning)
		in.BareReturning = len(returning.Columns) == 0 ||
			(len(returning.Columns) == 1 && returning.Columns[0].Name == "*")
	}
	return in, true
}

// rectangular reports whether each row has a value for each column. GORM's own
// have; the server refuses any other.
func rectangular(values clause.Values) bool {
	for _, row := range values.Values {
		if len(row) != len(values.Columns) {
			return false
		}
	}
	return true
}

func plain(clauses map[string]clause.Clause) bool {
	c := clauses["INSERT"]
	in, ok := c.Expression.(clause.Insert)
	return ok && in.Table.Name == "" && in.Modifier == "" &&
		!decorated(c) && !decorated(clauses["VALUES"])
}

// decorated reports whether there is text around or instead of the clause's own expression.
func decorated(c clause.Clause) bool {
	return c.Builder != nil || c.BeforeExpression != nil ||
		c.AfterNameExpression != nil || c.AfterExpression != nil
}

// Rows is the number of rows that the statement sends. INSERT … DEFAULT VALUES
// sends one, however long the caller's slice.
func (in Insert) Rows() int {
	if len(in.Values.Columns) == 0 {
		return 1
	}
	return len(in.Values.Values)
}

// column is the position of the named column, or -1 when no row names it.
func (in Insert) column(name string) int {
	for i, c := range in.Values.Columns {
		if c.Name == name || columnName(c.Name) == name {
			return i
		}
	}
	return -1
}

// Has reports whether the statement lists the column.
func (in Insert) Has(column string) bool { return in.column(column) >= 0 }

// Omitted is the number of rows that leave the column to the database.
func (in Insert) Omitted(column string) int {
	index := in.column(column)
	if index < 0 {
		return in.Rows()
	}
	omitted := 0
	for _, row := range in.Values.Values {
		if isDefault(row[index]) {
			omitted++
		}
	}
	return omitted
}

// Explicit returns the integers that rows name for the column themselves. It
// reports false when a row names something that is no integer here, such as an
// expression: then these are not all the ids.
func (in Insert) Explicit(column string) (ids []int64, ok bool) {
	index := in.column(column)
	if index < 0 {
		return nil, true
	}
	ok = true
	for _, row := range in.Values.Values {
		if isDefault(row[index]) {
			continue
		}
		if id, known := integer(row[index]); known {
			ids = append(ids, id)
		} else {
			ok = false
		}
	}
	return ids, ok
}

// ID is the integer that a row names for the column itself, false without one.
func (in Insert) ID(row int, column string) (int64, bool) {
	index := in.column(column)
	if index < 0 || isDefault(in.Values.Values[row][index]) {
		return 0, false
	}
	return integer(in.Values.Values[row][index])
}

// Highest is the highest integer that a row names for the column itself, false without
// one. It calls no method of a value: the statement is a healthy one.
func (in Insert) Highest(column string) (highest int64, found bool) {
	index := in.column(column)
	if index < 0 {
		return 0, false
	}
	for _, row := range in.Values.Values {
		if _, valuer := row[index].(driver.Valuer); valuer {
			continue
		}
		if id, known := number(row[index]); known && (!found || id > highest) {
			highest, found = id, true
		}
	}
	return highest, found
}

// Value returns what a row names for the column. It reports false for a row
// that leaves it to the database or gives an expression.
func (in Insert) Value(row int, column string) (any, bool) {
	index := in.column(column)
	if index < 0 || row >= len(in.Values.Values) {
		return nil, false
	}
	value := in.Values.Values[row][index]
	return value, !isComputed(value)
}

// NamesIn reports whether the row gives the column a value of its own.
func (in Insert) NamesIn(row int, column string) bool {
	index := in.column(column)
	return index >= 0 && !isDefault(in.Values.Values[row][index])
}

// Names reports whether any row gives the column a value of its own.
func (in Insert) Names(column string) bool {
	index := in.column(column)
	return index >= 0 && slices.ContainsFunc(in.Values.Values, func(row []any) bool { return !isDefault(row[index]) })
}

// HasExpression reports whether the server computes one of the values: running
// the statement twice would then run the expression twice. DEFAULT is none.
func (in Insert) HasExpression() bool {
	for _, row := range in.Values.Values {
		for _, value := range row {
			if isComputed(value) && !isDefault(value) {
				return true
			}
		}
	}
	return false
}

// isDefault recognises what GORM's PostgreSQL dialector puts in place of a zero
// value in a batch.
func isDefault(value any) bool {
	expr, ok := value.(clause.Expr)
	return ok && len(expr.Vars) == 0 && strings.EqualFold(strings.TrimSpace(expr.SQL), "DEFAULT")
}

// isComputed recognises values that GORM renders as SQL of their own, which the
// server then computes: clause expressions, GormValue and sub-queries.
func isComputed(value any) bool {
	switch value.(type) {
	case clause.Expression, gorm.Valuer, *gorm.DB:
		return true
	}
	return false
}

// integer reads an id as the driver would send it.
func integer(value any) (int64, bool) {
	switch id := value.(type) { // what models use, many thousand times in an import
	case int64:
		return id, true
	case int:
		return int64(id), true
	}
	if valuer, ok := value.(driver.Valuer); ok && !isComputed(value) { // GORM asks GormValue before Value
		if v := reflect.ValueOf(value); v.Kind() == reflect.Pointer && v.IsNil() {
			return 0, false
		}
		sent, err := valuer.Value()
		if err != nil {
			return 0, false
		}
		value = sent
	}
	return number(value)
}

// number reads an integer, a text that is one, or a whole number as encoding/json reads them
// into a map. What GORM or pgx turns into another value is none, whatever its Go kind.
func number(value any) (int64, bool) {
	switch id := value.(type) { // what models use, many thousand times in an import
	case int64:
		return id, true
	case int:
		return int64(id), true
	}
	if _, encodes := value.(pgtype.Int64Valuer); encodes || isComputed(value) {
		return 0, false
	}
	v := reflect.ValueOf(value)
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch {
	case !v.IsValid():
		return 0, false
	case v.CanInt():
		return v.Int(), true
	case v.CanUint() && v.Uint() <= math.MaxInt64:
		return int64(v.Uint()), true
	case v.CanFloat() && v.Float() == math.Trunc(v.Float()) && v.Float() >= math.MinInt64 && v.Float() < math.MaxInt64:
		return int64(v.Float()), true
	case v.Kind() == reflect.String:
		id, err := strconv.ParseInt(strings.TrimSpace(v.String()), 10, 64)
		return id, err == nil
	}
	return 0, false
}

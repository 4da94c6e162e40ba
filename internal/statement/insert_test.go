package statement_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"math"
	"slices"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/statement"
)

// clauses are those of an INSERT of rows into the columns.
func clauses(columns []string, rows ...[]any) map[string]clause.Clause {
	values := clause.Values{Values: rows}
	for _, column := range columns {
		values.Columns = append(values.Columns, clause.Column{Name: column})
	}
	return map[string]clause.Clause{
		"INSERT": {Name: "INSERT", Expression: clause.Insert{}},
		"VALUES": {Expression: values},
	}
}

func read(t *testing.T, all map[string]clause.Clause) statement.Insert {
	t.Helper()
	in, ok := statement.Read(all)
	if !ok {
		t.Fatalf("Read does not know %v", all)
	}
	return in
}

var byDefault = clause.Expr{SQL: "DEFAULT"}

// Kinds of values that callers give.
type (
	code     int64
	point    struct{ X, Y int }
	refusing struct{}
	number   struct{ n any }
	nilable  struct{ n int64 }
)

func (point) GormValue(context.Context, *gorm.DB) clause.Expr {
	return clause.Expr{SQL: "ST_Point(?,?)", Vars: []any{1, 2}}
}
func (refusing) Value() (driver.Value, error) { return int64(1), errors.New("no") }
func (n number) Value() (driver.Value, error) { return n.n, nil }
func (n *nilable) Value() (driver.Value, error) {
	return n.n, nil // a nil pointer panics here
}

func pointer[T any](value T) *T { return &value }

func TestExplicitReadsIdsAsTheDriverSendsThem(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		value any
		want  int64
		ok    bool
	}{
		{"int", 7, 7, true},
		{"int16", int16(-7), -7, true},
		{"least", int64(math.MinInt64), math.MinInt64, true},
		{"uint", uint(7), 7, true},
		{"uint64 within int64", uint64(math.MaxInt64), math.MaxInt64, true},
		{"uint64 beyond", uint64(math.MaxInt64) + 1, 0, false},
		{"named type", code(7), 7, true},
		{"pointer", pointer(int64(7)), 7, true},
		{"pointer to pointer", pointer(pointer(7)), 7, true},
		{"nil pointer", (*int64)(nil), 0, false},
		{"nil", nil, 0, false},
		{"string", "7", 7, true},
		{"string with spaces", " 7\n", 7, true},
		{"string that is no number", "seven", 0, false},
		{"empty string", "", 0, false},
		{"number beyond int64", "9223372036854775808", 0, false},
		{"whole number of a JSON object", 7.0, 7, true},
		{"fraction", 7.5, 0, false},
		{"float beyond int64", 9223372036854775808.0, 0, false},
		{"bool", true, 0, false},
		{"bytes", []byte("7"), 0, false},
		{"valuer", number{int64(7)}, 7, true},
		{"valuer with text", number{"7"}, 7, true},
		{"valuer with null", sql.NullInt64{}, 0, false},
		{"valuer with a value", sql.NullInt64{Int64: 7, Valid: true}, 7, true},
		{"valuer that refuses", refusing{}, 0, false},
		{"nil valuer", (*nilable)(nil), 0, false},
		{"valuer by pointer", &nilable{7}, 7, true},
		{"expression", clause.Expr{SQL: "nextval('s')"}, 0, false},
		{"gorm.Valuer", point{}, 0, false},
		{"gorm.Valuer and driver.Valuer", struct {
			number
			point
		}{number: number{int64(7)}}, 0, false},
		{"sub-query", &gorm.DB{}, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			in := read(t, clauses([]string{"id"}, []any{byDefault}, []any{test.value}, []any{8}))
			ids, ok := in.Explicit("id")
			want := []int64{test.want, 8}
			if !test.ok {
				want = []int64{8}
			}
			switch {
			case ok != test.ok || !slices.Equal(ids, want):
				t.Errorf("Explicit = %v, %v; want %v, %v", ids, ok, want, test.ok)
			case in.Omitted("id") != 1 || !in.Names("id"):
				t.Errorf("Omitted = %d, Names = %v: only the first row leaves it out", in.Omitted("id"), in.Names("id"))
			}
		})
	}
}

func TestRowsThatLeaveTheColumnOut(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		clauses map[string]clause.Clause
		rows    int
		omitted int
		ids     []int64
	}{
		{"column absent", clauses([]string{"name"}, []any{"a"}, []any{"b"}), 2, 2, nil},
		{"all default", clauses([]string{"name", "id"}, []any{"a", byDefault}, []any{"b", byDefault}), 2, 2, nil},
		{"mixed", clauses([]string{"name", "id"}, []any{"a", byDefault}, []any{"b", 7}, []any{"c", 9}), 3, 1, []int64{7, 9}},
		{"all explicit", clauses([]string{"id"}, []any{7}, []any{int64(7)}), 2, 0, []int64{7, 7}},
		{"zero is an id", clauses([]string{"id"}, []any{0}), 1, 0, []int64{0}},
		{"DEFAULT VALUES", clauses(nil), 1, 1, nil},
		{"DEFAULT VALUES of a slice", clauses(nil, []any{}, []any{}, []any{}), 1, 1, nil},
		{"qualified column", clauses([]string{"users.id"}, []any{7}), 1, 0, []int64{7}},
		{"quoted column", clauses([]string{`"id"`}, []any{7}), 1, 0, []int64{7}},
		{"default in lower case", clauses([]string{"id"}, []any{clause.Expr{SQL: " default "}}), 1, 1, nil},
		{"another column of the name's end", clauses([]string{"user_id"}, []any{7}), 1, 1, nil},
		{"another case", clauses([]string{"ID"}, []any{7}), 1, 1, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			in := read(t, test.clauses)
			if in.Rows() != test.rows || in.Omitted("id") != test.omitted || in.Names("id") != (test.omitted < test.rows) {
				t.Errorf("Rows %d, Omitted %d, Names %v; want %d, %d, %v",
					in.Rows(), in.Omitted("id"), in.Names("id"), test.rows, test.omitted, test.omitted < test.rows)
			}
			if ids, ok := in.Explicit("id"); !ok || !slices.Equal(ids, test.ids) {
				t.Errorf("Explicit = %v, %v; want %v", ids, ok, test.ids)
			}
		})
	}
}

func TestDefaultWithArgumentsIsAnExpression(t *testing.T) {
	t.Parallel()
	in := read(t, clauses([]string{"id"}, []any{clause.Expr{SQL: "DEFAULT", Vars: []any{1}}}))
	if in.Omitted("id") != 0 || !in.HasExpression() {
		t.Errorf("Omitted %d, HasExpression %v; want 0, true", in.Omitted("id"), in.HasExpression())
	}
}

func TestValueTellsWhatARowGives(t *testing.T) {
	t.Parallel()
	in := read(t, clauses([]string{"tenant", "id"}, []any{"north", byDefault}, []any{point{}, 7}))
	for _, test := range []struct {
		name   string
		row    int
		column string
		want   any
		ok     bool
	}{
		{"text", 0, "tenant", "north", true},
		{"default", 0, "id", nil, false},
		{"expression", 1, "tenant", nil, false},
		{"number", 1, "id", 7, true},
		{"no such column", 0, "name", nil, false},
		{"no such row", 2, "id", nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, ok := in.Value(test.row, test.column)
			if ok != test.ok || ok && got != test.want {
				t.Errorf("Value(%d, %s) = %v, %v; want %v, %v", test.row, test.column, got, ok, test.want, test.ok)
			}
		})
	}
}

func TestHasExpressionFindsWhatTheServerComputes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		value any
		want  bool
	}{
		{"text", "now()", false},
		{"null", nil, false},
		{"DEFAULT", byDefault, false},
		{"driver.Valuer", sql.NullString{String: "x", Valid: true}, false},
		{"bytes", []byte{1}, false},
		{"expression", gorm.Expr("nextval('s')"), true},
		{"pointer to an expression", &clause.Expr{SQL: "now()"}, true},
		{"named expression", clause.NamedExpr{SQL: "@x"}, true},
		{"gorm.Valuer", point{}, true},
		{"pointer to a gorm.Valuer", &point{}, true},
		{"sub-query", &gorm.DB{}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			in := read(t, clauses([]string{"id", "x"}, []any{byDefault, "plain"}, []any{byDefault, test.value}))
			if got := in.HasExpression(); got != test.want {
				t.Errorf("HasExpression = %v, want %v", got, test.want)
			}
		})
	}
}

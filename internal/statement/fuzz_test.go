package statement_test

import (
	"slices"
	"strings"
	"testing"

	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/statement"
)

// FuzzTargetOfAnyText reads whatever stands behind INSERT INTO. A name that was read
// is the same when it is written quoted, and stands in the text.
func FuzzTargetOfAnyText(f *testing.F) {
	for _, text := range []string{
		"users", "Users (x)", `"Users"`, `s.t`, `s."t" AS x`, `"a""b"."c"`, `"a`, `""`, `a.b.c`, "1a", "$a", "é.É", "İ", `"a"b`, `a"b"`, "a.", ".a", "\xff", "a\x00b", `"a"."b`, "U&\"d\"",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, ok := statement.TargetOf("INSERT INTO " + text)
		if !ok {
			if name != (catalog.Name{}) {
				t.Errorf("%q is refused and %+v", text, name)
			}
			return
		}
		quoted := catalog.Quote(name.Table)
		if name.Schema != "" {
			quoted = catalog.Quote(name.Schema, name.Table)
		}
		if again, ok := statement.TargetOf("INSERT INTO " + quoted); !ok || again != name {
			t.Errorf("%q is %+v, and %s is %+v, %v", text, name, quoted, again, ok)
		}
		unquoted := strings.ToLower(strings.ReplaceAll(text, `""`, `"`))
		for _, part := range []string{name.Schema, name.Table} {
			if !strings.Contains(unquoted, strings.ToLower(part)) {
				t.Errorf("%q is %+v, which does not stand in it", text, name)
			}
		}
		if !strings.Contains(text, `"`) && !strings.ContainsFunc(text, func(r rune) bool { return r > 0x7f }) &&
			name.Table != strings.ToLower(name.Table) {
			t.Errorf("%q is not folded: %+v", text, name)
		}
	})
}

// cells are what a row can give a column, one for each byte of the fuzzed data.
var cells = []struct {
	value    any
	explicit bool // the row names a value of its own
	integer  bool // it is the integer 7 here
	computed bool // the server computes it
}{
	{value: clause.Expr{SQL: "DEFAULT"}},
	{value: clause.Expr{SQL: " default\n"}},
	{value: 7, explicit: true, integer: true},
	{value: " 7", explicit: true, integer: true},
	{value: pointer(uint8(7)), explicit: true, integer: true},
	{value: number{int64(7)}, explicit: true, integer: true},
	{value: nil, explicit: true},
	{value: (*nilable)(nil), explicit: true},
	{value: "seven", explicit: true},
	{value: refusing{}, explicit: true},
	{value: clause.Expr{SQL: "DEFAULT", Vars: []any{1}}, explicit: true, computed: true},
	{value: clause.Expr{SQL: "nextval('s')"}, explicit: true, computed: true},
	{value: point{}, explicit: true, computed: true},
}

// FuzzRead builds statements out of bytes: how many columns, which of them is the
// id, and what each row gives it. What Read tells is counted beside it.
func FuzzRead(f *testing.F) {
	f.Add([]byte{}, 1, 0, false)
	f.Add([]byte{0, 2, 4, 6}, 2, 1, false)
	f.Add([]byte{2, 3, 4, 5, 0, 1, 10, 11, 12}, 3, 0, false)
	f.Add([]byte{0, 0, 0}, 2, 1, false) // ragged
	f.Add([]byte{1, 2, 3}, 1, 5, true)
	f.Fuzz(func(t *testing.T, data []byte, columns, id int, qualified bool) {
		if columns < 1 || columns > 8 {
			t.Skip("GORM leaves VALUES out without columns")
		}
		names := []string{"a", "b", "c", "d", "e", "f", "g", "h"}[:columns]
		if id >= 0 && id < columns {
			names[id] = "id"
			if qualified {
				names[id] = "t.id"
			}
		}
		var rows [][]any
		var given []byte // of the id
		ragged := false
		for i := 0; i < len(data); i += columns {
			var row []any
			for j, b := range data[i:min(i+columns, len(data))] {
				row = append(row, cells[int(b)%len(cells)].value)
				if j == id {
					given = append(given, b)
				}
			}
			ragged = ragged || len(row) != columns
			rows = append(rows, row)
		}
		in, ok := statement.Read(clauses(names, rows...))
		if ok == ragged {
			t.Fatalf("Read says %v of rows that are ragged: %v", ok, ragged)
		}
		if ragged {
			return
		}
		omitted, computed, integers := len(rows), false, true
		var want []int64
		for _, b := range given {
			c := cells[int(b)%len(cells)]
			if c.explicit {
				omitted--
				want = append(want, 7)
				integers = integers && c.integer
			}
		}
		for _, b := range data {
			computed = computed || cells[int(b)%len(cells)].computed
		}
		if in.Rows() != len(rows) || in.Omitted("id") != omitted || in.Names("id") != (omitted < len(rows)) || in.HasExpression() != computed {
			t.Errorf("%d rows, %d omit the id, names %v, expression %v; want %d, %d, %v", in.Rows(), in.Omitted("id"), in.Names("id"), in.HasExpression(), len(rows), omitted, computed)
		}
		ids, read := in.Explicit("id")
		if read != integers || read && !slices.Equal(ids, want) {
			t.Errorf("Explicit = %v, %v; want %v, %v", ids, read, want, integers)
		}
		named := 0
		for row := range rows {
			if in.NamesIn(row, "id") {
				named++
			}
		}
		if named != len(rows)-omitted {
			t.Errorf("%d rows name the id, want %d", named, len(rows)-omitted)
		}
	})
}

package statement

import (
	"strings"
	"testing"

	"gorm.io/driver/postgres"
)

// FuzzColumnName writes a column as callers do, with or without table and schema,
// each bare or quoted. The name that is read is the last identifier of what GORM's
// dialector renders, and the one that was meant.
func FuzzColumnName(f *testing.F) {
	for _, name := range []string{"id", "ID", "order id", "é", "(a)", "$1", "?", "'", "\xff", "a\x00b", "*"} {
		f.Add("", "", name, uint8(0))
		f.Add("", "users", name, uint8(1))
		f.Add("s", "users", name, uint8(6))
		f.Add(name, name, name, uint8(7))
	}
	f.Fuzz(func(t *testing.T, schema, table, column string, quotedParts uint8) {
		if column == "" || strings.ContainsAny(schema+table+column, `".`) {
			t.Skip("GORM has rules of its own for quotes and dots inside a name")
		}
		var parts []string
		for i, part := range []string{schema, table, column} {
			switch {
			case part == "":
			case quotedParts>>i&1 == 1:
				parts = append(parts, `"`+part+`"`)
			default:
				parts = append(parts, part)
			}
		}
		written := strings.Join(parts, ".")
		var b strings.Builder
		postgres.Dialector{Config: &postgres.Config{}}.QuoteTo(&b, written)
		rest, last := b.String(), ""
		for {
			name, behind, ok := identifier(rest)
			if !ok || behind != "" && !strings.HasPrefix(behind, ".") {
				t.Fatalf("GORM renders %s for %q", b.String(), written)
			}
			if last = name; behind == "" {
				break
			}
			rest = behind[1:]
		}
		if got := columnName(written); got != last || got != column {
			t.Errorf("columnName(%q) = %q, and GORM renders %s, which is %q", written, got, b.String(), last)
		}
	})
}

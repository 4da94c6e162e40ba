package catalog_test

import (
	"strings"
	"testing"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/pgtest"
)

func TestQuoteWritesEachPartQuoted(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		parts []string
		want  string
	}{
		{nil, ``},
		{[]string{"users"}, `"users"`},
		{[]string{"public", "users"}, `"public"."users"`},
		{[]string{"Order Items"}, `"Order Items"`},
		{[]string{"a.b", "c"}, `"a.b"."c"`},
		{[]string{`say "hi"`}, `"say ""hi"""`},
		{[]string{`"`, `""`}, `"""".""""""`},
		{[]string{`x"; DROP TABLE users; --`}, `"x""; DROP TABLE users; --"`},
		{[]string{"Größe"}, `"Größe"`},
	} {
		if got := catalog.Quote(test.parts...); got != test.want {
			t.Errorf("Quote(%q) = %s, want %s", test.parts, got, test.want)
		}
	}
}

func TestTheServerReadsQuotedNamesBack(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	for _, name := range []string{`say "hi"`, `a.b`, `"`, `x"; SELECT 1; --`, "Größe", `back\slash`, "it's"} {
		rows, err := p.SQL.Query("SELECT 1 AS " + catalog.Quote(name))
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if columns, err := rows.Columns(); err != nil || len(columns) != 1 || columns[0] != name {
			t.Errorf("%q came back as %q, %v", name, columns, err)
		}
		if err := rows.Close(); err != nil {
			t.Error(err)
		}
	}
}

// FuzzQuote: nothing in a name ends its quotes. Read from the left, a quoted name
// gives each part back and leaves nothing.
func FuzzQuote(f *testing.F) {
	for _, name := range []string{"users", "", `"`, `""`, `"."`, `x"; DROP TABLE users; --`, `"."x`, "\xff", "\x00", "Größe", `\"`} {
		f.Add(name, name)
		f.Add("public", name)
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		for _, parts := range [][]string{{first}, {first, second}, {second, first, second}} {
			rest := catalog.Quote(parts...)
			for i, part := range parts {
				if i > 0 {
					if !strings.HasPrefix(rest, ".") {
						t.Fatalf("Quote(%q): %q does not go on with a dot", parts, rest)
					}
					rest = rest[1:]
				}
				name, behind, ok := unquote(rest)
				if !ok || name != part {
					t.Fatalf("Quote(%q): part %d reads %q, %v", parts, i, name, ok)
				}
				rest = behind
			}
			if rest != "" {
				t.Errorf("Quote(%q) goes on with %q", parts, rest)
			}
		}
	})
}

// unquote reads a quoted identifier byte by byte, as PostgreSQL's scanner does.
func unquote(text string) (name, rest string, ok bool) {
	if text == "" || text[0] != '"' {
		return "", text, false
	}
	var read []byte
	for i := 1; i < len(text); i++ {
		if text[i] != '"' {
			read = append(read, text[i])
			continue
		}
		if i+1 < len(text) && text[i+1] == '"' {
			read = append(read, '"')
			i++
			continue
		}
		return string(read), text[i+1:], true
	}
	return "", text, false
}

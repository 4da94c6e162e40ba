package catalog_test

import (
	"strings"
	"testing"
	"unicode"

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

func TestTheServerReadsLiteralsBack(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.SQL.SetMaxOpenConns(1)
	for _, conforming := range []string{"on", "off"} {
		p.Exec("SET standard_conforming_strings = " + conforming)
		for _, text := range []string{"", "users", "it's", `back\slash`, `\'; SELECT 1; --`, "a\x1b[2J\nb", "c1 \u009b31m", "Größe"} {
			literal := catalog.Literal(text)
			if got := p.Text("SELECT " + literal); got != text {
				t.Errorf("%s: the server reads %q, want %q", conforming, got, text)
			}
			if strings.ContainsFunc(literal, unicode.IsControl) {
				t.Errorf("control characters in %q", literal)
			}
		}
	}
}

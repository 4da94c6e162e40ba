package pgerr_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/seqheal/seqheal/internal/pgerr"
)

func TestKeyReadsTheDetail(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name         string
		detail       string
		index, count int
		want         int64
		ok           bool
	}{
		{"English", "Key (id)=(5) already exists.", 0, 1, 5, true},
		{"German", "Schlüssel »(id)=(5)« existiert bereits.", 0, 1, 5, true},
		{"French", "La clé « (id)=(5) » existe déjà.", 0, 1, 5, true},
		{"Japanese", "キー (id)=(5) はすでに存在します。", 0, 1, 5, true},
		{"negative", "Key (id)=(-5) already exists.", 0, 1, -5, true},
		{"least", "Key (id)=(-9223372036854775808) already exists.", 0, 1, math.MinInt64, true},
		{"greatest", "Key (id)=(9223372036854775807) already exists.", 0, 1, math.MaxInt64, true},
		{"quoted column", `Key ("Order Id")=(5) already exists.`, 0, 1, 5, true},
		{"nothing after the key", "(id)=(5)", 0, 1, 5, true},

		{"composite, first", "Key (tenant_id, id)=(7, 42) already exists.", 0, 2, 7, true},
		{"composite, last", "Key (tenant_id, id)=(7, 42) already exists.", 1, 2, 42, true},
		{"composite, middle", "Key (a, id, b)=(x, 42, y) already exists.", 1, 3, 42, true},
		{"composite, empty text", "Key (name, id)=(, 42) already exists.", 1, 2, 42, true},
		{"separator before the last", "Key (name, id)=(Doe, Jane, 42) already exists.", 1, 2, 42, true},
		{"separator after the first", "Key (id, name)=(42, Doe, Jane) already exists.", 0, 2, 42, true},
		{"separator, first of three", "Key (id, a, b)=(42, x, y, z) already exists.", 0, 3, 42, true},
		{"separator, middle is ambiguous", "Key (a, id, b)=(x, 1, 42, y) already exists.", 1, 3, 0, false},
		{"parentheses in a text", "Key (name, id)=(a) (b, 42) already exists.", 1, 2, 42, true},
		{"the mark in a text", "Key (name, id)=(x)=(9, 42) already exists.", 1, 2, 42, true},
		{"the mark ends a text", "Key (id, name)=(42, x)=() already exists.", 0, 2, 42, true},

		{"the mark in a column's name", `Key ("x)=(7, ", name)=(5, 6) already exists.`, 0, 2, 5, true},
		{"a quote and the mark in a column's name", `Key ("x"")=(7, ", name)=(5, 6) already exists.`, 0, 2, 5, true},
		{"no end of the names", `Key ("id)=(5) already exists.`, 0, 1, 0, false},

		{"no detail", "", 0, 1, 0, false},
		{"withheld", "Key already exists.", 0, 1, 0, false},
		{"truncated in the value", "Key (id)=(5", 0, 1, 0, false},
		{"truncated before the value", "Key (id)=(", 0, 1, 0, false},
		{"truncated before the mark", "Key (id)=", 0, 1, 0, false},
		{"empty value", "Key (id)=() already exists.", 0, 1, 0, false},
		{"null", "Key (id)=(null) already exists.", 0, 1, 0, false},
		{"text", "Key (id)=(abc) already exists.", 0, 1, 0, false},
		{"fraction", "Key (id)=(5.5) already exists.", 0, 1, 0, false},
		{"beyond int64", "Key (id)=(9223372036854775808) already exists.", 0, 1, 0, false},
		{"a remark in parentheses", "Key (id)=(5) already exists (5).", 0, 1, 0, false},
		{"fewer values than columns", "Key (a, id)=(5) already exists.", 0, 2, 0, false},
		{"position behind the key", "Key (a, id)=(5, 6) already exists.", 2, 2, 0, false},
		{"no position", "Key (id)=(5) already exists.", -1, 1, 0, false},
		{"no position, no columns", "Key (id)=(5) already exists.", -1, 0, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, ok := pgerr.Error{Detail: test.detail}.Key(test.index, test.count)
			if got != test.want || ok != test.ok {
				t.Errorf("Key(%d, %d) of %q = %d, %v; want %d, %v", test.index, test.count, test.detail, got, ok, test.want, test.ok)
			}
		})
	}
}

func TestNamesReadsTheDetail(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		detail  string
		columns []string
		want    bool
	}{
		{"Key (id)=(5) already exists.", []string{"id"}, true},
		{"Schlüssel »(tenant_id, id)=(7, 5)« existiert bereits.", []string{"tenant_id", "id"}, true},
		{`Key ("Order Id", "a""b")=(5, 6) already exists.`, []string{"Order Id", `a"b`}, true},
		{`Key ("x)=(7, ", id)=(5, 6) already exists.`, []string{"x)=(7, ", "id"}, true},
		{"Key (id)=(5) already exists.", []string{"i"}, false},
		{"Key (id)=(5) already exists.", []string{"id", "id"}, false},
		{"Key (id, email)=(5, a) already exists.", []string{"id"}, false},
		{"Key (email)=(id) already exists.", []string{"id"}, false},
		{"Key (lower(id))=(5) already exists.", []string{"id"}, false},
		{"", []string{"id"}, false},
		{"Key already exists.", nil, false},
	} {
		if got := (pgerr.Error{Detail: test.detail}).Names(test.columns); got != test.want {
			t.Errorf("%q names %q: %v", test.detail, test.columns, got)
		}
	}
}

// FuzzKey feeds details that a hostile value or an unknown language may produce.
func FuzzKey(f *testing.F) {
	for _, detail := range []string{
		"Key (id)=(5) already exists.", "Schlüssel »(id)=(5)« existiert bereits.", "La clé « (id)=(5) » existe déjà.",
		"Key (tenant_id, id)=(7, 42) already exists.", "Key (name, id)=(Doe, Jane, 42) already exists.",
		"Key (name, id)=(x)=(9, 42) already exists.", "Key (id)=(5", "(id)=(", ")=()", ")=(,", ", , , )=(, , )", "",
		"\xff)=(\x00)", "Key (id)=(99999999999999999999) already exists.",
	} {
		f.Add(detail, int64(5), 0, 1)
		f.Add(detail, int64(-1), 1, 2)
		f.Add(detail, int64(0), -1, 0)
	}
	f.Fuzz(func(t *testing.T, detail string, id int64, index, count int) {
		key, ok := pgerr.Error{Detail: detail}.Key(index, count)
		if ok && !strings.Contains(detail, ")=(") {
			t.Errorf("Key(%d, %d) of %q = %d without a key in it", index, count, detail, key)
		}
		if !ok && key != 0 {
			t.Errorf("Key(%d, %d) of %q = %d, false", index, count, detail, key)
		}
		// The same text as the value of another column must not hide the id.
		for i, whole := range []string{
			fmt.Sprintf("Key (id, name)=(%d, %s) already exists.", id, detail),
			fmt.Sprintf("Key (name, id)=(%s, %d) already exists.", detail, id),
		} {
			if key, ok := (pgerr.Error{Detail: whole}).Key(i, 2); !ok || key != id {
				t.Errorf("Key(%d, 2) of %q = %d, %v; want %d", i, whole, key, ok, id)
			}
		}
	})
}

// languages are the detail in some of the languages that lc_messages gives it in;
// %s is what the server writes into it.
var languages = []string{
	"Key %s already exists.", "Schlüssel »%s« existiert bereits.", "La clé « %s » existe déjà.", "Ya existe la llave %s.",
	"キー %s はすでに存在します。", `Ключ "%s" уже существует.`, "%s 키가 이미 있습니다.", `键值"%s" 已经存在`, "%s anahtarı zaten mevcut.",
	"La chiave %s esiste già.", "%s",
}

// FuzzKeyOfAnyDetail builds the detail as the server does, from names and values,
// and reads each value back. A value that cannot be told apart is not told, and none
// is ever taken for another.
func FuzzKeyOfAnyDetail(f *testing.F) {
	for _, hostile := range []string{"", "plain", "Doe, Jane", ")=(", "a)=(b, 7) ", `"`, `""`, "»", "(", ")", ", ", "7, 8, 9", "\xff\x00", "x)", "null"} {
		f.Add(uint(0), int64(5), hostile, hostile, hostile)
		f.Add(uint(1), int64(math.MinInt64), "plain", hostile, "")
		f.Add(uint(5), int64(math.MaxInt64), hostile, "", hostile)
	}
	f.Fuzz(func(t *testing.T, language uint, id int64, column, before, after string) {
		column = catalogName(column)
		words := languages[language%uint(len(languages))]
		for _, test := range []struct {
			names, values string
			index, count  int
			ambiguous     bool
		}{
			{column, fmt.Sprint(id), 0, 1, false},
			{column + ", a", fmt.Sprintf("%d, %s", id, after), 0, 2, false},
			{"a, " + column, fmt.Sprintf("%s, %d", before, id), 1, 2, false},
			{"a, " + column + ", b", fmt.Sprintf("%s, %d, %s", before, id, after), 1, 3, strings.Contains(before+"\n"+after, ", ")},
		} {
			detail := strings.Replace(words, "%s", "("+test.names+")=("+test.values+")", 1)
			key, ok := pgerr.Error{Detail: detail}.Key(test.index, test.count)
			if test.ambiguous {
				continue // a text with the separator may look like the number beside it
			}
			if !ok || key != id {
				t.Errorf("Key(%d, %d) of %q = %d, %v; want %d", test.index, test.count, detail, key, ok, id)
			}
			if strings.Contains(before+after, ")") || len(detail) > 300 {
				continue // cut behind one, a text would end where the key does
			}
			for cut := range len(detail) {
				if key, ok := (pgerr.Error{Detail: detail[:cut]}).Key(test.index, test.count); ok && key != id {
					t.Errorf("Key(%d, %d) of %q = %d, the end is missing", test.index, test.count, detail[:cut], key)
				}
			}
		}
	})
}

// catalogName quotes a name as the server does when it is not plain.
func catalogName(name string) string {
	if name == "" {
		return "id"
	}
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

package statement_test

import (
	"strings"
	"testing"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/statement"
)

func TestTargetOfReadsTheRenderedName(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("n", 100)
	for _, test := range []struct {
		name string
		sql  string
		want catalog.Name
	}{
		{"quoted", `INSERT INTO "users" ("name") VALUES ($1)`, catalog.Name{Table: "users"}},
		{"schema", `INSERT INTO "s"."bills" DEFAULT VALUES`, catalog.Name{Schema: "s", Table: "bills"}},
		{"quoted keeps its case", `INSERT INTO "Users" ("name")`, catalog.Name{Table: "Users"}},
		{"spaces", `INSERT INTO "order items" ("name")`, catalog.Name{Table: "order items"}},
		{"dot inside the quotes", `INSERT INTO "a.b" ("name")`, catalog.Name{Table: "a.b"}},
		{"doubled quote", `INSERT INTO "say ""hi""" ("name")`, catalog.Name{Table: `say "hi"`}},
		{"a quote alone", `INSERT INTO """" ("name")`, catalog.Name{Table: `"`}},
		{"doubled quotes in both", `INSERT INTO "s""".""".t" ("name")`, catalog.Name{Schema: `s"`, Table: `".t`}},
		{"unquoted is folded", `INSERT INTO Users ("name")`, catalog.Name{Table: "users"}},
		{"unquoted schema", `INSERT INTO Shop.Users ("name")`, catalog.Name{Schema: "shop", Table: "users"}},
		{"mixed", `INSERT INTO Shop."Users" ("name")`, catalog.Name{Schema: "shop", Table: "Users"}},
		{"unquoted with digits", `INSERT INTO _t1$x(name) VALUES (1)`, catalog.Name{Table: "_t1$x"}},
		{"unquoted to the end", `INSERT INTO users`, catalog.Name{Table: "users"}},
		{"non-ASCII quoted", `INSERT INTO "Größe" ("name")`, catalog.Name{Table: "Größe"}},
		{"only ASCII is folded", `INSERT INTO GRÖSSE ("name")`, catalog.Name{Table: "grÖsse"}},
		{"other scripts", `INSERT INTO 顧客.注文 ("name")`, catalog.Name{Schema: "顧客", Table: "注文"}},
		{"longer than the server keeps", `INSERT INTO "` + long + `" ("name")`, catalog.Name{Table: long}},
		{"alias", `INSERT INTO "users" AS u ("name")`, catalog.Name{Table: "users"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got, ok := statement.TargetOf(test.sql); !ok || got != test.want {
				t.Errorf("TargetOf(%s) = %+v, %v; want %+v", test.sql, got, ok, test.want)
			}
		})
	}
}

func TestTargetOfRefusesWhatIsNoName(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{
		"three parts":           `INSERT INTO "db"."s"."t" ("name")`,
		"three parts unquoted":  `INSERT INTO db.s.t (name)`,
		"another statement":     `UPDATE "users" SET "name" = $1`,
		"a modifier":            `INSERT LOW_PRIORITY INTO "users" ("name")`,
		"nothing":               ``,
		"no name":               `INSERT INTO `,
		"empty quotes":          `INSERT INTO "" ("name")`,
		"empty quotes, schema":  `INSERT INTO ""."t" ("name")`,
		"no closing quote":      `INSERT INTO "users (name)`,
		"ends in doubled quote": `INSERT INTO "users""`,
		"schema alone":          `INSERT INTO "s". ("name")`,
		"starts with a digit":   `INSERT INTO 1users ("name")`,
		"starts with a dollar":  `INSERT INTO $1 ("name")`,
		"sub-query":             `INSERT INTO (SELECT 1)`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, ok := statement.TargetOf(sql); ok {
				t.Errorf("TargetOf(%s) = %+v, want a refusal", sql, got)
			}
		})
	}
}

// FuzzTarget: what the catalog package quotes, TargetOf reads back.
func FuzzTarget(f *testing.F) {
	for _, name := range []string{
		"users", "Users", "order items", `say "hi"`, `"`, `""`, `.`, `a.b`, `"."`, "Größe", "顧客", "\xff", "$1", "1", "(", "'", "\\", "a\nb",
	} {
		f.Add("", name)
		f.Add("public", name)
		f.Add(name, name)
	}
	f.Fuzz(func(t *testing.T, schema, table string) {
		if table == "" {
			t.Skip("the server has no empty names")
		}
		quoted := catalog.Quote(table)
		if schema != "" {
			quoted = catalog.Quote(schema, table)
		}
		want := catalog.Name{Schema: schema, Table: table}
		for _, rest := range []string{"", ` ("name") VALUES ($1)`, " DEFAULT VALUES"} {
			if got, ok := statement.TargetOf("INSERT INTO " + quoted + rest); !ok || got != want {
				t.Errorf("TargetOf(INSERT INTO %s%s) = %+v, %v; want %+v", quoted, rest, got, ok, want)
			}
		}
	})
}

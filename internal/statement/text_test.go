package statement_test

import (
	"testing"

	"github.com/seqheal/seqheal/internal/statement"
)

func TestConflictClauseGoesBetweenValuesAndTheRest(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, before, after string
		key                 []string
		want                string
	}{
		{"one column", `INSERT INTO "t" ("n") VALUES ($1)`, ` RETURNING "id"`, []string{`"id"`},
			`INSERT INTO "t" ("n") VALUES ($1) ON CONFLICT ("id") DO NOTHING RETURNING "id"`},
		{"two columns", `INSERT INTO "t" ("n") VALUES ($1)`, ``, []string{`"tenant"`, `"The Id"`},
			`INSERT INTO "t" ("n") VALUES ($1) ON CONFLICT ("tenant","The Id") DO NOTHING`},
		{"DEFAULT VALUES", `INSERT INTO "t" DEFAULT VALUES`, ` RETURNING *`, []string{`"id"`},
			`INSERT INTO "t" DEFAULT VALUES ON CONFLICT ("id") DO NOTHING RETURNING *`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := test.before + statement.ConflictGuard(test.key) + test.after; got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestTripped(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		`invalid input syntax for type integer: "5 exists (seqheal)"`:                    "5",
		`ungültige Eingabesyntax für Typ integer: »-12 exists (seqheal)«`:                "-12",
		`invalid input syntax for type integer: "5"`:                                     "",
		`invalid input syntax for type integer: "99999999999999999999 exists (seqheal)"`: "99999999999999999999",
	} {
		if got := statement.Tripped(message); got != want {
			t.Errorf("%s: %q, want %q", message, got, want)
		}
	}
}

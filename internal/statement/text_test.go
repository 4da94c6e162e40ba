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

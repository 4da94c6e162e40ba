package statement_test

import (
	"testing"

	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/statement"
)

func TestConflictTargetTellsWhichIndexIsMeant(t *testing.T) {
	t.Parallel()
	columns := func(names ...string) clause.OnConflict {
		c := clause.OnConflict{}
		for _, name := range names {
			c.Columns = append(c.Columns, clause.Column{Name: name})
		}
		return c
	}
	both := columns("id")
	both.OnConstraint = "users_email_key"
	for _, test := range []struct {
		name       string
		onConflict clause.OnConflict
		key        []string
		want       statement.Target
	}{
		{"the key", columns("id"), []string{"id"}, statement.OnKey},
		{"the key, qualified", columns("users.id"), []string{"id"}, statement.OnKey},
		{"the key, as GORM calls it", columns(clause.PrimaryKey), []string{"id"}, statement.OnKey},
		{"the whole key, in another order", columns("id", "tenant"), []string{"tenant", "id"}, statement.OnKey},
		{"a part of the key", columns("id"), []string{"tenant", "id"}, statement.OnOther},
		{"more than the key", columns("id", "tenant"), []string{"id"}, statement.OnOther},
		{"another column", columns("email"), []string{"id"}, statement.OnOther},
		{"an expression", clause.OnConflict{Columns: []clause.Column{{Name: "id", Raw: true}}}, []string{"id"}, statement.OnOther},
		{"nothing", clause.OnConflict{DoNothing: true}, []string{"id"}, statement.OnAny},
		{"the key's name", clause.OnConflict{OnConstraint: "users_pkey"}, []string{"id"}, statement.OnKey},
		{"the key's name, quoted", clause.OnConflict{OnConstraint: ` "users_pkey"`}, []string{"id"}, statement.OnKey},
		{"the key's name, folded", clause.OnConflict{OnConstraint: "USERS_pkey"}, []string{"id"}, statement.OnKey},
		{"another name in quotes", clause.OnConflict{OnConstraint: `"USERS_pkey"`}, []string{"id"}, statement.OnOther},
		{"the name wins over the columns", both, []string{"id"}, statement.OnOther},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			in := read(t, with("ON CONFLICT", clause.Clause{Expression: test.onConflict}))
			if got := in.ConflictTarget(test.key, "users_pkey", "id"); got != test.want {
				t.Errorf("ConflictTarget = %d, want %d", got, test.want)
			}
		})
	}
	if got := read(t, clauses(nil)).ConflictTarget([]string{"id"}, "users_pkey", "id"); got != statement.NoConflict {
		t.Errorf("without ON CONFLICT: %d", got)
	}
}

package insert_test

import (
	"reflect"
	"testing"

	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/insert"
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
		want       insert.Target
	}{
		{"the key", columns("id"), []string{"id"}, insert.OnKey},
		{"the key, qualified", columns("users.id"), []string{"id"}, insert.OnKey},
		{"the key, as GORM calls it", columns(clause.PrimaryKey), []string{"id"}, insert.OnKey},
		{"the whole key, in another order", columns("id", "tenant"), []string{"tenant", "id"}, insert.OnKey},
		{"a part of the key", columns("id"), []string{"tenant", "id"}, insert.OnOther},
		{"more than the key", columns("id", "tenant"), []string{"id"}, insert.OnOther},
		{"another column", columns("email"), []string{"id"}, insert.OnOther},
		{"an expression", clause.OnConflict{Columns: []clause.Column{{Name: "id", Raw: true}}}, []string{"id"}, insert.OnOther},
		{"nothing", clause.OnConflict{DoNothing: true}, []string{"id"}, insert.OnAny},
		{"the key's name", clause.OnConflict{OnConstraint: "users_pkey"}, []string{"id"}, insert.OnKey},
		{"the key's name, quoted", clause.OnConflict{OnConstraint: ` "users_pkey"`}, []string{"id"}, insert.OnKey},
		{"the key's name, folded", clause.OnConflict{OnConstraint: "USERS_pkey"}, []string{"id"}, insert.OnKey},
		{"another name in quotes", clause.OnConflict{OnConstraint: `"USERS_pkey"`}, []string{"id"}, insert.OnOther},
		{"the name wins over the columns", both, []string{"id"}, insert.OnOther},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			in := read(t, with("ON CONFLICT", clause.Clause{Expression: test.onConflict}))
			if got := in.ConflictTarget(test.key, "users_pkey", "id"); got != test.want {
				t.Errorf("ConflictTarget = %d, want %d", got, test.want)
			}
		})
	}
	if got := read(t, clauses(nil)).ConflictTarget([]string{"id"}, "users_pkey", "id"); got != insert.NoConflict {
		t.Errorf("without ON CONFLICT: %d", got)
	}
}

func TestTuplesAreTheWholeKeysOfTheExplicitRows(t *testing.T) {
	t.Parallel()
	key := []string{"tenant", "id"}
	for _, test := range []struct {
		name    string
		clauses map[string]clause.Clause
		want    [][]any
		ok      bool
	}{
		{"column absent", clauses([]string{"tenant"}, []any{1}), nil, true},
		{"mixed", clauses([]string{"id", "tenant"}, []any{byDefault, 1}, []any{5, 2}, []any{6, 1}), [][]any{{2, 5}, {1, 6}}, true},
		{"the other part is left out", clauses([]string{"id"}, []any{5}), nil, false},
		{"the other part is a default", clauses([]string{"id", "tenant"}, []any{5, byDefault}), nil, false},
		{"the other part is computed", clauses([]string{"id", "tenant"}, []any{5, point{}}), nil, false},
		{"a default row may compute", clauses([]string{"id", "tenant"}, []any{byDefault, point{}}, []any{5, 1}), [][]any{{1, 5}}, true},
		{"the id is computed", clauses([]string{"id", "tenant"}, []any{clause.Expr{SQL: "nextval('s')"}, 1}), nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, ok := read(t, test.clauses).Tuples("id", key)
			if ok != test.ok || !reflect.DeepEqual(got, test.want) {
				t.Errorf("Tuples = %v, %v; want %v, %v", got, ok, test.want, test.ok)
			}
		})
	}
}

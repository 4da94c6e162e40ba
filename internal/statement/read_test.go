package statement_test

import (
	"testing"

	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/statement"
)

// with adds a clause to those of a plain INSERT of one row.
func with(name string, c clause.Clause) map[string]clause.Clause {
	all := clauses([]string{"name"}, []any{"a"})
	all[name] = c
	return all
}

var text = clause.Expr{SQL: "/* by hand */"}

func TestPlainMeansNothingOfTheCallersBeforeTheValues(t *testing.T) {
	t.Parallel()
	values := clause.Values{Columns: []clause.Column{{Name: "name"}}, Values: [][]any{{"a"}}}
	builder := func(clause.Clause, clause.Builder) {}
	without := clauses([]string{"name"}, []any{"a"})
	delete(without, "INSERT")
	for _, test := range []struct {
		name    string
		clauses map[string]clause.Clause
		want    bool
	}{
		{"GORM's own", clauses([]string{"name"}, []any{"a"}), true},
		{"no INSERT clause", without, false},
		{"modifier", with("INSERT", clause.Clause{Expression: clause.Insert{Modifier: "OVERRIDING"}}), false},
		{"table", with("INSERT", clause.Clause{Expression: clause.Insert{Table: clause.Table{Name: "other"}}}), false},
		{"expression of the caller's", with("INSERT", clause.Clause{Expression: text}), false},
		{"text before INSERT", with("INSERT", clause.Clause{Expression: clause.Insert{}, BeforeExpression: text}), false},
		{"text after INSERT", with("INSERT", clause.Clause{Expression: clause.Insert{}, AfterNameExpression: text}), false},
		{"builder", with("INSERT", clause.Clause{Expression: clause.Insert{}, Builder: builder}), false},
		{"text after VALUES", with("VALUES", clause.Clause{Expression: values, AfterExpression: text}), false},
		{"text before VALUES", with("VALUES", clause.Clause{Expression: values, BeforeExpression: text}), false},
		{"builder of VALUES", with("VALUES", clause.Clause{Expression: values, Builder: builder}), false},
		{"RETURNING is none of it", with("RETURNING", clause.Clause{Expression: clause.Returning{}}), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := read(t, test.clauses).Plain; got != test.want {
				t.Errorf("Plain = %v, want %v", got, test.want)
			}
		})
	}
}

func TestBareReturningIsOneThatNamesNoColumn(t *testing.T) {
	t.Parallel()
	returning := func(names ...string) map[string]clause.Clause {
		r := clause.Returning{}
		for _, name := range names {
			r.Columns = append(r.Columns, clause.Column{Name: name})
		}
		return with("RETURNING", clause.Clause{Expression: r})
	}
	for _, test := range []struct {
		name    string
		clauses map[string]clause.Clause
		want    bool
	}{
		{"none", clauses([]string{"name"}, []any{"a"}), false},
		{"without columns", returning(), true},
		{"star", returning("*"), true},
		{"id", returning("id"), false},
		{"several", returning("id", "*"), false},
		{"expression of the caller's", with("RETURNING", clause.Clause{Expression: text}), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := read(t, test.clauses).BareReturning; got != test.want {
				t.Errorf("BareReturning = %v, want %v", got, test.want)
			}
		})
	}
}

func TestReadHandsOutOnConflict(t *testing.T) {
	t.Parallel()
	if read(t, clauses([]string{"name"}, []any{"a"})).OnConflict != nil {
		t.Error("an ON CONFLICT out of nothing")
	}
	in := read(t, with("ON CONFLICT", clause.Clause{Expression: clause.OnConflict{DoNothing: true}}))
	if in.OnConflict == nil || !in.OnConflict.DoNothing {
		t.Errorf("OnConflict = %+v, want DO NOTHING", in.OnConflict)
	}
}

func TestReadLeavesUnknownShapesAlone(t *testing.T) {
	t.Parallel()
	without := clauses([]string{"name"}, []any{"a"})
	delete(without, "VALUES")
	for name, all := range map[string]map[string]clause.Clause{
		"no clauses":               nil,
		"no VALUES":                without,
		"another VALUES":           with("VALUES", clause.Clause{Expression: text}),
		"ON CONFLICT by hand":      with("ON CONFLICT", clause.Clause{Expression: text}),
		"text after ON CONFLICT":   with("ON CONFLICT", clause.Clause{Expression: clause.OnConflict{}, AfterExpression: text}),
		"ON CONFLICT with builder": with("ON CONFLICT", clause.Clause{Expression: clause.OnConflict{}, Builder: func(clause.Clause, clause.Builder) {}}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if in, ok := statement.Read(all); ok {
				t.Errorf("Read = %+v, want it left alone", in)
			}
		})
	}
}

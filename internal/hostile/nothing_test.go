package hostile_test

import (
	"testing"

	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// Where nothing changes under a program, a drift is healed and a healthy table is as
// with plain GORM, in every setting.
func TestCreate_whereNothingChanges(t *testing.T) {
	t.Parallel()
	beside(t, program{name: "users", settings: every, run: func(w *world) {
		w.touch("users")
		w.useAll("after", "users", rewind)
	}})
}

// A row that DO NOTHING drops on a table made anew is reported, though its next draw is free.
func TestDoNothing_reportsTheFirstRowOfATableMadeAnew(t *testing.T) {
	t.Parallel()
	const create = "CREATE TABLE users (id bigserial PRIMARY KEY, name text UNIQUE);"
	p := pgtest.New(t)
	p.Exec(create)
	var seen incidents
	db := p.Open(nil, plugin.New(plugin.OnIncident(seen.report)))
	nothing := func(name string) error {
		return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&user{Name: name}).Error
	}
	if err := nothing("before"); err != nil {
		t.Fatal(err)
	}
	p.Exec("DROP TABLE users;" + create + "INSERT INTO users VALUES (1, 'restored')")
	if err := nothing("after"); err != nil {
		t.Fatal(err)
	}
	if err := nothing("after"); err != nil {
		t.Fatal(err)
	}
	if got := p.Text("SELECT id = 1, name FROM users ORDER BY id"); got != "true|restored\nfalse|after" {
		t.Errorf("rows %q", got)
	}
	if all := seen.reported(); len(all) != 1 || all[0].Outcome != plugin.Healed || !all[0].Silent {
		t.Errorf("incidents %v, want one that is healed", all)
	}
}

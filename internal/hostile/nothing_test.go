package hostile_test

import (
	"testing"

	"gorm.io/gorm"
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

// The value before the statement is asked for by the sequence's name, which may be another one by
// now: the table is read anew.
func TestDoNothing_afterTheSequenceWasRenamed(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"cache_statement", "simple_protocol"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			p := program{setup: usersSchema + "CREATE UNIQUE INDEX ON users (name, id);", dsn: map[string]string{"default_query_exec_mode": protocol}}
			w := p.open(t, gormTx, true, true)
			on := clause.OnConflict{Columns: []clause.Column{{Name: "id"}}, DoNothing: true}
			if err := w.db.Clauses(on).Create(&user{Name: "first"}).Error; err != nil {
				t.Fatal(err)
			}
			w.place.Exec("ALTER SEQUENCE users_id_seq RENAME TO ids")
			err := w.db.Transaction(func(tx *gorm.DB) error {
				if err := tx.Create(&user{ID: 22, Name: "own"}).Error; err != nil {
					return err
				}
				w.place.Exec("INSERT INTO users SELECT n, 'imported' FROM generate_series(23, 24) n")
				return tx.Clauses(on).Create(&user{Name: "new"}).Error
			})
			if err != nil || w.added() != "first own imported imported new" || len(w.reported()) != 1 {
				t.Errorf("error %v; added %s; reported %v", err, w.added(), w.reported())
			}
		})
	}
}

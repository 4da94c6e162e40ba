package hostile_test

import (
	"fmt"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/internal/sequence"
	"github.com/seqheal/seqheal/plugin"
)

// slugged has a column that the database computes, and one with a default that the program sets.
type slugged struct {
	ID        int64
	Name      string
	Slug      string    `gorm:"->"`
	CreatedAt time.Time `gorm:"default:now()"`
}

func (slugged) TableName() string { return "users" }

const sluggedSchema = `CREATE TABLE users (id bigserial PRIMARY KEY, name text, slug text GENERATED ALWAYS AS ('slug ' || name) STORED, created_at timestamptz DEFAULT now());
	INSERT INTO users (id, name) SELECT g, 'old ' || g FROM generate_series(1, 20) g;`

// twoBehind makes the next two ids ones that exist.
const twoBehind = "SELECT setval('users_id_seq', 18)"

func returning(columns ...string) (r clause.Returning) {
	for _, name := range columns {
		r.Columns = append(r.Columns, clause.Column{Name: name})
	}
	return r
}

// Whatever RETURNING names, each struct has its own row's values after a heal, and each row is
// stored, in one round trip and in three.
func TestReturning_underDoNothing(t *testing.T) {
	t.Parallel()
	for columns, r := range map[string]clause.Returning{"id": returning("id"), "id and slug": returning("id", "slug"), "id and name": returning("id", "name"), "the model's": {}} {
		for _, mode := range []string{"cache_statement", "simple_protocol"} {
			for _, rows := range []int{1, 4} {
				t.Run(fmt.Sprintf("%s, %s, %d rows", columns, mode, rows), func(t *testing.T) {
					t.Parallel()
					p := pgtest.New(t)
					p.Exec(sluggedSchema + twoBehind)
					db := p.OpenDSN(p.DSNFor(map[string]string{"default_query_exec_mode": mode}), &gorm.Config{}, plugin.New())
					chain := db.Clauses(clause.OnConflict{DoNothing: true})
					if len(r.Columns) > 0 {
						chain = chain.Clauses(r)
					}
					us := make([]slugged, rows)
					for i := range us {
						us[i] = slugged{Name: fmt.Sprint("new ", i), CreatedAt: time.Now()}
					}
					if err := chain.Create(&us).Error; err != nil {
						t.Error(err)
					}
					for i, u := range us {
						// GORM fills no struct that has set a column which RETURNING names.
						want, filled := slugged{Name: fmt.Sprint("new ", i), CreatedAt: u.CreatedAt}, columns == "id" || columns == "id and slug"
						id := p.Int("SELECT sum(id) FROM users WHERE name = $1", want.Name)
						if filled {
							want.ID = id
						}
						if columns == "id and slug" {
							want.Slug = "slug " + want.Name
						}
						if u != want || id <= 20 {
							t.Errorf("struct %d is %+v, and its row has the id %d", i, u, id)
						}
					}
				})
			}
		}
	}
}

// What GORM filled from rows that were undone is as it was before, also when the heal fails.
func TestReturning_afterAFailedHeal(t *testing.T) {
	t.Parallel()
	const trigger = `CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER f BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION f();`
	update := clause.OnConflict{Columns: byID, DoUpdates: clause.AssignmentColumns([]string{"name"})}
	for _, test := range []struct {
		name, setup string
		on          clause.OnConflict
	}{{"DO NOTHING", "", clause.OnConflict{DoNothing: true}}, {"DO UPDATE under a trigger", trigger, update}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(usersSchema + test.setup + "INSERT INTO users SELECT g, 'import' FROM generate_series(23, 90) g")
			db := p.Open(&gorm.Config{}, plugin.New(plugin.WithResyncTimeout(300*time.Millisecond)))
			holder, err := p.SQL.Begin()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := holder.Exec("SELECT pg_advisory_xact_lock($1, $2::oid::int4)", int64(sequence.LockClass), p.Int("SELECT 'users_id_seq'::regclass::oid::int8")); err != nil {
				t.Fatal(err)
			}
			us, ps := []user{{Name: "a"}, {Name: "b"}, {Name: "c"}}, []*user{{Name: "d"}, {Name: "e"}, {Name: "f"}}
			for _, into := range []any{&us, &ps} {
				p.Exec(twoBehind) // the third row is stored, and comes back first
				if err := db.Clauses(test.on, clause.Returning{}).Create(into).Error; err == nil {
					t.Error("no error")
				}
			}
			if err := holder.Rollback(); err != nil {
				t.Fatal(err)
			}
			for i, u := range []user{us[0], us[1], us[2], *ps[0], *ps[1], *ps[2]} {
				if want := (user{Name: string(rune('a' + i))}); u != want {
					t.Errorf("struct %d is %+v, not %+v", i, u, want)
				}
			}
		})
	}
}

// Maps that GORM appended for rows that were undone are gone.
func TestReturning_intoMaps(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(usersSchema + twoBehind)
	db := p.Open(&gorm.Config{}, plugin.New())
	rows := []map[string]any{{"name": "a"}, {"name": "b"}, {"name": "c"}, {"name": "d"}}
	if err := db.Table("users").Clauses(clause.OnConflict{DoNothing: true}, returning("id", "name")).Create(&rows).Error; err != nil {
		t.Fatal(err)
	}
	if len(rows) != 8 { // GORM appends what came back
		t.Errorf("%d maps: %v", len(rows), rows)
	}
	for _, row := range rows[4:] {
		if name := p.Text("SELECT name FROM users WHERE id = $1", row["id"]); name != row["name"] {
			t.Errorf("%v, and the row is %q", row, name)
		}
	}
}

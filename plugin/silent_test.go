package plugin_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

const shopSchema = `
CREATE TABLE people (id bigserial PRIMARY KEY, name text, boss_id bigint REFERENCES people);
CREATE TABLE passports (id bigserial PRIMARY KEY, name text, person_id bigint REFERENCES people);
CREATE TABLE animals (id bigserial PRIMARY KEY, name text, person_id bigint REFERENCES people);
CREATE TABLE toys (id bigserial PRIMARY KEY, name text, owner_id bigint, owner_type text);
CREATE TABLE labels (id bigserial PRIMARY KEY, name text UNIQUE, color text);
CREATE TABLE animal_labels (animal_id bigint REFERENCES animals, label_id bigint REFERENCES labels, PRIMARY KEY (animal_id, label_id));
CREATE TABLE members (id bigserial PRIMARY KEY, email text CONSTRAINT members_email UNIQUE, name text, visits int DEFAULT 0);
INSERT INTO people SELECT g, 'old person ' || g FROM generate_series(1, 20) g;
INSERT INTO passports SELECT g, 'old passport ' || g, g FROM generate_series(1, 20) g;
INSERT INTO animals SELECT g, 'old animal ' || g, g FROM generate_series(1, 20) g;
INSERT INTO toys SELECT g, 'old toy ' || g, g, 'animals' FROM generate_series(1, 20) g;
INSERT INTO labels SELECT g, 'old label ' || g, 'red' FROM generate_series(1, 20) g;
INSERT INTO animal_labels SELECT g, g FROM generate_series(1, 20) g;
INSERT INTO members SELECT g, 'old' || g || '@x', 'old member ' || g, 1 FROM generate_series(1, 20) g;
`

var shopTables = []string{"people", "passports", "animals", "toys", "labels", "members"}

// shopRows tells every column of every row; the ids of new rows, which depend on
// the sequence, are told by the rows' names.
const shopRows = `
SELECT 'person', CASE WHEN p.id <= 20 THEN p.id END, p.name, b.name, NULL FROM people p LEFT JOIN people b ON b.id = p.boss_id
UNION ALL SELECT 'passport', CASE WHEN x.id <= 20 THEN x.id END, x.name, p.name, NULL FROM passports x LEFT JOIN people p ON p.id = x.person_id
UNION ALL SELECT 'animal', CASE WHEN x.id <= 20 THEN x.id END, x.name, p.name, NULL FROM animals x LEFT JOIN people p ON p.id = x.person_id
UNION ALL SELECT 'toy', CASE WHEN x.id <= 20 THEN x.id END, x.name, a.name, x.owner_type FROM toys x LEFT JOIN animals a ON a.id = x.owner_id
UNION ALL SELECT 'label', CASE WHEN id <= 20 THEN id END, name, color, NULL FROM labels
UNION ALL SELECT 'animal label', NULL, a.name, l.name, NULL FROM animal_labels x JOIN animals a ON a.id = x.animal_id JOIN labels l ON l.id = x.label_id
UNION ALL SELECT 'member', CASE WHEN id <= 20 THEN id END, email, name, visits::text FROM members
ORDER BY 1, 2, 3, 4`

type person struct {
	ID       int64
	Name     string
	BossID   *int64
	Boss     *person
	Reports  []person `gorm:"foreignKey:BossID"`
	Passport *passport
	Animals  []animal
}

func (person) TableName() string { return "people" }

type passport struct {
	ID       int64
	Name     string
	PersonID *int64
}

type animal struct {
	ID       int64
	Name     string
	PersonID *int64
	Person   *person
	Labels   []label `gorm:"many2many:animal_labels"`
	Toys     []toy   `gorm:"polymorphic:Owner"`
}

type toy struct {
	ID        int64
	Name      string
	OwnerID   int64
	OwnerType string
}

type label struct {
	ID    int64
	Name  string
	Color string
}

type subscriber struct {
	ID     int64
	Email  string
	Name   string
	Visits int `gorm:"default:0"`
}

func (subscriber) TableName() string { return "members" }

// named is a struct's id and the name that its row must have.
type named struct {
	table string
	id    int64
	name  string
}

// silentProgram is something that an application does with associations and
// upserts. It returns the structs whose ids it now holds.
type silentProgram struct {
	name string
	run  func(*gorm.DB) ([]named, error)
	// loud programs fail with a 23505 on drift without the plugin.
	loud bool
}

var byKey = []clause.Column{{Name: "id"}}

var silentPrograms = []silentProgram{
	{"has one", func(db *gorm.DB) ([]named, error) {
		p := person{Name: "P", Passport: &passport{Name: "X"}}
		err := db.Create(&p).Error
		return []named{{"people", p.ID, "P"}, {"passports", p.Passport.ID, "X"}}, err
	}, false},
	{"has many, one child", func(db *gorm.DB) ([]named, error) {
		p := person{Name: "P", Animals: []animal{{Name: "A"}}}
		err := db.Create(&p).Error
		return []named{{"people", p.ID, "P"}, {"animals", p.Animals[0].ID, "A"}}, err
	}, false},
	{"has many, many children of many parents", func(db *gorm.DB) ([]named, error) {
		ps := []person{{Name: "P", Animals: []animal{{Name: "A"}, {Name: "B"}}}, {Name: "Q", Animals: []animal{{Name: "C"}, {Name: "D"}}}}
		err := db.Create(&ps).Error
		return []named{{"people", ps[1].ID, "Q"}, {"animals", ps[0].Animals[0].ID, "A"}, {"animals", ps[0].Animals[1].ID, "B"},
			{"animals", ps[1].Animals[0].ID, "C"}, {"animals", ps[1].Animals[1].ID, "D"}}, err
	}, false},
	{"has many with an existing child", func(db *gorm.DB) ([]named, error) {
		p := person{Name: "P", Animals: []animal{{Name: "A"}, {ID: 3, Name: "ignored"}, {Name: "B"}}}
		err := db.Create(&p).Error
		return []named{{"animals", p.Animals[0].ID, "A"}, {"animals", p.Animals[1].ID, "old animal 3"}, {"animals", p.Animals[2].ID, "B"}}, err
	}, false},
	{"belongs to", func(db *gorm.DB) ([]named, error) {
		a := animal{Name: "A", Person: &person{Name: "P"}}
		err := db.Create(&a).Error
		return []named{{"animals", a.ID, "A"}, {"people", a.Person.ID, "P"}, {"people", *a.PersonID, "P"}}, err
	}, false},
	{"belongs to, many", func(db *gorm.DB) ([]named, error) {
		as := []animal{{Name: "A", Person: &person{Name: "P"}}, {Name: "B", Person: &person{Name: "Q"}}}
		err := db.Create(&as).Error
		return []named{{"animals", as[0].ID, "A"}, {"people", *as[0].PersonID, "P"}, {"people", *as[1].PersonID, "Q"}}, err
	}, false},
	{"belongs to an existing one", func(db *gorm.DB) ([]named, error) {
		a := animal{Name: "A", Person: &person{ID: 4, Name: "ignored"}}
		err := db.Create(&a).Error
		return []named{{"animals", a.ID, "A"}, {"people", *a.PersonID, "old person 4"}}, err
	}, true},
	{"many to many", func(db *gorm.DB) ([]named, error) {
		a := animal{Name: "A", Labels: []label{{Name: "L"}, {Name: "M"}}}
		err := db.Create(&a).Error
		return []named{{"animals", a.ID, "A"}, {"labels", a.Labels[0].ID, "L"}, {"labels", a.Labels[1].ID, "M"}}, err
	}, false},
	{"many to many, one", func(db *gorm.DB) ([]named, error) {
		a := animal{Name: "A", Labels: []label{{Name: "L"}}}
		err := db.Create(&a).Error
		return []named{{"animals", a.ID, "A"}, {"labels", a.Labels[0].ID, "L"}}, err
	}, false},
	{"many to many with existing ones", func(db *gorm.DB) ([]named, error) {
		a := animal{Name: "A", Labels: []label{{ID: 2, Name: "old label 2"}, {Name: "L"}, {Name: "M"}}}
		err := db.Create(&a).Error
		return []named{{"animals", a.ID, "A"}}, err // GORM itself mixes the ids up here
	}, false},
	{"polymorphic", func(db *gorm.DB) ([]named, error) {
		a := animal{Name: "A", Toys: []toy{{Name: "T"}, {Name: "U"}}}
		err := db.Create(&a).Error
		return []named{{"toys", a.Toys[0].ID, "T"}, {"toys", a.Toys[1].ID, "U"}}, err
	}, false},
	{"self-referential", func(db *gorm.DB) ([]named, error) {
		p := person{Name: "P", Boss: &person{Name: "Q"}, Reports: []person{{Name: "R"}, {Name: "S"}}}
		err := db.Create(&p).Error
		return []named{{"people", p.ID, "P"}, {"people", p.Boss.ID, "Q"}, {"people", p.Reports[0].ID, "R"}, {"people", p.Reports[1].ID, "S"}}, err
	}, false},
	{"nested several levels", func(db *gorm.DB) ([]named, error) {
		p := person{Name: "P", Passport: &passport{Name: "X"}, Reports: []person{{Name: "Q", Animals: []animal{
			{Name: "A", Labels: []label{{Name: "L"}}, Toys: []toy{{Name: "T"}, {Name: "U"}}}, {Name: "B", Labels: []label{{Name: "M"}, {Name: "N"}}}}}}}
		err := db.Create(&p).Error
		as := p.Reports[0].Animals
		return []named{{"people", p.ID, "P"}, {"people", p.Reports[0].ID, "Q"}, {"animals", as[0].ID, "A"}, {"animals", as[1].ID, "B"},
			{"toys", as[0].Toys[1].ID, "U"}, {"labels", as[1].Labels[1].ID, "N"}}, err
	}, false},
	{"FullSaveAssociations", func(db *gorm.DB) ([]named, error) {
		p := person{Name: "P", Animals: []animal{{Name: "A", Labels: []label{{Name: "L"}}}, {ID: 5, Name: "renamed"}}, Passport: &passport{Name: "X"}}
		err := db.Session(&gorm.Session{FullSaveAssociations: true}).Create(&p).Error
		return []named{{"animals", p.Animals[0].ID, "A"}, {"animals", p.Animals[1].ID, "renamed"}, {"passports", p.Passport.ID, "X"}}, err
	}, false},
	{"Association.Append and Replace", func(db *gorm.DB) ([]named, error) {
		p := person{ID: 6, Name: "old person 6"}
		a, b, c := animal{Name: "A"}, animal{Name: "B"}, animal{Name: "C"}
		err := db.Model(&p).Association("Animals").Append(&a)
		err = errors.Join(err, db.Model(&p).Association("Animals").Append([]*animal{&b, &c}))
		l := label{Name: "L"}
		err = errors.Join(err, db.Model(&animal{ID: 7}).Association("Labels").Replace(&l))
		x := passport{Name: "X"}
		err = errors.Join(err, db.Model(&p).Association("Passport").Replace(&x))
		return []named{{"animals", a.ID, "A"}, {"animals", b.ID, "B"}, {"animals", c.ID, "C"}, {"labels", l.ID, "L"}, {"passports", x.ID, "X"}}, err
	}, false},
	{"Save of new rows", func(db *gorm.DB) ([]named, error) {
		ms := []subscriber{{Email: "a@x", Name: "A"}, {Email: "b@x", Name: "B"}}
		err := db.Save(&ms).Error
		return []named{{"members", ms[0].ID, "A"}, {"members", ms[1].ID, "B"}}, err
	}, false},
	{"Save of new and existing rows", func(db *gorm.DB) ([]named, error) {
		ms := []subscriber{{Email: "a@x", Name: "A"}, {ID: 3, Email: "old3@x", Name: "renamed", Visits: 9}, {Email: "b@x", Name: "B"}}
		err := db.Save(&ms).Error
		return []named{{"members", ms[0].ID, "A"}, {"members", ms[1].ID, "renamed"}, {"members", ms[2].ID, "B"}}, err
	}, false},
	{"UpdateAll, one row", func(db *gorm.DB) ([]named, error) {
		m := subscriber{Email: "a@x", Name: "A"}
		err := db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&m).Error
		return []named{{"members", m.ID, "A"}}, err
	}, false},
	{"by the key's column, DoUpdates, several", func(db *gorm.DB) ([]named, error) {
		ms := []subscriber{{Email: "a@x", Name: "A"}, {Email: "b@x", Name: "B"}}
		err := db.Clauses(clause.OnConflict{Columns: byKey, DoUpdates: clause.AssignmentColumns([]string{"name", "email"})}).Create(&ms).Error
		return []named{{"members", ms[0].ID, "A"}, {"members", ms[1].ID, "B"}}, err
	}, false},
	{"by clause.PrimaryKey, values of the caller's", func(db *gorm.DB) ([]named, error) {
		m := subscriber{Email: "a@x", Name: "A"}
		err := db.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: clause.PrimaryKey}}, DoUpdates: clause.Assignments(map[string]any{"name": "overwritten"})}).Create(&m).Error
		return []named{{"members", m.ID, "A"}}, err
	}, false},
	{"by the key's column, DoNothing", func(db *gorm.DB) ([]named, error) {
		ms := []subscriber{{Email: "a@x", Name: "A"}, {Email: "b@x", Name: "B"}}
		err := db.Clauses(clause.OnConflict{Columns: byKey, DoNothing: true}).Create(&ms).Error
		return []named{{"members", ms[0].ID, "A"}, {"members", ms[1].ID, "B"}}, err
	}, false},
	{"by OnConstraint of the key with UpdateAll", func(db *gorm.DB) ([]named, error) {
		m := subscriber{Email: "a@x", Name: "A"}
		err := db.Clauses(clause.OnConflict{OnConstraint: "members_pkey", UpdateAll: true}).Create(&m).Error
		return []named{{"members", m.ID, "A"}}, err
	}, false},
	{"by OnConstraint of another with UpdateAll", func(db *gorm.DB) ([]named, error) {
		ms := []subscriber{{Email: "a@x", Name: "A"}, {Email: "old4@x", Name: "renamed"}}
		err := db.Clauses(clause.OnConflict{OnConstraint: "members_email", UpdateAll: true}).Create(&ms).Error
		return []named{{"members", ms[0].ID, "A"}, {"members", ms[1].ID, "renamed"}}, err
	}, true},
	{"by another unique column", func(db *gorm.DB) ([]named, error) {
		upsert := db.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "email"}}, DoUpdates: clause.AssignmentColumns([]string{"name"})}).Session(&gorm.Session{})
		m, n := subscriber{Email: "a@x", Name: "A"}, subscriber{Email: "old5@x", Name: "renamed"}
		err := upsert.Create(&m).Error
		err = errors.Join(err, upsert.Create(&n).Error)
		return []named{{"members", m.ID, "A"}, {"members", n.ID, "renamed"}}, err
	}, true},
	{"DoNothing without a target, new", func(db *gorm.DB) ([]named, error) {
		m := subscriber{Email: "a@x", Name: "A"}
		err := db.Clauses(clause.OnConflict{DoNothing: true}).Create(&m).Error
		return []named{{"members", m.ID, "A"}}, err
	}, false},
	{"DoNothing without a target, several new", func(db *gorm.DB) ([]named, error) {
		ms := []subscriber{{Email: "a@x", Name: "A"}, {Email: "b@x", Name: "B"}, {Email: "c@x", Name: "C"}}
		err := db.Clauses(clause.OnConflict{DoNothing: true}).Create(&ms).Error
		return []named{{"members", ms[0].ID, "A"}, {"members", ms[1].ID, "B"}, {"members", ms[2].ID, "C"}}, err
	}, false},
	{"DoUpdates with a Where", func(db *gorm.DB) ([]named, error) {
		ms := []subscriber{{Email: "a@x", Name: "A"}, {ID: 8, Email: "old8@x", Name: "skipped"}, {ID: 9, Email: "old9@x", Name: "renamed"}}
		err := db.Clauses(clause.OnConflict{Columns: byKey, DoUpdates: clause.AssignmentColumns([]string{"name"}),
			Where: clause.Where{Exprs: []clause.Expression{clause.Expr{SQL: "members.visits = ? OR members.name = ?", Vars: []any{7, "old member 9"}}}}}).Create(&ms).Error
		return nil, err // rows that the condition skips shift GORM's ids
	}, false},
	{"maps with an upsert", func(db *gorm.DB) ([]named, error) {
		return nil, db.Model(&subscriber{}).Clauses(clause.OnConflict{Columns: byKey, DoUpdates: clause.AssignmentColumns([]string{"name"})}).
			Create(map[string]any{"Email": "a@x", "Name": "A"}).Error
	}, false},
}

// On a drifted table each silent path does what it does on a healthy one: the
// same rows, every column of them, and structs that hold their own rows' ids.
func TestSilentPathsAreAsOnAHealthyTable(t *testing.T) {
	t.Parallel()
	for _, p := range silentPrograms {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			for _, m := range modes {
				want := shopAfter(t, m, p, 20)
				for _, rewind := range []string{"never", "start", "random"} {
					for _, guard := range []plugin.Guard{plugin.GuardAuto, plugin.GuardSavepoint} {
						if guard == plugin.GuardSavepoint && rewind != "start" {
							continue
						}
						t.Run(fmt.Sprintf("%s, rewound %s, guard %d", m.name, rewind, guard), func(t *testing.T) {
							var seen incidents
							healing := plugin.New(plugin.WithGuard(guard), seen.option())
							got := shopAfter(t, m, p, map[string]int{"never": 20, "start": 0, "random": rand.IntN(20)}[rewind], healing)
							if got != want {
								t.Errorf("with the plugin:\n%s\non a healthy table without:\n%s", got, want)
							}
							if rewind == "never" {
								seen.none(t)
								return
							}
							silent := 0
							for _, i := range seen.list() {
								if i.Outcome != plugin.Healed && i.Outcome != plugin.AlreadyHealed {
									t.Errorf("incident %v", i)
								}
								if i.Silent {
									silent++
									if !strings.Contains(i.String(), "would have") {
										t.Errorf("log line %q", i)
									}
								}
							}
							if rewind == "start" && p.loud != (silent == 0) {
								t.Errorf("%d silent incidents of %v", silent, seen.list())
							}
						})
					}
				}
			}
		})
	}
}

// shopAfter runs a program and tells all rows afterwards. Before every statement
// each sequence is set to a value; 20 is where it belongs, and then it is set once.
func shopAfter(t *testing.T, m mode, p silentProgram, sequence int, plugins ...gorm.Plugin) string {
	t.Helper()
	place := pgtest.New(t)
	place.Exec(shopSchema)
	rewind := func(value int) {
		for _, table := range shopTables {
			place.Exec("SELECT setval('"+table+"_id_seq', greatest($1, 1), $1 > 0)", value)
		}
	}
	rewind(20)
	db := place.Open(&m.config, plugins...)
	if sequence < 20 {
		err := db.Callback().Create().Before("gorm:create").Register("test:rewind", func(*gorm.DB) { rewind(sequence) })
		if err != nil {
			t.Fatal(err)
		}
	}
	var held []named
	err := m.within(db, func(tx *gorm.DB) (err error) {
		held, err = p.run(tx)
		return err
	})
	if err != nil {
		t.Errorf("%s: %v", p.name, err)
	}
	for _, h := range held {
		if name := place.Text("SELECT name FROM "+h.table+" WHERE id = $1", h.id); name != h.name {
			t.Errorf("a struct %q holds id %d of %s, the row is %q", h.name, h.id, h.table, name)
		}
	}
	return place.Text(shopRows)
}

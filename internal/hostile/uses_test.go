package hostile_test

import (
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

type user struct {
	ID   int64
	Name string
}

var byID = []clause.Column{{Name: "id"}}

// use is one way in which GORM inserts users. Its rows are named after it.
type use struct {
	name string
	run  func(db *gorm.DB, users []user) *gorm.DB
	rows int
	// named is an old row's id that one of the rows names.
	named int64
	// taken is an old row's name that the last row has, where names are unique.
	taken string
}

var uses = []use{
	{name: "Create", rows: 1, run: func(db *gorm.DB, us []user) *gorm.DB { return db.Create(&us[0]) }},
	{name: "batch", rows: 3, run: func(db *gorm.DB, us []user) *gorm.DB { return db.Create(&us) }},
	{name: "DoNothing", rows: 1, run: func(db *gorm.DB, us []user) *gorm.DB {
		return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&us[0])
	}},
	{name: "DoNothing batch", rows: 3, run: func(db *gorm.DB, us []user) *gorm.DB {
		return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&us)
	}},
	{name: "UpdateAll", rows: 1, run: func(db *gorm.DB, us []user) *gorm.DB {
		return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&us[0])
	}},
	{name: "Save", rows: 3, run: func(db *gorm.DB, us []user) *gorm.DB { return db.Save(&us) }},
	{name: "mixed Save", rows: 3, named: 3, run: func(db *gorm.DB, us []user) *gorm.DB { return db.Save(&us) }},
	{name: "DoNothing with a duplicate", rows: 3, named: 5, run: func(db *gorm.DB, us []user) *gorm.DB {
		return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&us)
	}},
}

func doNothing(db *gorm.DB, us []user) *gorm.DB {
	return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&us)
}

// duplicates meet rows that have their unique name: the caller's own conflicts.
var duplicates = []use{
	{name: "DoNothing, name taken", rows: 1, taken: "old 7", run: func(db *gorm.DB, us []user) *gorm.DB {
		return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&us[0])
	}},
	{name: "DoNothing batch, name taken", rows: 3, taken: "old 7", run: doNothing},
	{name: "mixed DoNothing, name taken", rows: 4, named: 5, taken: "old 7", run: doNothing},
	{name: "by name", rows: 2, taken: "old 8", run: func(db *gorm.DB, us []user) *gorm.DB {
		return db.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "name"}}, DoUpdates: clause.AssignmentColumns([]string{"name"})}).Create(&us)
	}},
}

// useDuplicates inserts rows whose names are taken.
func (w *world) useDuplicates(when, drift string) {
	w.t.Helper()
	for _, u := range duplicates {
		w.drift(drift)
		w.use(u, when, "users")
	}
}

// touch lets the plugin see a table in every way.
func (w *world) touch(table string) {
	w.t.Helper()
	w.useAll("before", table, "")
}

// useAll inserts in every way, with drift before each where the run has one.
func (w *world) useAll(when, table, drift string) {
	w.t.Helper()
	for _, u := range uses {
		w.drift(drift)
		w.use(u, when, table)
	}
}

// use inserts in one way, and records what came of it.
func (w *world) use(u use, when, table string) {
	w.t.Helper()
	users := make([]user, u.rows)
	for i := range users {
		users[i].Name = fmt.Sprintf("%s %s %d", when, u.name, i)
	}
	if u.taken != "" {
		users[u.rows-1].Name = u.taken
	}
	if u.named != 0 {
		users[1].ID = u.named
	}
	name := fmt.Sprintf("%s %s", when, u.name)
	_ = w.step(name, func(db *gorm.DB) *gorm.DB {
		if table != "users" {
			db = db.Table(table)
		}
		return u.run(db, users)
	})
	w.value(users)
	for i := range users {
		wanted := users[i].Name
		w.holds(table, func() int64 { return users[i].ID }, wanted)
	}
}

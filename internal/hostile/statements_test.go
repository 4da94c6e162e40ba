package hostile_test

import (
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

type item struct {
	ID      int64
	Name    string
	Code    string
	OwnerID *int64
}

type parent struct {
	ID     int64
	Name   string
	Item   *item  `gorm:"foreignKey:OwnerID"`
	Items  []item `gorm:"foreignKey:OwnerID"`
	Linked []item `gorm:"many2many:links"`
}

type note struct {
	ID     int64
	Name   string
	ItemID *int64
	Item   *item
}

// statement inserts into items in one way. It returns the items, whose ids are
// then compared with the rows.
type statement struct {
	name string
	run  func(db *gorm.DB) ([]*item, *gorm.DB)
	// upsert is true for DO UPDATE, mixed where one of the rows names its id.
	upsert, mixed bool
	// codes is true where codes must be unique.
	codes bool
	// spared is true where drift changes nothing on plain GORM.
	spared bool
}

// newItems are rows that leave their ids to the database.
func newItems(n int) []item {
	items := make([]item, n)
	for i := range items {
		items[i].Name = fmt.Sprint("new ", i)
		items[i].Code = items[i].Name
	}
	return items
}

func pointers(items []item) (all []*item) {
	for i := range items {
		all = append(all, &items[i])
	}
	return all
}

// created inserts rows by a chain.
func created(n int, change func([]item), chain func(*gorm.DB) *gorm.DB) func(*gorm.DB) ([]*item, *gorm.DB) {
	return func(db *gorm.DB) ([]*item, *gorm.DB) {
		items := newItems(n)
		if change != nil {
			change(items)
		}
		if n == 1 {
			return pointers(items), chain(db).Create(&items[0])
		}
		return pointers(items), chain(db).Create(&items)
	}
}

func asIs(db *gorm.DB) *gorm.DB { return db }

func onConflict(c clause.OnConflict) func(*gorm.DB) *gorm.DB {
	return func(db *gorm.DB) *gorm.DB { return db.Clauses(c) }
}

// failed gives an association's error to the record.
func failed(db *gorm.DB, err error) *gorm.DB {
	tx := db.Session(&gorm.Session{NewDB: true})
	tx.Error = err
	return tx
}

var statements = []statement{
	{name: "Create", run: created(1, nil, asIs)},
	{name: "batch", run: created(3, nil, asIs)},
	{name: "has one", upsert: true, run: func(db *gorm.DB) ([]*item, *gorm.DB) {
		items := newItems(1)
		p := parent{Name: "parent", Item: &items[0]}
		return pointers(items), db.Create(&p)
	}},
	{name: "has many", upsert: true, run: func(db *gorm.DB) ([]*item, *gorm.DB) {
		ps := []parent{{Name: "parent 0", Items: newItems(2)}, {Name: "parent 1", Items: newItems(3)[2:]}}
		tx := db.Create(&ps)
		return append(pointers(ps[0].Items), pointers(ps[1].Items)...), tx
	}},
	{name: "belongs to", run: func(db *gorm.DB) ([]*item, *gorm.DB) {
		items := newItems(1)
		n := note{Name: "note", Item: &items[0]}
		return pointers(items), db.Create(&n)
	}},
	{name: "belongs to, many", run: func(db *gorm.DB) ([]*item, *gorm.DB) {
		items := newItems(2)
		ns := []note{{Name: "note 0", Item: &items[0]}, {Name: "note 1", Item: &items[1]}}
		return pointers(items), db.Create(&ns)
	}},
	{name: "many2many", run: func(db *gorm.DB) ([]*item, *gorm.DB) {
		p := parent{Name: "parent", Linked: newItems(2)}
		tx := db.Create(&p)
		return pointers(p.Linked), tx
	}},
	{name: "Append", upsert: true, run: func(db *gorm.DB) ([]*item, *gorm.DB) {
		items := newItems(2)
		err := db.Model(&parent{ID: 2}).Association("Items").Append(&items[0], &items[1])
		return pointers(items), failed(db, err)
	}},
	{name: "Save of a slice", upsert: true, run: func(db *gorm.DB) ([]*item, *gorm.DB) {
		items := newItems(3)
		return pointers(items), db.Save(&items)
	}},
	{name: "mixed Save", upsert: true, mixed: true, run: func(db *gorm.DB) ([]*item, *gorm.DB) {
		items := newItems(3)
		items[1] = item{ID: 3, Name: "renamed 1", Code: "c 3"}
		return pointers(items), db.Save(&items)
	}},
	{name: "UpdateAll", upsert: true, run: created(1, nil, onConflict(clause.OnConflict{UpdateAll: true}))},
	{name: "DoNothing of 1", run: created(1, nil, onConflict(clause.OnConflict{DoNothing: true}))},
	{name: "DoNothing of 2", run: created(2, nil, onConflict(clause.OnConflict{DoNothing: true}))},
	{name: "DoNothing of 20", run: created(20, nil, onConflict(clause.OnConflict{DoNothing: true}))},
	{name: "DoNothing, named duplicate", mixed: true, run: created(3, func(items []item) { items[1].ID, items[1].Code = 5, "c 5" }, onConflict(clause.OnConflict{DoNothing: true}))},
	{name: "DoNothing of 1, code taken", codes: true, spared: true, run: created(1, func(items []item) { items[0].Code = "c 4" }, onConflict(clause.OnConflict{DoNothing: true}))},
	{name: "DoNothing, codes taken", codes: true, run: created(4, func(items []item) { items[1].Code, items[2].Code = "c 4", "c 6" }, onConflict(clause.OnConflict{DoNothing: true}))},
	{name: "by code", codes: true, run: created(2, func(items []item) { items[1].Code = "c 4" },
		onConflict(clause.OnConflict{Columns: []clause.Column{{Name: "code"}}, DoUpdates: clause.AssignmentColumns([]string{"name"})}))},
}

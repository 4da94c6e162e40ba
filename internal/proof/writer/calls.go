package main

import (
	"math/rand/v2"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// entry is a row that is stored if its call reports no error.
type entry struct {
	table   string
	id      int64
	name    string
	content string
	// replaces is the name that the row had before, empty for a new one.
	replaces string
}

// call is one use of GORM.
type call struct {
	name  string
	table string
	// targets is true for an upsert that PostgreSQL rejects where the key is gone.
	targets bool
	// several is true for a call that sends more than one statement.
	several bool
	do      func(*gorm.DB) error
	entries func() []entry
}

// flatCalls are the uses of GORM on a table without associations.
var flatCalls = []func(w *worker, table string) call{
	createOne, createOne, createBatch, createInBatches, saveSlice, updateAll, doNothing, doNothing, saveMixed,
}

func (w *worker) call(tables []string) call {
	switch table := pick(tables); table {
	case ownersTable:
		return w.hasMany()
	case petsTable:
		return w.belongsTo()
	case cleanedTable:
		return pick(flatCalls[:len(flatCalls)-1])(w, table) // a row to be changed may be gone
	default:
		return pick(flatCalls)(w, table)
	}
}

func (w *worker) rows(count int) []row {
	rows := make([]row, count)
	for i := range rows {
		rows[i].Name = w.name()
	}
	return rows
}

func entriesOf(table string, rows []row) func() []entry {
	return func() (all []entry) {
		for _, r := range rows {
			all = append(all, entry{table: table, id: r.ID, name: r.Name})
		}
		return all
	}
}

func createOne(w *worker, table string) call {
	rows := w.rows(1)
	return call{name: "Create", table: table, entries: entriesOf(table, rows),
		do: func(db *gorm.DB) error { return db.Table(table).Create(&rows[0]).Error }}
}

func createBatch(w *worker, table string) call {
	rows := w.rows(2 + rand.IntN(19))
	return call{name: "Create of a slice", table: table, entries: entriesOf(table, rows),
		do: func(db *gorm.DB) error { return db.Table(table).Create(&rows).Error }}
}

func createInBatches(w *worker, table string) call {
	rows := w.rows(6)
	if table == countedTable { // it is one statement that the trigger counts
		return createBatch(w, table)
	}
	return call{name: "CreateInBatches", table: table, several: true, entries: entriesOf(table, rows),
		do: func(db *gorm.DB) error { return db.Table(table).CreateInBatches(&rows, 3).Error }}
}

func saveSlice(w *worker, table string) call {
	rows := w.rows(1 + rand.IntN(5))
	return call{name: "Save of a slice", table: table, targets: true, entries: entriesOf(table, rows),
		do: func(db *gorm.DB) error { return db.Table(table).Save(&rows).Error }}
}

func updateAll(w *worker, table string) call {
	rows := w.rows(1 + rand.IntN(3))
	return call{name: "UpdateAll", table: table, targets: true, entries: entriesOf(table, rows),
		do: func(db *gorm.DB) error {
			return db.Table(table).Clauses(clause.OnConflict{UpdateAll: true}).Create(&rows).Error
		}}
}

func doNothing(w *worker, table string) call {
	rows := w.rows(pick([]int{1, 1, 2, 20}))
	c := call{name: "DoNothing of several", table: table, entries: entriesOf(table, rows)}
	insert := func(db *gorm.DB) *gorm.DB { return db.Table(table).Clauses(clause.OnConflict{DoNothing: true}) }
	c.do = func(db *gorm.DB) error { return insert(db).Create(&rows).Error }
	if len(rows) == 1 {
		c.name = "DoNothing of one"
		c.do = func(db *gorm.DB) error { return insert(db).Create(&rows[0]).Error }
	}
	return c
}

// saveMixed renames a row of this worker's and brings new ones, in one upsert.
func saveMixed(w *worker, table string) call {
	own := w.own[table]
	if len(own) == 0 {
		return createOne(w, table)
	}
	old, rows := pick(own), w.rows(3)
	rows[0].ID = old.id
	return call{name: "Save of new rows and an old one", table: table, targets: true,
		do: func(db *gorm.DB) error { return db.Table(table).Save(&rows).Error },
		entries: func() []entry {
			all := entriesOf(table, rows)()
			all[0].replaces = old.name
			return all
		}}
}

func (w *worker) hasMany() call {
	o := &owner{Name: w.name()}
	for range 1 + rand.IntN(3) {
		o.Pets = append(o.Pets, pet{Name: w.name()})
	}
	return call{name: "has many", table: ownersTable, several: true,
		do: func(db *gorm.DB) error { return db.Create(o).Error },
		entries: func() []entry {
			all := []entry{{table: ownersTable, id: o.ID, name: o.Name}}
			for _, p := range o.Pets {
				p.OwnerID = o.ID
				all = append(all, entry{table: petsTable, id: p.ID, name: p.Name, content: p.content()})
			}
			return all
		}}
}

func (w *worker) belongsTo() call {
	pets := []pet{{Name: w.name(), Owner: &owner{Name: w.name()}}}
	if rand.IntN(2) == 0 {
		pets = append(pets, pet{Name: w.name(), Owner: &owner{Name: w.name()}})
	}
	return call{name: "belongs to", table: petsTable, several: true,
		do: func(db *gorm.DB) error { return db.Create(&pets).Error },
		entries: func() (all []entry) {
			for _, p := range pets {
				p.OwnerID = p.Owner.ID
				all = append(all, entry{table: ownersTable, id: p.Owner.ID, name: p.Owner.Name},
					entry{table: petsTable, id: p.ID, name: p.Name, content: p.content()})
			}
			return all
		}}
}

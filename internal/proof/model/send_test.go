package model

import (
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// calls counts the hooks of one struct. GORM ignores the field: its type is not
// exported.
type calls struct{ before, after int }

func (c *calls) BeforeCreate(*gorm.DB) error { c.before++; return nil }
func (c *calls) AfterCreate(*gorm.DB) error  { c.after++; return nil }

// item is the model of every table but the composite one.
type item struct {
	TenantID  int64
	ID        int64
	Name      string
	Email     *string
	Qty       int64
	DeletedAt gorm.DeletedAt
	calls
}

// tenantItem differs from item in nothing but the key.
type tenantItem struct {
	TenantID  int64 `gorm:"primaryKey;autoIncrement:false"`
	ID        int64 `gorm:"primaryKey;autoIncrement"`
	Name      string
	Email     *string
	Qty       int64
	DeletedAt gorm.DeletedAt
	calls
}

type model interface{ item | tenantItem }

func itemOf(r row) item {
	i := item{TenantID: r.tenant, ID: r.id, Name: r.name, Qty: r.qty}
	if r.email != "" {
		i.Email = &r.email
	}
	return i
}

func mapOf(r row) map[string]any {
	m := map[string]any{"TenantID": r.tenant, "Name": r.name, "Qty": r.qty}
	if r.id != 0 {
		m["ID"] = r.id
	}
	if r.email != "" {
		m["Email"] = r.email
	}
	return m
}

// held is what the caller holds of a row afterwards: nothing is known of the ids
// of several maps and of a struct whose id was not selected.
type held struct {
	known bool
	id    int64
	calls
}

// send hands rows to GORM in a form.
func send[M model](db *gorm.DB, how form, on conflict, k *kind, rows []row) (*gorm.DB, []held) {
	db = withConflict(db.Table(k.table), on, k)
	structs := make([]M, len(rows))
	pointed := make([]*M, len(rows))
	all := make([]map[string]any, len(rows))
	for i, r := range rows {
		structs[i], all[i] = M(itemOf(r)), mapOf(r)
		pointed[i] = &structs[i]
	}
	var tx *gorm.DB
	switch how {
	case oneStruct:
		tx = db.Create(&structs[0])
	case slice:
		tx = db.Create(&structs)
	case pointers:
		tx = db.Create(pointed)
	case batches:
		tx = db.CreateInBatches(&structs, 2)
	case selected:
		structs[0] = M(itemOf(row{tenant: rows[0].tenant, id: 1, name: rows[0].name, email: rows[0].email, qty: rows[0].qty}))
		tx = db.Select("TenantID", "Name", "Email", "Qty").Create(&structs[0])
		return tx, []held{{calls: item(structs[0]).calls}}
	case oneMap:
		tx = db.Model(new(M)).Create(all[0])
		id, known := all[0]["id"].(int64)
		return tx, []held{{id: id, known: known, calls: calls{1, 1}}}
	case mapList:
		return db.Model(new(M)).Create(&all), make([]held, len(rows))
	}
	return tx, holding(structs)
}

func save[M model](db *gorm.DB, k *kind, rows []row) (*gorm.DB, []held) {
	structs := make([]M, len(rows))
	for i, r := range rows {
		structs[i] = M(itemOf(r))
	}
	return db.Table(k.table).Save(&structs), holding(structs)
}

func saveOne[M model](db *gorm.DB, k *kind, r row) (*gorm.DB, []held) {
	one := []M{M(itemOf(r))}
	return db.Table(k.table).Save(&one[0]), holding(one)
}

func remove[M model](db *gorm.DB, k *kind, at key, soft bool) *gorm.DB {
	db = db.Table(k.table).Where("id = ?", at.id)
	if k.composite {
		db = db.Where("tenant_id = ?", at.tenant)
	}
	if !soft {
		db = db.Unscoped()
	}
	return db.Delete(new(M))
}

func holding[M model](structs []M) []held {
	all := make([]held, len(structs))
	for i, s := range structs {
		all[i] = held{known: true, id: item(s).ID, calls: item(s).calls}
	}
	return all
}

func withConflict(db *gorm.DB, on conflict, k *kind) *gorm.DB {
	key := []clause.Column{{Name: "id"}}
	if k.composite {
		key = []clause.Column{{Name: "tenant_id"}, {Name: "id"}}
	}
	update := clause.AssignmentColumns([]string{"name", "qty"})
	switch on {
	case doNothing:
		return db.Clauses(clause.OnConflict{DoNothing: true})
	case nothingByKey:
		return db.Clauses(clause.OnConflict{Columns: key, DoNothing: true})
	case updateAll:
		return db.Clauses(clause.OnConflict{UpdateAll: true})
	case updateByKey:
		return db.Clauses(clause.OnConflict{Columns: key, DoUpdates: update})
	case updateByMail:
		return db.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "email"}}, DoUpdates: update})
	}
	return db
}

package plugin_test

import (
	"context"
	"errors"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// otherPrograms use what GORM and PostgreSQL offer around an insert.
var otherPrograms = []program{
	{"gorm.Model with several database defaults", func(db *gorm.DB, r *record) {
		as := []account{{Email: "a"}, {Email: "b", Plan: "gold", Credit: 7}, {Email: "c", Token: "t"}}
		r.result(db.Create(&as))
		r.value("accounts", as)
	}},
	{"one row with several database defaults", func(db *gorm.DB, r *record) {
		a := account{Email: "a"}
		r.result(db.Create(&a))
		r.value("account", a)
	}},
	{"database defaults given", func(db *gorm.DB, r *record) {
		a := account{Email: "a", Token: "mine"}
		r.result(db.Create(&a))
		r.value("account", a)
	}},
	{"e-mail taken", func(db *gorm.DB, r *record) {
		r.result(db.Create(&account{Email: "a"}))
		for range 3 {
			tx := db.Create(&account{Email: "a"})
			r.result(tx)
			r.add("translated %v", errors.Is(tx.Error, gorm.ErrDuplicatedKey))
			if db.Statement.ConnPool != nil && tx.Error != nil {
				r.add("then %v", db.Create(&account{Email: "z"}).Error)
			}
		}
	}},
	{"e-mail taken in a batch", func(db *gorm.DB, r *record) {
		r.result(db.Create(&[]account{{Email: "a"}, {Email: "a"}}))
		r.result(db.Create(&[]account{{Email: "a"}, {Email: "a"}}))
	}},
	{"check violated", func(db *gorm.DB, r *record) { r.result(db.Create(&account{Email: "a", Credit: -1})) }},
	{"foreign key violated", func(db *gorm.DB, r *record) {
		missing := int64(4711)
		tx := r.result(db.Create(&pet{Name: "p", OwnerID: &missing}))
		r.add("translated %v", errors.Is(tx.Error, gorm.ErrForeignKeyViolated))
	}},
	{"unknown column", func(db *gorm.DB, r *record) {
		r.result(db.Table("users").Create(map[string]any{"nonsense": 1}))
	}},
	{"unknown table", func(db *gorm.DB, r *record) {
		r.result(db.Table("nowhere").Create(map[string]any{"name": 1}))
	}},
	{"table without a primary key", func(db *gorm.DB, r *record) {
		r.result(db.Create(&entry{Message: "a"}))
		r.result(db.Create(&[]entry{{Message: "b"}, {Message: "c"}}))
	}},
	{"uuid key", func(db *gorm.DB, r *record) {
		d := document{ID: "6f0b3a3e-7d1c-4a51-9d8a-0a4c2b6f1d11", Title: "a"}
		r.result(db.Create(&d))
		r.result(db.Create(&d))
	}},
	{"only an id", func(db *gorm.DB, r *record) {
		var c counterRow
		r.result(db.Create(&c))
		r.value("counter", c)
		cs := []counterRow{{}, {}}
		r.result(db.Create(&cs))
		r.value("counters", cs)
	}},
	{"Save of a new struct", func(db *gorm.DB, r *record) {
		u := user{Name: "a"}
		r.result(db.Save(&u))
		u.Name = "b"
		r.result(db.Save(&u))
		r.value("user", u)
		missing := user{ID: 500, Name: "c"}
		r.result(db.Save(&missing))
		r.value("user", missing)
	}},
	{"Save of a slice", func(db *gorm.DB, r *record) {
		us := []user{{Name: "a"}, {Name: "b"}}
		r.result(db.Save(&us))
		us[0].Name = "c"
		us = append(us, user{Name: "d"})
		r.result(db.Save(&us))
		r.value("users", us)
	}},
	{"FirstOrCreate", func(db *gorm.DB, r *record) {
		var u user
		r.result(db.Where(user{Name: "a"}).FirstOrCreate(&u))
		var again user
		r.result(db.Where(user{Name: "a"}).FirstOrCreate(&again))
		r.value("users", []user{u, again})
	}},
	{"generics", func(db *gorm.DB, r *record) {
		u := user{Name: "a"}
		r.add("error %v", gorm.G[user](db).Create(context.Background(), &u))
		us := []user{{Name: "b"}, {Name: "c"}, {Name: "d"}}
		r.add("error %v", gorm.G[user](db).CreateInBatches(context.Background(), &us, 2))
		r.value("users", append(us, u))
	}},
	{"generics with a result", func(db *gorm.DB, r *record) {
		result := gorm.WithResult()
		a := account{Email: "a"}
		r.add("error %v", gorm.G[account](db, result).Create(context.Background(), &a))
		r.add("affected %d, %v", result.RowsAffected, result.Error)
		r.add("error %v", gorm.G[account](db, result).Create(context.Background(), &account{Email: "a"}))
		r.add("affected %d, %v", result.RowsAffected, result.Error)
	}},
	{"hooks", func(db *gorm.DB, r *record) {
		h := hooked{Name: "a"}
		r.result(db.Create(&h))
		r.add("calls %s id %d", h.Calls, h.ID)
		hs := []hooked{{Name: "a"}, {Name: "b"}}
		r.result(db.Create(&hs))
		r.add("calls %s %s", hs[0].Calls, hs[1].Calls)
		r.result(db.Session(&gorm.Session{SkipHooks: true}).Create(&h))
	}},
	{"GormValue that asks the database", func(db *gorm.DB, r *record) {
		calls := 0
		r.result(db.Create(&user{Name: "a"}))
		c := computed{Name: nameOfMax{&calls}}
		r.result(db.Create(&c))
		r.add("calls %d id %d", calls, c.ID)
	}},
	{"expressions as values", func(db *gorm.DB, r *record) {
		r.result(db.Model(&user{}).Create(map[string]any{"Name": gorm.Expr("upper(?)", "abc")}))
		r.result(db.Model(&user{}).Create(map[string]any{"Name": clause.Expr{SQL: "lower('X')"}, "ID": gorm.Expr("DEFAULT")}))
		r.result(db.Model(&user{}).Create(map[string]any{"Name": db.Session(&gorm.Session{NewDB: true}).Table("users").Select("max(name)")}))
	}},
	{"bare Returning", func(db *gorm.DB, r *record) {
		a := account{Email: "a"}
		r.result(db.Clauses(clause.Returning{}).Create(&a))
		r.value("account", a)
		as := []account{{Email: "b"}}
		r.result(db.Clauses(clause.Returning{}).Create(&as))
		r.value("accounts", as)
		as = []account{{Email: "c"}, {Email: "d"}}
		r.result(db.Clauses(clause.Returning{}).Create(&as))
		r.value("accounts", as)
	}},
	{"Returning of chosen columns", func(db *gorm.DB, r *record) {
		a := account{Email: "a"}
		r.result(db.Clauses(clause.Returning{Columns: []clause.Column{{Name: "plan"}}}).Create(&a))
		r.value("account", a)
	}},
	{"a reused chain", func(db *gorm.DB, r *record) {
		chain := db.Model(&user{}).Where("name <> ?", "nobody").Session(&gorm.Session{})
		u, v := user{Name: "a"}, user{Name: "b"}
		r.result(chain.Create(&u))
		r.result(chain.Create(&v))
		var count int64
		r.result(chain.Count(&count))
		r.value("all", []any{u, v, count})
	}},
	{"a chain whose second insert names a taken id", func(db *gorm.DB, r *record) {
		chain := db.Model(&user{})
		u := user{Name: "a"}
		r.result(chain.Create(&u))
		r.result(chain.Create(&user{ID: u.ID, Name: "b"}))
		r.value("user", u)
	}},
	{"a chain used twice without a session", func(db *gorm.DB, r *record) {
		chain := db.Model(&user{}).Clauses(clause.OnConflict{DoNothing: true})
		u, v := user{Name: "a"}, user{Name: "b"}
		r.result(chain.Create(&u))
		r.result(chain.Create(&v))
		r.value("all", []any{u, v})
	}},
	{"ON CONFLICT of the caller's", func(db *gorm.DB, r *record) {
		r.result(db.Create(&account{Email: "a"}))
		a := account{Email: "a", Plan: "gold"}
		r.result(db.Clauses(clause.OnConflict{DoNothing: true}).Create(&a))
		r.value("account", a)
		r.result(db.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "email"}}, DoUpdates: clause.AssignmentColumns([]string{"plan"})}).Create(&a))
		r.value("account", a)
	}},
	{"clause builders of the application's", func(db *gorm.DB, r *record) {
		db.ClauseBuilders["VALUES"] = func(c clause.Clause, b clause.Builder) {
			c.Expression.Build(b)
			_, _ = b.(clause.Writer).WriteString(" ON CONFLICT (id) DO NOTHING")
		}
		defer delete(db.ClauseBuilders, "VALUES")
		u := user{Name: "a"}
		r.result(db.Create(&u))
		r.result(db.Create(&user{ID: u.ID, Name: "b"}))
	}},
	{"modifier and table in clause.Insert", func(db *gorm.DB, r *record) {
		r.result(db.Clauses(clause.Insert{Table: clause.Table{Name: "users"}}).Create(&user{Name: "a"}))
		r.result(db.Clauses(clause.Insert{Modifier: "WRONG"}).Create(&user{Name: "a"}))
	}},
	{"associations", func(db *gorm.DB, r *record) {
		o := owner{Name: "o", Pets: []pet{{Name: "p", Tags: []tag{{Name: "t"}, {Name: "u"}}}, {Name: "q"}}}
		r.result(db.Create(&o))
		r.value("owner", o)
		p := pet{Name: "r", Owner: &owner{Name: "o2"}}
		r.result(db.Create(&p))
		r.value("pet", p)
		r.add("append %v", db.Model(&o).Association("Pets").Append(&pet{Name: "s"}))
		r.value("owner", o)
	}},
	{"a BEFORE trigger that drops and changes rows", func(db *gorm.DB, r *record) {
		for _, name := range []string{"a", "secret", "b"} {
			u := user{Name: name}
			r.result(db.Table("filtered").Create(&u))
			r.value("user", u)
		}
		us := []user{{Name: "c"}, {Name: "secret"}, {Name: "d"}}
		r.result(db.Table("filtered").Create(&us))
		r.value("users", us)
	}},
	{"a statement trigger", func(db *gorm.DB, r *record) {
		r.result(db.Table("audited").Create(&user{Name: "a"}))
		r.result(db.Table("audited").Create(&user{Name: "b"}))
	}},
	{"a rule", func(db *gorm.DB, r *record) {
		r.result(db.Table("ruled").Create(&user{Name: "a"}))
	}},
	{"a default with a side effect", func(db *gorm.DB, r *record) {
		r.result(db.Table("numbered").Create(&user{Name: "a"}))
		r.result(db.Table("numbered").Create(&user{Name: "b"}))
	}},
	{"a composite key", func(db *gorm.DB, r *record) {
		m := map[string]any{"tenant_id": 3, "name": "a"}
		r.result(db.Table("keyed").Create(m))
	}},
	{"DryRun and ToSQL", func(db *gorm.DB, r *record) {
		stmt := db.Session(&gorm.Session{DryRun: true}).Create(&user{Name: "a"}).Statement
		r.add("%s %v", stmt.SQL.String(), stmt.Vars)
		r.add("%s", db.ToSQL(func(tx *gorm.DB) *gorm.DB { return tx.Create(&[]user{{Name: "a"}, {ID: 4, Name: "b"}}) }))
	}},
	{"a cancelled context", func(db *gorm.DB, r *record) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		tx := db.WithContext(ctx).Create(&user{Name: "a"})
		r.add("canceled %v", errors.Is(tx.Error, context.Canceled))
	}},
	{"an error set before", func(db *gorm.DB, r *record) {
		tx := db.Session(&gorm.Session{})
		_ = tx.AddError(errors.New("before"))
		r.result(tx.Create(&user{Name: "a"}))
	}},
	{"RaiseErrorOnNotFound", func(db *gorm.DB, r *record) {
		tx := db.Model(&user{})
		tx.Statement.RaiseErrorOnNotFound = true
		r.result(tx.Create(&user{Name: "a"}))
	}},
	{"a savepoint of the caller's", func(db *gorm.DB, r *record) {
		_ = db.Transaction(func(tx *gorm.DB) error {
			r.result(tx.Create(&user{Name: "a"}))
			tx.SavePoint("mine")
			r.result(tx.Create(&user{Name: "b"}))
			tx.RollbackTo("mine")
			r.result(tx.Create(&user{Name: "c"}))
			return nil
		})
	}},
	{"a nested transaction that fails", func(db *gorm.DB, r *record) {
		r.add("%v", db.Transaction(func(tx *gorm.DB) error {
			r.result(tx.Create(&account{Email: "a"}))
			r.add("%v", tx.Transaction(func(tx *gorm.DB) error { return tx.Create(&account{Email: "a"}).Error }))
			r.result(tx.Create(&account{Email: "b"}))
			return nil
		}))
	}},
	{"work that goes on after a failure is lost", func(db *gorm.DB, r *record) {
		r.add("%v", db.Transaction(func(tx *gorm.DB) error {
			r.result(tx.Create(&account{Email: "a"}))
			r.result(tx.Create(&account{Email: "a"}))
			r.result(tx.Create(&account{Email: "b"}))
			return nil
		}))
	}},
}

package hostile_test

import (
	"fmt"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// numbered is a user after the key's column was renamed.
type numbered struct {
	Number int64 `gorm:"primaryKey"`
	Name   string
}

func (numbered) TableName() string { return "users" }

// translated is a user after the key was widened.
type translated struct {
	ID   int64  `gorm:"primaryKey;autoIncrement"`
	Lang string `gorm:"primaryKey"`
	Name string
}

func (translated) TableName() string { return "users" }

// insertsOf inserts one row, several, and upserts of a model, each after drift.
// Without the sequence's key, upserts fail on plain GORM, too.
func insertsOf[T any](w *world, when, drift string, row func(name string, id int64) T) {
	steps := []struct {
		name  string
		rows  int
		named int64
		run   func(db *gorm.DB, rows []T) *gorm.DB
	}{
		{"Create", 1, 0, func(db *gorm.DB, rows []T) *gorm.DB { return db.Create(&rows[0]) }},
		{"batch", 3, 0, func(db *gorm.DB, rows []T) *gorm.DB { return db.Create(&rows) }},
		{"DoNothing", 1, 0, func(db *gorm.DB, rows []T) *gorm.DB {
			return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&rows[0])
		}},
		{"DoNothing batch", 2, 0, func(db *gorm.DB, rows []T) *gorm.DB {
			return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&rows)
		}},
		{"Save", 2, 0, func(db *gorm.DB, rows []T) *gorm.DB { return db.Save(&rows) }},
		{"mixed Save", 3, 3, func(db *gorm.DB, rows []T) *gorm.DB { return db.Save(&rows) }},
	}
	for _, s := range steps {
		w.drift(drift)
		rows := make([]T, s.rows)
		for i := range rows {
			id := int64(0)
			if i == 1 {
				id = s.named
			}
			rows[i] = row(fmt.Sprintf("%s %s %d", when, s.name, i), id)
		}
		_ = w.step(when+" "+s.name, func(db *gorm.DB) *gorm.DB { return s.run(db, rows) })
		w.value(rows)
	}
}

// upserts sends rows that leave their ids out under an ON CONFLICT, each after drift.
func upserts[T any](w *world, drift string, on clause.OnConflict, row func(name string) T) {
	for _, count := range []int{1, 2} {
		for _, nothing := range []bool{false, true} {
			w.drift(drift)
			on.DoNothing, on.DoUpdates = nothing, nil
			if !nothing {
				on.DoUpdates = clause.AssignmentColumns([]string{"name"})
			}
			rows := make([]T, count)
			for i := range rows {
				rows[i] = row(fmt.Sprintf("upsert %d of %d, nothing %v", i, count, nothing))
			}
			_ = w.step(fmt.Sprintf("upsert of %d, nothing %v", count, nothing), func(db *gorm.DB) *gorm.DB { return db.Clauses(on).Create(&rows) })
			w.value(rows)
		}
	}
}

const withoutSacrifice = `SELECT CASE WHEN id <= 20 THEN id END, name FROM users WHERE name <> 'sacrifice' ORDER BY 1, 2`

// After the key's column was renamed, the statements of a model with the new name
// work, and only the first one may be lost.
func TestCreate_survivesARenamedKeyColumn(t *testing.T) {
	t.Parallel()
	row := func(name string, id int64) numbered { return numbered{Number: id, Name: name} }
	create := func(db *gorm.DB) *gorm.DB { return db.Create(&numbered{Name: "sacrifice"}) }
	const rows = `SELECT CASE WHEN number <= 20 THEN number END, name FROM users WHERE name <> 'sacrifice' ORDER BY 1, 2`
	beside(t, program{name: "renamed", settings: perStep, rows: rows, run: func(w *world) {
		insertsOf(w, "before", "", func(name string, id int64) user { return user{ID: id, Name: name} })
		w.ddl("ALTER TABLE users RENAME COLUMN id TO number")
		w.sacrifice("users_id_seq", create)
		insertsOf(w, "after", rewind, row)
	}})
	beside(t, program{name: "renamed and back", settings: perStep, rows: withoutSacrifice, run: func(w *world) {
		insertsOf(w, "before", "", func(name string, id int64) user { return user{ID: id, Name: name} })
		w.ddl("ALTER TABLE users RENAME COLUMN id TO number")
		w.sacrifice("users_id_seq", create)
		insertsOf(w, "between", rewind, row)
		w.ddl("ALTER TABLE users RENAME COLUMN number TO id")
		w.sacrifice("users_id_seq", func(db *gorm.DB) *gorm.DB { return db.Create(&user{Name: "sacrifice"}) })
		w.touch("users")
		w.useAll("after", "users", rewind)
	}})
	beside(t, program{name: "id becomes another column", settings: perStep, rows: rows, run: func(w *world) {
		w.touch("users")
		w.ddl("ALTER TABLE users RENAME COLUMN id TO number; ALTER TABLE users ADD id text")
		w.sacrifice("users_id_seq", create)
		w.finally = nil // ids of before are numbers now
		insertsOf(w, "after", rewind, row)
	}})
	beside(t, program{name: "the old model fails as it does on plain GORM", settings: perStep, rows: rows, calm: true, run: func(w *world) {
		w.touch("users")
		w.ddl("ALTER TABLE users RENAME COLUMN id TO number")
		w.useAll("after", "users", "")
		w.finally = nil // they look for id
	}})
}

// A key of two columns still draws its ids from the sequence.
func TestCreate_survivesAWidenedKey(t *testing.T) {
	t.Parallel()
	const widen = "ALTER TABLE users ADD lang text NOT NULL DEFAULT 'en'; ALTER TABLE users DROP CONSTRAINT users_pkey, ADD PRIMARY KEY (id, lang)"
	beside(t, program{name: "old model", settings: perStep, rows: withoutSacrifice, errors: true, run: func(w *world) {
		w.touch("users")
		w.ddl(widen)
		w.sacrifice("users_id_seq", func(db *gorm.DB) *gorm.DB { return db.Create(&user{Name: "sacrifice"}) })
		w.useAll("after", "users", rewind)
	}})
	beside(t, program{name: "new model", settings: perStep, rows: withoutSacrifice, run: func(w *world) {
		w.touch("users")
		w.ddl(widen)
		w.sacrifice("users_id_seq", func(db *gorm.DB) *gorm.DB { return db.Create(&translated{Lang: "en", Name: "sacrifice"}) })
		insertsOf(w, "after", rewind, func(name string, id int64) translated { return translated{ID: id, Lang: "en", Name: name} })
	}})
	wider := func(name string) translated { return translated{Lang: "en", Name: name} }
	narrow := func(name string) user { return user{Name: name} }
	both := clause.OnConflict{Columns: []clause.Column{{Name: "id"}, {Name: "lang"}}}
	beside(t, program{name: "upserts by the wider key", settings: perStep, rows: withoutSacrifice, run: func(w *world) {
		w.touch("users")
		w.ddl(widen)
		upserts(w, rewind, both, wider)
	}})
	beside(t, program{name: "upserts by the narrower key", settings: perStep, rows: withoutSacrifice, run: func(w *world) {
		w.ddl(widen)
		upserts(w, "", both, wider)
		w.ddl("ALTER TABLE users DROP CONSTRAINT users_pkey, ADD PRIMARY KEY (id)")
		upserts(w, rewind, clause.OnConflict{Columns: []clause.Column{{Name: "id"}}}, narrow)
	}})
	beside(t, program{name: "upserts by the key's new name", settings: perStep, rows: withoutSacrifice, run: func(w *world) {
		w.touch("users")
		w.ddl("ALTER TABLE users RENAME CONSTRAINT users_pkey TO users_key")
		upserts(w, rewind, clause.OnConflict{OnConstraint: "users_key"}, narrow)
	}})
	beside(t, program{name: "upserts by a name that was another key's", settings: perStep, rows: withoutSacrifice, run: func(w *world) {
		w.ddl("ALTER TABLE users ADD CONSTRAINT users_name UNIQUE (name)")
		w.touch("users")
		w.ddl("ALTER TABLE users RENAME CONSTRAINT users_pkey TO x; ALTER TABLE users RENAME CONSTRAINT users_name TO users_pkey; ALTER TABLE users RENAME CONSTRAINT x TO users_name")
		upserts(w, rewind, clause.OnConflict{OnConstraint: "users_name"}, narrow)
	}})
	beside(t, program{name: "widened and narrowed", settings: perStep, rows: withoutSacrifice, run: func(w *world) {
		w.touch("users")
		w.ddl(widen)
		w.sacrifice("users_id_seq", func(db *gorm.DB) *gorm.DB { return db.Create(&translated{Lang: "en", Name: "sacrifice"}) })
		insertsOf(w, "between", "", func(name string, id int64) translated { return translated{ID: id, Lang: "en", Name: name} })
		w.ddl("ALTER TABLE users DROP CONSTRAINT users_pkey, ADD PRIMARY KEY (id)")
		w.sacrifice("users_id_seq", func(db *gorm.DB) *gorm.DB { return db.Create(&user{Name: "sacrifice"}) })
		w.useAll("after", "users", rewind)
	}})
}

// Without a key nothing collides. Upserts stop with 42P10 as they do on plain GORM.
func TestCreate_survivesADroppedKey(t *testing.T) {
	t.Parallel()
	beside(t, program{name: "dropped", settings: perStep, rows: withoutSacrifice, calm: true, run: func(w *world) {
		w.touch("users")
		w.ddl("ALTER TABLE users DROP CONSTRAINT users_pkey")
		w.sacrifice("users_id_seq", func(db *gorm.DB) *gorm.DB { return db.Create(&user{Name: "sacrifice"}) })
		w.useAll("after", "users", "")
		w.place.Exec(rewind)
		// Ids are doubled now, on plain GORM as well.
		w.useAll("behind", "users", rewind)
		w.finally = nil
	}})
	beside(t, program{name: "dropped and made again", settings: perStep, rows: withoutSacrifice, run: func(w *world) {
		w.touch("users")
		w.ddl("ALTER TABLE users DROP CONSTRAINT users_pkey")
		w.sacrifice("users_id_seq", func(db *gorm.DB) *gorm.DB { return db.Create(&user{Name: "sacrifice"}) })
		w.ddl("ALTER TABLE users ADD PRIMARY KEY (id)")
		w.useAll("after", "users", rewind)
	}})
	beside(t, program{name: "first seen without", settings: perStep, setup: `CREATE TABLE users (id bigserial, name text);
		INSERT INTO users SELECT g, 'old ' || g FROM generate_series(1, 20) g; SELECT setval('users_id_seq', 20);`, run: func(w *world) {
		w.use(uses[0], "before", "users")
		w.use(uses[1], "before", "users")
		w.ddl("ALTER TABLE users ADD PRIMARY KEY (id)")
		w.useAll("after", "users", rewind)
	}})
}

// DDL that a savepoint takes back leaves nothing behind that was read inside it.
func TestCreate_forgetsWhatARolledBackSavepointShowed(t *testing.T) {
	t.Parallel()
	undone := func(w *world, ddl string, inside func(tx *gorm.DB) error) {
		w.add("undone: %v", w.db.Transaction(func(tx *gorm.DB) error {
			tx.SavePoint("before_ddl")
			if err := tx.Exec(ddl).Error; err != nil && !w.drifted {
				w.t.Errorf("%s: %v", ddl, err)
			}
			w.sacrificed(inside(tx))
			w.add("back %v", tx.RollbackTo("before_ddl").Error)
			return tx.Create(&user{Name: "in the same transaction"}).Error
		}))
		_ = w.db.Exec("SELECT setval('users_id_seq', 500)")
	}
	one := single
	createNumbered := func(tx *gorm.DB) error { return tx.Create(&numbered{Name: "gone"}).Error }
	createUser := func(tx *gorm.DB) error { return tx.Create(&[]user{{Name: "gone"}, {Name: "gone too"}}).Error }
	for name, first := range map[string]bool{"known before": true, "first seen inside": false} {
		touch := func(w *world) {
			if first {
				w.touch("users")
			}
		}
		beside(t, program{name: "RENAME COLUMN, " + name, settings: one, run: func(w *world) {
			touch(w)
			undone(w, "ALTER TABLE users RENAME COLUMN id TO number", createNumbered)
			w.useAll("after", "users", rewind)
		}})
		beside(t, program{name: "SET DEFAULT, " + name, setup: usersSchema + "CREATE SEQUENCE other; SELECT setval('other', 1000);", settings: one, run: func(w *world) {
			touch(w)
			undone(w, "ALTER TABLE users ALTER id SET DEFAULT nextval('other')", createUser)
			w.useAll("after", "users", rewind)
		}})
		beside(t, program{name: "DROP and CREATE, " + name, settings: one, run: func(w *world) {
			touch(w)
			undone(w, "DROP TABLE users; "+forUsers, createUser)
			w.useAll("after", "users", rewind)
		}})
		beside(t, program{name: "DROP DEFAULT and key, " + name, settings: one, run: func(w *world) {
			touch(w)
			undone(w, "ALTER TABLE users DROP CONSTRAINT users_pkey; ALTER TABLE users ALTER id DROP DEFAULT, ALTER id DROP NOT NULL", func(tx *gorm.DB) error {
				return tx.Exec("INSERT INTO users (name) VALUES ('gone')").Error
			})
			w.useAll("after", "users", rewind)
		}})
		beside(t, program{name: "DROP TRIGGER, " + name, calm: true, settings: one, setup: usersSchema + `
			CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.id := (SELECT max(id) + 1 FROM $S.users); RETURN NEW; END';
			CREATE TRIGGER fill BEFORE INSERT ON users FOR EACH ROW WHEN (NEW.id > 0) EXECUTE FUNCTION fill();`, run: func(w *world) {
			touch(w)
			undone(w, "DROP TRIGGER fill ON users", createUser)
			w.useAll("after", "users", "")
		}})
	}
}

// ofTenant is a row whose key begins with another column than the one that a sequence feeds.
type ofTenant struct {
	TenantID int64 `gorm:"primaryKey;autoIncrement:false"`
	ID       int64 `gorm:"primaryKey;autoIncrement"`
	Name     string
}

func (ofTenant) TableName() string { return "users" }

// The look at a composite key takes several statements. It is made at the table as it is.
func TestSave_survivesAnotherSequenceOfACompositeKey(t *testing.T) {
	t.Parallel()
	const before = `CREATE TABLE users (tenant_id bigint, id bigserial, name text, PRIMARY KEY (tenant_id, id));
		INSERT INTO users SELECT 1, g, 'old ' || g FROM generate_series(1, 20) g; SELECT setval('users_id_seq', 20);`
	for _, c := range []struct{ name, ddl, drift string }{
		{"renamed", "ALTER SEQUENCE users_id_seq RENAME TO moved", "SELECT setval('moved', 1)"},
		{"another", "CREATE SEQUENCE other START 500; ALTER TABLE users ALTER id SET DEFAULT nextval('other'); DROP SEQUENCE users_id_seq", "SELECT setval('other', 1)"},
	} {
		beside(t, program{name: c.name, settings: perStep, setup: before, rows: "SELECT CASE WHEN id <= 20 THEN id END, name FROM users ORDER BY 1, 2", run: func(w *world) {
			save := func(names ...string) {
				rows := make([]ofTenant, len(names))
				for i, name := range names {
					rows[i] = ofTenant{TenantID: 1, Name: name}
				}
				rows[len(rows)-1].ID = 20
				_ = w.step("Save", func(db *gorm.DB) *gorm.DB { return db.Save(&rows) })
			}
			save("first", "changed")
			w.ddl(c.ddl)
			for i := range 2 {
				w.drift(c.drift)
				save(fmt.Sprint("new ", i), fmt.Sprint("changed ", i))
			}
		}})
	}
}

// An id of another tenant is no collision under the key as it is now.
func TestDoNothing_underAWidenedKey(t *testing.T) {
	t.Parallel()
	const before = `CREATE TABLE users (tenant_id bigint, id bigserial PRIMARY KEY, name text);
		INSERT INTO users SELECT 1, g, 'old ' || g FROM generate_series(1, 20) g; SELECT setval('users_id_seq', 20);`
	const widen = "ALTER TABLE users DROP CONSTRAINT users_pkey; ALTER TABLE users ADD PRIMARY KEY (tenant_id, id)"
	beside(t, program{name: "ids of another tenant in front", calm: true, settings: perStep, setup: before, rows: "SELECT tenant_id, CASE WHEN tenant_id = 2 THEN id END, name FROM users ORDER BY 1, 2, 3", run: func(w *world) {
		create := func(rows ...ofTenant) {
			_ = w.step("DoNothing", func(db *gorm.DB) *gorm.DB { return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&rows) })
		}
		create(ofTenant{TenantID: 1, Name: "first"}, ofTenant{TenantID: 1, Name: "second"})
		w.ddl(widen + "; INSERT INTO users SELECT 2, g, 'of 2' FROM generate_series(24, 30) g")
		create(ofTenant{TenantID: 1, Name: "third"}, ofTenant{TenantID: 1, Name: "fourth"})
		create(ofTenant{TenantID: 2, ID: 25, Name: "named"}, ofTenant{TenantID: 1, Name: "fifth"})
	}})
}

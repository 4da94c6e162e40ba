package plugin_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// Every shape of insert that leaves its key out is healed in each mode: the new
// rows are the structs', under ids of their own, and no old row is touched.
func TestHealsEveryShapeOfInsert(t *testing.T) {
	t.Parallel()
	type embedded struct {
		gorm.Model
		Name string
	}
	for _, shape := range []struct {
		name string
		rows int
		// insert returns what the caller holds afterwards, as id|name lines.
		insert func(*gorm.DB) ([]string, error)
	}{
		{"struct", 1, func(db *gorm.DB) ([]string, error) {
			u := user{Name: "n0"}
			err := db.Create(&u).Error
			return lines(u), err
		}},
		{"slice", 3, func(db *gorm.DB) ([]string, error) {
			us := []user{{Name: "n0"}, {Name: "n1"}, {Name: "n2"}}
			err := db.Create(&us).Error
			return lines(us...), err
		}},
		{"slice of one", 1, func(db *gorm.DB) ([]string, error) {
			us := []user{{Name: "n0"}}
			err := db.Create(&us).Error
			return lines(us...), err
		}},
		{"slice of pointers", 2, func(db *gorm.DB) ([]string, error) {
			us := []*user{{Name: "n0"}, {Name: "n1"}}
			err := db.Create(us).Error
			return lines(*us[0], *us[1]), err
		}},
		{"array", 2, func(db *gorm.DB) ([]string, error) {
			us := [2]user{{Name: "n0"}, {Name: "n1"}}
			err := db.Create(&us).Error
			return lines(us[:]...), err
		}},
		{"batches", 5, func(db *gorm.DB) ([]string, error) {
			us := []user{{Name: "n0"}, {Name: "n1"}, {Name: "n2"}, {Name: "n3"}, {Name: "n4"}}
			err := db.CreateInBatches(&us, 2).Error
			return lines(us...), err
		}},
		{"map with a model", 1, func(db *gorm.DB) ([]string, error) {
			m := map[string]any{"Name": "n0"}
			err := db.Model(&user{}).Create(m).Error
			return []string{fmt.Sprintf("%v|%v", m["id"], m["Name"])}, err
		}},
		{"map without a model", 1, func(db *gorm.DB) ([]string, error) {
			return nil, db.Table("users").Create(map[string]any{"name": "n0"}).Error
		}},
		{"maps", 2, func(db *gorm.DB) ([]string, error) {
			return nil, db.Model(&user{}).Create(&[]map[string]any{{"Name": "n0"}, {"Name": "n1"}}).Error
		}},
		{"Select leaves the id out", 1, func(db *gorm.DB) ([]string, error) {
			u := user{ID: 7, Name: "n0"}
			err := db.Select("Name").Create(&u).Error
			return nil, err
		}},
		{"Omit leaves the id out", 1, func(db *gorm.DB) ([]string, error) {
			return nil, db.Omit("ID").Create(&user{ID: 7, Name: "n0"}).Error
		}},
		{"embedded gorm.Model", 1, func(db *gorm.DB) ([]string, error) {
			e := embedded{Name: "n0"}
			err := db.Table("users").Create(&e).Error
			return []string{fmt.Sprintf("%d|%s", e.ID, e.Name)}, err
		}},
		{"FirstOrCreate", 1, func(db *gorm.DB) ([]string, error) {
			var u user
			err := db.Where(user{Name: "n0"}).FirstOrCreate(&u).Error
			return lines(u), err
		}},
		{"Save of a new struct", 1, func(db *gorm.DB) ([]string, error) {
			u := user{Name: "n0"}
			err := db.Save(&u).Error
			return lines(u), err
		}},
		{"generics", 1, func(db *gorm.DB) ([]string, error) {
			u := user{Name: "n0"}
			err := gorm.G[user](db).Create(context.Background(), &u)
			return lines(u), err
		}},
	} {
		t.Run(shape.name, func(t *testing.T) {
			t.Parallel()
			for _, prepared := range []bool{false, true} {
				for _, m := range modes {
					t.Run(fmt.Sprintf("%s, prepared %v", m.name, prepared), func(t *testing.T) {
						place := pgtest.New(t)
						place.Exec(drifted + `; ALTER TABLE users ADD created_at timestamptz, ADD updated_at timestamptz, ADD deleted_at timestamptz;
							UPDATE users SET deleted_at = now()`) // soft-deleted rows collide as well
						before := place.Text("SELECT * FROM users ORDER BY id")
						var seen incidents
						config := m.config
						config.PrepareStmt = prepared
						db := place.Open(&config, plugin.New(seen.option()))
						pool, _ := db.DB()
						pool.SetMaxOpenConns(1)
						var held []string
						err := m.within(db, func(tx *gorm.DB) (err error) {
							held, err = shape.insert(tx)
							return err
						})
						if err != nil {
							t.Fatal(err)
						}
						if got := place.Text("SELECT * FROM users WHERE id <= 20 ORDER BY id"); got != before {
							t.Errorf("old rows changed:\n%s", got)
						}
						stored := place.Text("SELECT id, name FROM users WHERE id > 20 ORDER BY id")
						if len(held) > 0 && stored != strings.Join(held, "\n") {
							t.Errorf("stored\n%s\nheld\n%s", stored, strings.Join(held, "\n"))
						}
						if names := place.Text("SELECT name FROM users WHERE id > 20 ORDER BY name"); names != wantNames(shape.rows) {
							t.Errorf("stored names %q", names)
						}
						checkHealed(t, place, seen.one(t), m)
					})
				}
			}
		})
	}
}

func lines(users ...user) []string {
	var out []string
	for _, u := range users {
		out = append(out, fmt.Sprintf("%d|%s", u.ID, u.Name))
	}
	return out
}

func wantNames(rows int) string {
	var names []string
	for i := range rows {
		names = append(names, fmt.Sprint("n", i))
	}
	return strings.Join(names, "\n")
}

// checkHealed checks the incident of a drifted users table.
func checkHealed(t *testing.T, place *pgtest.Place, i plugin.Incident, m mode) {
	t.Helper()
	if i.Outcome != plugin.Healed || i.Reason != "" || i.Err != nil || i.Rounds != 1 || i.Silent {
		t.Errorf("incident %+v", i)
	}
	if i.Table != `"`+place.Schema+`"."users"` || i.Sequence != `"`+place.Schema+`"."users_id_seq"` || i.Column != `"id"` || i.Constraint != "users_pkey" {
		t.Errorf("incident names %+v", i)
	}
	if i.From >= 20 || i.To != 20 {
		t.Errorf("moved %d → %d, not from below 20 to 20", i.From, i.To)
	}
	if i.Guard == "none" != m.config.SkipDefaultTransaction {
		t.Errorf("guard %s in mode %s", i.Guard, m.name)
	}
}

// A mixed batch is healed past its own explicit ids as well, and told apart from
// an explicit id that exists.
func TestMixedBatches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		users []user
		want  string // rows above 20, or "" for the caller's error
	}{
		{"omitted one collides", []user{{ID: 100, Name: "a"}, {Name: "b"}}, "100|a\n101|b"},
		{"the drawn id is one of the statement's own", []user{{Name: "a"}, {ID: 21, Name: "b"}, {Name: "c"}}, "21|b\n22|a\n23|c"},
		{"an explicit id exists", []user{{ID: 5, Name: "a"}, {Name: "b"}}, ""},
		{"an explicit id twice", []user{{ID: 50, Name: "a"}, {ID: 50, Name: "b"}, {Name: "c"}}, ""},
		{"all explicit, one exists", []user{{ID: 5, Name: "a"}, {ID: 200, Name: "b"}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				place.Exec(drifted)
				if strings.HasPrefix(c.name, "the drawn") {
					place.Exec("SELECT setval('users_id_seq', 20)") // only the statement itself is in the way
				}
				if c.want == "" {
					place.Exec("SELECT setval('users_id_seq', 2000)") // only the caller is wrong
				}
				var seen incidents
				db := place.Open(&m.config, plugin.New(seen.option()))
				users := append([]user(nil), c.users...)
				err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&users).Error })
				got := place.Text("SELECT * FROM users WHERE id > 20 ORDER BY id")
				if old := place.Text("SELECT * FROM users WHERE id <= 20 ORDER BY id"); old != oldRows() {
					t.Errorf("old rows changed:\n%s", old)
				}
				if c.want == "" {
					if err == nil || got != "" || !strings.Contains(err.Error(), "users_pkey") {
						t.Errorf("error %v, rows\n%s", err, got)
					}
					seen.none(t)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				// The explicit rows are where the caller put them; each struct tells its row.
				for _, u := range users {
					if row := place.Text("SELECT name FROM users WHERE id = $1", u.ID); row != u.Name {
						t.Errorf("struct %+v, row %q", u, row)
					}
				}
				if place.Int("SELECT count(*) FROM users WHERE id > 20") != int64(len(users)) {
					t.Errorf("rows\n%s", got)
				}
				if i := seen.one(t); i.Outcome != plugin.Healed && i.Outcome != plugin.AlreadyHealed {
					t.Errorf("incident %+v", i)
				}
			})
		})
	}
}

// P4 and P6: hooks run once, the caller's earlier work and savepoints survive a
// heal, and a failure for good leaves nothing of the transaction.
func TestTransactionsAroundAHeal(t *testing.T) {
	t.Parallel()
	for _, guard := range []plugin.Guard{plugin.GuardAuto, plugin.GuardSavepoint} {
		t.Run(fmt.Sprint("guard ", guard), func(t *testing.T) {
			t.Parallel()
			t.Run("earlier work, a savepoint and hooks survive", func(t *testing.T) {
				t.Parallel()
				place := pgtest.New(t)
				place.Exec(drifted + "; CREATE TABLE notes (text text)")
				var seen incidents
				db := place.Open(nil, plugin.New(plugin.WithGuard(guard), seen.option()))
				h := hooked{Name: "new"}
				err := db.Transaction(func(tx *gorm.DB) error {
					tx.Exec("INSERT INTO notes VALUES ('before')")
					tx.SavePoint("seqheal") // the plugin's own name must not matter
					tx.Exec("INSERT INTO notes VALUES ('inside')")
					if err := tx.Create(&h).Error; err != nil {
						return err
					}
					tx.RollbackTo("seqheal")
					return tx.Create(&h).Error // with its id, after the rollback
				})
				if err != nil {
					t.Fatal(err)
				}
				if got := place.Text("SELECT text FROM notes"); got != "before" {
					t.Errorf("notes %q", got)
				}
				if h.Calls != "bs,bc,ac(21,0),as,bs,bc,ac(21,0),as," {
					t.Errorf("hooks %q", h.Calls)
				}
				if got := place.Text("SELECT * FROM users WHERE id > 20"); got != "21|new++" {
					t.Errorf("users %q", got)
				}
				seen.one(t)
			})
			t.Run("a genuine failure aborts the transaction", func(t *testing.T) {
				t.Parallel()
				place := pgtest.New(t)
				place.Exec(drifted + "; CREATE UNIQUE INDEX names ON users (name)")
				var seen incidents
				db := place.Open(nil, plugin.New(plugin.WithGuard(guard), seen.option()))
				var second, third error
				err := db.Transaction(func(tx *gorm.DB) error {
					tx.Exec("SELECT setval('users_id_seq', 1000)")
					if err := tx.Create(&user{Name: "fine"}).Error; err != nil {
						return err
					}
					second = tx.Create(&user{Name: "old 3"}).Error
					third = tx.Create(&user{Name: "later"}).Error
					return nil // a careless caller
				})
				if err == nil || second == nil || third == nil || !strings.Contains(third.Error(), "25P02") {
					t.Errorf("commit %v, second %v, third %v", err, second, third)
				}
				if n := place.Int("SELECT count(*) FROM users"); n != 20 {
					t.Errorf("%d rows after a failed transaction", n)
				}
				seen.none(t)
			})
			t.Run("a row that fails after its heal aborts the transaction", func(t *testing.T) {
				t.Parallel()
				place := pgtest.New(t)
				place.Exec(drifted + "; CREATE UNIQUE INDEX names ON users (name)")
				var seen incidents
				db := place.Open(nil, plugin.New(plugin.WithGuard(guard), seen.option()))
				var second error
				err := db.Transaction(func(tx *gorm.DB) error {
					second = tx.Create(&user{Name: "old 3"}).Error // key and name are taken
					return nil
				})
				if err == nil || second == nil || !strings.Contains(second.Error(), `"names"`) {
					t.Errorf("commit %v, insert %v", err, second)
				}
				if i := seen.one(t); i.Outcome != plugin.Healed || i.Err == nil {
					t.Errorf("incident %+v", i)
				}
			})
		})
	}
}

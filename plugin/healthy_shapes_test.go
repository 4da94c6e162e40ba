package plugin_test

import (
	"fmt"

	"gorm.io/gorm"
)

// program is something that an application does on healthy tables.
type program struct {
	name string
	run  func(*gorm.DB, *record)
}

// shapePrograms insert in every shape of call.
var shapePrograms = []program{
	{"struct", func(db *gorm.DB, r *record) {
		u := user{Name: "a"}
		r.result(db.Create(&u))
		r.value("user", u)
	}},
	{"slice", func(db *gorm.DB, r *record) {
		us := []user{{Name: "a"}, {Name: "b"}, {Name: "c"}}
		r.result(db.Create(&us))
		r.value("users", us)
	}},
	{"slice of one", func(db *gorm.DB, r *record) {
		us := []user{{Name: "a"}}
		r.result(db.Create(&us))
		r.value("users", us)
	}},
	{"slice of pointers", func(db *gorm.DB, r *record) {
		us := []*user{{Name: "a"}, {Name: "b"}}
		first := us[0]
		r.result(db.Create(us))
		r.value("users", us)
		r.add("same pointer %v", first == us[0] && first.ID != 0)
	}},
	{"slice of one pointer", func(db *gorm.DB, r *record) {
		us := []*user{{Name: "a"}}
		first := us[0]
		r.result(db.Create(&us))
		r.add("same pointer %v %d", first == us[0], first.ID)
	}},
	{"array", func(db *gorm.DB, r *record) {
		us := [2]user{{Name: "a"}, {Name: "b"}}
		r.result(db.Create(&us))
		r.value("users", us)
	}},
	{"batches", func(db *gorm.DB, r *record) {
		us := make([]user, 7)
		for i := range us {
			us[i].Name = fmt.Sprint(i)
		}
		r.result(db.CreateInBatches(&us, 3))
		r.value("users", us)
	}},
	{"empty slice", func(db *gorm.DB, r *record) { r.result(db.Create(&[]user{})) }},
	{"nil in a slice", func(db *gorm.DB, r *record) { r.result(db.Create([]*user{{Name: "a"}, nil})) }},
	{"map with a model", func(db *gorm.DB, r *record) {
		m := map[string]any{"Name": "a"}
		r.result(db.Model(&user{}).Create(m))
		r.value("map", m)
	}},
	{"pointer to a map with a model", func(db *gorm.DB, r *record) {
		m := map[string]any{"name": "a"}
		r.result(db.Model(&user{}).Create(&m))
		r.value("map", m)
	}},
	{"maps with a model", func(db *gorm.DB, r *record) {
		m := []map[string]any{{"Name": "a"}, {"Name": "b"}}
		r.result(db.Model(&user{}).Create(m))
		r.value("maps", m)
	}},
	{"pointer to maps with a model", func(db *gorm.DB, r *record) {
		m := []map[string]any{{"Name": "a"}, {"Name": "b"}}
		r.result(db.Model(&user{}).Create(&m))
		r.value("maps", m)
	}},
	{"map without a model", func(db *gorm.DB, r *record) {
		m := map[string]any{"name": "a"}
		r.result(db.Table("users").Create(m))
		r.value("map", m)
	}},
	{"maps without a model", func(db *gorm.DB, r *record) {
		m := []map[string]any{{"name": "a"}, {"name": "b"}}
		r.result(db.Table("users").Create(&m))
		r.value("maps", m)
	}},
	{"map with an explicit id", func(db *gorm.DB, r *record) {
		m := map[string]any{"ID": 900, "Name": "a"}
		r.result(db.Model(&user{}).Create(m))
		r.value("map", m)
	}},
	{"Select leaves an explicit id out", func(db *gorm.DB, r *record) {
		u := user{ID: 7, Name: "a"}
		r.result(db.Select("Name").Create(&u))
		r.value("user", u)
	}},
	{"Omit leaves an explicit id out", func(db *gorm.DB, r *record) {
		u := user{ID: 7, Name: "a"}
		r.result(db.Omit("ID").Create(&u))
		r.value("user", u)
	}},
	{"explicit ids", func(db *gorm.DB, r *record) {
		us := []user{{ID: 100, Name: "a"}, {ID: 101, Name: "b"}}
		r.result(db.Create(&us))
		r.value("users", us)
	}},
	{"explicit and omitted ids", func(db *gorm.DB, r *record) {
		us := []user{{ID: 100, Name: "a"}, {Name: "b"}, {ID: 102, Name: "c"}}
		r.result(db.Create(&us))
		r.value("users", us)
	}},
	{"an explicit id that exists", func(db *gorm.DB, r *record) {
		r.result(db.Create(&user{ID: 100, Name: "a"}))
		r.result(db.Create(&user{ID: 100, Name: "b"}))
	}},
	{"explicit ids twice in one batch with an omitted one", func(db *gorm.DB, r *record) {
		us := []user{{ID: 100, Name: "a"}, {Name: "b"}, {ID: 100, Name: "c"}}
		r.result(db.Create(&us))
	}},
	{"an explicit id that exists beside an omitted one", func(db *gorm.DB, r *record) {
		r.result(db.Create(&user{ID: 100, Name: "a"}))
		us := []user{{Name: "b"}, {ID: 100, Name: "c"}}
		r.result(db.Create(&us))
	}},
}

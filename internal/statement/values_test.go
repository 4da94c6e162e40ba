package statement_test

import (
	"database/sql"
	"fmt"
	"reflect"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/statement"
)

// filled has fields that the database fills, of every kind that is put back.
type filled struct {
	ID int64
	*Embedded
	Meta   any            `gorm:"serializer:json;default:'{}'"`
	Labels map[string]any `gorm:"serializer:json;default:'{}'"`
	Code   *string        `gorm:"default:f()"`
	Name   string
}

type Embedded struct {
	Kind string `gorm:"default:f()"`
}

// What GORM has filled from a sending that was undone is put back, and nothing else is touched.
func TestUndo(t *testing.T) {
	t.Parallel()
	pool, err := sql.Open("pgx", "postgres://nobody@127.0.0.1:1/none") // nothing is sent
	if err != nil {
		t.Fatal(err)
	}
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), &gorm.Config{DryRun: true, DisableAutomaticPing: true})
	if err != nil {
		t.Fatal(err)
	}
	code := "mine"
	own := &Embedded{Kind: "k"}
	for name, c := range map[string]struct {
		dest any
		fill func(*gorm.DB)
	}{
		"a struct": {&filled{Name: "a"}, func(db *gorm.DB) {
			f := db.Statement.Dest.(*filled)
			f.ID, f.Embedded, f.Meta, f.Labels, f.Code = 7, &Embedded{"new"}, 1, map[string]any{"a": 1}, new(string)
		}},
		"structs that have some": {&[]filled{{ID: 1, Embedded: own, Meta: "m", Labels: map[string]any{"b": 2}, Code: &code}, {Name: "b"}}, func(db *gorm.DB) {
			fs := *db.Statement.Dest.(*[]filled)
			fs[0].Kind, fs[0].Meta, fs[0].Labels, fs[0].Code, fs[1].ID, fs[1].Meta = "new", nil, nil, nil, 9, 1
		}},
		"pointers": {[]*filled{{Name: "a"}}, func(db *gorm.DB) { db.Statement.Dest.([]*filled)[0].ID = 7 }},
		"maps": {&[]map[string]any{{"name": "a"}}, func(db *gorm.DB) {
			ms := db.Statement.Dest.(*[]map[string]any)
			*ms = append(*ms, map[string]any{"id": 7})
		}},
		"a map": {map[string]any{"name": "a"}, func(db *gorm.DB) {
			m := db.Statement.Dest.(map[string]any)
			m["id"], m["name"] = 7, "b"
		}},
	} {
		tx := db.Session(&gorm.Session{NewDB: true}).Model(&filled{})
		tx.Statement.Dest = c.dest
		if err := tx.Statement.Parse(&filled{}); err != nil {
			t.Fatal(err)
		}
		tx.Statement.ReflectValue = reflect.Indirect(reflect.ValueOf(c.dest))
		before := shown(c.dest)
		s := &statement.Statement{DB: tx}
		s.Keep()
		if got := shown(c.dest); got != before {
			t.Errorf("%s: Keep changes %s to %s", name, before, got)
		}
		c.fill(tx)
		if shown(c.dest) == before {
			t.Fatalf("%s: nothing was filled", name)
		}
		s.Undo()
		if got := shown(c.dest); got != before {
			t.Errorf("%s:\n%s, want\n%s", name, got, before)
		}
	}
}

// shown is a value with what its pointers point to.
func shown(dest any) string {
	one := func(f filled) string {
		text := fmt.Sprintf("%d %q %#v %#v", f.ID, f.Name, f.Meta, f.Labels)
		if f.Embedded != nil {
			text += " kind " + f.Kind
		}
		if f.Code != nil {
			text += " code " + *f.Code
		}
		return text
	}
	switch dest := dest.(type) {
	case *filled:
		return one(*dest)
	case *[]filled:
		return one((*dest)[0]) + "; " + one((*dest)[1])
	case []*filled:
		return one(*dest[0])
	}
	return fmt.Sprint(dest)
}

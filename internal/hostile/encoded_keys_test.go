package hostile_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// publicID is an id as the outside sees it; GORM sends another one.
type publicID int64

func (k publicID) GormValue(context.Context, *gorm.DB) clause.Expr {
	return clause.Expr{SQL: "?::bigint - 1000000", Vars: []any{int64(k)}}
}

// encodedID is an id as the outside sees it; pgx sends another one.
type encodedID int64

func (k encodedID) Int64Value() (pgtype.Int8, error) {
	return pgtype.Int8{Int64: int64(k) - 1000000, Valid: true}, nil
}

func (k *encodedID) ScanInt64(v pgtype.Int8) error {
	*k = encodedID(v.Int64 + 1000000)
	return nil
}

// An id that is sent as another one than its Go value is not read from the Go value.
func TestKeys_sentAsAnotherValue(t *testing.T) {
	type public struct {
		ID   publicID `gorm:"primaryKey;autoIncrement"`
		Name string
	}
	type encoded struct {
		ID   encodedID `gorm:"primaryKey;autoIncrement"`
		Name string
	}
	byKey := clause.OnConflict{Columns: []clause.Column{{Name: "id"}}, DoUpdates: clause.AssignmentColumns([]string{"name"})}
	for name, step := range map[string]func(*gorm.DB) *gorm.DB{
		"GormValue, upsert": func(db *gorm.DB) *gorm.DB {
			return db.Table("users").Clauses(byKey).Create(&[]public{{ID: 1000007, Name: "seven"}, {Name: "drawn"}})
		},
		"GormValue, named": func(db *gorm.DB) *gorm.DB {
			return db.Table("users").Create(&[]public{{ID: 1000000 - 5, Name: "named"}, {Name: "drawn"}})
		},
		"Int64Value, upsert": func(db *gorm.DB) *gorm.DB {
			return db.Table("users").Clauses(byKey).Create(&[]encoded{{ID: 1000007, Name: "seven"}, {Name: "drawn"}})
		},
		"Int64Value, named": func(db *gorm.DB) *gorm.DB {
			return db.Table("users").Create(&[]encoded{{ID: 1000000 - 5, Name: "named"}, {Name: "drawn"}})
		},
	} {
		for option, options := range map[string][]plugin.Option{"": nil, ", prevention": {plugin.WithPrevention()}} {
			beside(t, program{name: name + option, calm: true, errors: true, options: options, settings: []setting{noTx, gormTx, callerTx},
				run: func(w *world) { _ = w.step(name, step) }})
		}
	}
}

// The numbers of a map that was a JSON object are ids like others.
func TestPrevention_ofNumbersFromJSON(t *testing.T) {
	p := pgtest.New(t)
	p.Exec("CREATE TABLE users (id bigserial PRIMARY KEY, name text)")
	db := p.Open(nil, plugin.New(plugin.WithPrevention()))
	var user map[string]any
	if err := json.Unmarshal([]byte(`{"id": 100, "name": "imported"}`), &user); err != nil {
		t.Fatal(err)
	}
	if err := db.Table("users").Create(user).Error; err != nil {
		t.Fatal(err)
	}
	p.Exec("INSERT INTO users (name) VALUES ('drawn')")
	if rows := p.Text("SELECT id, name FROM users ORDER BY id"); rows != "100|imported\n101|drawn" {
		t.Errorf("rows %q", rows)
	}
}

package hostile_test

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// aged is a user with a column that not every Go value fits into.
type aged struct {
	ID   int64
	Name string
	Age  any `gorm:"type:int"`
}

func (aged) TableName() string { return "users" }

const agedSchema = "CREATE TABLE users (id bigserial PRIMARY KEY, name text, age int); SELECT setval('users_id_seq', 20);"

// refused is a value that cannot be sent.
type refused struct{}

func (refused) Value() (driver.Value, error) { return nil, errors.New("refused") }

var execModes = []string{"cache_statement", "describe_exec", "exec", "simple_protocol"}

// A value that cannot be sent is the caller's error and nothing more: the transaction goes on.
func TestValues_thatCannotBeSent(t *testing.T) {
	t.Parallel()
	upserts := map[string]func(*gorm.DB, []aged) *gorm.DB{
		"Save": func(db *gorm.DB, rows []aged) *gorm.DB { return db.Save(&rows) },
		"UpdateAll": func(db *gorm.DB, rows []aged) *gorm.DB {
			return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&rows[0])
		},
		"Create": func(db *gorm.DB, rows []aged) *gorm.DB { return db.Create(&rows) },
		"DoNothing": func(db *gorm.DB, rows []aged) *gorm.DB {
			return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&rows)
		},
	}
	for name, upsert := range upserts {
		for what, value := range map[string]any{"too large": int64(1) << 40, "refused": refused{}} {
			for _, mode := range execModes {
				if what == "too large" && (mode == "exec" || mode == "simple_protocol") {
					continue // the server says so there, and aborts the transaction
				}
				dsn := map[string]string{"default_query_exec_mode": mode}
				beside(t, program{name: fmt.Sprint(name, ", ", what, ", ", mode), calm: true, errors: true, dsn: dsn, settings: []setting{noTx, noTxOne}, setup: agedSchema,
					rows: "SELECT name, age FROM users ORDER BY 1", run: func(w *world) {
						for i := range 3 {
							err := w.db.Transaction(func(tx *gorm.DB) error {
								if err := tx.Exec("INSERT INTO users (id, name) VALUES (?, 'before')", 1000+i).Error; err != nil {
									return err
								}
								first := upsert(tx, []aged{{Name: "a", Age: value}, {Name: "b", Age: 2}})
								w.add("%d: %d rows, error %v", i, first.RowsAffected, first.Error)
								second := upsert(tx, []aged{{Name: fmt.Sprint("c", i), Age: 1}, {Name: fmt.Sprint("d", i), Age: 2}})
								w.add("%d: then %d rows, error %v", i, second.RowsAffected, second.Error)
								return nil
							})
							w.add("transaction %v", err)
						}
					}})
			}
		}
	}
}

// A value in ON CONFLICT is checked although no row conflicts.
func TestValues_ofTheClause(t *testing.T) {
	t.Parallel()
	set := func(value any) clause.OnConflict {
		return clause.OnConflict{Columns: byID, DoUpdates: clause.Assignments(map[string]any{"age": value})}
	}
	for name, on := range map[string]clause.OnConflict{
		"text for an integer": set("abc"),
		"too large":           set(int64(1) << 40),
		"a struct":            set(struct{ A int }{1}),
		"divided by zero":     set(gorm.Expr("1 / ?::int", 0)),
		"a good one":          set(7),
		"in WHERE": {Columns: byID, DoUpdates: clause.AssignmentColumns([]string{"age"}),
			Where: clause.Where{Exprs: []clause.Expression{clause.Expr{SQL: "users.age < ?", Vars: []any{"abc"}}}}},
	} {
		for _, mode := range execModes {
			dsn := map[string]string{"default_query_exec_mode": mode}
			beside(t, program{name: name + ", " + mode, calm: true, errors: true, dsn: dsn, settings: []setting{noTx, callerTx, callerOne}, setup: agedSchema,
				rows: "SELECT name, age FROM users ORDER BY 1", run: func(w *world) {
					for i := range 2 {
						_ = w.step(fmt.Sprint("upsert ", i), func(db *gorm.DB) *gorm.DB {
							return db.Clauses(on).Create(&[]aged{{Name: "a", Age: 1}, {Name: "b", Age: 2}})
						})
					}
				}})
		}
	}
}

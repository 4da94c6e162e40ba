package hostile_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/plugin"
)

// region is a number to Go and to an integer column, and a name to a text column.
type region int

func (r region) String() string { return fmt.Sprintf("region %d", int(r)) }

// keyed is a row whose key begins with a column of any type.
type keyed[T any] struct {
	Tenant T     `gorm:"primaryKey;autoIncrement:false"`
	ID     int64 `gorm:"primaryKey;autoIncrement"`
	Name   string
}

func (keyed[T]) TableName() string { return "users" }

// besideTenants runs every kind of upsert of rows for these tenants, whose column has this
// type. Each tenant has an old row with each of the ids 1 to 20.
func besideTenants[T any](t *testing.T, name, column string, tenants []T) {
	literals := make([]string, len(tenants))
	for i, tenant := range tenants {
		literals[i] = fmt.Sprintf("('%v')", tenant)
	}
	setup := `CREATE TABLE users (tenant ` + column + `, id bigserial, name text, PRIMARY KEY (tenant, id));
		INSERT INTO users SELECT v.x::` + column + `, g, 'old ' || g FROM generate_series(1, 20) g, (VALUES ` + strings.Join(literals, ", ") + `) v(x); SELECT setval('users_id_seq', 20);`
	fresh := func(when string) []keyed[T] {
		rows := make([]keyed[T], len(tenants))
		for i, tenant := range tenants {
			rows[i] = keyed[T]{Tenant: tenant, Name: fmt.Sprint(when, " ", i)}
		}
		return rows
	}
	beside(t, program{name: name, settings: perStep, setup: setup, rows: "SELECT tenant, CASE WHEN id <= 20 THEN id END, name FROM users ORDER BY 1, 2, 3", run: func(w *world) {
		for _, when := range []string{"first", "second"} {
			for _, c := range []struct {
				name   string
				upsert func(*gorm.DB, []keyed[T]) *gorm.DB
				named  bool
			}{
				{"Create", func(db *gorm.DB, rows []keyed[T]) *gorm.DB { return db.Create(&rows) }, false},
				{"Save", func(db *gorm.DB, rows []keyed[T]) *gorm.DB { return db.Save(&rows) }, false},
				{"mixed Save", func(db *gorm.DB, rows []keyed[T]) *gorm.DB { return db.Save(&rows) }, true},
				{"DoNothing", func(db *gorm.DB, rows []keyed[T]) *gorm.DB {
					return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&rows)
				}, false},
				{"DoNothing with a duplicate", func(db *gorm.DB, rows []keyed[T]) *gorm.DB {
					return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&rows)
				}, true},
				{"DoNothing, one row", func(db *gorm.DB, rows []keyed[T]) *gorm.DB {
					return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&rows[0])
				}, false},
			} {
				rows := fresh(when + " " + c.name)
				if c.named {
					rows[len(rows)-1].ID = 20
				}
				if when == "second" {
					w.drift(rewind)
				}
				_ = w.step(c.name, func(db *gorm.DB) *gorm.DB { return c.upsert(db, rows) })
			}
		}
	}})
}

// A key that begins with another column than the sequence's is looked at beside whatever
// values the rows have there, however many they are.
func TestCompositeKeys_besideAnyValues(t *testing.T) {
	t.Parallel()
	many := make([]int64, 40)
	for i := range many {
		many[i] = int64(i)
	}
	besideTenants(t, "forty tenants", "bigint", many)
	besideTenants(t, "a bool", "boolean", []bool{true, false})
	besideTenants(t, "a number with a name, as text", "text", []region{1, 2})
	besideTenants(t, "text", "varchar(10)", []string{"a", "b"})
}

// daily is a row whose numbers begin anew each day.
type daily struct {
	No   int64  `gorm:"primaryKey;autoIncrement"`
	Day  string `gorm:"primaryKey;autoIncrement:false"`
	Name string
}

func (daily) TableName() string { return "users" }

// Numbers that begin anew meet those of another day, which are no collisions.
func TestCompositeKeys_whoseNumbersBeginAnew(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]string{
		"the number first":            "PRIMARY KEY (no, day)",
		"an index on the number":      "PRIMARY KEY (day, no)); CREATE INDEX ON users (no",
		"the day first":               "PRIMARY KEY (day, no)",
		"a unique index beside a key": "key uuid DEFAULT md5(random()::text)::uuid PRIMARY KEY, UNIQUE (no, day)",
	} {
		setup := `CREATE TABLE users (no bigserial, day text, name text, ` + key + `);
			INSERT INTO users (no, day, name) SELECT g, 'monday', 'old ' || g FROM generate_series(1, 40) g; ALTER SEQUENCE users_no_seq RESTART;`
		beside(t, program{name: name, calm: true, setup: setup, rows: "SELECT day, no, name FROM users ORDER BY 1, 2, 3", run: func(w *world) {
			for _, on := range []clause.OnConflict{{DoNothing: true}, {Columns: []clause.Column{{Name: "no"}, {Name: "day"}}, UpdateAll: true}} {
				_ = w.step("upsert", func(db *gorm.DB) *gorm.DB {
					return db.Clauses(on).Create(&[]daily{{Day: "tuesday", Name: "a"}, {Day: "tuesday", Name: "b"}})
				})
				_ = w.step("one row", func(db *gorm.DB) *gorm.DB { return db.Clauses(on).Create(&daily{Day: "tuesday", Name: "c"}) })
				_ = w.step("mixed", func(db *gorm.DB) *gorm.DB {
					return db.Clauses(on).Create(&[]daily{{No: 7, Day: "monday", Name: "changed"}, {Day: "tuesday", Name: "d"}})
				})
			}
		}})
	}
}

// Two clocks show one instant on two days, and a column without a zone keeps what they show.
func TestCompositeKeys_besideTimesOfTwoZones(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 1, 23, 0, 0, 0, time.UTC)
	east := at.In(time.FixedZone("east", 9*3600))
	for _, column := range []string{"date", "timestamp"} {
		setup := `CREATE TABLE users (tenant ` + column + `, id bigserial, name text, PRIMARY KEY (tenant, id));
			INSERT INTO users SELECT '2026-01-02 08:00:00'::` + column + `, g, 'old ' || g FROM generate_series(1, 20) g; SELECT setval('users_id_seq', 20);`
		beside(t, program{name: column, settings: perStep, setup: setup, rows: "SELECT tenant, CASE WHEN id <= 20 THEN id END, name FROM users ORDER BY 1, 2, 3", run: func(w *world) {
			for _, when := range []string{"first", "second"} {
				if when == "second" {
					w.drift(rewind)
				}
				_ = w.step(when, func(db *gorm.DB) *gorm.DB {
					return db.Save(&[]keyed[time.Time]{{Tenant: at, Name: when + " 1"}, {Tenant: east, Name: when + " 2"}, {Tenant: at, ID: 20, Name: when + " 3"}})
				})
			}
		}})
	}
}

// Ids that are expressions, or no integers of PostgreSQL's, beside named and drawn ones.
func TestCompositeKeys_besideIDsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	const setup = `CREATE TABLE users (tenant bigint, id bigserial, name text, PRIMARY KEY (tenant, id));
		INSERT INTO users SELECT 1, g, 'old ' || g FROM generate_series(1, 20) g; SELECT setval('users_id_seq', 20);`
	update := clause.OnConflict{Columns: []clause.Column{{Name: "tenant"}, {Name: "id"}}, DoUpdates: clause.AssignmentColumns([]string{"name"})}
	for name, on := range map[string]clause.OnConflict{"DO NOTHING": {DoNothing: true}, "DO UPDATE": update} {
		beside(t, program{name: name, calm: true, setup: setup, run: func(w *world) {
			_ = w.step("maps", func(db *gorm.DB) *gorm.DB {
				return db.Table("users").Clauses(on).Create([]map[string]any{
					{"tenant": 1, "id": 500, "name": "a"},
					{"tenant": 1, "id": gorm.Expr("? + 1", 600), "name": "b"},
					{"tenant": 1, "id": gorm.Expr("DEFAULT"), "name": "c"},
				})
			})
		}})
	}
	type unsigned struct {
		Tenant int    `gorm:"primaryKey;autoIncrement:false"`
		ID     uint64 `gorm:"primaryKey;autoIncrement"`
		Name   string
	}
	beside(t, program{name: "beyond bigint", calm: true, errors: true, setup: setup, run: func(w *world) {
		_ = w.step("Save", func(db *gorm.DB) *gorm.DB {
			return db.Table("users").Save(&[]unsigned{{1, 5, "x"}, {1, 1 << 63, "y"}, {1, 0, "z"}})
		})
	}})
}

// sited is a row whose tenant the database fills.
type sited struct {
	Tenant int   `gorm:"primaryKey;autoIncrement:false;default:abs(-7)"`
	ID     int64 `gorm:"primaryKey;autoIncrement"`
	Name   string
}

func (sited) TableName() string { return "users" }

// What stands in the columns before the sequence's cannot be known where the database fills
// one.
// The log says so.
func TestCompositeKeys_besideADefault(t *testing.T) {
	t.Parallel()
	var log syncedLog
	p := program{setup: `CREATE TABLE users (tenant int DEFAULT 7, id bigserial, name text, PRIMARY KEY (tenant, id));
		INSERT INTO users SELECT 7, g, 'old' FROM generate_series(1, 40) g; SELECT setval('users_id_seq', 40);`,
		options: []plugin.Option{plugin.WithLogger(slog.New(slog.NewTextHandler(&log, nil)))}}
	w := p.open(t, noTx, false, true)
	for range 2 {
		if err := w.db.Save(&[]sited{{Tenant: 7, ID: 40, Name: "named"}, {Name: "new"}}).Error; err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(log.String(), "without protection from drift"); n != 1 {
		t.Errorf("said %d times: %s", n, log.String())
	}
}

package plugin_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// preventing tells how users' sequence stands after a program that names ids.
var preventing = []struct {
	name string
	run  func(*gorm.DB) error
	last int64
}{
	{"one row", func(db *gorm.DB) error { return db.Create(&user{ID: 30, Name: "x"}).Error }, 30},
	{"one row in front by one", func(db *gorm.DB) error { return db.Create(&user{ID: 11, Name: "x"}).Error }, 11},
	{"a row behind the sequence", func(db *gorm.DB) error { return db.Create(&user{ID: 5, Name: "x"}).Error }, 10},
	{"a slice, not in order", func(db *gorm.DB) error { return db.Create(&[]user{{ID: 40}, {ID: 70}, {ID: 50}}).Error }, 70},
	{"batches", func(db *gorm.DB) error {
		return db.CreateInBatches([]user{{ID: 40}, {ID: 41}, {ID: 42}, {ID: 43}, {ID: 44}}, 2).Error
	}, 44},
	{"a map", func(db *gorm.DB) error { return db.Model(&user{}).Create(map[string]any{"id": 30, "name": "x"}).Error }, 30},
	{"a map without a model", func(db *gorm.DB) error { return db.Table("users").Create(map[string]any{"id": 30, "name": "x"}).Error }, 30},
	{"some rows with ids", func(db *gorm.DB) error { return db.Create(&[]user{{ID: 30}, {Name: "drawn"}}).Error }, 30},
	{"Save of a new row", func(db *gorm.DB) error { return db.Save(&user{ID: 30, Name: "x"}).Error }, 30},
	{"Save of a slice", func(db *gorm.DB) error { return db.Save(&[]user{{ID: 30}, {ID: 31}}).Error }, 31},
	{"an upsert", func(db *gorm.DB) error {
		return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&user{ID: 30, Name: "x"}).Error
	}, 30},
	{"far in front", func(db *gorm.DB) error { return db.Create(&user{ID: 5_000_000_000, Name: "x"}).Error }, 5_000_000_000},
	{"near the end of the range", func(db *gorm.DB) error { return db.Create(&user{ID: 9223372036854775000, Name: "x"}).Error }, 10},
	{"an id outside the range", func(db *gorm.DB) error { return db.Create(&user{ID: -3, Name: "x"}).Error }, 10},
	{"an id that the statement computes, beside one that it names", func(db *gorm.DB) error {
		return db.Table("users").Create([]map[string]any{{"id": gorm.Expr("24 + 1")}, {"id": 26}}).Error
	}, 26},
	{"an id that is not sent", func(db *gorm.DB) error { return db.Select("Name").Create(&user{ID: 99, Name: "x"}).Error }, 11},
	{"no id", func(db *gorm.DB) error { return db.Create(&user{Name: "x"}).Error }, 11},
	{"an insert that fails", func(db *gorm.DB) error {
		_ = db.Create(&[]user{{ID: 5, Name: "x"}, {ID: 5, Name: "again"}}).Error
		return nil
	}, 10},
}

// With prevention ids that are named through GORM drift nothing: the sequence is past
// them at once, in the caller's transaction too, and the next insert meets no one.
func TestPrevention(t *testing.T) {
	t.Parallel()
	for _, c := range preventing {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode, p *pgtest.Place) {
				if c.name == "an insert that fails" && m.name == "caller's transaction" {
					return // it is aborted, as without the plugin
				}
				p.Exec(`CREATE TABLE users (id bigserial PRIMARY KEY, name text); SELECT setval('users_id_seq', 10)`)
				var seen incidents
				db := p.Open(&m.config, plugin.New(plugin.WithPrevention(), seen.option()))
				if err := m.within(db, c.run); err != nil {
					t.Fatal(err)
				}
				last := p.Int("SELECT last_value FROM users_id_seq")
				if c.name == "some rows with ids" {
					c.last = max(c.last, last) // drawn first, then past the named one
				}
				if last != c.last {
					t.Errorf("the sequence stands at %d, want %d", last, c.last)
				}
				next := user{Name: "next"}
				if err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&next).Error }); err != nil || next.ID != last+1 {
					t.Errorf("the next insert: id %d, %v", next.ID, err)
				}
				seen.none(t)
				if n := healersLocks(p); n != 0 {
					t.Errorf("%d advisory locks are left", n)
				}
			})
		})
	}
}

// Kinds of key: the sequence goes past the named id in its own steps.
func TestPreventionOfEveryKindOfKey(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, make string
		id, next   int64
	}{
		{"odd ids", `CREATE TABLE users (id bigserial PRIMARY KEY, name text); ALTER SEQUENCE users_id_seq INCREMENT 2`, 20, 23},
		{"descending", `CREATE TABLE users (id bigserial PRIMARY KEY, name text); ALTER SEQUENCE users_id_seq INCREMENT -1 MINVALUE -1000 MAXVALUE -1 START -1 RESTART`, -20, -21},
		{"descending, far", `CREATE TABLE users (id bigserial PRIMARY KEY, name text); ALTER SEQUENCE users_id_seq INCREMENT -1 NO MINVALUE MAXVALUE -1 START -1 RESTART`, -2000000, -2000001},
		{"three apart, far", `CREATE TABLE users (id bigserial PRIMARY KEY, name text); ALTER SEQUENCE users_id_seq INCREMENT 3`, 3000000, 3000004},
		{"a start that leaves room for the named ids", `CREATE TABLE users (id bigserial PRIMARY KEY, name text); ALTER SEQUENCE users_id_seq START 1000 RESTART`, 20, 1000},
		{"a restart that leaves room for them", `CREATE TABLE users (id bigserial PRIMARY KEY, name text); SELECT setval('users_id_seq', 1000, false)`, 20, 1000},
		{"CACHE", `CREATE TABLE users (id bigserial PRIMARY KEY, name text); ALTER SEQUENCE users_id_seq CACHE 20`, 50, 51},
		{"identity", `CREATE TABLE users (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text)`, 20, 21},
		{"another node's range", `CREATE TABLE users (id bigserial PRIMARY KEY, name text); ALTER SEQUENCE users_id_seq MAXVALUE 1000`, 5000, 1},
		{"partitioned", `CREATE TABLE users (id bigserial PRIMARY KEY, name text) PARTITION BY RANGE (id); CREATE TABLE users_1 PARTITION OF users DEFAULT`, 20, 21},
		{"a view", `CREATE TABLE base (id bigserial PRIMARY KEY, name text); CREATE VIEW users AS SELECT * FROM base`, 20, 21},
		{"a sequence that cycles", `CREATE TABLE users (id bigserial PRIMARY KEY, name text); ALTER SEQUENCE users_id_seq CYCLE`, 20, 1},
		{"a default that is more than nextval", `CREATE SEQUENCE s; CREATE TABLE users (id bigint PRIMARY KEY DEFAULT nextval('s') * 1000, name text)`, 20, 1000},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode, p *pgtest.Place) {
				p.Exec(c.make)
				db := p.Open(&m.config, plugin.New(plugin.WithPrevention()))
				pool, err := db.DB()
				if err != nil {
					t.Fatal(err)
				}
				pool.SetMaxOpenConns(1) // with CACHE the connection that moved it has values left
				next := user{Name: "next"}
				if err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&user{ID: c.id, Name: "named"}).Error }); err != nil {
					t.Fatal(err)
				}
				plain := p.Open(nil)
				if err := plain.Create(&next).Error; err != nil || c.name != "CACHE" && next.ID != c.next || c.name == "CACHE" && next.ID < c.next {
					t.Errorf("the next insert, without the plugin: id %d, %v; want %d", next.ID, err, c.next)
				}
				if c.name == "a view" {
					return
				}
				if rows := p.Text("SELECT id, name FROM users ORDER BY name"); rows != fmt.Sprintf("%d|named\n%d|next", c.id, next.ID) {
					t.Errorf("rows: %s", rows)
				}
			})
		})
	}
}

// sentBy is what a program sends on a pool of one connection.
type sentBy struct {
	mutex sync.Mutex
	all   []string
}

func (s *sentBy) of(run func() error) ([]string, error) {
	s.mutex.Lock()
	s.all = nil
	s.mutex.Unlock()
	err := run()
	return s.all, err
}

// P7: one further statement, and only when an id lies beyond all that the sequence has
// passed.
func TestFurtherStatementsOfPrevention(t *testing.T) {
	t.Parallel()
	for _, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(`CREATE TABLE users (id bigserial PRIMARY KEY, name text)`)
			var sent sentBy
			pool := tapped(t, p, func(_ *tappedConn, query string) error {
				sent.mutex.Lock()
				defer sent.mutex.Unlock()
				sent.all = append(sent.all, query)
				return nil
			})
			pool.SetMaxOpenConns(1)
			db := openOn(t, pool, withPlugin(&m.config, plugin.WithPrevention()))
			plain, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), withoutPlugin(&m.config))
			if err != nil {
				t.Fatal(err)
			}
			create := func(db *gorm.DB, id int64) func() error {
				return func() error { return m.within(db, func(tx *gorm.DB) error { return tx.Create(&user{ID: id}).Error }) }
			}
			_, err = sent.of(create(db, 1)) // the table becomes known
			if err != nil {
				t.Fatal(err)
			}
			usual, err := sent.of(create(plain, 2))
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range []struct {
				id      int64
				further int
			}{{100, 1}, {50, 1}, {99, 1}, {101, 1}, {60, 1}, {0, 0}, {200, 1}, {150, 1}} {
				if got, err := sent.of(create(db, c.id)); err != nil || len(got) != len(usual)+c.further {
					t.Errorf("id %d: %v, %d statements instead of %d: %s", c.id, err, len(got), len(usual)+c.further, strings.Join(got, "\n"))
				}
			}
		})
	}
}

// Where prevention cannot move the sequence the insert is as without it, and the heal
// comes later.
func TestPreventionInTrouble(t *testing.T) {
	t.Parallel()
	t.Run("no right on the sequence", func(t *testing.T) {
		t.Parallel()
		inModes(t, func(t *testing.T, m mode, p *pgtest.Place) {
			p.Exec(`CREATE TABLE users (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text)`)
			db, log := preventingAs(p, m, "GRANT SELECT, INSERT ON users TO $R")
			for id := range int64(3) {
				if err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&user{ID: 20 + id}).Error }); err != nil {
					t.Fatal(err)
				}
			}
			if got := log.String(); strings.Count(got, "GRANT USAGE ON SEQUENCE") != 1 {
				t.Errorf("logged: %s", got)
			}
		})
	})
	// Walking there would keep the insert waiting for hours.
	t.Run("too far for a role that may only draw", func(t *testing.T) {
		t.Parallel()
		inModes(t, func(t *testing.T, m mode, p *pgtest.Place) {
			p.Exec(`CREATE TABLE users (id bigserial PRIMARY KEY, name text)`)
			db, log := preventingAs(p, m, "GRANT SELECT, INSERT ON users TO $R; GRANT USAGE, SELECT ON SEQUENCE users_id_seq TO $R")
			for id := range int64(3) {
				if err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&user{ID: 1e15 + id}).Error }); err != nil {
					t.Fatal(err)
				}
			}
			if got := log.String(); strings.Count(got, "GRANT UPDATE ON SEQUENCE") != 1 {
				t.Errorf("logged: %s", got)
			}
			if last := p.Int("SELECT last_value FROM users_id_seq"); last > 2 {
				t.Errorf("the sequence stands at %d", last)
			}
		})
	})
	t.Run("the sequence was moved far back", func(t *testing.T) {
		t.Parallel()
		inModes(t, func(t *testing.T, m mode, p *pgtest.Place) {
			p.Exec(`CREATE TABLE users (id bigserial PRIMARY KEY, name text)`)
			db := p.Open(&m.config, plugin.New(plugin.WithPrevention()))
			for i, back := range []string{"", "setval('users_id_seq', 1)", "setval('users_id_seq', 1, false)"} {
				if back != "" {
					p.Exec("SELECT " + back)
				}
				id := int64(1e15) + int64(i)
				if err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&user{ID: id}).Error }); err != nil {
					t.Fatal(err)
				}
				if last := p.Int("SELECT last_value FROM users_id_seq"); last != id {
					t.Errorf("after %q the sequence stands at %d, want %d", back, last, id)
				}
			}
		})
	})
	t.Run("the sequence is locked", func(t *testing.T) {
		t.Parallel()
		inModes(t, func(t *testing.T, m mode, p *pgtest.Place) {
			p.Exec(`CREATE TABLE users (id bigserial PRIMARY KEY, name text)`)
			db := p.Open(&m.config, plugin.New(plugin.WithPrevention()))
			holder, err := p.SQL.Begin()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = holder.Rollback() }()
			if _, err := holder.Exec("ALTER SEQUENCE users_id_seq MAXVALUE 1000000"); err != nil {
				t.Fatal(err)
			}
			if err := m.within(db, func(tx *gorm.DB) error {
				if err := tx.Create(&user{ID: 20, Name: "a"}).Error; err != nil {
					return err
				}
				return tx.Create(&user{ID: 21, Name: "b"}).Error
			}); err != nil {
				t.Fatal(err)
			}
			_ = holder.Rollback()
			if rows := p.Text("SELECT id, name FROM users ORDER BY id"); rows != "20|a\n21|b" {
				t.Errorf("rows: %s", rows)
			}
			if err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&user{ID: 22, Name: "c"}).Error }); err != nil {
				t.Fatal(err)
			}
			if last := p.Int("SELECT last_value FROM users_id_seq"); last != 22 {
				t.Errorf("the sequence stands at %d", last)
			}
		})
	})
	t.Run("the sequence was moved backwards", func(t *testing.T) {
		t.Parallel()
		inModes(t, func(t *testing.T, m mode, p *pgtest.Place) {
			p.Exec(`CREATE TABLE users (id bigserial PRIMARY KEY, name text)`)
			var seen incidents
			db := p.Open(&m.config, plugin.New(plugin.WithPrevention(), seen.option()))
			create := func(u *user) {
				t.Helper()
				if err := m.within(db, func(tx *gorm.DB) error { return tx.Create(u).Error }); err != nil {
					t.Fatal(err)
				}
			}
			create(&user{ID: 20})
			p.Exec("TRUNCATE users RESTART IDENTITY")
			for id := range int64(5) {
				create(&user{ID: id + 1}) // though it had passed 20 before
			}
			drawn := user{}
			create(&drawn)
			if seen.none(t); drawn.ID != 6 {
				t.Errorf("id %d", drawn.ID)
			}
			create(&user{ID: 15}) // the heal has made it forget that
			if last := p.Int("SELECT last_value FROM users_id_seq"); last != 15 {
				t.Errorf("the sequence stands at %d", last)
			}
		})
	})
	t.Run("the transaction rolls back", func(t *testing.T) {
		t.Parallel()
		p := pgtest.New(t)
		p.Exec(`CREATE TABLE users (id bigserial PRIMARY KEY, name text)`)
		db := p.Open(nil, plugin.New(plugin.WithPrevention()))
		tx := db.Begin()
		if err := tx.Create(&user{ID: 20}).Error; err != nil {
			t.Fatal(err)
		}
		tx.Rollback()
		if last, rows := p.Int("SELECT last_value FROM users_id_seq"), p.Int("SELECT count(*) FROM users"); last != 20 || rows != 0 {
			t.Errorf("the sequence stands at %d, %d rows", last, rows)
		}
	})
	t.Run("inside a manual BEGIN", func(t *testing.T) {
		t.Parallel()
		p := pgtest.New(t)
		p.Exec(`CREATE TABLE users (id bigserial PRIMARY KEY, name text)`)
		db := p.Open(&gorm.Config{SkipDefaultTransaction: true}, plugin.New(plugin.WithPrevention()))
		err := db.Connection(func(tx *gorm.DB) error {
			tx.Exec("BEGIN")
			if err := tx.Create(&user{ID: 20}).Error; err != nil {
				return err
			}
			if n := healersLocks(p); n != 0 {
				t.Errorf("%d advisory locks are held", n)
			}
			return tx.Exec("ROLLBACK").Error
		})
		if n := p.Int("SELECT count(*) FROM users"); err != nil || n != 0 {
			t.Errorf("%v: %d rows after the caller's ROLLBACK", err, n)
		}
	})
}

// healersLocks counts the advisory locks on users' sequence.
func healersLocks(p *pgtest.Place) int64 {
	return p.Int("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1936028008 AND objid = 'users_id_seq'::regclass")
}

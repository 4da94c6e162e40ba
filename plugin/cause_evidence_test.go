package plugin_test

import (
	"strings"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// What is remembered under a name proves nothing of another table under it.
func TestCause_namesThatMove(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		other := place.Schema + "_b"
		place.Exec("CREATE SCHEMA " + other)
		t.Cleanup(func() { _, _ = place.SQL.Exec("DROP SCHEMA " + other + " CASCADE") })
		place.Exec(emptyUsers + "; CREATE TABLE " + other + ".users (id bigserial PRIMARY KEY, name text); INSERT INTO " + other + ".users SELECT g, 'by hand' FROM generate_series(1, 5) g")
		var seen incidents
		config := m.config
		db := place.Open(&config, plugin.New(seen.option()))
		pool, err := db.DB()
		if err != nil {
			t.Fatal(err)
		}
		pool.SetMaxOpenConns(1)
		for range 5 {
			mustCreate(t, db, &user{Name: "here"})
		}
		mustCreate(t, db, &user{ID: 3_000, Name: "named here"})
		if err := db.Exec("SET search_path = " + other).Error; err != nil {
			t.Fatal(err)
		}
		if err := m.within(db, newUser); err != nil {
			t.Fatal(err)
		}
		if i := seen.one(t); causesOf(i) != "unknown" || frontText(i.Front) != "1 5 5" {
			t.Errorf("%v", i)
		}
	})
}

// Statements that answer or name ids of rows that were there before prove nothing.
func TestCause_upsertsAreNoEvidence(t *testing.T) {
	t.Parallel()
	type account struct {
		ID    int64
		Email string `gorm:"unique"`
	}
	place := pgtest.New(t)
	place.Exec(`CREATE TABLE accounts (id bigserial PRIMARY KEY, email text UNIQUE); INSERT INTO accounts VALUES (3, 'three'), (30, 'thirty')`)
	var seen incidents
	db := place.Open(nil, plugin.New(seen.option()))
	mustCreate(t, db, &account{Email: "one"})
	byEmail := clause.OnConflict{Columns: []clause.Column{{Name: "email"}}, DoUpdates: clause.AssignmentColumns([]string{"email"})}
	found := account{Email: "thirty"}
	if err := db.Clauses(byEmail).Create(&found).Error; err != nil || found.ID != 30 {
		t.Fatalf("%+v, %v", found, err)
	}
	if err := db.Clauses(clause.OnConflict{DoNothing: true}).Create(&account{ID: 3, Email: "three"}).Error; err != nil {
		t.Fatal(err)
	}
	if err := db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&account{ID: 3, Email: "three"}).Error; err != nil {
		t.Fatal(err)
	}
	for len(seen.list()) == 0 {
		mustCreate(t, db, &account{Email: place.Text("SELECT count(*) FROM accounts") + place.Text("SELECT last_value FROM accounts_id_seq")})
	}
	if i := seen.one(t); causesOf(i) != "unknown" || frontText(i.Front) != "3 30 2" {
		t.Errorf("%v", i)
	}
}

// A sequence that has not gone back is not said to have: rows came in front of it.
func TestCause_drawnBeforeAnImport(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec(emptyUsers)
		var seen incidents
		config := m.config
		db := place.Open(&config, plugin.New(seen.option()))
		mustCreate(t, db, &[]user{{Name: "a"}, {Name: "b"}, {Name: "c"}})
		place.Exec("INSERT INTO users SELECT g, 'old' FROM generate_series(4, 9) g")
		if err := m.within(db, newUser); err != nil {
			t.Fatal(err)
		}
		if i := seen.one(t); causesOf(i) != "unknown" || frontText(i.Front) != "4 9 6" {
			t.Errorf("%v", i)
		}
	})
}

// A busy program whose inserts overlap is no proof that its sequence was set back.
func TestCause_herdIsNoEvidence(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(emptyUsers + "; INSERT INTO users SELECT g, 'old' FROM generate_series(100, 400, 20) g")
	var seen incidents
	db := place.Open(&gorm.Config{SkipDefaultTransaction: true, Logger: logger.Discard}, plugin.New(seen.option()))
	errs := make(chan error, 8)
	for range cap(errs) {
		go func() {
			var err error
			for n := 0; n < 60 && err == nil; n++ {
				err = newUser(db)
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if len(seen.list()) == 0 {
		t.Fatal("no incident")
	}
	for _, i := range seen.list() {
		if all := causesOf(i); strings.Contains(all, "set_back") || strings.Contains(all, "named_ids") {
			t.Errorf("%v", i)
		}
	}
}

// Ids that a function makes up say nothing of the sequence that feeds another key.
func TestCause_idsOfAnotherColumnAreNoEvidence(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec(`CREATE TABLE invoices (id bigint PRIMARY KEY, number bigserial UNIQUE, name text);
			CREATE FUNCTION next_id() RETURNS bigint LANGUAGE sql AS 'SELECT coalesce(max(id), 30) + 1 FROM $S.invoices';
			ALTER TABLE invoices ALTER id SET DEFAULT next_id()`)
		var seen incidents
		config := m.config
		db := place.Open(&config, plugin.New(seen.option()))
		create := func(tx *gorm.DB) error { return tx.Create(&invoice{Name: "new"}).Error }
		for range 5 { // ids 31 to 35, numbers 1 to 5
			if err := m.within(db, create); err != nil {
				t.Fatal(err)
			}
		}
		place.Exec("INSERT INTO invoices SELECT g + 100, g, 'imported' FROM generate_series(6, 40) g")
		if err := m.within(db, create); err != nil {
			t.Fatal(err)
		}
		if i := seen.one(t); i.Outcome != plugin.Healed || causesOf(i) != "bulk" {
			t.Errorf("%v", i)
		}
	})
}

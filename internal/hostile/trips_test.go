package hostile_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// An upsert whose rows all leave their ids out takes one round trip on a healthy table,
// as with plain GORM: with a tripwire in its clause, and nothing beside it.
func TestTrips_ofUpsertsWithoutIDs(t *testing.T) {
	t.Parallel()
	upserts := map[string]func(*gorm.DB, []user) *gorm.DB{
		"one row": func(db *gorm.DB, us []user) *gorm.DB {
			return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&us[0])
		},
		"three rows": func(db *gorm.DB, us []user) *gorm.DB {
			return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&us)
		},
		"Save": func(db *gorm.DB, us []user) *gorm.DB { return db.Save(&us) },
		"named column": func(db *gorm.DB, us []user) *gorm.DB {
			return db.Clauses(clause.OnConflict{Columns: byID, DoUpdates: clause.AssignmentColumns([]string{"name"})}).Create(&us)
		},
	}
	for name, upsert := range upserts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := program{}.open(t, setting{connections: 2}, false, true)
			for turn := range 4 {
				us := make([]user, 3)
				for i := range us {
					us[i].Name = fmt.Sprintf("%d %d", turn, i)
				}
				err := w.db.Transaction(func(tx *gorm.DB) error {
					if err := tx.Exec("SELECT 1").Error; err != nil { // database/sql's BEGIN is another trip
						return err
					}
					from := w.wire.mark()
					err := upsert(tx, us).Error
					sent, trips := w.wire.since(from)
					wired := slices.ContainsFunc(sent, func(sql string) bool { return strings.Contains(sql, "exists (seqheal)") })
					if turn > 1 && (trips != 1 || len(sent) != 3 || !wired) {
						t.Errorf("turn %d: %d trips: %s", turn, trips, strings.Join(sent, "\n"))
					}
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			if len(w.reported()) != 0 {
				t.Errorf("incidents %v", w.reported())
			}
		})
	}
}

// Several rows under DO NOTHING take one round trip and RELEASE, and no row is read for them: an
// answer of the server shows whether one was dropped.
func TestTrips_ofRowsUnderDoNothing(t *testing.T) {
	t.Parallel()
	w := program{setup: "CREATE TABLE users (id bigserial PRIMARY KEY, name text UNIQUE)"}.open(t, setting{connections: 2}, false, true)
	for turn := range 4 {
		err := w.db.Transaction(func(tx *gorm.DB) error {
			if err := tx.Exec("SELECT 1").Error; err != nil { // database/sql's BEGIN is another trip
				return err
			}
			from := w.wire.mark()
			err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&[]user{{Name: fmt.Sprint("a", turn)}, {Name: fmt.Sprint("b", turn)}}).Error
			sent, trips := w.wire.since(from)
			looked := slices.ContainsFunc(sent, func(sql string) bool { return strings.Contains(sql, "BETWEEN") })
			if turn > 1 && (trips != 2 || looked) {
				t.Errorf("turn %d: %d trips: %s", turn, trips, strings.Join(sent, "\n"))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

type keeper struct {
	ID   int64
	Name string
	Pets []keeperPet `gorm:"foreignKey:KeeperID"`
}

type keeperPet struct {
	ID, KeeperID int64
	Name         string
}

// An owner with pets takes a round trip for each of its two statements, as with plain GORM.
func TestTrips_ofAnOwnerWithPets(t *testing.T) {
	t.Parallel()
	w := program{setup: "CREATE TABLE keepers (id bigserial PRIMARY KEY, name text); CREATE TABLE keeper_pets (id bigserial PRIMARY KEY, keeper_id bigint, name text)"}.open(t, setting{connections: 2}, false, true)
	for turn := range 4 {
		err := w.db.Transaction(func(tx *gorm.DB) error {
			if err := tx.Exec("SELECT 1").Error; err != nil {
				return err
			}
			from := w.wire.mark()
			err := tx.Create(&keeper{Name: "Ada", Pets: []keeperPet{{Name: "Rex"}, {Name: "Tom"}, {Name: "Kit"}}}).Error
			sent, trips := w.wire.since(from)
			if turn > 1 && trips != 2 {
				t.Errorf("turn %d: %d trips: %s", turn, trips, strings.Join(sent, "\n"))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// The time of a mixed upsert grows with its rows as plain GORM's does, not with their square.
func TestUpsertsByKey_ofThousandsOfRows(t *testing.T) {
	t.Parallel()
	took := map[bool]time.Duration{}
	for _, healing := range []bool{false, true} {
		w := program{setup: "CREATE TABLE users (id bigserial PRIMARY KEY, name text); INSERT INTO users (name) SELECT 'old' FROM generate_series(1, 10000)"}.open(t, gormTx, false, healing)
		users := make([]user, 10001)
		for n := range 10000 {
			users[n].ID = int64(n + 1)
		}
		start := time.Now()
		if err := w.db.Save(&users).Error; err != nil {
			t.Fatal(err)
		}
		took[healing] = time.Since(start)
		if users[10000].ID != 10001 {
			t.Errorf("the new row is %d", users[10000].ID)
		}
	}
	if took[true] > 10*took[false] {
		t.Errorf("%v, plain GORM %v", took[true], took[false]) // it was 50 times as long
	}
}

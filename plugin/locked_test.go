package plugin_test

import (
	"fmt"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

type kennel struct {
	ID   int64
	Name string
	Dogs []dog
}

type dog struct {
	ID       int64
	KennelID *int64
	Name     string
}

// loggedDogs is a table whose trigger stores a row with a foreign key to each new one, which
// locks that.
const loggedDogs = `CREATE TABLE kennels (id bigserial PRIMARY KEY, name text);
CREATE TABLE dogs (id bigserial PRIMARY KEY, kennel_id bigint, name text);
CREATE TABLE log (id bigserial PRIMARY KEY, dog_id bigint REFERENCES dogs);
CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS 'BEGIN INSERT INTO log (dog_id) VALUES (NEW.id); RETURN NULL; END';
CREATE TRIGGER log AFTER INSERT ON dogs FOR EACH ROW EXECUTE FUNCTION log()`

// stampDogs adds a trigger that keeps the plugin from leaving ON CONFLICT out.
const stampDogs = `; CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER stamp BEFORE INSERT ON dogs FOR EACH ROW EXECUTE FUNCTION stamp()`

// Rows that a trigger has locked are not taken for rows that an upsert met, also where no
// second connection is free to look.
func TestHealthyUpsertsOfRowsThatATriggerLocks(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, more string
	}{
		{"", ""},
		{"BEFORE trigger", stampDogs},
	} {
		for _, parameters := range []map[string]string{nil, {"default_query_exec_mode": "simple_protocol"}} {
			t.Run(fmt.Sprint(test.name, parameters), func(t *testing.T) {
				t.Parallel()
				inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
					place.Exec(loggedDogs + test.more)
					var seen incidents
					db := place.OpenDSN(place.DSNFor(parameters), &m.config, plugin.New(seen.option()))
					pool, err := db.DB()
					if err != nil {
						t.Fatal(err)
					}
					pool.SetMaxOpenConns(1)
					for i := range 3 {
						err := m.within(db, func(tx *gorm.DB) error {
							k := kennel{Name: fmt.Sprint(i), Dogs: []dog{{Name: "a"}, {Name: "b"}}}
							if err := tx.Create(&k).Error; err != nil {
								return err
							}
							byID := clause.OnConflict{Columns: []clause.Column{{Name: "id"}}, DoNothing: true}
							return tx.Clauses(byID).Create([]*dog{{Name: "c", KennelID: &k.ID}, {Name: "d", KennelID: &k.ID}}).Error
						})
						if err != nil {
							t.Fatal(err)
						}
					}
					want := "1|1|a\n2|1|b\n3|1|c\n4|1|d\n5|2|a\n6|2|b\n7|2|c\n8|2|d\n9|3|a\n10|3|b\n11|3|c\n12|3|d"
					if got := place.Text("SELECT id, kennel_id, name FROM dogs ORDER BY id"); got != want {
						t.Errorf("stored %q", got)
					}
					if got := place.Text("SELECT string_agg(dog_id::text, ' ' ORDER BY dog_id) FROM log"); got != "1 2 3 4 5 6 7 8 9 10 11 12" {
						t.Errorf("the trigger has seen %s", got)
					}
					seen.none(t)
				})
			})
		}
	}
}

// A row that an import commits while the upsert waits for it is not taken for one that the
// trigger has locked: it stays as it is.
func TestUpsertOfRowsThatATriggerLocksBesideAnOpenImport(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec(loggedDogs + stampDogs)
		var seen incidents
		db := place.Open(&m.config, plugin.New(seen.option()))
		pool, err := db.DB()
		if err != nil {
			t.Fatal(err)
		}
		pool.SetMaxOpenConns(1)
		k := kennel{Name: "k", Dogs: []dog{{Name: "a"}, {Name: "b"}}}
		besideAnImport(t, place, "INSERT INTO dogs VALUES (2, 77, 'imported')", func() error {
			return m.within(db, func(tx *gorm.DB) error { return tx.Create(&k).Error })
		})
		want := "77|imported\n1|a\n1|b"
		if got := place.Text("SELECT kennel_id, name FROM dogs ORDER BY id <> 2, id"); got != want {
			t.Errorf("stored %q, want %q", got, want)
		}
		if i := seen.one(t); i.Outcome != plugin.Healed || !i.Silent {
			t.Errorf("incident %v", i)
		}
	})
}

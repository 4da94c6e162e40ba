package plugin_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// invoice has two sequences: of its primary key and of its number.
type invoice struct {
	ID     int64
	Number int64 `gorm:"autoIncrement;uniqueIndex"`
	Name   string
}

func (i invoice) String() string { return fmt.Sprintf("%d|%d|%s", i.ID, i.Number, i.Name) }

// invoices makes the table with rows 1 to 20, ids up to 20 and numbers up to 120, and
// sequences that are behind as told.
func invoices(place *pgtest.Place, idBehind, numberBehind bool) {
	place.Exec(`CREATE TABLE invoices (id bigserial PRIMARY KEY, number bigserial UNIQUE, name text);
		INSERT INTO invoices SELECT g, g + 100, 'old ' || g FROM generate_series(1, 20) g`)
	place.Exec(`SELECT setval('invoices_id_seq', $1, $2)`, 20-15*btoi(idBehind), true)
	place.Exec(`SELECT setval('invoices_number_seq', $1, $2)`, 120-15*btoi(numberBehind), true)
}

func btoi(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

var byID, numbered = []clause.Column{{Name: "id"}}, []clause.Column{{Name: "number"}}

// Every statement of a table with two sequence keys, with either or both of them behind:
// each row is stored once, the old ones are as they were, and each sequence that was
// behind is in one incident.
func TestTwoSequencesInOneTable(t *testing.T) {
	t.Parallel()
	update := clause.AssignmentColumns([]string{"name"})
	rows := func(n int) []invoice {
		all := make([]invoice, n)
		for i := range all {
			all[i].Name = fmt.Sprint("new ", i)
		}
		return all
	}
	inserts := map[string]func(*gorm.DB, []invoice) error{
		"Create": func(db *gorm.DB, is []invoice) error { return db.Create(&is).Error },
		"Save":   func(db *gorm.DB, is []invoice) error { return db.Save(&is).Error },
		"by the id": func(db *gorm.DB, is []invoice) error {
			return db.Clauses(clause.OnConflict{Columns: byID, DoUpdates: update}).Create(&is).Error
		},
		"by the number": func(db *gorm.DB, is []invoice) error {
			return db.Clauses(clause.OnConflict{Columns: numbered, DoUpdates: update}).Create(&is).Error
		},
		"DO NOTHING": func(db *gorm.DB, is []invoice) error {
			return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&is).Error
		},
		"nothing by number": func(db *gorm.DB, is []invoice) error {
			return db.Clauses(clause.OnConflict{Columns: numbered, DoNothing: true}).Create(&is).Error
		},
	}
	inserts["some named"] = func(db *gorm.DB, is []invoice) error {
		all := append([]invoice{{ID: 20, Number: 120, Name: "old 20"}}, is...)
		err := db.Save(&all).Error
		copy(is, all[1:])
		return err
	}
	// Beside a row trigger an upsert keeps its clause, behind a look.
	for stands, extra := range map[string]string{"nothing": "", "a trigger": stampInvoices} {
		for name, insert := range inserts {
			for _, count := range []int{1, 3} {
				for behind, which := range map[string][2]bool{"none": {}, "the id": {true, false}, "the number": {false, true}, "both": {true, true}} {
					t.Run(fmt.Sprintf("%s/%s/%d rows/%s", stands, name, count, behind), func(t *testing.T) {
						inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
							invoices(place, which[0], which[1])
							place.Exec(extra)
							checkTwoKeys(t, m, place, rows(count), which, insert)
						})
					})
				}
			}
		}
	}
}

const stampInvoices = `CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
	CREATE TRIGGER stamp BEFORE INSERT ON invoices FOR EACH ROW EXECUTE FUNCTION stamp()`

func checkTwoKeys(t *testing.T, m mode, place *pgtest.Place, is []invoice, behind [2]bool, insert func(*gorm.DB, []invoice) error) {
	t.Helper()
	var seen incidents
	db := place.Open(&m.config, plugin.New(seen.option()))
	const allOld = "SELECT id, number, name FROM invoices WHERE name LIKE 'old%' ORDER BY id"
	old := place.Text(allOld)
	if err := m.within(db, func(tx *gorm.DB) error { return insert(tx, is) }); err != nil {
		t.Fatalf("%v; %v", err, seen.list())
	}
	if now := place.Text(allOld); now != old {
		t.Errorf("old rows are\n%s", now)
	}
	var held []string
	for _, i := range is {
		held = append(held, i.String())
	}
	if stored := place.Text("SELECT id, number, name FROM invoices WHERE name LIKE 'new%' ORDER BY name"); stored != strings.Join(held, "\n") {
		t.Errorf("stored\n%s\nheld\n%s", stored, strings.Join(held, "\n"))
	}
	var healed, want []string
	for _, i := range seen.list() {
		healed = append(healed, fmt.Sprint(i.Outcome, " ", i.Column))
	}
	slices.Sort(healed)
	if behind[0] {
		want = append(want, `healed "id"`)
	}
	if behind[1] {
		want = append(want, `healed "number"`)
	}
	if !slices.Equal(healed, want) {
		t.Errorf("incidents %v, want %v: %v", healed, want, seen.list())
	}
}

// A number that the application names and that is taken is its own error, whatever the
// other key's sequence does; so is a taken id.
func TestNamedValueOfOneOfTwoKeys(t *testing.T) {
	t.Parallel()
	for name, i := range map[string]invoice{"number": {Number: 105, Name: "new"}, "id": {ID: 5, Name: "new"}} {
		t.Run(name, func(t *testing.T) {
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				invoices(place, false, false)
				var seen incidents
				db := place.Open(&m.config, plugin.New(seen.option()))
				err := m.within(db, func(tx *gorm.DB) error { i := i; return tx.Create(&i).Error })
				if !isDuplicate(err) && !errors.Is(err, gorm.ErrDuplicatedKey) {
					t.Errorf("error %v", err)
				}
				seen.none(t)
				if got := place.Text("SELECT i.last_value, n.last_value FROM invoices_id_seq i, invoices_number_seq n"); got != "20|120" && got != "21|120" && got != "20|121" {
					t.Errorf("sequences at %s", got)
				}
			})
		})
	}
}

// WithPrevention moves the sequence of each key past the values that inserts name.
func TestPreventionOfTwoKeys(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		invoices(place, false, false)
		var seen incidents
		db := place.Open(&m.config, plugin.New(seen.option(), plugin.WithPrevention()))
		for _, i := range []invoice{{Name: "known"}, {ID: 50, Number: 500, Name: "both"}, {Number: 700, Name: "number"}, {ID: 90, Name: "id"}} {
			if err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&i).Error }); err != nil {
				t.Fatal(err)
			}
		}
		next := invoice{Name: "next"}
		if err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&next).Error }); err != nil || next.ID <= 90 || next.Number <= 700 {
			t.Errorf("%v %v", next, err)
		}
		seen.none(t)
	})
}

// A unique index decides what its plain columns decide, whatever stands beside it; what a
// partial index or one over an expression says is the caller's.
func TestShapesOfUniqueIndexes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		indexes string
		healed  bool
		since   int
	}{
		"INCLUDE":                    {"CREATE UNIQUE INDEX a ON tickets (number) INCLUDE (name)", true, 0},
		"NULLS NOT DISTINCT":         {"CREATE UNIQUE INDEX a ON tickets (number) NULLS NOT DISTINCT", true, 15},
		"a partial one beside it":    {"CREATE UNIQUE INDEX a ON tickets (number) WHERE name <> ''; CREATE UNIQUE INDEX b ON tickets (number)", true, 0},
		"a partial one before it":    {"CREATE UNIQUE INDEX b ON tickets (number); CREATE UNIQUE INDEX a ON tickets (number) WHERE name <> ''", true, 0},
		"an expression twin":         {"CREATE UNIQUE INDEX b ON tickets (number); CREATE UNIQUE INDEX a ON tickets ((number + 0))", true, 0},
		"a wider one before it":      {"CREATE UNIQUE INDEX a ON tickets (number, name); CREATE UNIQUE INDEX b ON tickets (number)", true, 0},
		"of a tenant":                {"CREATE UNIQUE INDEX a ON tickets (tenant, number)", true, 0},
		"an exclusion constraint":    {"ALTER TABLE tickets ADD EXCLUDE USING btree (number WITH =)", false, 0},
		"a partial one alone":        {"CREATE UNIQUE INDEX a ON tickets (number) WHERE name <> ''", false, 0},
		"an expression alone":        {"CREATE UNIQUE INDEX a ON tickets ((number + 0))", false, 0},
		"an invalid one":             {"CREATE UNIQUE INDEX a ON tickets (number); UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'a'::regclass", false, 0},
		"a deferrable one, deferred": {"ALTER TABLE tickets ADD UNIQUE (number) DEFERRABLE INITIALLY DEFERRED", false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				if place.Int("SELECT current_setting('server_version_num')::int / 10000") < int64(test.since) {
					return // the server has no such index
				}
				place.Exec(`CREATE TABLE tickets (uid text PRIMARY KEY, tenant int NOT NULL DEFAULT 1, number bigserial, name text); ` + test.indexes)
				place.Exec(`INSERT INTO tickets (uid, number, name) SELECT 'old ' || g, g, 'old' FROM generate_series(1, 20) g`)
				var seen incidents
				db := place.Open(&m.config, plugin.New(seen.option()))
				got := ticket{UID: "new", Name: "new"}
				err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&got).Error })
				if !test.healed {
					if err == nil {
						t.Error("stored")
					}
					seen.none(t)
					return
				}
				if err != nil || got.Number != 21 || seen.one(t).Outcome != plugin.Healed {
					t.Errorf("%+v, error %v, incidents %v", got, err, seen.list())
				}
				if rows := place.Text("SELECT uid, number FROM tickets WHERE uid NOT LIKE 'old%' OR number <> substr(uid, 5)::bigint"); rows != "new|21" {
					t.Errorf("rows %s", rows)
				}
			})
		})
	}
}

// ticket is a row whose key the application sets, and whose number comes of a sequence.
type ticket struct {
	UID    string `gorm:"primaryKey"`
	Tenant int64  `gorm:"default:1"`
	Number int64  `gorm:"autoIncrement"`
	Name   string
}

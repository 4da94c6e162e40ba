package plugin_test

import (
	"errors"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// Two columns that draw from one sequence: what was drawn last is the other column's.
func TestDoNothingWhereAnotherColumnDrawsToo(t *testing.T) {
	t.Parallel()
	type item struct {
		ID   int64
		Name string
	}
	type part struct {
		ID     int64
		ItemID int64
		Item   item
	}
	for _, unique := range []string{"", " UNIQUE"} {
		t.Run("pos"+unique, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				place.Exec(`CREATE SEQUENCE s; CREATE TABLE items (id bigint PRIMARY KEY DEFAULT nextval('s'), name text UNIQUE, pos bigint DEFAULT nextval('s')` + unique + `);
					CREATE TABLE parts (id bigserial PRIMARY KEY, item_id bigint);
					INSERT INTO items VALUES (1, 'old', 1000), (5, 'other', 1001)`)
				db := place.Open(&m.config, plugin.New())
				p, one, many := part{Item: item{Name: "of part"}}, item{Name: "one"}, []item{{Name: "a"}, {Name: "b"}, {Name: "old"}}
				err := m.within(db, func(tx *gorm.DB) error {
					return errors.Join(tx.Create(&p).Error, tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&one).Error,
						tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&many).Error)
				})
				if err != nil {
					t.Fatal(err)
				}
				if got := place.Text("SELECT name FROM items ORDER BY id NOT IN (1, 5), id"); got != "old\nother\nof part\none\na\nb" {
					t.Errorf("stored %q", got)
				}
				if got := place.Text("SELECT name FROM items JOIN parts ON item_id = items.id"); got != "of part" || p.ItemID == 0 {
					t.Errorf("the part belongs to %q, %d", got, p.ItemID)
				}
			})
		})
	}
}

// At the ends of bigint there is no value before the first.
func TestUpsertsAtTheEndsOfBigint(t *testing.T) {
	t.Parallel()
	for sequence, want := range map[string]string{
		"INCREMENT -1 MAXVALUE 9223372036854775807 START 9223372036854775807": "9223372036854775807|old 1\n9223372036854775806|old 2\n9223372036854775804|a\n9223372036854775803|b",
		"MINVALUE -9223372036854775808 START -9223372036854775808":            "-9223372036854775808|old 1\n-9223372036854775807|old 2\n-9223372036854775805|a\n-9223372036854775804|b",
	} {
		t.Run(sequence, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				place.Exec("CREATE SEQUENCE s " + sequence + `; CREATE TABLE users (id bigint PRIMARY KEY DEFAULT nextval('s'), name text UNIQUE);
					INSERT INTO users (name) VALUES ('old 1'), ('old 2'); ALTER SEQUENCE s RESTART;
					CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
					CREATE TRIGGER stamp BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION stamp()`)
				var seen incidents
				db := place.Open(&m.config, plugin.New(seen.option()))
				us := []user{{Name: "a"}, {Name: "b"}}
				if err := m.within(db, func(tx *gorm.DB) error { return tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&us).Error }); err != nil {
					t.Fatal(err)
				}
				if got := place.Text("SELECT id, name FROM users ORDER BY name LIKE 'old%' DESC, name"); got != want {
					t.Errorf("stored %q, want %q", got, want)
				}
				seen.one(t)
			})
		})
	}
}

// Rows that GORM cannot read are stored without a transaction, and by an upsert that the
// plugin sends in one of its own.
func TestUpsertWhoseRowsGORMCannotRead(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]string{"healthy": "CREATE TABLE users (id bigserial PRIMARY KEY, name text)", "drifted": drifted} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			place.Exec(make)
			db := place.Open(&gorm.Config{SkipDefaultTransaction: true}, plugin.New())
			for _, upsert := range []bool{false, true} {
				tx := db.Model(&user{})
				if upsert {
					tx = tx.Clauses(clause.OnConflict{UpdateAll: true})
				}
				tx = tx.Create([]map[string]any{{"name": "a"}, {"name": "b"}})
				var server *pgconn.PgError
				if tx.Error == nil || errors.As(tx.Error, &server) || tx.RowsAffected != 2 {
					t.Errorf("%d rows, %v", tx.RowsAffected, tx.Error)
				}
			}
			if got := place.Text("SELECT name FROM users WHERE name NOT LIKE 'old%' ORDER BY id"); got != "a\nb\na\nb" {
				t.Errorf("stored %q", got)
			}
		})
	}
}

// ON CONFLICT does not take a deferrable key, with the plugin as without it.
func TestUpsertByADeferrableKey(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec("CREATE TABLE users (id bigserial PRIMARY KEY DEFERRABLE, name text)")
		db := place.Open(&m.config, plugin.New())
		us := []user{{Name: "a"}, {Name: "b"}}
		err := m.within(db, func(tx *gorm.DB) error { return tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&us).Error })
		var server *pgconn.PgError
		if !errors.As(err, &server) || server.Code != "55000" || place.Int("SELECT count(*) FROM users") != 0 {
			t.Errorf("%v, %d rows", err, place.Int("SELECT count(*) FROM users"))
		}
	})
}

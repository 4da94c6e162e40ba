package plugin_test

import (
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// P8: a row that DO NOTHING dropped for its e-mail met no other tenant's id.
func TestDroppedRowBesideAnotherTenantsID(t *testing.T) {
	t.Parallel()
	type member struct {
		TenantID int64 `gorm:"primaryKey;autoIncrement:false"`
		ID       int64 `gorm:"primaryKey;autoIncrement"`
		Email    string
	}
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec(`CREATE TABLE members (tenant_id bigint, id bigserial, email text UNIQUE, PRIMARY KEY (tenant_id, id));
			INSERT INTO members VALUES (1, 1, 'a'), (1, 2, 'b'), (2, 3, 'c')`)
		var seen incidents
		db := place.Open(&m.config, plugin.New(seen.option()))
		create := func(one *member) error {
			return m.within(db, func(tx *gorm.DB) error { return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(one).Error })
		}
		before := place.Text("SELECT * FROM members ORDER BY email")
		for range 2 {
			if err := create(&member{TenantID: 2, Email: "a"}); err != nil {
				t.Fatal(err)
			}
		}
		if after := place.Text("SELECT * FROM members ORDER BY email"); after != before {
			t.Errorf("rows\n%s", after)
		}
		seen.none(t)
		place.Exec("SELECT setval('members_id_seq', 2)")
		drifted := member{TenantID: 2, Email: "d"}
		if err := create(&drifted); err != nil || drifted.ID < 4 {
			t.Errorf("%+v, %v", drifted, err)
		}
		if got := place.Text("SELECT * FROM members WHERE email = 'd'"); got == "" {
			t.Error("the row was dropped for a drifted id")
		}
	})
}

// P1: a session's cached values hide a sequence that was set back behind them, not
// from an upsert of several rows.
func TestUpsertBehindACacheAndASetval(t *testing.T) {
	t.Parallel()
	for name, onConflict := range map[string]clause.OnConflict{"DO NOTHING": {DoNothing: true}, "UpdateAll": {UpdateAll: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			place.Exec("CREATE TABLE users (id bigserial PRIMARY KEY, name text); ALTER SEQUENCE users_id_seq CACHE 5")
			db := place.Open(nil, plugin.New())
			pool, _ := db.DB()
			pool.SetMaxOpenConns(1)
			if err := db.Create(&[]user{{Name: "a"}, {Name: "b"}, {Name: "c"}}).Error; err != nil {
				t.Fatal(err)
			}
			place.Exec("SELECT setval('users_id_seq', 1)") // 4 and 5 are cached
			if err := db.Clauses(onConflict).Create(&[]user{{Name: "d"}, {Name: "e"}, {ID: 100, Name: "f"}, {Name: "g"}}).Error; err != nil {
				t.Fatal(err)
			}
			if got := place.Text("SELECT name FROM users ORDER BY name"); got != "a\nb\nc\nd\ne\nf\ng" {
				t.Errorf("stored\n%s", place.Text("SELECT * FROM users ORDER BY id"))
			}
		})
	}
}

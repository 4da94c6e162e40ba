package plugin_test

import (
	"strings"
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

// P1: a row names an id that exists and ends in another row by its email; the id that
// the other one draws is the same. That is drift, not the caller's error.
func TestUpsertByEmailWhoseNamedIDIsDrawn(t *testing.T) {
	t.Parallel()
	for _, m := range modes[1:] { // outside a transaction nobody knows any more what was drawn
		place := pgtest.New(t)
		place.Exec(shopSchema)
		var seen incidents
		db := place.Open(&m.config, plugin.New(seen.option()))
		ms := []subscriber{{Email: "new@x", Name: "new"}, {ID: 1, Email: "old5@x", Name: "renamed"}}
		err := m.within(db, func(tx *gorm.DB) error {
			return tx.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "email"}}, DoUpdates: clause.AssignmentColumns([]string{"name"})}).Create(&ms).Error
		})
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
		if got := place.Text("SELECT id, name FROM members WHERE id > 20 OR id IN (1, 5) ORDER BY id"); got != "1|old member 1\n5|renamed\n21|new" {
			t.Errorf("rows\n%s", got)
		}
		if i := seen.one(t); i.Outcome != plugin.Healed {
			t.Errorf("incident %v", i)
		}
	}
}

// P5: the same, and the row that names the id collides itself.
func TestUpsertByEmailWhoseNamedIDExists(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec(shopSchema + "; SELECT setval('members_id_seq', 20)")
		var seen incidents
		db := place.Open(&m.config, plugin.New(seen.option()))
		err := m.within(db, func(tx *gorm.DB) error {
			last := subscriber{Email: "last@x", Name: "last"}
			if err := tx.Create(&last).Error; err != nil {
				return err
			}
			ms := []subscriber{{ID: last.ID, Email: "new@x", Name: "named"}, {Email: "newer@x", Name: "new"}}
			return tx.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "email"}}, DoUpdates: clause.AssignmentColumns([]string{"name"})}).Create(&ms).Error
		})
		if err == nil || !strings.Contains(err.Error(), "23505") {
			t.Errorf("error %v", err)
		}
		if n := place.Int("SELECT count(*) FROM members WHERE name IN ('named', 'new')"); n != 0 {
			t.Errorf("%d rows", n)
		}
		seen.none(t)
	})
}

package plugin_test

import (
	"fmt"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// P2: an import that stays in front of the sequence is overtaken, for the margin
// grows with what it adds between two rounds.
func TestARunningImportIsOvertaken(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec(drifted)
		next := 21
		pool := tapped(t, place, func(_ *tappedConn, query string) error {
			if strings.HasPrefix(query, `INSERT INTO "users"`) {
				place.Exec(fmt.Sprintf("INSERT INTO users SELECT g, 'imported' FROM generate_series(%d, %d) g", next, next+99))
				next += 100
			}
			return nil
		})
		var seen incidents
		db := openOn(t, pool, withPlugin(&m.config, seen.option()))
		u := user{Name: "new"}
		if err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&u).Error }); err != nil {
			t.Fatalf("%v; %v", err, seen.list())
		}
		if got := place.Text("SELECT id FROM users WHERE name = 'new'"); got != fmt.Sprint(u.ID) {
			t.Errorf("stored under %s, the struct holds %d", got, u.ID)
		}
		if i := seen.one(t); i.Outcome != plugin.Healed || i.Rounds < 2 || i.Rounds > 4 {
			t.Errorf("incident %v", i)
		}
	})
}

// P4: what the server computes for a row may have an effect of its own. The attempt
// that collided leaves none.
func TestSideEffectsOfAnExpressionHappenOnce(t *testing.T) {
	t.Parallel()
	for _, guard := range []plugin.Guard{plugin.GuardAuto, plugin.GuardSavepoint} {
		t.Run(fmt.Sprint("guard ", guard), func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				place.Exec(drifted + `; CREATE TABLE notes (text text);
					CREATE FUNCTION note() RETURNS text LANGUAGE sql AS $$ INSERT INTO $S.notes VALUES ('noted') RETURNING 'new' $$`)
				var seen incidents
				db := place.Open(&m.config, plugin.New(seen.option(), plugin.WithGuard(guard)))
				err := m.within(db, func(tx *gorm.DB) error {
					return tx.Model(&user{}).Create(map[string]any{"Name": gorm.Expr("note()")}).Error
				})
				if err != nil {
					t.Fatal(err)
				}
				if got := place.Text("SELECT * FROM users WHERE id > 20"); got != "21|new" {
					t.Errorf("stored %q", got)
				}
				if got := place.Text("SELECT * FROM notes"); got != "noted" {
					t.Errorf("notes %q", got)
				}
				seen.one(t)
			})
		})
	}
}

// P8: an insert that is out of rounds, and whose last try succeeds all the same,
// is not reported as failed.
func TestTheLastTrySucceeds(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(drifted)
	sent := 0
	pool := tapped(t, place, func(_ *tappedConn, query string) error {
		if strings.HasPrefix(query, `INSERT INTO "users"`) {
			switch sent++; sent {
			case 2:
				place.Exec("SELECT setval('users_id_seq', 5)") // a new drift
			case 3:
				place.Exec("SELECT setval('users_id_seq', 30)") // and somebody else heals
			}
		}
		return nil
	})
	var seen incidents
	db := openOn(t, pool, withPlugin(&gorm.Config{}, seen.option(), plugin.WithMaxRounds(1)))
	u := user{Name: "new"}
	if err := db.Create(&u).Error; err != nil || u.ID != 31 {
		t.Errorf("%v, %+v", err, u)
	}
	if i := seen.one(t); i.Outcome != plugin.Healed || i.Reason != "" || sent != 3 {
		t.Errorf("%d sent, incident %v", sent, i)
	}
}

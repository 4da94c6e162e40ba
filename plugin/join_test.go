package plugin_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// A herd in one process: each insert is stored once, the old rows stay, and each
// reports one incident of one round.
func TestHerd_ofOneProcessStoresEveryRow(t *testing.T) {
	t.Parallel()
	const herd = 8
	for _, test := range []struct {
		name  string
		guard plugin.Guard
	}{
		{"conflict guard", plugin.GuardAuto},
		{"savepoint guard", plugin.GuardSavepoint},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				place.Exec(drifted)
				var drawn atomic.Int64
				pool := tapped(t, place, func(_ *tappedConn, query string) error {
					if strings.Contains(query, "pg_catalog.nextval(") && drawn.Add(1) == 1 {
						pgtest.Eventually(t, "everybody's collision", func() bool { return place.Int("SELECT last_value FROM users_id_seq") >= herd })
					}
					return nil
				})
				pool.SetMaxOpenConns(2 * herd)
				pool.SetMaxIdleConns(2 * herd)
				var seen incidents
				db := openOn(t, pool, withPlugin(&m.config, seen.option(), plugin.WithGuard(test.guard), plugin.WithResyncTimeout(time.Minute)))
				var done sync.WaitGroup
				for i := range herd {
					done.Go(func() {
						u := user{Name: fmt.Sprint("new ", i)}
						err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&u).Error })
						if err != nil || place.Text("SELECT name FROM users WHERE id = $1", u.ID) != u.Name {
							t.Errorf("%v, %+v", err, u)
						}
					})
				}
				done.Wait()
				if got := place.Text("SELECT * FROM users WHERE id <= 20 ORDER BY id"); got != oldRows() {
					t.Errorf("old rows\n%s", got)
				}
				healed := map[plugin.Outcome]int{}
				for _, i := range seen.list() {
					healed[i.Outcome]++
					if i.Table == "" || i.Sequence == "" || i.Rounds != 1 || i.Outcome == plugin.Healed && i.To < 20 {
						t.Errorf("incident %+v", i)
					}
				}
				if healed[plugin.Healed] < 1 || healed[plugin.Healed]+healed[plugin.AlreadyHealed] != len(seen.list()) {
					t.Errorf("incidents %v", healed)
				}
			})
		})
	}
}

// Whoever follows another's heal and meets a row that only its own transaction sees
// heals itself.
func TestAFollowerMeetsRowsOfItsOwnTransaction(t *testing.T) {
	t.Parallel()
	for _, guard := range []plugin.Guard{plugin.GuardAuto, plugin.GuardSavepoint} {
		t.Run(fmt.Sprint(guard), func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			place.Exec(drifted)
			var drawn sync.Once
			healing := make(chan struct{})
			pool := tapped(t, place, func(_ *tappedConn, query string) error {
				if strings.Contains(query, "pg_catalog.nextval(") {
					drawn.Do(func() {
						close(healing)
						pgtest.Eventually(t, "the second collision", func() bool { return place.Int("SELECT last_value FROM users_id_seq") >= 2 })
					})
				}
				return nil
			})
			var seen incidents
			db := openOn(t, pool, withPlugin(&gorm.Config{}, seen.option(), plugin.WithGuard(guard), plugin.WithResyncTimeout(time.Minute)))
			us := [2]user{{Name: "first"}, {Name: "second"}}
			var done sync.WaitGroup
			done.Go(func() {
				if err := db.Create(&us[0]).Error; err != nil {
					t.Error(err)
				}
			})
			done.Go(func() {
				err := db.Transaction(func(tx *gorm.DB) error {
					own := []user{{ID: 21, Name: "own 21"}, {ID: 22, Name: "own 22"}, {ID: 23, Name: "own 23"}}
					if err := tx.Create(&own).Error; err != nil {
						return err
					}
					<-healing
					return tx.Create(&us[1]).Error
				})
				if err != nil {
					t.Error(err)
				}
			})
			done.Wait()
			want := oldRows() + "\n21|own 21\n22|own 22\n23|own 23"
			if got := place.Text("SELECT * FROM users WHERE id <= 23 ORDER BY id"); got != want {
				t.Errorf("rows\n%s", got)
			}
			for _, u := range us {
				if got := place.Text("SELECT id FROM users WHERE name = $1", u.Name); got != fmt.Sprint(u.ID) {
					t.Errorf("%+v is stored under %q", u, got)
				}
			}
			all := seen.list()
			slices.SortFunc(all, func(a, b plugin.Incident) int { return cmp.Compare(a.From, b.From) })
			if len(all) != 2 || all[0].Reason != "" || all[1].Reason != "" {
				t.Errorf("incidents %v", all)
			}
		})
	}
}

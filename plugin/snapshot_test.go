package plugin_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// What happens beside others at the levels that take a snapshot: found by
// internal/proof/soak and internal/proof/model.

// P8: outside a transaction a role whose default level takes a snapshot needs three
// transactions for a heal. Whichever the caller does not wait for, it is reported.
func TestAHealAtADefaultLevelThatCannotBeginIsReported(t *testing.T) {
	t.Parallel()
	for _, l := range levels[1:] {
		for begins := range 3 {
			t.Run(fmt.Sprintf("%s, transaction %d", l.name, begins+1), func(t *testing.T) {
				t.Parallel()
				place := pgtest.New(t)
				place.Exec(drifted)
				there := *place
				there.DSN = strings.ReplaceAll(place.DSNFor(choices[2].dsn(l)), "+", "%20")
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				begun := 0
				pool := tapped(t, &there, func(_ *tappedConn, query string) error {
					if query == "BEGIN" {
						if begun++; begun == begins+1 {
							stop()
							return context.Canceled
						}
					}
					return nil
				})
				var seen incidents
				db, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), withPlugin(&gorm.Config{SkipDefaultTransaction: true}, seen.option()))
				if err != nil {
					t.Fatal(err)
				}
				if err := db.WithContext(ctx).Create(&user{Name: "new"}).Error; err == nil {
					t.Error("no error")
				}
				if i := seen.one(t); i.Outcome != plugin.Failed || i.Reason != plugin.ReasonCanceled || begun != begins+1 {
					t.Errorf("%d transactions, incident %v", begun, i)
				}
				if got := place.Text("SELECT * FROM users ORDER BY id"); got != oldRows() {
					t.Errorf("rows\n%s", got)
				}
			})
		}
	}
}

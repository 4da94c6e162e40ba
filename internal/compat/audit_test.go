package compat

import (
	"fmt"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// Whatever the driver, a resync moves what is behind and names what it cannot, inside a
// transaction as well, which goes on; with prevention ids that are named drift nothing.
func TestEveryDriverAuditsAndPrevents(t *testing.T) {
	t.Parallel()
	for _, d := range drivers() {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode) {
				p := pgtest.New(t)
				p.Exec(drifted)
				db := open(t, d.dialector(t, p), m.config, plugin.New(plugin.WithPrevention()))
				err := m.within(db, func(tx *gorm.DB) error {
					findings, err := plugin.Resync(t.Context(), tx, "accounts", "nobody")
					if len(findings) != 2 || findings[0].Reason != plugin.ReasonNotFound || !findings[1].Moved || findings[1].To != 20 || findings[1].State != plugin.StateInSync ||
						err == nil || !strings.Contains(err.Error(), `"nobody": not found`) {
						t.Errorf("%v: %v", err, findings)
					}
					for _, id := range []int64{30, 31, 5_000_000} {
						if err := create(tx, []account{{ID: id, Email: fmt.Sprint(id)}}); err != nil {
							return err
						}
					}
					findings, err = plugin.Audit(t.Context(), tx, plugin.OfTables("accounts"))
					if len(findings) != 1 || findings[0].State != plugin.StateInSync || findings[0].Last != 5_000_000 || findings[0].Furthest != 5_000_000 {
						t.Errorf("%v: %v", err, findings)
					}
					return err
				})
				if n := p.Int("SELECT count(*) FROM accounts WHERE id IN (30, 31, 5000000)"); err != nil || n != 3 {
					t.Errorf("%v: %d rows of 3", err, n)
				}
			})
		})
	}
}

package plugin_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seqheal/seqheal/internal/pgtest"
)

// ofUniqueColumn is the kind with its key as a unique column beside a primary key of
// another type. It reports false for one that is not the same with that: a unique
// constraint that is checked late decides nothing, and a view or a partition that shows
// the key alone has no other key.
func (k kind) ofUniqueColumn() (kind, bool) {
	if strings.Contains(k.make, "DEFERRABLE") || k.qualified {
		return k, false
	}
	k.make = strings.ReplaceAll(k.make, "PRIMARY KEY", "UNIQUE")
	if !strings.Contains(k.make, "PARTITION BY") && !strings.Contains(k.make, "INHERITS") && !strings.Contains(k.make, "VIEW") {
		// Text, because the type of a key that the application sets plays no part.
		k.make += `; ALTER TABLE $T ADD uid text PRIMARY KEY DEFAULT md5(random()::text)`
	}
	return k, true
}

// P1, P3, P4 for a unique column that a sequence feeds and that is not the primary key.
func TestHealsEveryKindOfUniqueColumn(t *testing.T) {
	t.Parallel()
	tried := 0
	for _, k := range kinds {
		k, ok := k.withDefaults().ofUniqueColumn()
		if !ok {
			continue
		}
		tried++
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			for _, rows := range []int{1, 3} {
				t.Run(fmt.Sprintf("%d rows", rows), func(t *testing.T) {
					inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
						k.insertDrifted(t, place, m, rows)
					})
				})
			}
		})
	}
	if tried < 35 {
		t.Errorf("%d kinds", tried)
	}
}

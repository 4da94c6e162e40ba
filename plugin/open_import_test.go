package plugin_test

import (
	"fmt"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// Several rows under DO NOTHING wait for an import that is still open, and are stored, in
// whatever way the sequence was set back: after a RESTART it has no last value.
func TestDoNothingBesideAnOpenImport(t *testing.T) {
	t.Parallel()
	for _, back := range []string{
		"ALTER SEQUENCE users_id_seq RESTART WITH 21",
		"SELECT setval('users_id_seq', 21, false)",
		"SELECT setval('users_id_seq', 20)",
	} {
		t.Run(back, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				place.Exec(drifted + "; CREATE UNIQUE INDEX ON users (name); " + back)
				var seen incidents
				db := place.Open(&m.config, plugin.New(seen.option()))
				us := []user{{Name: "a"}, {Name: "b"}, {Name: "old 3"}}
				besideAnImport(t, place, "INSERT INTO users VALUES (21, 'imported')", func() error {
					return m.within(db, func(tx *gorm.DB) error { return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&us).Error })
				})
				want := oldRows() + "\n21|imported\n|a\n|b" // whatever the ids of the new ones
				if got := place.Text("SELECT CASE WHEN id < 22 THEN id::text ELSE '' END, name FROM users ORDER BY id"); got != want {
					t.Errorf("stored %q, want %q", got, want)
				}
				if i := seen.one(t); i.Outcome != plugin.Healed || !i.Silent {
					t.Errorf("incident %v", i)
				}
			})
		})
	}
}

// So they do when they meet the import by another key of the table than the primary one.
func TestDoNothingBesideAnOpenImportByASecondKey(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec(drifted + "; ALTER TABLE users ADD number bigserial UNIQUE; CREATE UNIQUE INDEX ON users (name); SELECT setval('users_id_seq', 20)")
		var seen incidents
		db := place.Open(&m.config, plugin.New(seen.option()))
		us := []user{{Name: "a"}, {Name: "b"}, {Name: "old 3"}}
		besideAnImport(t, place, "INSERT INTO users VALUES (100, 'imported', 22)", func() error {
			return m.within(db, func(tx *gorm.DB) error { return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&us).Error })
		})
		want := oldRows() + "\n|a\n|b\n100|imported"
		if got := place.Text("SELECT CASE WHEN id NOT BETWEEN 21 AND 99 THEN id::text ELSE '' END, name FROM users ORDER BY id"); got != want {
			t.Errorf("stored %q, want %q", got, want)
		}
		if i := seen.one(t); i.Outcome != plugin.Healed || i.Column != `"number"` {
			t.Errorf("incident %v", i)
		}
	})
}

// besideAnImport stores a row in a transaction that is open while insert runs, and commits it
// once that waits.
func besideAnImport(t *testing.T, place *pgtest.Place, row string, insert func() error) {
	t.Helper()
	imported := place.Open(nil).Begin()
	defer imported.Rollback()
	if err := imported.Exec(row).Error; err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- insert() }()
	pgtest.Eventually(t, "the rows to wait for the import", func() bool {
		return place.Int("SELECT count(*) FROM pg_locks l JOIN pg_locks h USING (transactionid) WHERE NOT l.granted AND h.pid = "+backend(imported)) > 0
	})
	if err := imported.Commit().Error; err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// backend is the process that serves a transaction.
func backend(tx *gorm.DB) string {
	var pid int64
	tx.Raw("SELECT pg_backend_pid()").Scan(&pid)
	return fmt.Sprint(pid)
}

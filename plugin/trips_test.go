package plugin_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// Which way statements in a savepoint take, and why, is in Stats and, once, in the log.
func TestStats_saysHowSavepointsAreSent(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		open func(*pgtest.Place, *plugin.Plugin) *gorm.DB
		want string
	}{
		{"pgx", func(p *pgtest.Place, healing *plugin.Plugin) *gorm.DB { return p.Open(nil, healing) }, "one trip"},
		{"a wrapped driver", func(p *pgtest.Place, healing *plugin.Plugin) *gorm.DB {
			pool := tapped(t, p, func(*tappedConn, string) error { return nil })
			db := openOn(t, pool, &gorm.Config{})
			if err := db.Use(healing); err != nil {
				t.Fatal(err)
			}
			return db
		}, "three trips: the driver is "},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			place.Exec(drifted + "; SELECT setval('users_id_seq', 20)")
			var log bytes.Buffer
			healing := plugin.New(plugin.WithLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
			db := test.open(place, healing)
			for range 3 {
				if err := db.Create(&[]user{{Name: "a"}, {Name: "b"}}).Error; err != nil {
					t.Fatal(err)
				}
			}
			if got := fmt.Sprint(healing.Stats().Savepoints); !strings.HasPrefix(got, "["+test.want) {
				t.Errorf("Savepoints %s, want %s", got, test.want)
			}
			if n := strings.Count(log.String(), "are sent in "+test.want); n != 1 {
				t.Errorf("logged %d times: %s", n, &log)
			}
		})
	}
}

// A look is planned for the table as it is now: in a transaction in which a small table
// grows, no upsert reads all of it.
func TestUpsertsIntoATableThatGrows(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec("CREATE TABLE $S.users (id bigserial PRIMARY KEY, name text, UNIQUE (id, name)); ALTER SEQUENCE $S.users_id_seq CACHE 2; INSERT INTO $S.users (name) VALUES ('old'); ANALYZE $S.users")
	healing := plugin.New()
	db := place.Open(nil, healing)
	pgtest.Eventually(t, "one trip", func() bool { // until then nothing is prepared
		err := db.Create(&[]user{{Name: "warm"}, {Name: "warm"}}).Error
		return err != nil || strings.HasPrefix(fmt.Sprint(healing.Stats().Savepoints), "[one trip")
	})
	err := db.Transaction(func(tx *gorm.DB) error {
		upsert := func() {
			t.Helper()
			err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&[]user{{Name: "a"}, {Name: "b"}}).Error
			if err != nil {
				t.Fatal(err)
			}
		}
		scans := func() (n int64) {
			tx.Raw("SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relid = 'users'::regclass").Scan(&n)
			return n
		}
		for range 4 {
			upsert()
		}
		small := scans()
		if err := tx.Exec("INSERT INTO users (name) SELECT 'bulk' FROM generate_series(1, 20000)").Error; err != nil {
			return err
		}
		for range 4 {
			upsert()
		}
		if n := scans() - small; n > 0 {
			t.Errorf("%d sequential scans of a table of 20,000 rows", n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if n := place.Int("SELECT count(*) FROM $S.users WHERE name IN ('a', 'b')"); n != 16 {
		t.Errorf("%d rows, want 16", n)
	}
}

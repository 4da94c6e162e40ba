package plugin_test

import (
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

type booking struct {
	ID   int64
	Room int64
}

func (booking) TableName() string { return "bookings" }

var inSerializable = &sql.TxOptions{Isolation: sql.LevelSerializable}

// P5: a row that DO NOTHING drops in SERIALIZABLE for something else than its key is the
// caller's own conflict, whatever it is and whether or not a second connection can tell.
func TestADuplicateUnderDoNothingInSerializable(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, before, later string }{
		{"an exclusion constraint", "ALTER TABLE bookings ADD EXCLUDE USING btree (room WITH =)", ""},
		{"a unique index", "CREATE UNIQUE INDEX ON bookings (room)", ""},
		{"a unique index that is added", "", "CREATE UNIQUE INDEX ON bookings (room)"},
	} {
		for _, connections := range []int{1, 5} {
			t.Run(fmt.Sprintf("%s, %d connections", test.name, connections), func(t *testing.T) {
				t.Parallel()
				place := pgtest.New(t)
				place.Exec("CREATE TABLE bookings (id bigserial PRIMARY KEY, room bigint);" + test.before)
				var seen incidents
				db := place.Open(nil, plugin.New(seen.option()))
				pool, err := db.DB()
				if err != nil {
					t.Fatal(err)
				}
				pool.SetMaxOpenConns(connections)
				insert := func() (rows int64) {
					err := db.Transaction(func(tx *gorm.DB) error {
						result := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&booking{Room: 1})
						rows = result.RowsAffected
						return result.Error
					}, inSerializable)
					if err != nil {
						t.Error(err)
					}
					return rows
				}
				if insert() != 1 {
					t.Error("the first is not stored")
				}
				if test.later != "" {
					place.Exec(test.later)
				}
				if rows, last := insert(), place.Int("SELECT last_value FROM bookings_id_seq"); rows != 0 || last != 2 {
					t.Errorf("%d rows, the sequence is at %d", rows, last)
				}
				seen.none(t)
			})
		}
	}
}

// P1: the same, and the row was dropped for the id that the sequence gave it.
func TestADroppedRowInSerializable(t *testing.T) {
	t.Parallel()
	for _, connections := range []int{1, 2} {
		t.Run(fmt.Sprintf("%d connections", connections), func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			place.Exec(`CREATE TABLE bookings (id bigserial PRIMARY KEY, room bigint UNIQUE);
				INSERT INTO bookings SELECT g, g FROM generate_series(1, 20) g`)
			var seen incidents
			db := place.Open(nil, plugin.New(seen.option()))
			pool, err := db.DB()
			if err != nil {
				t.Fatal(err)
			}
			pool.SetMaxOpenConns(connections)
			b := booking{Room: 21}
			err = db.Transaction(func(tx *gorm.DB) error {
				return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&b).Error
			}, inSerializable)
			if got := place.Text("SELECT id FROM bookings WHERE room = 21"); err != nil || got != fmt.Sprint(b.ID) {
				t.Errorf("%v, %+v is stored as %q", err, b, got)
			}
			if i := seen.one(t); i.Outcome != plugin.Healed {
				t.Errorf("incident %v", i)
			}
		})
	}
}

// P1: the same, for a row of its own transaction.
func TestARowOfItsOwnDropsTheNextInSerializable(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(drifted + "; SELECT setval('users_id_seq', 20)")
	var seen incidents
	db := place.Open(nil, plugin.New(seen.option()))
	u := user{Name: "new"}
	err := db.Transaction(func(tx *gorm.DB) error {
		if err := tx.Create(&user{ID: 21, Name: "own"}).Error; err != nil {
			return err
		}
		return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&u).Error
	}, inSerializable)
	if got := place.Text("SELECT id FROM users WHERE name = 'new'"); err != nil || got != fmt.Sprint(u.ID) {
		t.Errorf("%v, %+v is stored as %q", err, u, got)
	}
	if i := seen.one(t); i.Outcome != plugin.Healed {
		t.Errorf("incident %v", i)
	}
}

// P5: a batch in SERIALIZABLE names an id that exists, with and without a second
// connection that can tell.
func TestABatchThatNamesAnExistingIDInSerializable(t *testing.T) {
	t.Parallel()
	for _, connections := range []int{1, 5} {
		t.Run(fmt.Sprintf("%d connections", connections), func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			place.Exec(drifted + "; SELECT setval('users_id_seq', 20); INSERT INTO users VALUES (100000, 'far')")
			sent := 0
			pool := tapped(t, place, func(_ *tappedConn, query string) error {
				if strings.HasPrefix(query, `INSERT INTO "users"`) {
					sent++
				}
				return nil
			})
			pool.SetMaxOpenConns(connections)
			var seen incidents
			db := openOn(t, pool, withPlugin(&gorm.Config{}, seen.option()))
			err := db.Transaction(func(tx *gorm.DB) error {
				return tx.Create(&[]user{{Name: "new"}, {ID: 100000, Name: "named"}}).Error
			}, inSerializable)
			if last := place.Int("SELECT last_value FROM users_id_seq"); err == nil || sent != 1 || last != 21 {
				t.Errorf("%v, sent %d times, the sequence is at %d", err, sent, last)
			}
			seen.none(t)
		})
	}
}

// P1: a herd whose default level takes a snapshot, in a pool that is smaller: whoever
// heals gives its connection back on the way, and nobody may wait for it with one.
func TestAHerdAtADefaultLevelInASmallPool(t *testing.T) {
	t.Parallel()
	for _, connections := range []int{1, 2, 4} {
		t.Run(fmt.Sprintf("%d connections", connections), func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			place.Exec(drifted)
			dsn := strings.ReplaceAll(place.DSNFor(map[string]string{"default_transaction_isolation": "repeatable read"}), "+", "%20")
			db := place.OpenDSN(dsn, &gorm.Config{SkipDefaultTransaction: true}, plugin.New(plugin.WithResyncTimeout(time.Hour)))
			pool, err := db.DB()
			if err != nil {
				t.Fatal(err)
			}
			pool.SetMaxOpenConns(connections)
			const herd = 16
			ended := make(chan error, herd)
			for i := range herd {
				go func() { ended <- db.Create(&user{Name: fmt.Sprint("new ", i)}).Error }()
			}
			pgtest.Eventually(t, "the herd", func() bool { return len(ended) == herd })
			for range herd {
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}
			if n := place.Int("SELECT count(DISTINCT name) FROM users WHERE id > 20"); n != herd {
				t.Errorf("%d rows are stored", n)
			}
		})
	}
}

// P5: what another session drew last is not taken for the draw of a statement whose
// collision was met outside a transaction.
func TestTheLastDrawOfAnotherSession(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(shopSchema + "; SELECT setval('members_id_seq', 20)")
	sent := 0
	pool := tapped(t, place, func(_ *tappedConn, query string) error {
		if strings.HasPrefix(query, `INSERT INTO "members"`) {
			sent++
		}
		return nil
	})
	pool.SetMaxOpenConns(2)
	db := openOn(t, pool, withoutPlugin(&gorm.Config{SkipDefaultTransaction: true}))
	var held *sql.Conn
	var err error
	taken := sync.OnceFunc(func() { held, err = pool.Conn(t.Context()) })
	original := db.Callback().Create().Get("gorm:create")
	if err := db.Callback().Create().Replace("gorm:create", func(db *gorm.DB) {
		if original(db); db.Error != nil {
			taken() // somebody else takes the connection on which it failed
		}
	}); err != nil {
		t.Fatal(err)
	}
	var seen incidents
	if err := db.Use(plugin.New(seen.option())); err != nil {
		t.Fatal(err)
	}
	var conns [2]*sql.Conn
	for i := range conns {
		if conns[i], err = pool.Conn(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var id int64
	if err := conns[0].QueryRowContext(t.Context(), "INSERT INTO members (email, name) VALUES ('last@x', 'last') RETURNING id").Scan(&id); err != nil {
		t.Fatal(err)
	}
	_, _ = conns[0].Close(), conns[1].Close() // the latter is given out first
	ms := []subscriber{{Email: "new@x", Name: "new"}, {ID: id, Email: "newer@x", Name: "named"}}
	failed := db.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "email"}}, DoUpdates: clause.AssignmentColumns([]string{"name"})}).Create(&ms).Error
	if held == nil || err != nil {
		t.Fatalf("no connection was taken: %v", err)
	}
	_ = held.Close()
	if failed == nil || sent != 1 {
		t.Errorf("%v, sent %d times", failed, sent)
	}
	seen.none(t)
}

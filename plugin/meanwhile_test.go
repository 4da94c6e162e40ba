package plugin_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// What others do between two statements of one insert: found by internal/proof/soak.

// P1: the sequence is moved back while one insert heals, and forward again by
// somebody else before it looks a second time. That is a drift like any other, even
// where the very same id collides again.
func TestASequenceThatIsMovedBackAndForwardMeanwhile(t *testing.T) {
	t.Parallel()
	const trigger = `CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
		CREATE TRIGGER x AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION f()`
	for _, test := range []struct {
		name, change string
		guard        plugin.Guard
		back         string
	}{
		{"conflict guard", "", plugin.GuardAuto, "5, true"},
		{"savepoint guard", "", plugin.GuardSavepoint, "5, true"},
		{"a table with a trigger", trigger, plugin.GuardAuto, "5, true"},
		{"the same id", "", plugin.GuardAuto, "1, false"},
		{"the same id of a table with a trigger", trigger, plugin.GuardAuto, "1, false"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				place.Exec(drifted)
				if test.change != "" {
					place.Exec(test.change)
				}
				sent, moves := 0, 0
				pool := tapped(t, place, func(_ *tappedConn, query string) error {
					switch {
					case strings.HasPrefix(query, `INSERT INTO "users"`):
						if sent++; sent == 2 {
							place.Exec("SELECT setval('users_id_seq', " + test.back + ")")
						}
					case sent == 2 && moves == 0 && strings.Contains(query, "pg_catalog.nextval("):
						moves++
						place.Exec("SELECT setval('users_id_seq', 30)")
					}
					return nil
				})
				var seen incidents
				db := openOn(t, pool, withPlugin(&m.config, seen.option(), plugin.WithGuard(test.guard)))
				u := user{Name: "new"}
				if err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&u).Error }); err != nil || u.ID <= 30 {
					t.Errorf("%v, %+v", err, u)
				}
				if got, want := place.Text("SELECT * FROM users ORDER BY id"), oldRows()+fmt.Sprintf("\n%d|new", u.ID); got != want {
					t.Errorf("rows\n%s", got)
				}
				if i := seen.one(t); i.Outcome != plugin.Healed || i.Rounds != 2 || sent != 3 || moves != 1 {
					t.Errorf("%d sent, incident %v", sent, i)
				}
			})
		})
	}
}

// P5: a trigger sets an id that is taken. No sequence can help, and nothing is
// reported; P6: the caller's transaction is left aborted.
func TestAnIDThatATriggerSets(t *testing.T) {
	t.Parallel()
	for _, rounds := range []int{2, 4} {
		t.Run(fmt.Sprintf("%d rounds", rounds), func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				place.Exec(drifted + `; SELECT setval('users_id_seq', 20);
					CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.id := 7; RETURN NEW; END';
					CREATE TRIGGER x BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION f()`)
				sent := 0
				pool := tapped(t, place, func(_ *tappedConn, query string) error {
					if strings.HasPrefix(query, `INSERT INTO "users"`) {
						sent++
					}
					return nil
				})
				var seen incidents
				db := openOn(t, pool, withPlugin(&m.config, seen.option(), plugin.WithMaxRounds(rounds)))
				err := m.within(db, func(tx *gorm.DB) error {
					err := tx.Create(&user{Name: "new"}).Error
					if m.name == modes[2].name && tx.Exec("SELECT 1").Error == nil {
						t.Error("the caller's transaction goes on after a failure")
					}
					return err
				})
				var server *pgconn.PgError
				if !errors.As(err, &server) || server.Code != "23505" {
					t.Errorf("error %v", err)
				}
				if got := place.Text("SELECT * FROM users ORDER BY id"); got != oldRows() {
					t.Errorf("rows\n%s", got)
				}
				if sent > 3 {
					t.Errorf("sent %d times", sent)
				}
				seen.none(t)
			})
		})
	}
}

// P1: a row is dropped under DO NOTHING for its drawn id, and by the time the
// plugin looks somebody else has moved the sequence past every row.
func TestARowThatIsDroppedWhileAnotherHeals(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		unique bool // another unique index could be why the row was dropped
		want   string
	}{
		{"by another process", false, "new"},
		{"by this one", true, "healed\nnew"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			place.Exec(drifted)
			if test.unique {
				place.Exec("CREATE UNIQUE INDEX ON users (name)")
			}
			var other *gorm.DB
			sent := 0
			pool := tapped(t, place, func(_ *tappedConn, query string) error {
				if sent > 0 && other != nil { // the statement after the row was dropped
					healing := other
					other = nil
					if test.unique {
						if err := healing.Create(&user{Name: "healed"}).Error; err != nil {
							return err
						}
					}
					place.Exec("SELECT setval('users_id_seq', 40)")
				}
				if strings.HasPrefix(query, `INSERT INTO "users"`) {
					sent++
				}
				return nil
			})
			db := openOn(t, pool, withPlugin(&gorm.Config{SkipDefaultTransaction: true}))
			if err := db.Clauses(clause.OnConflict{DoNothing: true}).Create(&user{ID: 1, Name: "old 1"}).Error; err != nil {
				t.Fatal(err)
			}
			sent = 0
			other = db
			u := user{Name: "new"}
			if err := db.Clauses(clause.OnConflict{DoNothing: true}).Create(&u).Error; err != nil || u.ID <= 40 {
				t.Errorf("%v, %+v", err, u)
			}
			if got := place.Text("SELECT name FROM users WHERE id > 20 ORDER BY id"); got != test.want {
				t.Errorf("new rows %q", got)
			}
		})
	}
}

// P1: under DO NOTHING a row meets one row after the other, while others move the
// sequence past the rows before each look and back again behind it. Where the key is no
// proof by itself, on a partitioned table, it came back without an id and an error.
func TestARowThatIsDroppedTwiceWhileOthersMoveTheSequence(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec(`CREATE TABLE users (id bigserial PRIMARY KEY, name text) PARTITION BY HASH (id);
			CREATE TABLE users_a PARTITION OF users FOR VALUES WITH (MODULUS 2, REMAINDER 0);
			CREATE TABLE users_b PARTITION OF users FOR VALUES WITH (MODULUS 2, REMAINDER 1);
			INSERT INTO users SELECT g, 'old ' || g FROM generate_series(1, 20) g; SELECT setval('users_id_seq', 20)`)
		collided, looked := 0, 0
		armed := false
		pool := tapped(t, place, func(_ *tappedConn, query string) error {
			switch {
			case !armed:
			case strings.HasPrefix(query, "INSERT") && strings.Contains(query, `"users"`) && collided < 3:
				if collided++; collided > 1 || m.name != modes[0].name { // outside a transaction the first is sent twice
					place.Exec("SELECT setval('users_id_seq', 5)")
				}
			case strings.Contains(query, "pg_catalog.nextval(") && looked < 3:
				looked++
				place.Exec("SELECT setval('users_id_seq', 40)")
			}
			return nil
		})
		db := openOn(t, pool, withPlugin(&m.config))
		if err := db.Create(&user{Name: "known"}).Error; err != nil {
			t.Fatal(err)
		}
		place.Exec("SELECT setval('users_id_seq', 5)")
		armed = true
		u := user{Name: "new"}
		if err := m.within(db, func(tx *gorm.DB) error { return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&u).Error }); err != nil || u.ID <= 40 {
			t.Errorf("%v, %+v", err, u)
		}
		if got := place.Text("SELECT id, name FROM users WHERE name = 'new'"); got != fmt.Sprintf("%d|new", u.ID) || looked < 2 {
			t.Errorf("stored %q after %d looks", got, looked)
		}
	})
}

// A trigger that only looks on explains no missing row of an upsert.
func TestRaceBehindThePreflightOfATableWithATriggerAfterInsert(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec(drifted + `; SELECT setval('users_id_seq', 20);
			CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
			CREATE TRIGGER x AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION f()`)
		raced := false
		pool := tapped(t, place, func(_ *tappedConn, query string) error {
			if !raced && strings.HasPrefix(query, `INSERT INTO "users"`) {
				raced = true
				place.Exec("INSERT INTO users VALUES (21, 'imported')")
			}
			return nil
		})
		db := openOn(t, pool, withPlugin(&m.config))
		us := []user{{Name: "new"}, {ID: 3, Name: "renamed"}}
		err := m.within(db, func(tx *gorm.DB) error { return tx.Save(&us).Error })
		if err != nil || us[0].ID <= 21 {
			t.Errorf("error %v, %+v", err, us)
		}
		want := strings.Replace(oldRows(), "3|old 3\n", "3|renamed\n", 1) + fmt.Sprintf("\n21|imported\n%d|new", us[0].ID)
		if got := place.Text("SELECT * FROM users ORDER BY id"); got != want {
			t.Errorf("rows\n%s", got)
		}
	})
}

// P8: a heal whose connection breaks, or whose caller gives up, before the catalog
// is read is reported all the same.
func TestAHealThatCannotBeginIsReported(t *testing.T) {
	t.Parallel()
	const partitioned = `CREATE TABLE users (id bigserial PRIMARY KEY, name text) PARTITION BY HASH (id);
		CREATE TABLE users_a PARTITION OF users FOR VALUES WITH (MODULUS 2, REMAINDER 0);
		CREATE TABLE users_b PARTITION OF users FOR VALUES WITH (MODULUS 2, REMAINDER 1);
		INSERT INTO users SELECT g, 'old ' || g FROM generate_series(1, 20) g`
	for name, table := range map[string]string{"ordinary": drifted, "partitioned": partitioned} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				place.Exec(table + "; SELECT setval('users_id_seq', 20)")
				collided := false
				pool := tapped(t, place, func(c *tappedConn, query string) error {
					if collided {
						_ = c.kill()
					}
					collided = collided || strings.HasPrefix(query, "INSERT") && strings.Contains(query, `"users"`) &&
						place.Int("SELECT last_value FROM users_id_seq") < 20
					return nil
				})
				var seen incidents
				db := openOn(t, pool, withPlugin(&m.config, seen.option(), plugin.WithGuard(plugin.GuardSavepoint)))
				if err := db.Create(&user{Name: "known"}).Error; err != nil {
					t.Fatal(err)
				}
				place.Exec("SELECT setval('users_id_seq', 1)")
				if err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&user{Name: "new"}).Error }); err == nil {
					t.Error("no error")
				}
				if i := seen.one(t); i.Outcome != plugin.Failed || i.Table == "" {
					t.Errorf("incident %v", i)
				}
				if n := place.Int("SELECT count(*) FROM users WHERE name = 'new'"); n != 0 {
					t.Errorf("%d rows were stored", n)
				}
			})
		})
	}
}

package plugin_test

import (
	"context"
	"database/sql"
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
				db := openOn(t, pool, withPlugin(&gorm.Config{SkipDefaultTransaction: true}, seen.option()))
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

// tries sends a transaction that takes its snapshot, lets meanwhile happen and inserts,
// and sends it again as an application does, once.
func tries(t *testing.T, db *gorm.DB, l level, meanwhile func(), insert func(*gorm.DB) error) (first error) {
	t.Helper()
	attempt := func() error {
		return db.Transaction(func(tx *gorm.DB) error {
			if err := tx.Exec("SELECT count(*) FROM pg_class").Error; err != nil {
				return err
			}
			meanwhile()
			return insert(tx)
		}, &sql.TxOptions{Isolation: l.option})
	}
	if first = attempt(); first == nil {
		return nil
	}
	if err := attempt(); err != nil {
		t.Errorf("%v, and the first retry: %v", first, err)
	}
	return first
}

const importOnce = "INSERT INTO users SELECT g, 'old ' || g FROM generate_series(1, 20) g ON CONFLICT DO NOTHING"

// P1: an upsert that meets drift where no look can warn it fails with what the caller
// tries again on, and the first retry succeeds. Outside the snapshot no level sees a
// row.
func TestUpsertsUnderASnapshot(t *testing.T) {
	t.Parallel()
	nothing := clause.OnConflict{DoNothing: true}
	both := []user{{Name: "new"}, {Name: "newer"}}
	for _, test := range []struct {
		name   string
		insert func(*gorm.DB) error
		want   string
		// inPlace tells of a heal without a failure, of rows in the snapshot, by level.
		inPlace map[string]bool
	}{
		{"mixed", func(tx *gorm.DB) error { return tx.Save(&[]user{{Name: "new"}, {ID: 20, Name: "renamed"}}).Error }, "new renamed",
			map[string]bool{"REPEATABLE READ": true, "SERIALIZABLE": true}},
		{"mixed, the drawn id named", func(tx *gorm.DB) error { return tx.Save(&[]user{{Name: "new"}, {ID: 1, Name: "renamed"}}).Error }, "new renamed",
			map[string]bool{"REPEATABLE READ": true, "SERIALIZABLE": true}},
		{"one under DO NOTHING", func(tx *gorm.DB) error { return tx.Clauses(nothing).Create(&user{Name: "new"}).Error }, "new",
			map[string]bool{"REPEATABLE READ": true, "SERIALIZABLE": true}},
		// In SERIALIZABLE rows in the snapshot are dropped, as the README's limits say.
		{"two under DO NOTHING", func(tx *gorm.DB) error {
			us := append([]user(nil), both...)
			return tx.Clauses(nothing).Create(&us).Error
		}, "new newer", map[string]bool{"REPEATABLE READ": true}},
	} {
		for _, l := range levels[1:] {
			for _, inSnapshot := range []bool{true, false} {
				if inSnapshot && l.option == sql.LevelSerializable && test.want == "new newer" {
					continue
				}
				t.Run(fmt.Sprintf("%s, %s, rows in the snapshot %v", test.name, l.name, inSnapshot), func(t *testing.T) {
					t.Parallel()
					place := pgtest.New(t)
					place.Exec("CREATE TABLE users (id bigserial PRIMARY KEY, name text)")
					if inSnapshot {
						place.Exec(importOnce)
					}
					var seen incidents
					db := place.Open(nil, plugin.New(seen.option()))
					err := tries(t, db, l, func() { place.Exec(importOnce) }, test.insert)
					switch inPlace := inSnapshot && test.inPlace[l.name]; {
					case inPlace && err != nil:
						t.Errorf("not in place: %v", err)
					case !inSnapshot && (err == nil || !strings.Contains(err.Error(), "40001")),
						inSnapshot && !inPlace && !errors.Is(err, plugin.ErrRowsMissing):
						t.Errorf("error %v", err)
					}
					if got := place.Text("SELECT string_agg(name, ' ' ORDER BY name) FROM users WHERE name NOT LIKE 'old%'"); got != test.want {
						t.Errorf("new rows %q", got)
					}
					renamed := int64(strings.Count(test.want, "renamed"))
					if n := place.Int("SELECT count(*) FROM users WHERE name = 'old ' || id"); n != 20-renamed {
						t.Errorf("%d old rows are as they were", n)
					}
					if i := seen.one(t); i.Outcome != plugin.Healed {
						t.Errorf("incident %v", i)
					}
				})
			}
		}
	}
}

// P8: an upsert that fails because a row was updated meanwhile has met no drift, and
// nothing is reported, nor moved.
func TestASerializationFailureThatIsNoDrift(t *testing.T) {
	t.Parallel()
	for _, l := range levels[1:] {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			place.Exec(drifted + "; SELECT setval('users_id_seq', 20); INSERT INTO users VALUES (1000000, 'far')")
			var seen incidents
			db := place.Open(nil, plugin.New(seen.option()))
			updates := 0
			err := tries(t, db, l, func() {
				if updates++; updates == 1 {
					place.Exec("UPDATE users SET name = 'updated' WHERE id = 3")
				}
			}, func(tx *gorm.DB) error { return tx.Save(&[]user{{Name: "new"}, {ID: 3, Name: "renamed"}}).Error })
			if err == nil || !strings.Contains(err.Error(), "40001") {
				t.Errorf("error %v", err)
			}
			if got := place.Text("SELECT id, name FROM users WHERE id BETWEEN 21 AND 999999 OR id = 3 ORDER BY id"); got != "3|renamed\n22|new" && got != "3|renamed\n21|new" {
				t.Errorf("rows %q", got)
			}
			seen.none(t)
		})
	}
}

// P8: neither has an insert whose SERIALIZABLE transaction was chosen to fail, although a
// row lies far in front of the sequence.
func TestAnInsertThatCannotBeSerialized(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(drifted + "; SELECT setval('users_id_seq', 20); INSERT INTO users VALUES (1000000, 'far')")
	failed := false
	pool := tapped(t, place, func(_ *tappedConn, query string) error {
		if !failed && strings.HasPrefix(query, "INSERT") {
			failed = true
			return &pgconn.PgError{Code: "40001", Message: "could not serialize access due to read/write dependencies among transactions"}
		}
		return nil
	})
	var seen incidents
	db := openOn(t, pool, withPlugin(&gorm.Config{}, seen.option()))
	err := tries(t, db, levels[2], func() {}, func(tx *gorm.DB) error { return tx.Create(&user{Name: "new"}).Error })
	if err == nil || !failed {
		t.Errorf("error %v", err)
	}
	if got := place.Text("SELECT id, name FROM users WHERE id > 20 ORDER BY id"); got != "21|new\n1000000|far" {
		t.Errorf("rows %q", got)
	}
	seen.none(t)
}

// P1: without a second connection nobody sees the rows outside the snapshot, and the
// plugin has to guess how many they are: it healed one at a time, and a handful was
// more than four rounds.
func TestRowsOutsideTheSnapshotWithoutASecondConnection(t *testing.T) {
	t.Parallel()
	for _, l := range levels[1:] {
		for name, guard := range guards {
			t.Run(l.name+", "+name, func(t *testing.T) {
				t.Parallel()
				place := pgtest.New(t)
				place.Exec("CREATE TABLE users (id bigserial PRIMARY KEY, name text)")
				var seen incidents
				db := place.Open(nil, plugin.New(seen.option(), plugin.WithGuard(guard)))
				pool, _ := db.DB()
				pool.SetMaxOpenConns(1)
				u := user{}
				err := tries(t, db, l, func() { place.Exec(importOnce) }, func(tx *gorm.DB) error {
					u = user{Name: "new"}
					return tx.Create(&u).Error
				})
				if guard == plugin.GuardSavepoint && err != nil || err != nil && !strings.Contains(err.Error(), "40001") {
					t.Errorf("%v; %v", err, seen.list())
				}
				if got := place.Text("SELECT * FROM users ORDER BY id"); got != oldRows()+fmt.Sprintf("\n%d|new", u.ID) {
					t.Errorf("rows\n%s", got)
				}
			})
		}
	}
}

// P4 and P5: the server obeys a trigger that the transaction's snapshot does not show. An
// empty result under the conflict guard is then the trigger's doing: the insert has the
// result that it has without the plugin, and is not sent again.
func TestATriggerThatTheSnapshotDoesNotShow(t *testing.T) {
	t.Parallel()
	for _, l := range levels[1:] {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			place.Exec(drifted + `; SELECT setval('users_id_seq', 20); CREATE TABLE elsewhere (id bigint, name text);
				CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO $S.elsewhere VALUES (NEW.id, NEW.name); RETURN NULL; END'`)
			var seen incidents
			db := place.Open(nil, plugin.New(seen.option()))
			if err := db.Create(&user{Name: "known"}).Error; err != nil {
				t.Fatal(err)
			}
			made := false
			err := tries(t, db, l, func() {
				if !made {
					place.Exec("CREATE TRIGGER x BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION f()")
				}
				made = true
			}, func(tx *gorm.DB) error { return tx.Create(&user{Name: "new"}).Error })
			if err != nil {
				t.Errorf("error %v", err)
			}
			if got := place.Text("SELECT name FROM elsewhere"); got != "new" {
				t.Errorf("the trigger stored %q", got)
			}
			seen.none(t)
		})
	}
}

// P5: a batch that names an id which exists outside the snapshot has the caller's error,
// as one in it has. It was taken for drift, sent four times, and the sequence moved.
// Where nobody can look, at the caller's own row in SERIALIZABLE, it is sent twice.
func TestABatchThatNamesAnIDOutsideTheSnapshot(t *testing.T) {
	t.Parallel()
	for _, l := range levels[1:] {
		for _, own := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, the caller's own row %v", l.name, own), func(t *testing.T) {
				t.Parallel()
				place := pgtest.New(t)
				place.Exec(drifted + "; SELECT setval('users_id_seq', 20); DELETE FROM users WHERE id = 10")
				sent := 0
				pool := tapped(t, place, func(_ *tappedConn, query string) error {
					if strings.HasPrefix(query, `INSERT INTO "users"`) {
						sent++
					}
					return nil
				})
				var seen incidents
				db := openOn(t, pool, withPlugin(&gorm.Config{}, seen.option()))
				err := db.Transaction(func(tx *gorm.DB) error {
					if err := tx.Exec("SELECT count(*) FROM users").Error; err != nil {
						return err
					}
					const insert = "INSERT INTO users VALUES (10, 'theirs')"
					if own {
						tx.Exec("DELETE FROM users WHERE id = 9; INSERT INTO users VALUES (9, 'own')")
					} else {
						place.Exec(insert)
					}
					return tx.Create(&[]user{{Name: "new"}, {ID: map[bool]int64{true: 9, false: 10}[own], Name: "named"}}).Error
				}, &sql.TxOptions{Isolation: l.option})
				if err == nil || !strings.Contains(err.Error(), "23505") {
					t.Errorf("error %v", err)
				}
				most := 1
				if own && l.option == sql.LevelSerializable {
					most = 2
				}
				if sent > most {
					t.Errorf("sent %d times", sent)
				}
				if at := place.Int("SELECT last_value FROM users_id_seq"); at > 25 {
					t.Errorf("the sequence stands at %d", at)
				}
				seen.none(t)
			})
		}
	}
}

// P1: a transaction that is chosen to fail while its insert heals fails with what the
// caller tries again on, and not with the collision; P6: it can only roll back.
func TestATransactionThatCannotBeSerializedWhileItHeals(t *testing.T) {
	t.Parallel()
	for name, guard := range guards {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			place.Exec(drifted)
			lost := false
			pool := tapped(t, place, func(_ *tappedConn, query string) error {
				if !lost && strings.Contains(query, "pg_catalog.nextval(") {
					lost = true
					return &pgconn.PgError{Code: "40001", Message: "could not serialize access"}
				}
				return nil
			})
			var seen incidents
			db := openOn(t, pool, withPlugin(&gorm.Config{}, seen.option(), plugin.WithGuard(guard)))
			err := tries(t, db, levels[2], func() {}, func(tx *gorm.DB) error {
				err := tx.Create(&user{Name: "new"}).Error
				if err != nil && tx.Session(&gorm.Session{NewDB: true}).Exec("SELECT 1").Error == nil {
					t.Error("the transaction goes on")
				}
				return err
			})
			if err == nil || !strings.Contains(err.Error(), "40001") {
				t.Errorf("error %v", err)
			}
			if n := place.Int("SELECT count(*) FROM users WHERE name = 'new'"); n != 1 {
				t.Errorf("%d rows", n)
			}
			if all := seen.list(); len(all) != 2 || all[0].Outcome != plugin.Failed || all[1].Outcome != plugin.Healed {
				t.Errorf("incidents %v", all)
			}
		})
	}
}

// P1: the sequence is moved, and that is reported, when the upsert fails with 40001 and
// not only when the caller tries again. (One row under DO NOTHING is healed at the retry.)
func TestAnUpsertThatFailsUnderASnapshotIsHealedAtOnce(t *testing.T) {
	t.Parallel()
	nothing := clause.OnConflict{DoNothing: true}
	for name, insert := range map[string]func(*gorm.DB) error{
		"every row draws": func(tx *gorm.DB) error { return tx.Save(&[]user{{Name: "new"}, {Name: "newer"}}).Error },
		"mixed":           func(tx *gorm.DB) error { return tx.Save(&[]user{{Name: "new"}, {ID: 20, Name: "renamed"}}).Error },
		"two under DO NOTHING": func(tx *gorm.DB) error {
			return tx.Clauses(nothing).Create(&[]user{{Name: "new"}, {Name: "newer"}}).Error
		},
		"under a BEFORE trigger":  func(tx *gorm.DB) error { return tx.Save(&[]stamped{{Name: "new"}, {Name: "newer"}}).Error },
		"mixed, BEFORE a trigger": func(tx *gorm.DB) error { return tx.Save(&[]stamped{{Name: "new"}, {ID: 20, Name: "renamed"}}).Error },
	} {
		for _, l := range levels[1:] {
			t.Run(name+", "+l.name, func(t *testing.T) {
				t.Parallel()
				place := pgtest.New(t)
				place.Exec(`CREATE TABLE users (id bigserial PRIMARY KEY, name text); CREATE TABLE stamped (id bigserial PRIMARY KEY, name text);
					CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
					CREATE TRIGGER stamp BEFORE INSERT ON stamped FOR EACH ROW EXECUTE FUNCTION stamp()`)
				var seen incidents
				db := place.Open(nil, plugin.New(seen.option()))
				warm(t, db)
				err := db.Transaction(func(tx *gorm.DB) error {
					if err := tx.Exec("SELECT count(*) FROM pg_class").Error; err != nil {
						return err
					}
					for _, table := range []string{"users", "stamped"} {
						place.Exec(strings.ReplaceAll(importOnce, "users", table))
					}
					return insert(tx)
				}, &sql.TxOptions{Isolation: l.option})
				// The look from a second connection foresees it.
				inPlace := name == "under a BEFORE trigger" && l.option == sql.LevelSerializable
				if inPlace == (err != nil) || !inPlace && !strings.Contains(err.Error(), "40001") {
					t.Errorf("error %v", err)
				}
				i := seen.one(t)
				if i.Outcome != plugin.Healed {
					t.Errorf("incident %v", i)
				}
				if last := place.Int("SELECT max(last_value) FROM pg_sequences WHERE schemaname = '$S'"); last < 20 {
					t.Errorf("the furthest sequence is at %d", last)
				}
			})
		}
	}
}

// stamped is a row of a table with a BEFORE INSERT trigger.
type stamped struct {
	ID   int64
	Name string
}

func (stamped) TableName() string { return "stamped" }

package plugin_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// isLook reports whether a statement is one of those that look for a cause.
func isLook(query string) bool {
	return strings.Contains(query, "pg_xact_commit_timestamp") || strings.Contains(query, "pg_subscription_rel")
}

// A look that cannot be finished leaves the cause unknown and says why. The insert and its
// transaction are as without it.
func TestCause_lookThatFails(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		// role has these rights and none else, empty for the superuser.
		grants string
		// meet runs before a statement of the look is sent.
		meet     func(t *testing.T, place *pgtest.Place, query string) error
		cancel   bool
		evidence string
	}{
		{name: "a role that may read the key alone", grants: "GRANT INSERT, SELECT (id) ON users TO $R; GRANT ALL ON SEQUENCE users_id_seq TO $R",
			evidence: "the rows in front could not be read: the role has no right to"},
		{name: "a server that has no such catalog", meet: func(_ *testing.T, _ *pgtest.Place, query string) error {
			if strings.Contains(query, "pg_xact_commit_timestamp") {
				return errors.New("no such function")
			}
			return nil
		}, evidence: "the rows in front could not be read: no such function"},
		{name: "a context that ends", cancel: true, evidence: "20 rows, ids 1 to 20, came in 1 transaction"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				place.Exec(drifted)
				if test.grants != "" {
					role := place.Role()
					place.Exec(strings.ReplaceAll(test.grants, "$R", role))
					place.DSN = place.DSNFor(map[string]string{"user": role})
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var looks atomic.Int32
				pool := tapped(t, place, func(_ *tappedConn, query string) error {
					if !isLook(query) {
						return nil
					}
					looks.Add(1)
					if test.cancel {
						cancel()
					}
					if test.meet != nil {
						return test.meet(t, place, query)
					}
					return nil
				})
				var seen incidents
				config := m.config
				db := openOn(t, pool, withPlugin(&config, seen.option()))
				if err := m.within(db, func(tx *gorm.DB) error {
					if err := newUser(tx.WithContext(ctx)); err != nil {
						return err
					}
					return tx.Create(&user{Name: "after"}).Error // the transaction goes on
				}); err != nil && !(test.cancel && m.name == "GORM's transaction") {
					t.Fatal(err)
				}
				i := seen.one(t)
				lost := test.cancel && m.name == "GORM's transaction" // the end of the context ends GORM's transaction, now or after the look
				if lost && strings.HasSuffix(i.Cause.Evidence, "could not be read: context canceled") {
					return
				}
				if i.Outcome != plugin.Healed || !strings.HasPrefix(i.Cause.Evidence, test.evidence) || looks.Load() == 0 {
					t.Errorf("%d looks: %v", looks.Load(), i)
				}
				if lost {
					return // GORM's own COMMIT fails with the context
				}
				if got := place.Text("SELECT id, name FROM users WHERE id > 20 ORDER BY id"); got != "21|new\n22|after" {
					t.Errorf("stored %s", got)
				}
			})
		})
	}
}

// A table that is locked behind the insert's transaction is not waited for longer than the limit.
func TestCause_tableLockedMeanwhile(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(drifted)
	var once atomic.Bool
	var lock *sql.Tx
	pool := tapped(t, place, func(_ *tappedConn, query string) error {
		if !isLook(query) || once.Swap(true) {
			return nil
		}
		var err error
		if lock, err = place.SQL.Begin(); err == nil {
			_, err = lock.Exec("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
		}
		return err
	})
	var seen incidents
	db := openOn(t, pool, withPlugin(&gorm.Config{SkipDefaultTransaction: true}, seen.option()))
	err := newUser(db)
	if lock == nil {
		t.Fatal("nothing was looked at")
	}
	if err := errors.Join(err, lock.Rollback()); err != nil {
		t.Fatal(err)
	}
	i := seen.one(t)
	if i.Cause.Kind != plugin.CauseUnknown || !strings.HasPrefix(i.Cause.Evidence, "the rows in front could not be read") || i.Front.Rows != 0 {
		t.Errorf("%v", i)
	}
	if i.Front.Select == "" || place.Int("SELECT count(*) FROM users WHERE id > 20") != 1 {
		t.Errorf("%v", i)
	}
}

// The limit of the look binds its rollback too. One that it ends is sent again, and the
// caller's transaction goes on.
func TestCause_rollbackThatIsCanceled(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(drifted)
	looked, canceled := false, 0
	pool := tapped(t, place, func(c *tappedConn, query string) error {
		looked = looked || isLook(query)
		if !looked || canceled > 0 || !strings.HasPrefix(query, "ROLLBACK TO SAVEPOINT") {
			return nil
		}
		canceled++
		_, err := c.Conn.ExecContext(t.Context(), "SET LOCAL statement_timeout = 1; SELECT pg_sleep(9)", nil)
		return err
	})
	var seen incidents
	db := openOn(t, pool, withPlugin(&gorm.Config{}, seen.option()))
	if err := db.Transaction(func(tx *gorm.DB) error {
		return errors.Join(newUser(tx), tx.Create(&user{Name: "after"}).Error)
	}); err != nil || canceled != 1 {
		t.Fatal(err, canceled)
	}
	if i := seen.one(t); i.Cause.Kind != plugin.CauseBulk && i.Cause.Kind != plugin.CauseUnknown {
		t.Errorf("%v", i)
	}
	if got := place.Text("SELECT id, name FROM users WHERE id > 20 ORDER BY id"); got != "21|new\n22|after" {
		t.Errorf("stored %s", got)
	}
}

// Where the rows must not be looked at, no statement of a look is sent.
func TestCause_notLookedAt(t *testing.T) {
	t.Parallel()
	level := func(l sql.IsolationLevel) func(*gorm.DB) error {
		return func(db *gorm.DB) error { return db.Transaction(newUser, &sql.TxOptions{Isolation: l}) }
	}
	for _, test := range []struct {
		name, make  string
		connections int
		insert      func(*gorm.DB) error
		evidence    string
		looks       bool
	}{
		{"SERIALIZABLE", drifted, 0, level(sql.LevelSerializable), "the rows in front are not looked at in SERIALIZABLE", false},
		{"REPEATABLE READ", drifted, 0, level(sql.LevelRepeatableRead), "20 rows, ids 1 to 20, came in 1 transaction", true},
		{"REPEATABLE READ with one connection", drifted, 1, level(sql.LevelRepeatableRead), "no second connection was free", false},
		{"no index that begins with the column", `CREATE TABLE users (name text, id bigserial, PRIMARY KEY (name, id)); INSERT INTO users SELECT 'new', g FROM generate_series(1, 20) g`,
			0, newUser, "the rows in front were not looked at: no index begins with the column", false},
		{"an insert that fails", drifted + "; ALTER TABLE users ADD CHECK (name <> 'new' OR id < 20)", 0, newUser, "the rows in front are looked at only after an insert that succeeded", false},
		{"one connection and no transaction", drifted, 1, func(db *gorm.DB) error {
			return newUser(db.Session(&gorm.Session{SkipDefaultTransaction: true}))
		}, "20 rows, ids 1 to 20, came in 1 transaction", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			place.Exec(test.make)
			var looks atomic.Int32
			pool := tapped(t, place, func(_ *tappedConn, query string) error {
				if isLook(query) {
					looks.Add(1)
				}
				return nil
			})
			pool.SetMaxOpenConns(test.connections)
			var seen incidents
			db := openOn(t, pool, withPlugin(&gorm.Config{}, seen.option()))
			if err := test.insert(db); err != nil && !strings.Contains(err.Error(), "check constraint") {
				t.Fatal(err)
			}
			i := seen.one(t)
			if !strings.HasPrefix(i.Cause.Evidence, test.evidence) || (looks.Load() > 0) != test.looks {
				t.Errorf("%d looks: %v", looks.Load(), i)
			}
			if test.looks != (i.Cause.Kind == plugin.CauseBulk) {
				t.Errorf("%v", i.Causes())
			}
		})
	}
}

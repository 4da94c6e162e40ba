package plugin_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/internal/sequence"
	"github.com/seqheal/seqheal/plugin"
)

// The heal of one of two keys fails for a passing reason: rows that it would drop are not
// sent, whichever key it is.
func TestAHealOfOneOfTwoKeysFails(t *testing.T) {
	t.Parallel()
	for name, which := range map[string][2]bool{"id": {true, false}, "number": {false, true}} {
		t.Run(name, func(t *testing.T) {
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				invoices(place, which[0], which[1])
				holder, err := place.SQL.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = holder.Close() }()
				hold := fmt.Sprintf("SELECT pg_advisory_lock(%d, 'invoices_%s_seq'::regclass::oid::int)", sequence.LockClass, name)
				if _, err := holder.ExecContext(t.Context(), hold); err != nil {
					t.Fatal(err)
				}
				var seen incidents
				db := place.Open(&m.config, plugin.New(seen.option(), plugin.WithResyncTimeout(200*time.Millisecond)))
				rows := []invoice{{Name: "new 1"}, {Name: "new 2"}}
				err = m.within(db, func(tx *gorm.DB) error { return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&rows).Error })
				if !errors.Is(err, plugin.ErrRowsMissing) {
					t.Errorf("error %v", err)
				}
				if n := place.Int("SELECT count(*) FROM invoices"); n != 20 {
					t.Errorf("%d rows", n)
				}
				if i := seen.one(t); i.Outcome != plugin.Failed || i.Column != `"`+name+`"` {
					t.Errorf("%v", i)
				}
			})
		})
	}
}

// P5: a table becomes one whose keys a trigger makes up, and which skips rows.
func TestMixedUpsertsOfATableThatNoSequenceFeedsAnyMore(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec("CREATE TABLE users (id bigserial PRIMARY KEY, name text)")
		var seen incidents
		db := place.Open(&m.config, plugin.New(seen.option()))
		save := func(rows []user) error {
			return m.within(db, func(tx *gorm.DB) error { return tx.Save(&rows).Error })
		}
		for range 2 {
			if err := save([]user{{ID: -5, Name: "named"}, {Name: "first"}}); err != nil {
				t.Fatal(err)
			}
		}
		place.Exec(`DROP TABLE users; CREATE TABLE users (id bigint PRIMARY KEY, name text);
			CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.name = 'skipped' THEN RETURN NULL; END IF;
				NEW.id := coalesce(NEW.id, (SELECT 1000 + count(*) FROM $S.users)); RETURN NEW; END $$;
			CREATE TRIGGER fill BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION fill()`)
		if err := save([]user{{ID: -5, Name: "named"}, {Name: "skipped"}, {Name: "new"}}); err != nil {
			t.Error(err)
		}
		if got := place.Text("SELECT id, name FROM users ORDER BY id"); got != "-5|named\n1001|new" {
			t.Errorf("rows\n%s", got)
		}
		seen.none(t)
	})
}

// In SERIALIZABLE the second connection that a look needs is never waited for: neither
// beside a lock of the own transaction nor where the pool has no more.
func TestSerializableLooksDoNotWait(t *testing.T) {
	t.Parallel()
	const stamp = `; SELECT setval('users_id_seq', 20); CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
		CREATE TRIGGER stamp BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION stamp()`
	for name, test := range map[string]struct {
		connections int
		before      string
	}{
		"a lock of its own": {3, "LOCK TABLE users IN ACCESS EXCLUSIVE MODE"},
		"one connection":    {1, "SELECT 1"},
		"DDL of its own":    {3, "ALTER TABLE users ADD extra text"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			place.Exec(drifted + stamp)
			var seen incidents
			db := place.Open(nil, plugin.New(seen.option()))
			pool, _ := db.DB()
			pool.SetMaxOpenConns(test.connections)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			rows := []user{{Name: "new"}, {Name: "newer"}}
			err := db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
				if err := tx.Exec(test.before).Error; err != nil {
					return err
				}
				return tx.Clauses(clause.OnConflict{Columns: byID, DoUpdates: clause.AssignmentColumns([]string{"name"})}).Create(&rows).Error
			}, &sql.TxOptions{Isolation: sql.LevelSerializable})
			if err != nil || rows[1].ID != 22 {
				t.Errorf("%v %v", rows, err)
			}
			seen.none(t)
		})
	}
}

// A herd of every kind of statement on a table with two sequences that have drifted.
func TestAHerdOnTwoKeys(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	invoices(place, true, true)
	db := place.Open(nil, plugin.New())
	pool, _ := db.DB()
	pool.SetMaxOpenConns(8)
	update := clause.AssignmentColumns([]string{"name"})
	var herd sync.WaitGroup
	for i := range 24 {
		herd.Add(1)
		go func() {
			defer herd.Done()
			rows := []invoice{{Name: fmt.Sprint("new ", i, " a")}, {Name: fmt.Sprint("new ", i, " b")}}
			err := []error{}
			for n := range 4 {
				for j := range rows {
					rows[j] = invoice{Name: fmt.Sprint("new ", i, n, j)}
				}
				switch (i + n) % 4 {
				case 0:
					err = append(err, db.Create(&rows).Error)
				case 1:
					err = append(err, db.Clauses(clause.OnConflict{DoNothing: true}).Create(&rows).Error)
				case 2:
					err = append(err, db.Clauses(clause.OnConflict{Columns: numbered, DoUpdates: update}).Create(&rows).Error)
				case 3:
					err = append(err, db.Clauses(clause.OnConflict{DoNothing: true}).Create(&rows[0]).Error, db.Create(&rows[1]).Error)
				}
			}
			if err := errors.Join(err...); err != nil {
				t.Error(err)
			}
		}()
	}
	herd.Wait()
	if n := place.Int("SELECT count(DISTINCT name) FROM invoices WHERE name LIKE 'new%'"); n != 24*4*2 {
		t.Errorf("%d new rows", n)
	}
	if n := place.Int("SELECT count(*) FROM invoices WHERE name = 'old ' || id AND number = id + 100"); n != 20 {
		t.Errorf("%d old rows", n)
	}
}

// A server that stands still for a while after a heal delays the look for causes. It does
// not cost the caller the connection, and with it what its transaction has stored.
func TestCause_aServerThatStandsStill(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(drifted)
	config, err := pgx.ParseConfig(place.DSN)
	if err != nil {
		t.Fatal(err)
	}
	var still atomic.Bool
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		return slow{c, &still}, err
	}
	pool := sql.OpenDB(tap{stdlib.GetConnector(*config), func(_ *tappedConn, query string) error {
		if strings.Contains(query, "reset_val") {
			still.Store(true)
		}
		return nil
	}})
	t.Cleanup(func() { _ = pool.Close() })
	var seen incidents
	db := openOn(t, pool, withPlugin(&gorm.Config{}, seen.option()))
	err = db.Transaction(func(tx *gorm.DB) error {
		return errors.Join(tx.Create(&user{ID: -1, Name: "earlier"}).Error, tx.Create(&user{Name: "new"}).Error)
	})
	if err != nil {
		t.Error(err)
	}
	if got := place.Text("SELECT id, name FROM users WHERE name NOT LIKE 'old%' ORDER BY id"); got != "-1|earlier\n21|new" || still.Load() {
		t.Errorf("rows %q; %v", got, seen.list())
	}
}

// slow is a connection on which one answer is late.
type slow struct {
	net.Conn
	still *atomic.Bool
}

func (s slow) Read(into []byte) (int, error) {
	if s.still.CompareAndSwap(true, false) {
		<-time.After(1500 * time.Millisecond)
	}
	return s.Conn.Read(into)
}

// Where the role may not see the rows of one of two keys, that key is looked at through
// WithResyncDB, whichever it is.
func TestRoles_ofTwoKeys(t *testing.T) {
	t.Parallel()
	const rights = "GRANT INSERT ON invoices TO $R; GRANT ALL ON ALL SEQUENCES IN SCHEMA $S TO $R; "
	for name, make := range map[string]string{
		"row-level security": "GRANT SELECT ON invoices TO $R; ALTER TABLE invoices ENABLE ROW LEVEL SECURITY; CREATE POLICY see ON invoices FOR SELECT USING (name LIKE 'new%'); CREATE POLICY add ON invoices FOR INSERT WITH CHECK (true)",
		"SELECT on the id":   "GRANT SELECT (id) ON invoices TO $R",
	} {
		for which, behind := range map[string][2]bool{"id": {true, false}, "number": {false, true}} {
			t.Run(name+"/"+which, func(t *testing.T) {
				inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
					role := place.Role()
					invoices(place, behind[0], behind[1])
					place.Exec(strings.ReplaceAll(rights+make, "$R", role))
					var seen incidents
					db := place.OpenDSN(place.DSNFor(map[string]string{"user": role}), &m.config, plugin.New(seen.option(), plugin.WithResyncDB(place.Open(nil))))
					rows := []map[string]any{{"name": "new 1"}, {"name": "new 2"}}
					err := m.within(db, func(tx *gorm.DB) error {
						return tx.Table("invoices").Clauses(clause.OnConflict{DoNothing: true}).Create(rows).Error
					})
					if n := place.Int("SELECT count(*) FROM invoices WHERE name LIKE 'new%'"); err != nil || n != 2 {
						t.Errorf("%d new rows, %v; %v", n, err, seen.list())
					}
					if i := seen.one(t); i.Outcome != plugin.Healed || i.Column != `"`+which+`"` {
						t.Errorf("%v", i)
					}
				})
			})
		}
	}
}

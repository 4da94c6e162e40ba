package plugin_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// pair is two inserts, of which the second collides while the first heals.
type pair struct {
	db     *gorm.DB
	seen   incidents
	sent   atomic.Int64 // of statements that begin as given
	armed  atomic.Bool
	drawn  sync.Once
	second func()
}

// newPair lets second run when the first draws from the sequence.
func newPair(t *testing.T, place *pgtest.Place, begins string, see func(*tappedConn, string) error, options ...plugin.Option) *pair {
	t.Helper()
	p := &pair{}
	pool := tapped(t, place, func(c *tappedConn, query string) error {
		if strings.HasPrefix(query, begins) {
			p.sent.Add(1)
		}
		if p.armed.Load() && strings.Contains(query, "pg_catalog.nextval(") {
			p.drawn.Do(p.second)
		}
		return see(c, query)
	})
	pool.SetMaxIdleConns(4)
	options = append(options, p.seen.option(), plugin.WithResyncTimeout(time.Minute))
	db := openOn(t, pool, withPlugin(&gorm.Config{SkipDefaultTransaction: true}, options...))
	p.db = db
	return p
}

func seeNothing(*tappedConn, string) error { return nil }

// P5, P8: what collides below a trigger follows no heal of the other table. Where the
// trigger names a taken id itself nothing is reported, else the table where it collided.
func TestACollisionBelowATriggerFollowsNobody(t *testing.T) {
	t.Parallel()
	type order struct {
		ID   int64
		Name string
	}
	for _, test := range []struct {
		name, second string
		incidents    int
	}{{"it names a taken id", "explicit", 1}, {"its id is drawn", "drawn", 2}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			place.Exec(`CREATE TABLE orders (id bigserial PRIMARY KEY, name text); SELECT setval('orders_id_seq', 1000);
				CREATE TABLE audits (id bigserial PRIMARY KEY, name text);
				INSERT INTO audits SELECT g, 'old ' || g FROM generate_series(1, 20) g; SELECT setval('audits_id_seq', 5);
				CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
					IF NEW.name = 'explicit' THEN INSERT INTO audits VALUES (15, NEW.name); ELSE INSERT INTO audits (name) VALUES (NEW.name); END IF;
					RETURN NEW; END $$;
				CREATE TRIGGER x AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION f()`)
			p := newPair(t, place, `INSERT INTO "orders"`, seeNothing)
			for _, insert := range []func(tx *gorm.DB) error{ // both tables are known afterwards
				func(tx *gorm.DB) error { return tx.Create(&order{Name: "known"}).Error },
				func(tx *gorm.DB) error {
					return tx.Transaction(func(tx *gorm.DB) error { return tx.Create(&order{Name: "known"}).Error })
				},
			} {
				if err := insert(p.db); err != nil {
					t.Fatal(err)
				}
			}
			place.Exec("SELECT setval('audits_id_seq', 5)")
			before := len(p.seen.list())
			p.sent.Store(0)
			p.armed.Store(true)
			var done sync.WaitGroup
			var secondErr error
			p.second = func() {
				done.Go(func() { secondErr = p.db.Create(&order{Name: test.second}).Error })
				pgtest.Eventually(t, "the second to be sent", func() bool {
					return p.sent.Load() == 2 && (test.second == "explicit" || place.Int("SELECT last_value FROM audits_id_seq") >= 7)
				})
			}
			if err := p.db.Create(&order{Name: "first"}).Error; err != nil {
				t.Error(err)
			}
			done.Wait()
			if (secondErr != nil) != (test.second == "explicit") || p.sent.Load() > 5 {
				t.Errorf("the second: %v, %d sent", secondErr, p.sent.Load())
			}
			all := p.seen.list()[before:]
			for _, i := range all {
				if !strings.HasSuffix(i.Table, `"audits"`) {
					t.Errorf("incident %v", i)
				}
			}
			if len(all) != test.incidents {
				t.Errorf("%d incidents: %v", len(all), all)
			}
		})
	}
}

// P5: two inserts at once into a table whose trigger sets a taken id. The first finds
// the sequence past every row, and the second takes that for no heal.
func TestAnIDThatATriggerSetsForTwo(t *testing.T) {
	t.Parallel()
	for _, rounds := range []int{2, 4} {
		t.Run(fmt.Sprintf("%d rounds", rounds), func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			place.Exec(drifted + `; SELECT setval('users_id_seq', 20);
				CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.id := 7; RETURN NEW; END';
				CREATE TRIGGER x BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION f()`)
			p := newPair(t, place, `INSERT INTO "users"`, seeNothing, plugin.WithMaxRounds(rounds))
			var done sync.WaitGroup
			p.second = func() {
				done.Go(func() {
					if err := p.db.Create(&user{Name: "second"}).Error; err == nil {
						t.Error("the second is stored")
					}
				})
				pgtest.Eventually(t, "the second collision", func() bool { return place.Int("SELECT last_value FROM users_id_seq") >= 22 })
			}
			p.armed.Store(true)
			if err := p.db.Create(&user{Name: "first"}).Error; err == nil {
				t.Error("the first is stored")
			}
			done.Wait()
			p.seen.none(t)
			if got := place.Text("SELECT * FROM users ORDER BY id"); got != oldRows() {
				t.Errorf("rows\n%s", got)
			}
		})
	}
}

// A follower whose connection breaks when its savepoint is taken back has failed, and
// says so.
func TestAFollowerLosesItsConnection(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(drifted + "; SELECT setval('users_id_seq', 20)")
	var victim atomic.Pointer[tappedConn]
	p := newPair(t, place, "ROLLBACK TO", func(c *tappedConn, query string) error {
		if strings.HasPrefix(query, `INSERT INTO "users"`) && victim.Load() == nil {
			victim.Store(c)
		} else if strings.HasPrefix(query, "ROLLBACK TO") && victim.Load() == c {
			return c.kill()
		}
		return nil
	}, plugin.WithGuard(plugin.GuardSavepoint))
	insert := func(name string) error {
		return p.db.Transaction(func(tx *gorm.DB) error { return tx.Create(&user{Name: name}).Error })
	}
	victim.Store(&tappedConn{})
	if err := insert("known"); err != nil {
		t.Fatal(err)
	}
	place.Exec("SELECT setval('users_id_seq', 2)")
	var done sync.WaitGroup
	p.second = func() {
		victim.Store(nil)
		done.Go(func() {
			if err := insert("second"); err == nil {
				t.Error("the second is stored")
			}
		})
		pgtest.Eventually(t, "the second to take back its savepoint", func() bool { return p.sent.Load() >= 2 })
	}
	p.sent.Store(0)
	p.armed.Store(true)
	if err := insert("first"); err != nil {
		t.Error(err)
	}
	done.Wait()
	outcomes := map[plugin.Outcome]int{}
	for _, i := range p.seen.list() {
		outcomes[i.Outcome]++
	}
	if outcomes[plugin.Healed] != 1 || outcomes[plugin.Failed] != 1 || len(outcomes) != 2 {
		t.Errorf("incidents %v", p.seen.list())
	}
}

// A heal that still has to wait for a connection is followed by nobody: the transaction
// that has the only one would wait for it.
func TestNobodyFollowsAHealWithoutAConnection(t *testing.T) {
	t.Parallel()
	for _, guard := range []plugin.Guard{plugin.GuardAuto, plugin.GuardSavepoint} {
		t.Run(fmt.Sprint(guard), func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			place.Exec(drifted + "; SELECT setval('users_id_seq', 20)")
			var armed atomic.Bool
			var first sync.Once
			var start func()
			pool := tapped(t, place, func(_ *tappedConn, query string) error {
				if armed.Load() && strings.HasPrefix(query, `INSERT INTO "users"`) {
					first.Do(func() { start() })
				}
				return nil
			})
			pool.SetMaxOpenConns(1)
			db := openOn(t, pool, withPlugin(&gorm.Config{}, plugin.WithGuard(guard), plugin.WithResyncTimeout(time.Hour)))
			if err := db.Create(&user{Name: "known"}).Error; err != nil {
				t.Fatal(err)
			}
			place.Exec("SELECT setval('users_id_seq', 2)")
			ended := make(chan error, 2)
			start = func() {
				before := pool.Stats().WaitCount
				go func() {
					ended <- db.Transaction(func(tx *gorm.DB) error { return tx.Create(&user{Name: "inside"}).Error })
				}()
				pgtest.Eventually(t, "the transaction to wait for the connection", func() bool { return pool.Stats().WaitCount > before })
			}
			armed.Store(true)
			go func() {
				ended <- db.Session(&gorm.Session{SkipDefaultTransaction: true}).Create(&user{Name: "outside"}).Error
			}()
			pgtest.Eventually(t, "both to end", func() bool { return len(ended) == 2 })
			for range 2 {
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}
			if got := place.Text("SELECT name FROM users WHERE id > 21 ORDER BY name"); got != "inside\noutside" {
				t.Errorf("new rows %q", got)
			}
		})
	}
}

// P4: the one who asks for the furthest row waits for a migration, the migration for a
// transaction that has collided, and that for the answer. It asks itself in time.
func TestHeal_answerWaitsForAMigrationThatWaitsForTheHeal(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec("CREATE TABLE users (id bigserial PRIMARY KEY, name text)")
	asks, collided, migrates := make(chan bool), make(chan bool), make(chan bool)
	var armed atomic.Bool
	var first, second sync.Once
	pool := tapped(t, place, func(c *tappedConn, query string) error {
		if !armed.Load() {
			return nil
		}
		switch {
		case strings.HasPrefix(query, conn.OnPrimary+"SELECT pg_catalog.max("):
			first.Do(func() { close(asks); <-migrates }) // the answer is on its way now, and others wait for it
		case strings.HasPrefix(query, "SAVEPOINT"):
			select {
			case <-asks:
				second.Do(func() { close(collided) })
			default:
			}
		}
		return nil
	})
	var seen incidents
	db := openOn(t, pool, withPlugin(&gorm.Config{}, seen.option(), plugin.WithResyncTimeout(4*time.Second)))
	if err := db.Create(&user{Name: "old"}).Error; err != nil {
		t.Fatal(err)
	}
	place.Exec("INSERT INTO users SELECT g, 'old ' || g FROM generate_series(2, 20) g")
	armed.Store(true)
	answers := make(chan error, 3)
	go func() {
		answers <- db.Session(&gorm.Session{SkipDefaultTransaction: true}).Create(&user{Name: "new 1"}).Error
	}()
	<-asks
	go func() { answers <- db.Create(&user{Name: "new 2"}).Error }() // the conflict guard holds the table's lock
	<-collided
	go func() {
		_, err := place.SQL.Exec("ALTER TABLE users ADD extra text")
		answers <- err
	}()
	pgtest.Eventually(t, "the migration to wait", func() bool {
		return place.Int("SELECT count(*) FROM pg_locks WHERE relation = 'users'::regclass AND mode = 'AccessExclusiveLock' AND NOT granted") == 1
	})
	close(migrates)
	for range cap(answers) {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if n := place.Int("SELECT count(*) FROM users"); n != 22 {
		t.Errorf("%d rows, want 22", n)
	}
	if all := seen.list(); len(all) != 2 {
		t.Errorf("incidents %v", all)
	}
}

// Package seqheal_test holds the promises of seqheal, end to end against a real
// PostgreSQL, in their order. It reads as the product's specification.
package seqheal_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	pgconn4 "github.com/jackc/pgconn"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// User is the article's table, reduced to what matters.
type User struct {
	ID     int64
	Name   string
	Email  string
	Orders []Order
}

// Order belongs to a user.
type Order struct {
	ID     int64
	Item   string
	UserID int64
}

// drifted makes the article's situation: rows that arrived with explicit ids, and
// sequences that know nothing of them.
const drifted = `
CREATE TABLE users (id bigserial PRIMARY KEY, name text, email text UNIQUE);
CREATE TABLE orders (id bigserial PRIMARY KEY, item text, user_id bigint REFERENCES users);
INSERT INTO users SELECT g, 'imported ' || g, g || '@x' FROM generate_series(1, 50) g;
INSERT INTO orders SELECT g, 'imported ' || g, g FROM generate_series(1, 50) g;`

const allRows = `SELECT 'user', id, name, email FROM users UNION ALL SELECT 'order', id, item, user_id::text FROM orders ORDER BY 1, 2`

// ways are the three in which GORM inserts.
var ways = []struct {
	name string
	skip bool
	in   func(*gorm.DB, func(*gorm.DB) error) error
}{
	{"no transaction", true, func(db *gorm.DB, fn func(*gorm.DB) error) error { return fn(db) }},
	{"GORM's transaction", false, func(db *gorm.DB, fn func(*gorm.DB) error) error { return fn(db) }},
	{"caller's transaction", false, func(db *gorm.DB, fn func(*gorm.DB) error) error { return db.Transaction(fn) }},
}

// world is one drifted database and what the plugin said about it.
type world struct {
	*pgtest.Place
	db        *gorm.DB
	plugin    *plugin.Plugin
	mutex     sync.Mutex
	incidents []plugin.Incident
}

func open(t *testing.T, skipTransaction bool, options ...plugin.Option) *world {
	t.Helper()
	w := &world{Place: pgtest.New(t)}
	w.Exec(drifted)
	w.plugin = plugin.New(append(options, plugin.OnIncident(func(_ context.Context, i plugin.Incident) {
		w.mutex.Lock()
		defer w.mutex.Unlock()
		w.incidents = append(w.incidents, i)
	}))...)
	w.db = w.Open(&gorm.Config{SkipDefaultTransaction: skipTransaction}, w.plugin)
	return w
}

func (w *world) outcomes() map[plugin.Outcome]int {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	outcomes := map[plugin.Outcome]int{}
	for _, i := range w.incidents {
		outcomes[i.Outcome]++
	}
	return outcomes
}

// each runs a promise in every way of inserting.
func each(t *testing.T, promise func(*testing.T, *world, func(func(*gorm.DB) error) error)) {
	t.Helper()
	t.Parallel()
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			w := open(t, way.skip)
			promise(t, w, func(fn func(*gorm.DB) error) error { return way.in(w.db, fn) })
		})
	}
}

// P1: an insert that leaves its key to the database does not fail, and damages no
// row, because a sequence drifted.
func TestP1_InsertsSucceedAndDamageNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world, in func(func(*gorm.DB) error) error) {
		before := w.Text(allRows)
		one := User{Name: "one", Email: "one@x"}
		parent := User{Name: "parent", Email: "parent@x", Orders: []Order{{Item: "a"}, {Item: "b"}}}
		saved := []User{{Name: "saved", Email: "saved@x"}, {Name: "saved too", Email: "saved2@x"}}
		for _, step := range []func(*gorm.DB) error{
			func(tx *gorm.DB) error { return tx.Create(&one).Error },
			func(tx *gorm.DB) error { return tx.Create(&parent).Error },
			func(tx *gorm.DB) error { return tx.Save(&saved).Error },
		} {
			w.Exec("SELECT setval('users_id_seq', 1), setval('orders_id_seq', 1)")
			if err := in(step); err != nil {
				t.Fatal(err)
			}
		}
		if got := w.Text("SELECT 'order', id, item, user_id::text FROM orders WHERE id <= 50 UNION ALL SELECT 'user', id, name, email FROM users WHERE id <= 50 ORDER BY 1, 2"); got != before {
			t.Errorf("imported rows changed:\n%s", got)
		}
		for _, u := range append(saved, one, parent) {
			if got := w.Text("SELECT name, email FROM users WHERE id = $1", u.ID); got != u.Name+"|"+u.Email {
				t.Errorf("user %d is %q, the struct says %q", u.ID, got, u.Name)
			}
		}
		for _, o := range parent.Orders {
			if got := w.Text("SELECT item, user_id FROM orders WHERE id = $1", o.ID); got != fmt.Sprintf("%s|%d", o.Item, parent.ID) {
				t.Errorf("order %d is %q", o.ID, got)
			}
		}
	})
}

// P1, under load: of many that meet the same drift at once none is lost, while an
// import of explicit ids goes on in front of them.
func TestP1_AHerdLosesNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world, in func(func(*gorm.DB) error) error) {
		w.Exec("INSERT INTO users SELECT g, 'imported', 'i' || g FROM generate_series(51, 3000) g")
		stop, imported := make(chan struct{}), make(chan int64)
		go func() {
			next := int64(3001)
			for {
				select {
				case <-stop:
					imported <- next - 3001
					return
				default:
				}
				// An import names its ids; one that the application drew meanwhile is left out.
				_, _ = w.SQL.Exec("INSERT INTO users SELECT g, 'imported', 'i' || g FROM generate_series($1::bigint, $1 + 4) g ON CONFLICT DO NOTHING", next)
				next += 5
			}
		}()
		var herd sync.WaitGroup
		var failed atomic.Pointer[error]
		const clients, inserts = 24, 10
		for client := range clients {
			herd.Go(func() {
				for n := range inserts {
					u := User{Name: "new", Email: fmt.Sprintf("%d-%d@x", client, n)}
					if err := in(func(tx *gorm.DB) error { return tx.Create(&u).Error }); err != nil {
						failed.Store(&err)
					}
				}
			})
		}
		herd.Wait()
		close(stop)
		<-imported
		if err := failed.Load(); err != nil {
			t.Error(*err)
		}
		if n := w.Int("SELECT count(*) FROM users WHERE name = 'new'"); n != clients*inserts {
			t.Errorf("%d rows of %d", n, clients*inserts)
		}
		if outcomes := w.outcomes(); outcomes[plugin.Refused]+outcomes[plugin.Failed] > 0 {
			t.Errorf("outcomes %v", outcomes)
		}
	})
}

// P1 and P5 with the errors of pgx v4, *pgconn.PgError of github.com/jackc/pgconn, which
// plugin/ recognises without importing it.
func TestP1_ErrorsOfPgconnV1AreRecognised(t *testing.T) {
	each(t, func(t *testing.T, w *world, in func(func(*gorm.DB) error) error) {
		older := w.older(t)
		w.db = older.db
		two := []User{{Name: "new", Email: "new@x"}, {Name: "new", Email: "new2@x"}} // in a savepoint, where there is a transaction
		if err := in(func(tx *gorm.DB) error { return tx.Create(&two).Error }); err != nil {
			t.Fatal(err)
		}
		if got := w.Text("SELECT id, email FROM users WHERE name = 'new' ORDER BY id"); got != "51|new@x\n52|new2@x" || two[0].ID != 51 || two[1].ID != 52 {
			t.Errorf("stored %q, the structs say %+v", got, two)
		}
		if len(w.incidents) != 1 || w.incidents[0].Outcome != plugin.Healed || w.incidents[0].Constraint != "users_pkey" || older.errors.Load() == 0 {
			t.Errorf("incidents %v of %d errors", w.incidents, older.errors.Load())
		}
		var taken *pgconn4.PgError
		err := in(func(tx *gorm.DB) error { return tx.Create(&User{Name: "a", Email: "7@x"}).Error })
		if !errors.As(err, &taken) || taken.ConstraintName != "users_email_key" || len(w.incidents) != 1 {
			t.Errorf("e-mail taken: %v, incidents %v", err, w.incidents)
		}
	})
}

// P2: the insert is retried once per drift; more often only for rows that appeared
// after the plugin had looked, and at most WithMaxRounds times.
func TestP2_OneRetryForOneDrift(t *testing.T) {
	each(t, func(t *testing.T, w *world, in func(func(*gorm.DB) error) error) {
		if err := in(func(tx *gorm.DB) error { return tx.Create(&User{Name: "new", Email: "new@x"}).Error }); err != nil {
			t.Fatal(err)
		}
		if len(w.incidents) != 1 || w.incidents[0].Rounds != 1 {
			t.Errorf("incidents %v", w.incidents)
		}
		// One value was lost to the collision, one or two to the heal, one is the row's.
		if id := w.Int("SELECT id FROM users WHERE name = 'new'"); id != 51 {
			t.Errorf("the row has id %d", id)
		}
	})
}

// P3: a sequence never moves backwards, and no id is handed out twice.
func TestP3_SequencesOnlyMoveForward(t *testing.T) {
	each(t, func(t *testing.T, w *world, in func(func(*gorm.DB) error) error) {
		w.Exec("SELECT setval('users_id_seq', 30)")
		done := make(chan struct{})
		watched := make(chan string, 1)
		go func() {
			last := int64(0)
			for {
				now := w.Int("SELECT last_value FROM users_id_seq")
				if now < last {
					watched <- fmt.Sprintf("the sequence went from %d to %d", last, now)
					return
				}
				last = now
				select {
				case <-done:
					watched <- ""
					return
				default:
				}
			}
		}()
		var herd sync.WaitGroup
		var ids sync.Map
		for client := range 8 {
			herd.Go(func() {
				for n := range 10 {
					u := User{Name: "new", Email: fmt.Sprintf("%d-%d@x", client, n)}
					if err := in(func(tx *gorm.DB) error { return tx.Create(&u).Error }); err != nil {
						t.Error(err)
					}
					if _, twice := ids.LoadOrStore(u.ID, true); twice {
						t.Errorf("id %d was handed out twice", u.ID)
					}
				}
			})
		}
		herd.Wait()
		close(done)
		if back := <-watched; back != "" {
			t.Error(back)
		}
	})
}

// hookedUser counts its hooks.
type hookedUser struct {
	ID    int64
	Name  string
	Email string
	calls int
}

func (hookedUser) TableName() string { return "users" }

func (u *hookedUser) BeforeCreate(*gorm.DB) error {
	u.calls++
	u.Name += "!"
	return nil
}

// P4: a row is inserted once or not at all, hooks run once, and what the caller's
// transaction did before stays, neither lost nor committed early.
func TestP4_OnceOrNotAtAll(t *testing.T) {
	t.Parallel()
	w := open(t, false)
	u := hookedUser{Name: "new", Email: "new@x"}
	errUndo := errors.New("undo")
	err := w.db.Transaction(func(tx *gorm.DB) error {
		tx.Exec("UPDATE users SET name = 'touched' WHERE id = 1")
		if err := tx.Create(&u).Error; err != nil {
			return err
		}
		if n := w.Int("SELECT count(*) FROM users WHERE name IN ('touched', 'new!')"); n != 0 {
			t.Errorf("%d rows were committed early", n)
		}
		var n int64
		tx.Table("users").Where("name IN ?", []string{"touched", "new!"}).Count(&n)
		if n != 2 {
			t.Errorf("the transaction sees %d of its rows", n)
		}
		return errUndo
	})
	if !errors.Is(err, errUndo) || u.calls != 1 {
		t.Errorf("error %v, hooks %d", err, u.calls)
	}
	if n := w.Int("SELECT count(*) FROM users WHERE name NOT LIKE 'imported%'"); n != 0 {
		t.Errorf("%d rows survived the rollback", n)
	}
}

// P5: other errors, explicit ids and healthy tables are as without the plugin.
// plugin/healthy_test.go compares every shape of call; this is the short form.
func TestP5_NothingElseChanges(t *testing.T) {
	each(t, func(t *testing.T, w *world, in func(func(*gorm.DB) error) error) {
		w.Exec("SELECT setval('users_id_seq', 100)")
		taken := in(func(tx *gorm.DB) error { return tx.Create(&User{Name: "a", Email: "7@x"}).Error })
		if taken == nil || taken.Error() != `ERROR: duplicate key value violates unique constraint "users_email_key" (SQLSTATE 23505)` {
			t.Errorf("e-mail taken: %v", taken)
		}
		explicit := in(func(tx *gorm.DB) error { return tx.Create(&User{ID: 7, Name: "a", Email: "new@x"}).Error })
		if explicit == nil || explicit.Error() != `ERROR: duplicate key value violates unique constraint "users_pkey" (SQLSTATE 23505)` {
			t.Errorf("explicit id: %v", explicit)
		}
		u := User{Name: "a", Email: "7@x"}
		ignored := in(func(tx *gorm.DB) error { return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&u).Error })
		if ignored != nil || u.ID != 0 || len(w.incidents) != 0 {
			t.Errorf("ignored conflict: %v, %+v, %v", ignored, u, w.incidents)
		}
	})
}

// P6: when an insert fails for good the transaction is aborted: a failure never
// becomes a silent commit of the rest.
func TestP6_FailuresAbortTheTransaction(t *testing.T) {
	t.Parallel()
	for _, rows := range []int{1, 2} {
		t.Run(fmt.Sprint(rows, " rows"), func(t *testing.T) {
			t.Parallel()
			w := open(t, false)
			w.Exec("ALTER SEQUENCE users_id_seq CYCLE") // which the plugin refuses to move
			var insert error
			commit := w.db.Transaction(func(tx *gorm.DB) error {
				tx.Exec("UPDATE users SET name = 'touched' WHERE id = 1")
				insert = tx.Create(make([]User, rows)).Error
				return nil // a careless caller
			})
			if insert == nil || commit == nil || w.Int("SELECT count(*) FROM users WHERE name = 'touched'") != 0 {
				t.Errorf("insert %v, commit %v", insert, commit)
			}
			if o := w.outcomes(); o[plugin.Refused] != 1 || w.incidents[0].Reason != plugin.ReasonCycle {
				t.Errorf("incidents %v", w.incidents)
			}
		})
	}
}

// P7, what it costs when all is well, is shown by the benchmarks in plugin/ and
// by TestFurtherStatements there.

// P8: every incident is reported once, with enough to act on it.
func TestP8_IncidentsAreReportedOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world, in func(func(*gorm.DB) error) error) {
		for n := range 5 {
			if err := in(func(tx *gorm.DB) error {
				return tx.Create(&User{Name: "new", Email: fmt.Sprintf("new%d@x", n)}).Error
			}); err != nil {
				t.Fatal(err)
			}
		}
		if len(w.incidents) != 1 || w.plugin.Stats().Counts != (plugin.Counts{Healed: 1}) {
			t.Fatalf("incidents %v, stats %+v", w.incidents, w.plugin.Stats())
		}
		line := w.incidents[0].String()
		for _, part := range []string{`"users"`, `column "id"`, `"users_id_seq"`, "→ 50", "1 row(s)"} {
			if !strings.Contains(line, part) {
				t.Errorf("the line lacks %q: %s", part, line)
			}
		}
	})
}

// P9: nothing is left behind: no lock, no setting, no statement of the plugin's in
// a cache, no open transaction.
func TestP9_NothingIsLeftBehind(t *testing.T) {
	each(t, func(t *testing.T, w *world, in func(func(*gorm.DB) error) error) {
		pool, err := w.db.DB()
		if err != nil {
			t.Fatal(err)
		}
		pool.SetMaxOpenConns(1)
		const state = `SELECT (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'),
			(SELECT string_agg(name || '=' || setting, ',' ORDER BY name) FROM pg_settings WHERE source = 'session'),
			(SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%pg_catalog.%')`
		var before, after struct {
			Count, Cached int64
			Settings      string
		}
		read := func(into *struct {
			Count, Cached int64
			Settings      string
		}) {
			if err := pool.QueryRow(state).Scan(&into.Count, new(any), &into.Cached); err != nil {
				t.Fatal(err)
			}
			_ = pool.QueryRow("SELECT string_agg(name || '=' || setting, ',' ORDER BY name) FROM pg_settings WHERE source = 'session'").Scan(&into.Settings)
		}
		read(&before)
		read(&before) // its own statements are cached from here on
		if err := in(func(tx *gorm.DB) error { return tx.Create(&User{Name: "new", Email: "new@x"}).Error }); err != nil {
			t.Fatal(err)
		}
		read(&after)
		if before != after || after.Count != 0 {
			t.Errorf("before %+v, after %+v", before, after)
		}
	})
}

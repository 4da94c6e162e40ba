package plugin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// gate stops the first that comes, until it is opened.
type gate struct {
	first   atomic.Bool
	reached chan struct{}
	open    chan struct{}
}

func newGate() *gate { return &gate{reached: make(chan struct{}), open: make(chan struct{})} }

func (g *gate) pass() {
	if g.first.CompareAndSwap(false, true) {
		close(g.reached)
		<-g.open
	}
}

// gatedHandler is a slog handler whose sink hangs.
type gatedHandler struct {
	slog.Handler
	gate *gate
}

func (h gatedHandler) Handle(ctx context.Context, r slog.Record) error {
	h.gate.pass()
	return h.Handler.Handle(ctx, r)
}

// gatedScribe is a GORM logger whose sink hangs.
type gatedScribe struct {
	*scribe
	gate *gate
}

func (s gatedScribe) Warn(ctx context.Context, format string, args ...any) {
	s.gate.pass()
	s.scribe.Warn(ctx, format, args...)
}

// P8, P9: OnIncident and the logger run on the goroutine of the insert: one that
// hangs keeps that insert waiting, and nobody else, not even those that meet the
// same drift, ask for Stats or flush the log.
func TestAHangingCallbackKeepsNobodyElseWaiting(t *testing.T) {
	t.Parallel()
	for _, hanging := range []string{"OnIncident", "slog handler", "GORM's logger"} {
		t.Run(hanging, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				place.Exec(drifted + "; CREATE TABLE others (id serial PRIMARY KEY); INSERT INTO others SELECT generate_series(1, 20)")
				g := newGate()
				var options []plugin.Option
				config := m.config
				switch hanging {
				case "OnIncident":
					options = append(options, plugin.OnIncident(func(context.Context, plugin.Incident) { g.pass() }))
				case "slog handler":
					options = append(options, plugin.WithLogger(slog.New(gatedHandler{slog.NewTextHandler(new(bytes.Buffer), nil), g})))
				default:
					config.Logger = gatedScribe{newScribe(), g}
				}
				var seen incidents
				healing := plugin.New(append(options, seen.option())...)
				db := place.Open(&config, healing)
				first := make(chan error)
				go func() { first <- m.within(db, newUser) }()
				<-g.reached

				for n := range 3 {
					// Not setval: the first insert's own row may be uncommitted.
					place.Exec("INSERT INTO users SELECT last_value + g, 'imported' FROM users_id_seq, generate_series(1, 2) g")
					if err := m.within(db, newUser); err != nil {
						t.Errorf("insert %d: %v", n, err)
					}
				}
				if err := m.within(db, func(tx *gorm.DB) error { return tx.Table("others").Create(map[string]any{}).Error }); err != nil {
					t.Errorf("another table: %v", err)
				}
				healing.Flush()
				if stats, latest := healing.Stats(), healing.Incidents(); stats.Healed != 5 || len(latest) != 5 || stats.TablesKnown != 2 {
					t.Errorf("meanwhile %+v, %d incidents", stats, len(latest))
				}
				select {
				case err := <-first:
					t.Errorf("the first insert did not wait for its callback: %v", err)
				default:
				}
				close(g.open)
				if err := <-first; err != nil {
					t.Error(err)
				}
				if all := seen.list(); len(all) != 5 {
					t.Errorf("%d incidents were told: %v", len(all), all)
				}
				if got := place.Text("SELECT count(*), count(DISTINCT id), max(id) FROM users WHERE name = 'new'"); got != "4|4|30" {
					t.Errorf("stored %s", got)
				}
			})
		})
	}
}

// P9: without a transaction of the caller's, the plugin holds no connection while
// OnIncident runs, not even the one of the transaction that it began itself.
func TestOnIncidentMayUseTheOnlyConnection(t *testing.T) {
	t.Parallel()
	overwrite := clause.OnConflict{Columns: []clause.Column{{Name: "id"}}, UpdateAll: true}
	for _, c := range []struct {
		name   string
		insert func(*gorm.DB) error
		want   string
	}{
		{"one row", newUser, "21|new"},
		{"an upsert of which one row names its id", func(db *gorm.DB) error {
			return db.Clauses(overwrite).Create(&[]user{{ID: 30, Name: "new"}, {Name: "newer"}}).Error
		}, "30|new\n31|newer"},
		{"several rows under DO NOTHING", func(db *gorm.DB) error {
			return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&[]user{{Name: "new"}, {Name: "newer"}}).Error
		}, "21|new\n22|newer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			place.Exec(drifted)
			var db *gorm.DB
			var asked []error
			healing := plugin.New(plugin.OnIncident(func(ctx context.Context, i plugin.Incident) {
				var visible int64
				err := db.Raw("SELECT count(*) FROM users WHERE name LIKE 'new%'").Scan(&visible).Error
				if visible == 0 {
					err = errors.Join(err, errors.New("told before the rows were committed"))
				}
				asked = append(asked, err)
			}))
			db = place.Open(&gorm.Config{SkipDefaultTransaction: true}, healing)
			pool, err := db.DB()
			if err != nil {
				t.Fatal(err)
			}
			pool.SetMaxOpenConns(1)
			if err := c.insert(db); err != nil {
				t.Fatal(err)
			}
			if len(asked) != 1 || asked[0] != nil {
				t.Errorf("OnIncident asked the database: %v", asked)
			}
			if got := place.Text("SELECT id, name FROM users WHERE name LIKE 'new%' ORDER BY id"); got != c.want {
				t.Errorf("stored\n%s", got)
			}
		})
	}
}

// P8: a herd on several tables, watched while it runs: everything that is told
// adds up, and the log's counts too.
func TestWatchedUnderLoad(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	const tables, herd, each = 3, 8, 12
	for n := range tables {
		place.Exec(fmt.Sprintf("CREATE TABLE t%d (id serial PRIMARY KEY, imported bool DEFAULT false); INSERT INTO t%[1]d SELECT generate_series(1, 2000, 10), true", n))
	}
	var out bytes.Buffer
	var seen incidents
	healing := plugin.New(seen.option(), plugin.WithLogger(slog.New(slog.NewJSONHandler(&out, nil))))
	db := place.Open(nil, healing)
	var herding, watching sync.WaitGroup
	for worker := range herd {
		herding.Add(1)
		go func() {
			defer herding.Done()
			for n := range each {
				table := fmt.Sprintf("t%d", (worker+n)%tables)
				if err := db.Table(table).Create(map[string]any{}).Error; err != nil {
					t.Errorf("%s: %v", table, err)
				}
				if worker == 0 { // somebody imports
					place.Exec("INSERT INTO " + table + " SELECT last_value + 3, true FROM " + table + "_id_seq ON CONFLICT DO NOTHING")
				}
			}
		}()
	}
	done := make(chan struct{})
	for range 2 {
		watching.Add(1)
		go func() {
			defer watching.Done()
			before := int64(0)
			for over := false; !over; {
				select {
				case <-done:
					over = true
				default:
				}
				stats := healing.Stats()
				var sum plugin.Counts
				for _, table := range stats.Tables {
					sum.Healed += table.Healed
					sum.AlreadyHealed += table.AlreadyHealed
					sum.Refused += table.Refused
					sum.Failed += table.Failed
				}
				if sum != stats.Counts || stats.Total() < before {
					t.Errorf("by table %+v, in all %+v, before %d", sum, stats.Counts, before)
					return
				}
				before = stats.Total()
				if latest := healing.Incidents(); int64(len(latest)) < min(100, before) {
					t.Errorf("%d incidents are kept of %d", len(latest), before)
					return
				}
				healing.Flush()
			}
		}()
	}
	herding.Wait()
	close(done)
	watching.Wait()
	healing.Flush()
	all := seen.list()
	if stats := healing.Stats(); stats.Total() != int64(len(all)) || stats.Healed == 0 || stats.Refused+stats.Failed != 0 {
		t.Errorf("%d told, counted %+v", len(all), stats.Counts)
	}
	logged := 0
	for _, text := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		var entry struct{ Seqheal struct{ Count int } }
		if err := json.Unmarshal([]byte(text), &entry); err != nil || entry.Seqheal.Count < 1 {
			t.Errorf("%v: %s", err, text)
		}
		logged += entry.Seqheal.Count
	}
	if logged != len(all) {
		t.Errorf("the lines stand for %d of %d incidents", logged, len(all))
	}
	for n := range tables {
		if got := place.Int(fmt.Sprintf("SELECT count(*) FROM t%d WHERE NOT imported", n)); got != herd*each/tables {
			t.Errorf("t%d holds %d rows of the herd", n, got)
		}
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/plugin"
)

const workers = 8

// crew is the application: goroutines that insert while a tool runs.
type crew struct {
	journal *journal
	names   atomic.Int64

	mutex   sync.Mutex // of tally
	tally   tally
	excuses map[string]string // of the operation
	// settled is true but while pg_restore --clean makes its table anew.
	settled atomic.Bool
}

// tally is what came of the calls of a turn.
type tally struct {
	inserts, healed, alreadyHealed int
	// excused counts errors that the tool causes itself.
	excused int
	failed  []string
	faults  faults
	// stirred holds incidents for the operations that leave sequences alone.
	stirred []string
}

func (t *tally) add(other tally) {
	t.inserts += other.inserts
	t.healed += other.healed
	t.alreadyHealed += other.alreadyHealed
	t.excused += other.excused
	t.failed = append(t.failed, other.failed...)
	t.faults.add(other.faults)
}

func (t tally) String() string {
	return fmt.Sprintf("%d rows acknowledged, %d inserts healed and %d more after another's heal, %d errors that are not about drift, %d failed, %d lost, %d damaged",
		t.inserts, t.healed, t.alreadyHealed, t.excused, len(t.failed), len(t.faults.lost), len(t.faults.damaged))
}

// work lets the workers insert into the tables until the tool is done.
func (c *crew) work(pools []pool, tables []string, excuses map[string]string, tool func() error) (tally, error) {
	c.tally, c.excuses = tally{}, excuses
	c.settled.Store(true)
	ctx, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	for range workers {
		done.Go(func() {
			w := &worker{crew: c, own: map[string][]entry{}}
			for ctx.Err() == nil {
				w.step(pick(pools), w.call(tables))
			}
		})
	}
	err := tool()
	stop()
	done.Wait()
	return c.tally, err
}

// worker is one goroutine. own holds rows that it stored and no other changes.
type worker struct {
	crew *crew
	own  map[string][]entry
}

func (w *worker) name() string { return fmt.Sprintf("row%d", w.crew.names.Add(1)) }

// incidents are those of one call.
type incidents struct{ all []plugin.Incident }

type incidentsKey struct{}

// hear takes in what the plugin reports, on the goroutine of the insert.
func hear(ctx context.Context, i plugin.Incident) {
	if heard, ok := ctx.Value(incidentsKey{}).(*incidents); ok {
		heard.all = append(heard.all, i)
	}
}

// step makes a call without a transaction, in GORM's or in one of its own.
func (w *worker) step(p pool, c call) {
	heard, settled := &incidents{}, w.crew.settled.Load()
	session := p.db.WithContext(context.WithValue(context.Background(), incidentsKey{}, heard))
	mode := pick([]string{"no transaction", "GORM's transaction", "the caller's transaction"})
	if c.several && mode == "no transaction" {
		mode = "GORM's transaction" // or a part of it would stay when the rest fails
	}
	var err error
	switch mode {
	case "no transaction":
		err = c.do(session.Session(&gorm.Session{SkipDefaultTransaction: true}))
	case "the caller's transaction":
		err = session.Transaction(c.do)
	default:
		err = c.do(session)
	}
	how := fmt.Sprintf("%s into %s, %s, %s", c.name, c.table, mode, p.name)
	w.settle(c, how, settled && w.crew.settled.Load(), heard.all, err)
}

// settle enters what came of a call.
func (w *worker) settle(c call, how string, settled bool, heard []plugin.Incident, err error) {
	crew := w.crew
	crew.mutex.Lock()
	defer crew.mutex.Unlock()
	t := &crew.tally
	excused := c.table == cleanedTable && !settled
	for _, i := range heard {
		t.stirred = append(t.stirred, fmt.Sprintf("%s: %s", how, i))
		switch {
		case i.Outcome == plugin.Healed:
			t.healed++
		case i.Outcome == plugin.AlreadyHealed:
			t.alreadyHealed++
		case err == nil && !excused:
			t.failed = append(t.failed, fmt.Sprintf("%s: an incident without an error: %s", how, i))
		}
	}
	if excused {
		how += ", while the table was not settled"
	}
	switch {
	case err == nil:
		w.acknowledge(c, fmt.Sprintf("%s, %d incidents", how, len(heard)), excused)
	case crew.excuse(err), excused && tableIsNotThere[code(err)] != "":
		t.excused++
	default:
		t.failed = append(t.failed, fmt.Sprintf("%s: %v (incidents %v)", how, err, heard))
	}
}

// excuse reports whether the operation brings this error about.
func (c *crew) excuse(err error) bool {
	for text := range c.excuses {
		if strings.Contains(err.Error(), text) {
			return true
		}
	}
	return false
}

// acknowledge enters the rows of a call that reported no error. One without an id
// was dropped. excused are those of a table that is not settled.
func (w *worker) acknowledge(c call, how string, excused bool) {
	t := &w.crew.tally
	var stored []entry
	for _, e := range c.entries() {
		if e.id == 0 {
			t.faults.lost = append(t.faults.lost, fmt.Sprintf("%s: %q has no id and no error (%s)", e.table, e.name, how))
			continue
		}
		stored = append(stored, e)
		if e.table == c.table && !c.several {
			w.remember(e)
		}
	}
	t.inserts += len(stored)
	w.crew.journal.stored(how, stored, c.targets, excused)
}

// remember keeps a row to be changed, and no longer as it was before.
func (w *worker) remember(e entry) {
	own := w.own[e.table]
	for i, old := range own {
		if old.name == e.replaces {
			own[i] = e
			return
		}
	}
	if len(own) < 30 {
		own = append(own, e)
	} else {
		own[rand.IntN(len(own))] = e
	}
	w.own[e.table] = own
}

// tableIsNotThere are the errors that plain GORM has while pg_restore --clean makes
// a table anew, and why.
var tableIsNotThere = map[string]string{
	"42P01": "the table is dropped",
	"42P10": "the key is not there yet: an upsert has no arbiter",
	"23502": "the default is not there yet: the id is null",
	"42501": "the rights are not there yet",
	"0A000": "a prepared statement of the table before",
}

// code is the SQLSTATE of a server's error, empty for another.
func code(err error) string {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return server.Code
	}
	return ""
}

func pick[T any](of []T) T { return of[rand.IntN(len(of))] }

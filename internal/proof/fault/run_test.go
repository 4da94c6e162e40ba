package fault_test

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// run is one insert that heals, and everything that its caller sees of it.
type run struct {
	*room
	mode  mode
	shape shape
	guard plugin.Guard
	// isolation is the sessions' default level, empty for READ COMMITTED.
	isolation string

	db   *gorm.DB
	seen *incidents
	rows []user
	// err is what the insert came to. later and committed are what the caller's
	// transaction came to when it went on after it; without one, nil.
	err, later, committed error
	// sent is how many statements had come to the proxy when the insert was over.
	sent int
	// values are the sequence's last values as they were seen, in time.
	values []int64
}

// open opens a pool of the run's own, with a plugin that knows no table yet.
func (r *run) open(open func(*gorm.Config, ...gorm.Plugin) *gorm.DB, options ...plugin.Option) {
	r.Exec(rewind)
	r.seen = &incidents{}
	r.db = open(r.mode.config(), plugin.New(append([]plugin.Option{plugin.WithGuard(r.guard), plugin.WithResyncTimeout(soon), r.seen.option()}, options...)...))
}

// dsn is a connection string at the run's isolation level.
func (r *run) dsn(of string) string {
	if r.isolation == "" {
		return of
	}
	return of + "&default_transaction_isolation=" + url.PathEscape(r.isolation)
}

// insert runs the insert. prepare is called right before it with the caller's way
// to give up.
//
// A caller's own transaction outlives the insert's context, and its caller goes on
// whatever the insert came to.
func (r *run) insert(prepare func(giveUp func())) {
	r.t.Helper()
	r.values = []int64{r.lastValue()}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer func() { r.values = append(r.values, r.lastValue()) }()
	if r.mode != callersTransaction {
		prepare(cancel)
		r.rows, r.err = r.shape.send(r.db.WithContext(ctx))
		r.sent = len(r.proxy.Statements())
		return
	}
	tx := r.db.Begin()
	if err := tx.Exec("INSERT INTO notes VALUES ('earlier')").Error; err != nil {
		r.t.Fatal(err)
	}
	prepare(cancel)
	r.rows, r.err = r.shape.send(tx.WithContext(ctx))
	r.sent = len(r.proxy.Statements())
	r.later = tx.Exec("INSERT INTO notes VALUES ('later')").Error
	r.committed = tx.Commit().Error
}

// check asserts what holds whatever happened to the insert. commit tells what
// happened to the COMMIT.
func (r *run) check(t *testing.T, commit fate) {
	t.Helper()
	stored := r.err == nil && r.committed == nil
	if commit == answerLost {
		if stored {
			t.Error("the answer to COMMIT was lost, and the caller was told that all is well")
		}
		stored = true
	}
	r.checkUsers(t, stored, commit)
	if r.mode == callersTransaction {
		var want []string
		if r.committed == nil || commit == answerLost {
			want = append(want, "earlier")
			if r.later == nil {
				want = append(want, "later")
			}
		}
		if got := r.Text("SELECT text FROM notes ORDER BY text"); got != strings.Join(want, "\n") {
			t.Errorf("the caller's other rows are %q, want %q; insert %v, later %v, commit %v", got, want, r.err, r.later, r.committed)
		}
	}
	if !slices.IsSorted(r.values) {
		t.Errorf("the sequence stepped back: %d", r.values)
	}
	seen := r.seen.list()
	if len(seen) > 1 {
		t.Errorf("%d incidents: %v", len(seen), seen)
	}
	if r.err == nil && r.committed == nil && (len(seen) != 1 || seen[0].Outcome != plugin.Healed) {
		t.Errorf("incidents of an insert that succeeded: %v", seen)
	}
	if r.mode == callersTransaction && r.err != nil && len(seen) > 0 && r.committed == nil {
		t.Errorf("the insert met drift and returned %v, and the rest was committed (P6)", r.err)
	}
	pgtest.Eventually(t, "no advisory lock and no open transaction", func() bool { return r.Int(leftovers) == 0 })
	r.checkNext(t)
}

// fate is what a fault does to the COMMIT.
type fate int

const (
	noCommit   fate = iota // the INSERT or a statement before it is hit
	closing                // a statement between the INSERT and the COMMIT is hit
	commitLost             // the server never gets the COMMIT
	answerLost             // the server has committed, and nobody learns of it
)

// checkUsers compares the whole table.
func (r *run) checkUsers(t *testing.T, stored bool, commit fate) {
	t.Helper()
	got, want := r.users(), oldRows()
	if stored {
		want = r.shape.with(r.rows)
	}
	if !maps.Equal(got, want) {
		t.Errorf("insert %v, commit %v, rows %v\n got %s\nwant %s", r.err, r.committed, r.rows, text(got), text(want))
	}
	for i, row := range r.rows {
		id := r.shape.rows[i].ID
		if stored && id == 0 && row.ID <= 20 {
			t.Errorf("a new row has id %d", row.ID)
		}
		// An id is known before the COMMIT fails, as with GORM's own transaction.
		if r.err != nil && commit == noCommit && row.ID != id {
			t.Errorf("the caller got both, the id %d and the error %v", row.ID, r.err)
		}
	}
}

// checkNext asserts that the pool is usable: the next insert stores its row and no
// other, and closing the pool ends its sessions.
func (r *run) checkNext(t *testing.T) {
	t.Helper()
	want := r.users()
	row := user{Name: "next"}
	insert := func(db *gorm.DB) error { return db.Create(&row).Error }
	var err error
	if r.mode == callersTransaction {
		err = r.db.Transaction(insert)
	} else {
		err = insert(r.db)
	}
	if err != nil {
		t.Errorf("the next insert: %v", err)
		return
	}
	if _, exists := want[row.ID]; exists || row.ID <= r.values[len(r.values)-1] {
		t.Errorf("the next insert got id %d, the sequence was at %d", row.ID, r.values)
	}
	want[row.ID] = "next"
	if got := r.users(); !maps.Equal(got, want) {
		t.Errorf("after the next insert\n got %s\nwant %s", text(got), text(want))
	}
	pool, err := r.db.DB()
	if err != nil {
		t.Fatal(err)
	}
	if err := pool.Close(); err != nil {
		t.Error(err)
	}
	pgtest.Eventually(t, "all sessions to end", func() bool { return r.Int(sessions) == 0 })
}

func text(rows map[int64]string) string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		if old := fmt.Sprintf("old %d", id); rows[id] != old {
			fmt.Fprintf(&b, "%d:%s ", id, rows[id])
		}
	}
	return fmt.Sprintf("%d rows, not old: %s", len(rows), b.String())
}

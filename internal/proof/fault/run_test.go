package fault_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgerr"
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
	// prepared is GORM's PrepareStmt.
	prepared bool
	// connections is how many the pool may open, 0 for any number.
	connections int

	db   *gorm.DB
	seen *incidents
	// rows and ownerID are what was sent, as its caller then has it.
	rows    []user
	ownerID int64
	// err is what the insert came to. later and committed are what the caller's
	// transaction came to when it went on after it; without one, nil.
	err, later, committed error
	// sent is how many statements had come to the proxy when the insert was over.
	sent int
	// values are the sequence's last values as they were seen, in time; owners those
	// of the owners'.
	values, owners []int64
}

// open opens a pool of the run's own, with a plugin that knows no table yet.
func (r *run) open(open func(*gorm.Config, ...gorm.Plugin) *gorm.DB, options ...plugin.Option) {
	r.Exec(rewind + r.shape.again)
	r.seen = &incidents{}
	config := r.mode.config()
	config.PrepareStmt = r.prepared
	r.db = open(config, plugin.New(append([]plugin.Option{plugin.WithGuard(r.guard), plugin.WithResyncTimeout(soon), r.seen.option()}, options...)...))
	pool, err := r.db.DB()
	if err != nil {
		r.t.Fatal(err)
	}
	pool.SetMaxOpenConns(r.connections)
	if r.guard == plugin.GuardOff {
		r.warm()
	}
}

// warm opens two connections. GuardOff heals on a second one, and does not wait long
// for it.
func (r *run) warm() {
	pool, err := r.db.DB()
	if err != nil {
		r.t.Fatal(err)
	}
	var held [2]*sql.Conn
	for i := range held {
		if held[i], err = pool.Conn(context.Background()); err != nil {
			r.t.Fatal(err)
		}
	}
	for _, c := range held {
		_ = c.Close()
	}
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
	r.values, r.owners = nil, nil
	r.readSequences()
	defer r.readSequences()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if r.mode != callersTransaction {
		prepare(cancel)
		r.rows, r.ownerID, r.err = r.shape.send(r.db.WithContext(ctx))
		r.sent = len(r.proxy.Statements())
		return
	}
	tx := r.db.Begin()
	if err := tx.Exec("INSERT INTO notes VALUES ('earlier')").Error; err != nil {
		r.t.Fatal(err)
	}
	prepare(cancel)
	r.rows, r.ownerID, r.err = r.shape.send(tx.WithContext(ctx))
	r.sent = len(r.proxy.Statements())
	r.later = tx.Exec("INSERT INTO notes VALUES ('later')").Error
	r.committed = tx.Commit().Error
}

func (r *run) readSequences() {
	r.values = append(r.values, r.lastValue())
	r.owners = append(r.owners, r.ownersLastValue())
}

// undisturbed is why an insert that nothing disturbed did not go as it should: it
// heals, and a plain one under GuardOff fails and its sequence has been moved.
func (r *run) undisturbed() error {
	err := errors.Join(r.err, r.later, r.committed)
	if r.guard != plugin.GuardOff || r.shape.relation != nil {
		return err
	}
	if pgerr.Is(r.err, pgerr.UniqueViolation) && len(r.healed()) == r.shape.heals {
		return nil
	}
	return fmt.Errorf("error %w, incidents %v", err, r.seen.list())
}

// healed are the tables whose sequences were moved.
func (r *run) healed() (tables []string) {
	for _, incident := range r.seen.list() {
		if incident.Outcome == plugin.Healed && !slices.Contains(tables, incident.Table) {
			tables = append(tables, incident.Table)
		}
	}
	return tables
}

// check asserts what holds whatever happened to the insert. commit tells what
// happened to the COMMIT.
func (r *run) check(t *testing.T, commit fate) {
	t.Helper()
	if commit == answerLost && r.err == nil && r.committed == nil {
		t.Error("the answer to COMMIT was lost, and the caller was told that all is well")
	}
	r.checkRows(t, commit)
	if r.mode == callersTransaction {
		var want []string
		if r.ended(commit) {
			want = append(want, "earlier")
			if r.later == nil {
				want = append(want, "later")
			}
		}
		if got := r.Text("SELECT text FROM notes ORDER BY text"); got != strings.Join(want, "\n") {
			t.Errorf("the caller's other rows are %q, want %q; insert %v, later %v, commit %v", got, want, r.err, r.later, r.committed)
		}
	}
	if !slices.IsSorted(r.values) || !slices.IsSorted(r.owners) {
		t.Errorf("a sequence stepped back: %d, %d", r.values, r.owners)
	}
	r.checkIncidents(t)
	r.checkPrepared(t)
	pgtest.Eventually(t, "no advisory lock and no open transaction", func() bool { return r.Int(leftovers) == 0 })
	r.checkNext(t)
}

// ended reports whether the caller's transaction was committed. Under GuardOff a
// COMMIT whose answer was lost was that of an aborted transaction.
func (r *run) ended(commit fate) bool {
	return r.committed == nil || commit == answerLost && (r.guard != plugin.GuardOff || r.shape.relation != nil)
}

func (r *run) checkIncidents(t *testing.T) {
	t.Helper()
	seen := r.seen.list()
	if len(seen) > r.shape.heals {
		t.Errorf("%d incidents: %v", len(seen), seen)
	}
	if r.err == nil && r.committed == nil && len(r.healed()) != r.shape.heals {
		t.Errorf("incidents of an insert that succeeded: %v", seen)
	}
	for _, incident := range seen {
		if incident.Err != nil && r.mode == callersTransaction && r.err != nil && r.committed == nil {
			t.Errorf("the insert met drift and returned %v, and the rest was committed (P6)", r.err)
		}
	}
}

// checkPrepared asserts that GORM's cache of statements holds the application's
// alone (P9).
func (r *run) checkPrepared(t *testing.T) {
	t.Helper()
	cache, ok := r.db.ConnPool.(*gorm.PreparedStmtDB)
	if !r.prepared || !ok {
		return
	}
	for _, text := range cache.Stmts.Keys() {
		if !strings.HasPrefix(text, "INSERT INTO ") {
			t.Errorf("GORM's cache holds %q", text)
		}
	}
}

// fate is what a fault does to the COMMIT.
type fate int

const (
	noCommit   fate = iota // the INSERT or a statement before it is hit
	closing                // a statement between the INSERT and the COMMIT is hit
	commitLost             // the server never gets the COMMIT
	answerLost             // the server has committed, and nobody learns of it
)

// contents reads whatever an insert can store.
func (r *run) contents() contents {
	r.t.Helper()
	got := contents{users: r.users()}
	if r.shape.relation != nil {
		got.others = r.Text(theOthers)
	}
	return got
}

// checkRows compares all tables with what the caller was told.
func (r *run) checkRows(t *testing.T, commit fate) {
	t.Helper()
	given, some := r.shape.given(r.rows, r.ownerID, r.err)
	// An id is known before the COMMIT fails, as with GORM's own transaction.
	if r.err != nil && commit == noCommit && (some || given == len(r.shape.pieces)) {
		t.Errorf("the caller got both, ids and the error %v: %v, owner %d", r.err, r.rows, r.ownerID)
	}
	got := r.contents()
	rows, ownerID := r.inTables(got)
	var wants []contents
	for pieces := range r.stored(given, commit) {
		want := r.shape.with(pieces, rows, ownerID)
		if got.equal(want) {
			return
		}
		wants = append(wants, want)
	}
	t.Errorf("insert %v, commit %v, rows %v, owner %d\n got %s\nwant %s", r.err, r.committed, r.rows, r.ownerID, got, wants)
}

// stored yields how many of the pieces may be stored. All or none, but where each is a
// transaction of its own, or where the caller commits what was stored before the insert
// failed: then those that the caller knows of. The answer to one more may be lost.
func (r *run) stored(given int, commit fate) iter.Seq[int] {
	all := len(r.shape.pieces)
	least, most := 0, 0
	switch {
	case r.mode == callersTransaction && !r.ended(commit):
	case r.err == nil, commit == answerLost && (r.mode != noTransaction || all == 1):
		least, most = all, all
	case r.mode == gormsTransaction || all == 1:
	default:
		least, most = given, given+1
		if commit != noCommit {
			least = max(0, given-1) // its COMMIT may be what failed
		}
	}
	return func(yield func(int) bool) {
		for pieces := least; pieces <= min(most, all) && yield(pieces); pieces++ {
		}
	}
}

// inTables is what was sent with the ids that it has in the tables, where the caller
// was not told them.
func (r *run) inTables(got contents) (rows []user, ownerID int64) {
	rows, ownerID = slices.Clone(r.rows), r.ownerID
	for i := range rows {
		for id, name := range got.users {
			own, _, _ := strings.Cut(name, " of ")
			if rows[i].ID == 0 && id > 20 && own == rows[i].Name {
				rows[i].ID = id
			}
		}
	}
	if r.shape.relation != nil && ownerID == 0 {
		ownerID = r.Int("SELECT max(id) FROM owners WHERE name = 'owner'")
	}
	return rows, ownerID
}

// checkNext asserts that the pool is usable: the next insert stores its row and no
// other, and closing the pool ends its sessions.
func (r *run) checkNext(t *testing.T) {
	t.Helper()
	want := r.users()
	row := user{Name: "next"}
	moved := len(r.healed()) > 0
	err := r.again(func(db *gorm.DB) error { return db.Create(&row).Error })
	for tries := 0; tries < 3 && r.guard == plugin.GuardOff && !moved && pgerr.Is(err, pgerr.UniqueViolation); tries++ {
		row = user{Name: "next"} // the heal was disturbed, and on a busy machine found no connection in time
		err = r.again(func(db *gorm.DB) error { return db.Create(&row).Error })
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
	if r.shape.heals > 1 {
		next := owner{Name: "next"}
		if err := r.again(func(db *gorm.DB) error { return db.Create(&next).Error }); err != nil || next.ID <= r.owners[len(r.owners)-1] {
			t.Errorf("the next owner got id %d, the sequence was at %d: %v", next.ID, r.owners, err)
		}
	}
	r.close(t)
	pgtest.Eventually(t, "all sessions to end", func() bool { return r.Int(sessions) == 0 })
}

func (r *run) close(t *testing.T) {
	t.Helper()
	pool, err := r.db.DB()
	if err != nil {
		t.Fatal(err)
	}
	if err := pool.Close(); err != nil {
		t.Error(err)
	}
}

// again inserts in the run's mode, undisturbed. A connection that was cut while it was idle
// is met at BEGIN, where pgx tells the caller "conn closed" and database/sql takes no other.
func (r *run) again(insert func(*gorm.DB) error) error {
	if r.guard == plugin.GuardOff {
		r.warm()
	}
	send := func() error { return insert(r.db) }
	if r.mode == callersTransaction {
		send = func() error { return r.db.Transaction(insert) }
	}
	err := send()
	if pgconn.SafeToRetry(err) {
		err = send()
	}
	return err
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

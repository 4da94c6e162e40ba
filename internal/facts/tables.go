// Package facts remembers what the catalog said of tables, so that a healthy insert
// asks nothing, and lets callers share an answer. What is remembered chooses how a
// statement is sent. It never decides that there is no drift, whose error a collision
// is, or which sequence is moved: a name can stand for another table at any time.
package facts

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/statement"
)

const (
	// maxTables bounds what is remembered. Beyond it one entry is dropped for each new
	// one, and read again at the table's next insert.
	maxTables = 10_000
	// maxPerName bounds the entries of one ambiguous name.
	maxPerName = 256
)

// Tables remembers the tables of one connection pool. It is safe for concurrent use.
type Tables struct {
	mutex sync.RWMutex
	// names holds tables by the name that statements render.
	names map[catalog.Name]*named
	// highWater holds a value that a sequence has passed.
	highWater map[Sequence]int64
	// memories holds what was seen of sequences by the name that statements render, and
	// sequences those of them that a read of the table has confirmed.
	memories  map[catalog.Name]*Memory
	sequences map[Sequence]*Memory
	// said holds what was complained about.
	said map[string]bool
	// began and ended count heals.
	began, ended atomic.Int64
	// lateInARow counts how often a second connection was waited for in vain, one time after the
	// other, and lateAt is when, in nanoseconds.
	lateInARow, lateAt atomic.Int64
}

// Sequence identifies a sequence: an oid alone is another one in another database.
type Sequence struct {
	Database string
	OID      int64
}

// named is what is remembered of one name.
type named struct {
	entry *Entry // the latest
	// ambiguous is true once the name was seen to stand for two tables, or for one under
	// two roles or databases.
	ambiguous bool
	// sessions holds the entries of an ambiguous name by the sessions that read them.
	sessions map[string]*Entry
}

// Entry is a table as it was read.
type Entry struct {
	Table *catalog.Table
	// Guard is the conflict guard's text, empty when the table does not qualify.
	Guard string
	// Ambiguous is true when the name may stand for another table in this session.
	Ambiguous bool
	// until is when facts that were read under a snapshot are to be read again.
	until time.Time
}

// snapshotServes is how long facts serve that were read under a snapshot. They are a hint like
// others, but a program at READ COMMITTED does better with its own: they allow a conflict guard.
const snapshotServes = time.Minute

// Serves reports whether further statements may go by the entry.
func (e *Entry) Serves() bool {
	return !e.Table.Uncommitted && (!e.Table.Snapshot || time.Now().Before(e.until))
}

// New returns an empty Tables.
func New() *Tables {
	return &Tables{
		names: map[catalog.Name]*named{}, highWater: map[Sequence]int64{}, said: map[string]bool{},
		memories: map[catalog.Name]*Memory{}, sequences: map[Sequence]*Memory{},
	}
}

// Get returns what is remembered under the name of a statement, or nil. Of an ambiguous
// name it is the latest entry, without a guard.
func (t *Tables) Get(name catalog.Name) *Entry {
	t.mutex.RLock()
	defer t.mutex.RUnlock()
	if n := t.names[name]; n != nil {
		return n.entry
	}
	return nil
}

// GetFor returns what a session of the same database, role and search_path read under
// the name, or nil.
func (t *Tables) GetFor(name catalog.Name, session conn.Session) *Entry {
	t.mutex.RLock()
	defer t.mutex.RUnlock()
	if n := t.names[name]; n != nil {
		return n.sessions[sessionKey(session.Database, session.Role, session.SearchPath)]
	}
	return nil
}

// Len is the number of names that are remembered.
func (t *Tables) Len() int {
	t.mutex.RLock()
	defer t.mutex.RUnlock()
	return len(t.names)
}

// Put remembers a table under the name of the statement. Provisional facts are remembered
// without a guard.
func (t *Tables) Put(name catalog.Name, table *catalog.Table) *Entry {
	entry := &Entry{Table: table, until: time.Now().Add(snapshotServes)}
	name = clone(name)
	t.mutex.Lock()
	defer t.mutex.Unlock()
	n := t.names[name]
	if n == nil {
		room(t.names, name, maxTables)
		n = &named{}
		t.names[name] = n
	}
	id := table.Identity
	if before := n.entry; before != nil && !n.ambiguous {
		was := before.Table.Identity
		n.ambiguous = was.Named != id.Named || was.Database != id.Database || was.Role != id.Role
		if n.ambiguous {
			n.sessions = map[string]*Entry{sessionKeyOf(was): {Table: before.Table, Ambiguous: true}}
		}
	}
	t.confirm(name, table, n.ambiguous)
	if table.Provisional() && n.entry != nil && !n.ambiguous && !n.entry.Table.Provisional() {
		return entry // it serves this statement; what was read before stays
	}
	if table.NotGuardable == "" && !n.ambiguous && !table.Provisional() {
		entry.Guard = statement.ConflictGuard(table.QuotedKey())
	}
	if n.ambiguous {
		entry.Ambiguous = true
		room(n.sessions, sessionKeyOf(id), maxPerName)
		n.sessions[sessionKeyOf(id)] = entry
	}
	n.entry = entry
	return entry
}

// Unguard keeps a name on savepoints.
func (t *Tables) Unguard(name catalog.Name) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if n := t.names[name]; n != nil {
		t.forget(name, n, n.entry.Table)
	}
}

// Forget records that the name stood for another table than this one in a session. What
// was read may still hold in the sessions that it was read in; the name is ambiguous.
func (t *Tables) Forget(name catalog.Name, table *catalog.Table) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if n := t.names[name]; n != nil {
		t.forget(name, n, table)
	}
}

// forget makes the name ambiguous, and table its latest entry.
func (t *Tables) forget(name catalog.Name, n *named, table *catalog.Table) {
	if !n.ambiguous {
		n.ambiguous, n.sessions = true, map[string]*Entry{}
	}
	t.forgetMemory(name)
	n.entry = &Entry{Table: table, Ambiguous: true}
	n.sessions[sessionKeyOf(table.Identity)] = n.entry
}

// Reread lets the next statement read the table under this name anew: something stands on
// it that was not there. A name that has moved is looked up for each session as it is.
func (t *Tables) Reread(name catalog.Name) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if n := t.names[name]; n != nil && !n.ambiguous {
		delete(t.names, name)
	}
}

// HighWater is the furthest value that the sequence is known to have passed.
func (t *Tables) HighWater(seq Sequence) (value int64, known bool) {
	t.mutex.RLock()
	defer t.mutex.RUnlock()
	value, known = t.highWater[seq]
	return value, known
}

// Passed records that the sequence has come as far as value.
func (t *Tables) Passed(seq Sequence, value int64) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	room(t.highWater, seq, maxTables)
	t.highWater[seq] = value
}

// NotPassed forgets the high-water mark: the sequence was behind its rows.
func (t *Tables) NotPassed(seq Sequence) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	delete(t.highWater, seq)
}

// Once reports whether it is asked for the first time with this text.
func (t *Tables) Once(text string) bool {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.said[text] {
		return false
	}
	room(t.said, text, maxTables)
	t.said[text] = true
	return true
}

// Second keeps whether a second connection came in time.
func (t *Tables) Second(came bool) {
	if came {
		t.lateInARow.Store(0)
		return
	}
	t.lateInARow.Add(1)
	t.lateAt.Store(time.Now().UnixNano())
}

// MayWaitForSecond reports whether one that is not needed may be waited for: not within a second
// after three in a row did not come, as where a pooler has none to give.
func (t *Tables) MayWaitForSecond() bool {
	return t.lateInARow.Load() < 3 || time.Now().UnixNano()-t.lateAt.Load() > int64(time.Second)
}

// HealBegins counts a heal that begins.
func (t *Tables) HealBegins() { t.began.Add(1) }

// HealEnds counts a heal that ends.
func (t *Tables) HealEnds() { t.ended.Add(1) }

// HealsEnded is how many heals have ended.
func (t *Tables) HealsEnded() int64 { return t.ended.Load() }

// HealedSince reports whether a heal was running at some time since so many had ended.
func (t *Tables) HealedSince(ended int64) bool { return t.began.Load() > ended }

// sessionKey is equal for sessions in which a name stands for the same table.
func sessionKey(database, role, searchPath string) string {
	return strings.Join([]string{database, role, searchPath}, "\x00")
}

func sessionKeyOf(id catalog.Identity) string {
	return sessionKey(id.Database, id.Role, id.SearchPath+"/"+strconv.FormatInt(id.TempSchema, 10))
}

// clone returns a name to keep: the one of a statement is a part of its text, which
// a batch makes as long as a hundred thousand values.
func clone(n catalog.Name) catalog.Name {
	return catalog.Name{Schema: strings.Clone(n.Schema), Table: strings.Clone(n.Table)}
}

// room makes place for one more entry.
func room[K comparable, V any](m map[K]V, key K, limit int) {
	if _, there := m[key]; there || len(m) < limit {
		return
	}
	for k := range m {
		delete(m, k)
		return
	}
}

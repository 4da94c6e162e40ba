// Package facts remembers what the catalog said of tables, so that a healthy insert
// asks nothing, and lets callers share an answer. What is remembered chooses how a
// statement is sent; it never decides whose error a collision is.
package facts

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/statement"
)

// maxTables bounds what is remembered. Beyond it one entry is dropped for each new
// one, and read again at the table's next insert.
const maxTables = 10_000

// Tables remembers the tables of one connection pool. It is safe for concurrent use.
type Tables struct {
	mutex sync.RWMutex
	// byTarget holds tables by the name that statements render.
	byTarget map[catalog.Name]*Entry
	// indexes holds a table's unique indexes by the name that the server gives in an
	// error: another index's 23505 then costs nothing.
	indexes map[catalog.Name]*catalog.Violated
	// unguarded holds names whose table was not what had been read of it, because of
	// another role, another search_path or DDL. They keep the savepoint.
	unguarded map[catalog.Name]bool
	// highWater holds, by a sequence's oid, a value that it has passed.
	highWater map[int64]int64
	// began and ended count heals.
	began, ended atomic.Int64
}

// HealBegins counts a heal that begins.
func (t *Tables) HealBegins() { t.began.Add(1) }

// HealEnds counts a heal that ends.
func (t *Tables) HealEnds() { t.ended.Add(1) }

// HealsEnded is how many heals have ended.
func (t *Tables) HealsEnded() int64 { return t.ended.Load() }

// HealedSince reports whether a heal was running at some time since so many had ended.
func (t *Tables) HealedSince(ended int64) bool { return t.began.Load() > ended }

// Entry is a table as it was read.
type Entry struct {
	Table *catalog.Table
	// Guard is the conflict guard's text, empty when the table does not qualify.
	Guard string
}

// New returns an empty Tables.
func New() *Tables {
	return &Tables{
		byTarget: map[catalog.Name]*Entry{}, indexes: map[catalog.Name]*catalog.Violated{},
		unguarded: map[catalog.Name]bool{}, highWater: map[int64]int64{},
	}
}

// Get returns what is remembered under the name of a statement, or nil.
func (t *Tables) Get(name catalog.Name) *Entry {
	t.mutex.RLock()
	defer t.mutex.RUnlock()
	return t.byTarget[name]
}

// Len is the number of tables that are remembered.
func (t *Tables) Len() int {
	t.mutex.RLock()
	defer t.mutex.RUnlock()
	return len(t.byTarget)
}

// Put remembers a table under the name of the statement, and its indexes under the
// name that the server gives in an error.
func (t *Tables) Put(name catalog.Name, table *catalog.Table) *Entry {
	entry := &Entry{Table: table}
	name = clone(name)
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if table.NotGuardable == "" && !t.unguarded[name] {
		entry.Guard = statement.ConflictGuard(table.QuotedKey())
	}
	if table.Own {
		room(t.byTarget, name)
		t.byTarget[name] = entry
	}
	violated := catalog.Name{Schema: table.Violated.Schema, Table: table.Violated.Name}
	room(t.indexes, violated)
	t.indexes[violated] = &table.Violated
	return entry
}

// Unguard keeps a name on savepoints.
func (t *Tables) Unguard(name catalog.Name) {
	name = clone(name)
	t.mutex.Lock()
	defer t.mutex.Unlock()
	room(t.unguarded, name)
	t.unguarded[name] = true
	if entry := t.byTarget[name]; entry != nil {
		t.byTarget[name] = &Entry{Table: entry.Table}
	}
}

// Forget drops what was read of a table that no longer matches the server.
func (t *Tables) Forget(name, violated catalog.Name) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	delete(t.byTarget, name)
	delete(t.indexes, violated)
}

// Index is what is remembered of a violated constraint.
type Index int

const (
	UnknownIndex Index = iota // of a table that was not read
	KeyIndex                  // the primary key's
	OtherIndex                // another unique index
	NewIndex                  // one that was not there when the table was read
)

// IndexOf classifies the constraint of a 23505.
func (t *Tables) IndexOf(e pgerr.Error) Index {
	t.mutex.RLock()
	defer t.mutex.RUnlock()
	violated, ok := t.indexes[catalog.Name{Schema: e.Schema, Table: e.Table}]
	switch {
	case !ok:
		return UnknownIndex
	case e.Constraint == violated.Constraint:
		return KeyIndex
	case slices.Contains(violated.Others, e.Constraint):
		return OtherIndex
	}
	return NewIndex
}

// HighWater is the furthest value that the sequence is known to have passed.
func (t *Tables) HighWater(seq catalog.Sequence) (value int64, known bool) {
	t.mutex.RLock()
	defer t.mutex.RUnlock()
	value, known = t.highWater[seq.OID]
	return value, known
}

// Passed records that the sequence has come as far as value.
func (t *Tables) Passed(seq catalog.Sequence, value int64) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	room(t.highWater, seq.OID)
	t.highWater[seq.OID] = value
}

// NotPassed forgets the high-water mark: the sequence was behind its rows.
func (t *Tables) NotPassed(seq catalog.Sequence) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	delete(t.highWater, seq.OID)
}

// clone returns a name to keep: the one of a statement is a part of its text, which
// a batch makes as long as a hundred thousand values.
func clone(n catalog.Name) catalog.Name {
	return catalog.Name{Schema: strings.Clone(n.Schema), Table: strings.Clone(n.Table)}
}

// room makes place for one more entry.
func room[K comparable, V any](m map[K]V, key K) {
	if _, there := m[key]; there || len(m) < maxTables {
		return
	}
	for k := range m {
		delete(m, k)
		return
	}
}

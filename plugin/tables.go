package plugin

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/guard"
	"github.com/seqheal/seqheal/internal/insert"
	"github.com/seqheal/seqheal/internal/pgerr"
)

// maxTables bounds what is remembered; beyond it one table is forgotten for each
// new one, and read again at its next insert.
const maxTables = 10_000

// tables remembers what the catalog said, so that a healthy insert asks nothing.
type tables struct {
	mutex sync.RWMutex
	// byTarget holds tables by the name that statements render.
	byTarget map[insert.Name]*known
	// keys holds, by the name that the server gives in an error, which unique
	// index is the primary key: somebody else's 23505 then costs nothing.
	keys map[catalog.Name]*catalog.Violated
	// unguarded holds tables that turned out not to be what was read of them: by
	// another role or search_path, or by DDL. They stay on savepoints.
	unguarded map[insert.Name]bool
	// furthest holds, by a sequence's oid, a value that it has passed for sure.
	furthest map[int64]int64
	// firstReads and freshReads are the catalog reads under way.
	firstReads shared[*known]
	freshReads shared[*catalog.Table]
	// heals are the heals under way.
	heals heals
	// opened and closed count episodes.
	opened, closed atomic.Int64
}

// healedSince reports whether an episode was under way at some time since closed
// was read.
func (t *tables) healedSince(closed int64) bool { return t.opened.Load() > closed }

// known is a table as it was read.
type known struct {
	table *catalog.Table
	// conflictClause is the conflict guard's text, empty when the table does not
	// qualify for it.
	conflictClause string
}

func newTables() *tables {
	return &tables{byTarget: map[insert.Name]*known{}, keys: map[catalog.Name]*catalog.Violated{}, unguarded: map[insert.Name]bool{},
		furthest: map[int64]int64{}}
}

func (t *tables) get(name insert.Name) *known {
	t.mutex.RLock()
	defer t.mutex.RUnlock()
	return t.byTarget[name]
}

func (t *tables) count() int {
	t.mutex.RLock()
	defer t.mutex.RUnlock()
	return len(t.byTarget)
}

// put remembers a table under the name of the statement, and its key under its
// own name.
func (t *tables) put(name insert.Name, table *catalog.Table) *known {
	k := &known{table: table}
	name = name.Clone()
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if table.NotGuardable == "" && !t.unguarded[name] {
		k.conflictClause = guard.ConflictClause(table.QuotedKey())
	}
	if table.Own {
		room(t.byTarget, name)
		t.byTarget[name] = k
	}
	violated := catalog.Name{Schema: table.Violated.Schema, Table: table.Violated.Name}
	room(t.keys, violated)
	t.keys[violated] = &table.Violated
	return k
}

// unguard keeps a table on savepoints from now on.
func (t *tables) unguard(name insert.Name) {
	name = name.Clone()
	t.mutex.Lock()
	defer t.mutex.Unlock()
	room(t.unguarded, name)
	t.unguarded[name] = true
	if k := t.byTarget[name]; k != nil {
		t.byTarget[name] = &known{table: k.table}
	}
}

// forget drops what was read of a table, which no longer matches the server.
func (t *tables) forget(name insert.Name, violated catalog.Name) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	delete(t.byTarget, name)
	delete(t.keys, violated)
}

// verdict is what is known of a violated constraint.
type verdict int

const (
	unknown verdict = iota
	primaryKey
	otherUnique
	strange // a constraint that was not there when the table was read
)

func (t *tables) judge(e pgerr.Error) verdict {
	t.mutex.RLock()
	defer t.mutex.RUnlock()
	violated, ok := t.keys[violatedName(e)]
	switch {
	case !ok:
		return unknown
	case e.Constraint == violated.Constraint:
		return primaryKey
	case slices.Contains(violated.Others, e.Constraint):
		return otherUnique
	}
	return strange
}

func violatedName(e pgerr.Error) catalog.Name {
	return catalog.Name{Schema: e.Schema, Table: e.Table}
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

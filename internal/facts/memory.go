package facts

import (
	"sync/atomic"
	"time"

	"github.com/seqheal/seqheal/internal/caller"
	"github.com/seqheal/seqheal/internal/catalog"
)

// Memory is what this process has seen of one sequence, to tell afterwards what made it
// drift. It is evidence and decides nothing. It is safe for concurrent use.
type Memory struct {
	// sequence is empty until a read of the table has said which one feeds it; Tables'
	// mutex guards it.
	sequence Sequence
	// highest is the highest id that the sequence gave or had reached, 0 for none, and at
	// when that was, in Unix nanoseconds.
	highest, at atomic.Int64
	// column is where the ids came from, nil before the first; that which the sequence feeds
	// once a read of the table has said so.
	column atomic.Pointer[string]
	// mixed is true once ids came back that one rising sequence cannot have given.
	mixed atomic.Bool
	named atomic.Pointer[Named]
}

// Named is the last statement of this process that named ids of a table.
type Named struct {
	// Highest is the highest of them, in the column with this name.
	Highest int64
	Column  string
	At      time.Time
	// Sender is the statement's stack.
	Sender caller.Stack
}

// Highest is the highest id that came back to this process before now, 0 for none.
func (m *Memory) Highest() int64 {
	if m == nil {
		return 0
	}
	return m.highest.Load()
}

// Drew records the id of a row that was stored, in this column; of two columns those of the
// first count. before is what Highest was when the statement was begun: an id that is not
// beyond it comes from another sequence, because the name stands for several tables, or
// from one that was set back.
func (m *Memory) Drew(column string, id, before int64, at time.Time) {
	switch {
	case m == nil || id <= 0 || !m.isFrom(column):
	case id <= before && m.highest.Load() >= before: // else a heal has restarted it meanwhile
		m.mixed.Store(true)
	default:
		m.raise(id, at)
	}
}

// isFrom reports whether ids of this column are remembered. Those of the first are.
func (m *Memory) isFrom(column string) bool {
	known := m.column.Load()
	if known == nil {
		first := column
		m.column.CompareAndSwap(nil, &first)
		known = m.column.Load()
	}
	return *known == column
}

func (m *Memory) raise(id int64, at time.Time) {
	for {
		highest := m.highest.Load()
		if id <= highest {
			return
		}
		if m.highest.CompareAndSwap(highest, id) {
			m.at.Store(at.UnixNano())
			return
		}
	}
}

// Restart forgets the ids that came back, after a heal that left the sequence at value.
func (m *Memory) Restart(value int64, at time.Time) {
	if m == nil {
		return
	}
	m.mixed.Store(false)
	m.highest.Store(max(0, value))
	m.at.Store(at.UnixNano())
}

// Given is the highest value that this process has seen of the sequence, and when. It
// reports false where there is none, or where ids came back that one sequence cannot have
// given.
func (m *Memory) Given() (value int64, at time.Time, ok bool) {
	if m == nil || m.mixed.Load() {
		return 0, time.Time{}, false
	}
	value = m.highest.Load()
	return value, time.Unix(0, m.at.Load()), value > 0
}

// NamedIDs records a statement that named ids.
func (m *Memory) NamedIDs(n *Named) {
	if m != nil {
		m.named.Store(n)
	}
}

// LastNamed is the last statement that named ids, nil without one.
func (m *Memory) LastNamed() *Named {
	if m == nil {
		return nil
	}
	return m.named.Load()
}

// Memory is what is remembered of the sequence behind a name, nil for a name that was seen
// to stand for two tables.
func (t *Tables) Memory(name catalog.Name) *Memory {
	t.mutex.RLock()
	m, ambiguous := t.memories[name], t.isAmbiguous(name)
	t.mutex.RUnlock()
	if m != nil || ambiguous {
		return m
	}
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if m = t.memories[name]; m == nil && !t.isAmbiguous(name) {
		m = &Memory{}
		name = clone(name)
		room(t.memories, name, maxTables)
		t.memories[name] = m
	}
	return m
}

func (t *Tables) isAmbiguous(name catalog.Name) bool {
	n := t.names[name]
	return n != nil && n.ambiguous
}

// MemoryOf is what is remembered of a sequence, nil when nothing is.
func (t *Tables) MemoryOf(seq Sequence) *Memory {
	t.mutex.RLock()
	defer t.mutex.RUnlock()
	return t.sequences[seq]
}

// confirm connects what is remembered under a name with the sequence that a read of the
// table has found behind it, or forgets it because the name is ambiguous.
func (t *Tables) confirm(name catalog.Name, table *catalog.Table, ambiguous bool) {
	m := t.memories[name]
	if ambiguous {
		t.forgetMemory(name)
		return
	}
	if !table.Fed() || !table.Own || table.Provisional() {
		return
	}
	seq, column := SequenceOf(table), table.FedColumn()
	known := t.sequences[seq]
	switch {
	case m != nil && m.sequence == seq:
		return
	case m != nil && m.sequence != Sequence{}:
		m = nil // of the sequence before this one
	case m != nil && !m.isFrom(column):
		m = nil // of another column
	}
	switch {
	case known == nil && m != nil:
		known = m
	case known == nil:
		known = &Memory{}
	case m != nil:
		known.raise(m.highest.Load(), time.Unix(0, m.at.Load()))
		known.mixed.Store(known.mixed.Load() || m.mixed.Load())
		if n := m.named.Load(); n != nil {
			known.named.Store(n)
		}
	}
	known.sequence = seq
	known.column.Store(&column)
	room(t.sequences, seq, maxTables)
	room(t.memories, name, maxTables)
	t.sequences[seq], t.memories[name] = known, known
}

func (t *Tables) forgetMemory(name catalog.Name) {
	if m := t.memories[name]; m != nil {
		delete(t.memories, name)
		delete(t.sequences, m.sequence)
	}
}

// SequenceOf identifies the sequence that feeds a table's key.
func SequenceOf(t *catalog.Table) Sequence {
	return Sequence{Database: t.Identity.Database, OID: t.Sequence.OID}
}

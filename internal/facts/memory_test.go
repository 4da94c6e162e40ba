package facts_test

import (
	"sync"
	"testing"
	"time"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/facts"
)

// read is a table as a read has found it.
func read(database string, table, seq int64) *catalog.Table {
	return &catalog.Table{
		OID: table, Own: true, Column: 0, Key: []catalog.Column{{Name: "id", Type: "int8"}}, Sequence: catalog.Sequence{OID: seq},
		Identity: catalog.Identity{Named: table, OID: table, Database: database, Role: "app", SearchPath: "public"},
	}
}

var (
	people = catalog.Name{Table: "people"}
	staff  = catalog.Name{Schema: "public", Table: "people"}
	noon   = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
)

// What was seen under a name belongs to the sequence that a read then finds, and two names
// of one table share it.
func TestMemory_isOfTheSequence(t *testing.T) {
	t.Parallel()
	tables := facts.New()
	m := tables.Memory(people)
	m.Drew("id", 7, m.Highest(), noon)
	other := tables.Memory(staff)
	other.Drew("id", 9, other.Highest(), noon.Add(time.Minute))
	other.NamedIDs(&facts.Named{Highest: 40})
	seq := facts.Sequence{Database: "db", OID: 5}
	if tables.MemoryOf(seq) != nil {
		t.Error("a sequence before any read")
	}
	tables.Put(people, read("db", 1, 5))
	tables.Put(staff, read("db", 1, 5))
	if tables.Memory(people) != m || tables.Memory(staff) != m || tables.MemoryOf(seq) != m {
		t.Error("two names of a table have two memories")
	}
	if value, at, ok := m.Given(); value != 9 || !at.Equal(noon.Add(time.Minute)) || !ok || m.LastNamed().Highest != 40 {
		t.Errorf("%d at %s, %t", value, at, ok)
	}
	tables.Put(people, read("db", 1, 6)) // a new default
	if fresh := tables.Memory(people); fresh == m || fresh.Highest() != 0 || tables.Memory(staff) != m {
		t.Error("a new sequence has the old one's memory")
	}
}

// Nothing is kept for a name that was seen to stand for two tables.
func TestMemory_namesThatMove(t *testing.T) {
	t.Parallel()
	for name, move := range map[string]func(*facts.Tables){
		"another table":    func(tables *facts.Tables) { tables.Put(people, read("db", 2, 6)) },
		"another database": func(tables *facts.Tables) { tables.Put(people, read("copy", 1, 5)) },
		"forgotten":        func(tables *facts.Tables) { tables.Forget(people, read("db", 1, 5)) },
		"unguarded":        func(tables *facts.Tables) { tables.Unguard(people) },
	} {
		tables := facts.New()
		m := tables.Memory(people)
		m.Drew("id", 7, 0, noon)
		tables.Put(people, read("db", 1, 5))
		if move(tables); tables.Memory(people) != nil || tables.MemoryOf(facts.Sequence{Database: "db", OID: 5}) != nil {
			t.Errorf("%s: there is a memory", name)
		}
		none := tables.Memory(people)
		none.Drew("id", 8, 0, noon)
		none.NamedIDs(&facts.Named{})
		none.Restart(9, noon)
		if _, _, ok := none.Given(); ok || none.LastNamed() != nil || none.Highest() != 0 {
			t.Errorf("%s: something is remembered", name)
		}
	}
}

// Ids that one rising sequence cannot have given prove nothing until a heal starts afresh.
func TestMemory_idsOfSeveralSequences(t *testing.T) {
	t.Parallel()
	m := facts.New().Memory(people)
	m.Drew("id", 100, 0, noon)
	m.Drew("id", 99, 0, noon) // of a statement that overlapped
	if value, _, ok := m.Given(); value != 100 || !ok {
		t.Errorf("%d, %t after overlapping inserts", value, ok)
	}
	m.Drew("id", 5, 100, noon)
	if _, _, ok := m.Given(); ok {
		t.Error("an id behind one that had come back")
	}
	m.Restart(20, noon)
	m.Drew("id", 21, 100, noon) // begun before the heal
	if value, _, ok := m.Given(); value != 21 || !ok {
		t.Errorf("%d, %t after a heal", value, ok)
	}
}

// Overlapping inserts leave the highest id.
func TestMemory_concurrently(t *testing.T) {
	t.Parallel()
	tables := facts.New()
	var wait sync.WaitGroup
	for worker := range 8 {
		wait.Go(func() {
			for n := range 500 {
				m := tables.Memory(people)
				m.Drew("id", int64(n*8+worker+1), 0, noon)
				m.NamedIDs(&facts.Named{Highest: 1})
				if n == 250 && worker == 3 {
					tables.Put(people, read("db", 1, 5))
				}
			}
		})
	}
	wait.Wait()
	if value, _, ok := tables.Memory(people).Given(); value != 4000 || !ok {
		t.Errorf("%d, %t", value, ok)
	}
}

// BenchmarkMemory is what an insert pays for being remembered: one whose id is drawn, and
// one that names its id.
func BenchmarkMemory(b *testing.B) {
	b.Run("drawn", func(b *testing.B) {
		b.ReportAllocs()
		tables, id := facts.New(), int64(0)
		tables.Put(people, read("db", 1, 5))
		for b.Loop() {
			m := tables.Memory(people)
			before := m.Highest()
			id++
			m.Drew("id", id, before, noon)
		}
	})
	b.Run("named", func(b *testing.B) {
		b.ReportAllocs()
		tables := facts.New()
		tables.Put(people, read("db", 1, 5))
		for b.Loop() {
			named := &facts.Named{Highest: 7, Column: "id", At: noon}
			named.Sender.Record()
			tables.Memory(people).NamedIDs(named)
		}
	})
}

// The ids of a column that the sequence does not feed say nothing of it.
func TestMemory_ofAnotherColumn(t *testing.T) {
	t.Parallel()
	for name, confirmed := range map[string]bool{"before the table is read": false, "after": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tables := facts.New()
			if confirmed {
				tables.Put(people, read("db", 1, 5))
			}
			tables.Memory(people).Drew("number", 40, 0, noon)
			tables.Put(people, read("db", 1, 5))
			m := tables.Memory(people)
			m.Drew("number", 41, 0, noon)
			if value, _, ok := m.Given(); ok {
				t.Errorf("%d is taken for one of the sequence's", value)
			}
			m.Drew("id", 7, 0, noon)
			if value, _, ok := m.Given(); value != 7 || !ok {
				t.Errorf("%d, %t", value, ok)
			}
		})
	}
}

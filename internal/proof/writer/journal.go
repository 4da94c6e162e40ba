package main

import (
	"fmt"
	"maps"
	"slices"
	"sync"
)

// record is an acknowledged row.
type record struct {
	id      int64
	content string
	how     string // the call that stored it
	// targets is true for an upsert that needs the key.
	targets bool
	// loose is true for a row that may be gone, with the table that it was in.
	loose bool
}

// journal holds the rows that were acknowledged by table and name: a name is given
// to one row only, so that a row that another one overwrites is missed.
type journal struct {
	mutex      sync.Mutex
	rows       map[string]map[string]record
	statements map[string]int  // INSERTs by table
	keyless    map[string]bool // names that the cleaned table had without a key
}

func newJournal() *journal {
	return &journal{rows: map[string]map[string]record{}, statements: map[string]int{}}
}

// stored enters the rows of one INSERT each for the tables among them.
func (j *journal) stored(how string, entries []entry, targets, loose bool) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	sent := map[string]bool{}
	for _, e := range entries {
		if j.rows[e.table] == nil {
			j.rows[e.table] = map[string]record{}
		}
		j.rows[e.table][e.name] = record{e.id, e.content, how, targets, loose}
		delete(j.rows[e.table], e.replaces)
		sent[e.table] = true
	}
	for table := range sent {
		j.statements[table]++
	}
}

// forget drops what was entered of the cleaned table.
func (j *journal) forget() {
	j.keyless = nil
	delete(j.rows, cleanedTable)
}

// cleaned loosens the rows of the cleaned table, which may be gone with it. keyless
// are the names of those that were stored while it had no key.
func (j *journal) cleaned(keyless map[string]bool) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.keyless = keyless
	for name, r := range j.rows[cleanedTable] {
		r.loose = true
		j.rows[cleanedTable][name] = r
	}
}

// faults are what a comparison found.
type faults struct{ lost, damaged []string }

func (f *faults) add(other faults) {
	f.lost = append(f.lost, other.lost...)
	f.damaged = append(f.damaged, other.damaged...)
}

// compare holds the rows of a table against the journal, and enters them as they
// are, so that nothing is found twice. A row is lost if its name is gone and no
// other row has its id; overwritten, stored twice, under another id or parent, or
// stored without an answer, it is damaged.
func (j *journal) compare(table string, found []entry) faults {
	f, ids, seen := j.known(table, found)
	for _, name := range slices.Sorted(maps.Keys(j.rows[table])) {
		r := j.rows[table][name]
		_, there := seen[name]
		if r.targets && j.keyless[name] {
			f.damaged = append(f.damaged, fmt.Sprintf("%s: %q was stored as %d without a key (%s)", table, name, r.id, r.how))
		}
		switch other, taken := ids[r.id]; {
		case there || r.loose:
		case taken:
			f.damaged = append(f.damaged, fmt.Sprintf("%s: %d was %q (%s) and is %q (%s)", table, r.id, name, r.how, other, j.rows[table][other].how))
		default:
			f.lost = append(f.lost, fmt.Sprintf("%s: %q, acknowledged as %d, is not there (%s)", table, name, r.id, r.how))
		}
	}
	if f.lost != nil || f.damaged != nil {
		j.rows[table] = seen
	}
	return f
}

// known looks for every row in the journal, and returns the rows by id and by name.
func (j *journal) known(table string, found []entry) (f faults, ids map[int64]string, seen map[string]record) {
	ids, seen = map[int64]string{}, map[string]record{}
	for _, e := range found {
		if other, twice := seen[e.name]; twice {
			f.damaged = append(f.damaged, fmt.Sprintf("%s: %q is stored as %d and as %d", table, e.name, other.id, e.id))
		}
		want, known := j.rows[table][e.name]
		switch {
		case !known:
			f.damaged = append(f.damaged, fmt.Sprintf("%s: nobody was told of row %d, %q", table, e.id, e.name))
		case want.id != e.id || want.content != e.content:
			f.damaged = append(f.damaged, fmt.Sprintf("%s: %q was acknowledged as %d %s and is %d %s (%s)", table, e.name, want.id, want.content, e.id, e.content, want.how))
		}
		ids[e.id], seen[e.name] = e.name, record{id: e.id, content: e.content, how: "as found"}
	}
	return f, ids, seen
}

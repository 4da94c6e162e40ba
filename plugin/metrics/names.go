package metrics

import (
	"strings"
	"sync"

	"github.com/seqheal/seqheal/plugin"
)

const (
	// maxUnaudited is how many tables that no audit knows are counted by name, and
	// otherTables what the others are counted under, without a schema.
	maxUnaudited = 2_000
	otherTables  = "other"
)

type tableName struct{ schema, table string }

// valid returns a label value: the names of a database in SQL_ASCII may be none.
func valid(name string) string { return strings.ToValidUTF8(name, "\uFFFD") }

// names are the tables whose incidents are counted by name: those of the latest audit,
// and a bounded number of others. Inserts never wait for an audit's metrics to be made.
type names struct {
	mutex              sync.Mutex
	audited, unaudited map[tableName]bool
}

// of returns the name that an incident is counted under. first is true for a table
// that was not counted before.
func (n *names) of(i plugin.Incident) (name tableName, first bool) {
	schema, table := i.SchemaAndTable()
	name = tableName{valid(schema), valid(table)}
	n.mutex.Lock()
	defer n.mutex.Unlock()
	switch {
	case n.audited[name] || n.unaudited[name]:
		return name, false
	case len(n.unaudited) < maxUnaudited:
		n.unaudited[name] = true
		return name, true
	}
	return tableName{table: otherTables}, false
}

// audit notes the tables of an audit. It returns those that are new and those that are
// no longer there.
func (n *names) audit(findings []plugin.Finding) (added, dropped []tableName) {
	audited := make(map[tableName]bool, len(findings))
	for _, f := range findings {
		if f.State == plugin.StateUnused {
			continue
		}
		audited[tableName{valid(f.Schema), valid(f.Table)}] = true
	}
	n.mutex.Lock()
	defer n.mutex.Unlock()
	for name := range audited {
		if !n.audited[name] && !n.unaudited[name] {
			added = append(added, name)
		}
		delete(n.unaudited, name)
	}
	for name := range n.audited {
		if !audited[name] {
			dropped = append(dropped, name)
		}
	}
	n.audited = audited
	return added, dropped
}

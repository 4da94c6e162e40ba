package plugin

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/seqheal/seqheal/internal/heal"
)

// Counts are the numbers of incidents by their outcome.
type Counts struct {
	Healed        int64 `json:"healed"`
	AlreadyHealed int64 `json:"already_healed"`
	Refused       int64 `json:"refused"`
	Failed        int64 `json:"failed"`
}

// Total is the number of incidents, whatever their outcome.
func (c Counts) Total() int64 { return c.Healed + c.AlreadyHealed + c.Refused + c.Failed }

func (c *Counts) add(outcome Outcome) {
	switch outcome {
	case Healed:
		c.Healed++
	case AlreadyHealed:
		c.AlreadyHealed++
	case Refused:
		c.Refused++
	case Failed:
		c.Failed++
	}
}

// TableStats is what [Stats] counts for one table.
type TableStats struct {
	Counts
	// Spent is the time that incidents added to inserts.
	Spent time.Duration `json:"spent_ns"`
	// Latest is when the latest incident began.
	Latest time.Time `json:"latest"`
}

func (t TableStats) with(i Incident) TableStats {
	t.add(i.Outcome)
	t.Spent += i.Duration
	if i.Time.After(t.Latest) {
		t.Latest = i.Time
	}
	return t
}

// Stats is what [Plugin.Stats] counted since the plugin was made. It marshals to JSON.
type Stats struct {
	Counts
	// Spent is the time that incidents added to inserts, in all.
	Spent time.Duration `json:"spent_ns"`
	// Last is the incident reported last, nil before the first.
	Last *Incident `json:"last"`
	// Tables counts the same by table, under the name of Incident.Table. Tables beyond
	// the first 2,000 are counted together under "other", a name that no table has,
	// because those are quoted.
	Tables map[string]TableStats `json:"tables"`
	// TablesKnown is how many tables the plugin remembers, healthy ones included.
	TablesKnown int `json:"tables_known"`
	// Savepoints says for each connection pool how an insert that needs a savepoint is
	// sent: "one trip", or "three trips" and why, such as "three trips: a tracer is set".
	// It is empty before the first such insert.
	Savepoints []string `json:"savepoints,omitempty"`
}

// Minute counts the incidents that began within one minute.
type Minute struct {
	// Time is the minute's start in UTC.
	Time time.Time `json:"time"`
	Counts
}

const (
	// kept is how many incidents are remembered.
	kept = 100
	// keptMinutes is how many minutes with incidents are counted one by one: a day's.
	keptMinutes = 24 * 60
	// maxCounted is how many tables are counted by name, otherTables what those
	// beyond are counted under.
	maxCounted  = 2_000
	otherTables = "other"
)

// journal remembers incidents, in bounded space.
type journal struct {
	mutex  sync.Mutex
	total  TableStats
	tables map[string]TableStats
	// ring holds the latest incidents; the next one goes to ring[next%kept].
	ring [kept]Incident
	next int
	// minutes holds the minutes with incidents, in their order.
	minutes []Minute
}

func (j *journal) add(i Incident) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.total = j.total.with(i)
	table := i.Table
	if _, there := j.tables[table]; !there && len(j.tables) >= maxCounted {
		table = otherTables
	}
	if j.tables == nil {
		j.tables = map[string]TableStats{}
	}
	j.tables[table] = j.tables[table].with(i)
	j.ring[j.next%kept] = i
	j.next++
	j.addMinute(i)
}

// addMinute counts the incident in its minute. Incidents are reported when they end,
// so that one may belong to a minute before the latest.
func (j *journal) addMinute(i Incident) {
	minute := i.Time.UTC().Truncate(time.Minute)
	at, found := slices.BinarySearchFunc(j.minutes, minute, func(m Minute, t time.Time) int { return m.Time.Compare(t) })
	if !found {
		if len(j.minutes) == keptMinutes {
			if at == 0 {
				return
			}
			j.minutes = slices.Delete(j.minutes, 0, 1)
			at--
		}
		j.minutes = slices.Insert(j.minutes, at, Minute{Time: minute})
	}
	j.minutes[at].add(i.Outcome)
}

// Stats returns what was counted so far, as a copy. It asks the database nothing
// and costs a few hundred nanoseconds and what it takes to copy Tables.
func (p *Plugin) Stats() Stats {
	stats := p.journal.stats()
	p.healers.Range(func(h, _ any) bool {
		stats.TablesKnown += h.(*heal.Healer).TablesKnown()
		stats.Savepoints = append(stats.Savepoints, h.(*heal.Healer).Savepoints()...)
		return true
	})
	return stats
}

func (j *journal) stats() Stats {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	stats := Stats{Counts: j.total.Counts, Spent: j.total.Spent, Tables: maps.Clone(j.tables)}
	if j.next > 0 {
		last := j.ring[(j.next-1)%kept]
		stats.Last = &last
	}
	return stats
}

// Incidents returns the latest 100 incidents in the order in which they were
// reported, the newest last, as a copy.
func (p *Plugin) Incidents() []Incident { return p.journal.latest() }

func (j *journal) latest() []Incident {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	all := make([]Incident, 0, min(j.next, kept))
	for n := max(0, j.next-kept); n < j.next; n++ {
		all = append(all, j.ring[n%kept])
	}
	return all
}

// Minutes returns how many incidents began in each minute, the newest minute last, as
// a copy. Minutes without incidents are left out; at least the last 24 hours are
// complete, unless the process is younger.
func (p *Plugin) Minutes() []Minute { return p.journal.perMinute() }

func (j *journal) perMinute() []Minute {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return slices.Clone(j.minutes)
}

package plugin

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// Thousands of tables, one for each tenant say, are counted in bounded space and
// none of their incidents is lost.
func TestTablesBeyondTheLimitAreCountedTogether(t *testing.T) {
	t.Parallel()
	var j journal
	began := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for n := range 3 * maxCounted {
		j.add(Incident{Time: began.Add(time.Duration(n)), Outcome: Healed, Table: fmt.Sprintf(`"t%d"`, n), Duration: time.Millisecond})
	}
	j.add(Incident{Time: began, Outcome: Refused, Table: `"t7"`})
	stats := j.stats()
	other := stats.Tables["other"]
	if len(stats.Tables) != maxCounted+1 || other.Healed != 2*maxCounted || other.Spent != 2*maxCounted*time.Millisecond {
		t.Errorf("%d tables, other %+v", len(stats.Tables), other)
	}
	if got := stats.Tables[`"t7"`]; got.Counts != (Counts{Healed: 1, Refused: 1}) || !got.Latest.Equal(began.Add(7)) {
		t.Errorf("t7 %+v", got)
	}
	if stats.Counts != (Counts{Healed: 3 * maxCounted, Refused: 1}) || stats.Last.Table != `"t7"` {
		t.Errorf("in all %+v, last %v", stats.Counts, stats.Last)
	}
}

// The ring keeps the latest hundred, the newest last, and hands out copies.
func TestTheLatestIncidents(t *testing.T) {
	t.Parallel()
	var j journal
	if got := j.latest(); got == nil || len(got) != 0 {
		t.Errorf("none yet: %#v", got)
	}
	if text, err := json.Marshal(j.stats()); err != nil ||
		string(text) != `{"healed":0,"already_healed":0,"refused":0,"failed":0,"spent_ns":0,"last":null,"tables":null,"tables_known":0}` {
		t.Errorf("none yet: %s, %v", text, err)
	}
	for n := range 2*kept + 30 {
		j.add(Incident{Key: int64(n)})
		got := j.latest()
		if want := min(n+1, kept); len(got) != want || got[want-1].Key != int64(n) || got[0].Key != int64(n+1-want) {
			t.Fatalf("after %d: %d incidents, %d to %d", n+1, len(got), got[0].Key, got[len(got)-1].Key)
		}
		got[0].Key = -1
		j.stats().Last.Key = -1
	}
	if got := j.latest(); got[0].Key != kept+30 || got[kept-1].Key != 2*kept+29 {
		t.Errorf("a caller wrote into the ring: %d to %d", got[0].Key, got[kept-1].Key)
	}
}

func BenchmarkStats(b *testing.B) {
	for _, tables := range []int{0, 10, maxCounted} {
		b.Run(fmt.Sprintf("%d tables", tables), func(b *testing.B) {
			p := New()
			for n := range tables {
				p.journal.add(Incident{Outcome: Healed, Table: fmt.Sprintf(`"t%d"`, n)})
			}
			b.ReportAllocs()
			for b.Loop() {
				p.Stats()
			}
		})
	}
}

func BenchmarkIncidents(b *testing.B) {
	p := New()
	for range kept {
		p.journal.add(Incident{Outcome: Healed, Table: `"t"`})
	}
	b.ReportAllocs()
	for b.Loop() {
		p.Incidents()
	}
}

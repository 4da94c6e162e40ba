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

// Incidents are counted by the minute in which they began, in whatever order they are
// reported, and a day of them in bounded space.
func TestMinutesCountEveryIncident(t *testing.T) {
	t.Parallel()
	var j journal
	began := time.Date(2026, 11, 23, 12, 0, 30, 0, time.FixedZone("CET", 3600))
	for n := range 1000 { // far more than the ring holds
		j.add(Incident{Time: began.Add(time.Duration(n) * time.Second), Outcome: Healed})
	}
	j.add(Incident{Time: began.Add(-time.Hour), Outcome: Failed})
	got := j.perMinute()
	if want := (Minute{Time: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC), Counts: Counts{Failed: 1}}); got[0] != want {
		t.Errorf("the first minute is %+v, want %+v", got[0], want)
	}
	if len(got) != 1+18 || got[1].Healed != 30 || got[2].Healed != 60 || got[18].Healed != 1000-30-16*60 {
		t.Errorf("%d minutes: %v", len(got), got)
	}
	got[1].Healed = -1
	if again := j.perMinute(); again[1].Healed != 30 {
		t.Error("a caller wrote into the journal")
	}
	// Several days with an incident in every minute.
	last := began.Add(5 * keptMinutes * time.Minute)
	for n := range 5*keptMinutes + 1 {
		j.add(Incident{Time: began.Add(time.Duration(n) * time.Minute), Outcome: Refused})
	}
	j.add(Incident{Time: began, Outcome: Refused}) // reported five days late
	got = j.perMinute()
	if len(got) != keptMinutes || got[0].Refused != 1 || !got[keptMinutes-1].Time.Equal(last.Truncate(time.Minute)) ||
		got[keptMinutes-1].Time.Sub(got[0].Time) != (keptMinutes-1)*time.Minute {
		t.Errorf("%d minutes from %v to %v", len(got), got[0], got[len(got)-1])
	}
}

// The names of an incident's table are the audit's, whatever is in them.
func TestSchemaAndTable(t *testing.T) {
	t.Parallel()
	for _, name := range [][2]string{
		{"public", "users"}, {"Sales 2024", "order.items"}, {`a"."b`, `"`}, {``, `users`}, {`"`, `""."`}, {"straße", "日本"},
	} {
		i := Incident{Table: Finding{Schema: name[0], Table: name[1]}.QuotedTable()}
		if name[0] == "" {
			i.Table = `"` + name[1] + `"`
		}
		if schema, table := i.SchemaAndTable(); schema != name[0] || table != name[1] {
			t.Errorf("%s: %q, %q", i.Table, schema, table)
		}
	}
	for text, want := range map[string][2]string{"": {"", ""}, "users": {"", "users"}, "shop.users": {"shop", "users"}} {
		if schema, table := (Incident{Table: text}).SchemaAndTable(); schema != want[0] || table != want[1] {
			t.Errorf("%s: %q, %q", text, schema, table)
		}
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

package report

import (
	"fmt"
	"testing"
	"time"
)

// clock adds incidents at times that the test sets, and returns the lines.
type clock struct {
	repeats Repeats[string]
	at      time.Time
}

func (c *clock) after(d time.Duration, outcome, reason, table string) []string {
	c.at = c.at.Add(d)
	return texts(c.repeats.Add(c.at, Kind{table, outcome, reason}, c.at, table+" "+outcome+reason))
}

func texts(lines []Line[string]) (all []string) {
	for _, l := range lines {
		all = append(all, fmt.Sprintf("%s x%d since %s", l.Incident, l.Count, l.Since.Format("15:04:05")))
	}
	return all
}

// A herd has its first line at once and then one a minute, with the number of
// those that had none.
func TestRepeats_ofAHerd(t *testing.T) {
	t.Parallel()
	c := &clock{at: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	for _, step := range []struct {
		name    string
		wait    time.Duration
		outcome string
		reason  string
		table   string
		want    []string
	}{
		{"the first at once", 0, "healed", "", "a", []string{"a healed x1 since 12:00:00"}},
		{"a repeat is held back", time.Second, "healed", "", "a", nil},
		{"another table at once", 0, "healed", "", "b", []string{"b healed x1 since 12:00:01"}},
		{"another outcome of the same table at once", 0, "already_healed", "", "a", []string{"a already_healed x1 since 12:00:01"}},
		{"an error after a warning at once", 0, "failed", "timeout", "a", []string{"a failedtimeout x1 since 12:00:01"}},
		{"another reason at once", 0, "failed", "connection", "a", []string{"a failedconnection x1 since 12:00:01"}},
		{"its repeat is held back", 9 * time.Second, "failed", "timeout", "a", nil},
		{"still within the minute", 49*time.Second + 999*time.Millisecond, "healed", "", "a", nil},
		{"after the minute one line for all since", time.Millisecond, "healed", "", "a", []string{"a healed x3 since 12:00:01"}},
		{"a minute from there", 59 * time.Second, "healed", "", "a", []string{"a failedtimeout x1 since 12:00:10"}},
		{"which the summary of another kind does not shorten", time.Second, "healed", "", "a", []string{"a healed x2 since 12:01:59"}},
		{"a long pause", time.Hour, "healed", "", "a", []string{"a healed x1 since 13:02:00"}},
	} {
		if got := c.after(step.wait, step.outcome, step.reason, step.table); fmt.Sprint(got) != fmt.Sprint(step.want) {
			t.Fatalf("%s: %q, want %q", step.name, got, step.want)
		}
	}
}

// What is held back of a last, partial minute is written by Flush, once.
func TestRepeats_flushWritesWhatIsHeldBack(t *testing.T) {
	t.Parallel()
	c := &clock{at: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	for range 5 {
		c.after(time.Second, "healed", "", "a")
	}
	c.after(0, "healed", "", "b")
	if got := texts(c.repeats.Flush()); fmt.Sprint(got) != "[a healed x4 since 12:00:02]" {
		t.Errorf("flushed %q", got)
	}
	if got := texts(c.repeats.Flush()); len(got) != 0 {
		t.Errorf("flushed again %q", got)
	}
	if got := c.after(time.Second, "healed", "", "a"); fmt.Sprint(got) != "[a healed x1 since 12:00:06]" {
		t.Errorf("after a flush %q", got)
	}
}

// The counts of all lines add up to the number of incidents, and the space that is
// used is bounded, however many tables there are.
func TestRepeats_loseNothing(t *testing.T) {
	t.Parallel()
	var r Repeats[int]
	at, incidents, lines, counted := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), 0, 0, 0
	take := func(all []Line[int]) {
		for _, l := range all {
			lines++
			counted += l.Count
		}
	}
	for round := range 4 {
		for table := range maxKinds + 100 {
			at = at.Add(2 * time.Millisecond)
			incidents++
			take(r.Add(at, Kind{Table: fmt.Sprint(table), Outcome: "healed"}, at, incidents))
			if len(r.kinds) > maxKinds {
				t.Fatalf("round %d: %d kinds are kept", round, len(r.kinds))
			}
		}
	}
	take(r.Flush())
	if counted != incidents || lines >= incidents/2+500 {
		t.Errorf("%d incidents, %d counted in %d lines", incidents, counted, lines)
	}
}

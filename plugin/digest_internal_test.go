package plugin

import (
	"fmt"
	"testing"
	"time"

	"gorm.io/gorm/logger"
)

// clock writes what a digest lets through, at times that the test says.
type clock struct {
	digest digest
	at     time.Time
}

func (c *clock) after(d time.Duration, outcome Outcome, reason Reason, table string) []string {
	c.at = c.at.Add(d)
	return told(c.digest.admit(c.at, logger.Discard, Incident{Time: c.at, Outcome: outcome, Reason: reason, Table: table}))
}

func told(lines []line) (all []string) {
	for _, l := range lines {
		all = append(all, fmt.Sprintf("%s %s%s x%d since %s", l.incident.Table, l.incident.Outcome, l.incident.Reason, l.count, l.since.Format("15:04:05")))
	}
	return all
}

// A herd has its first line at once and then one a minute, with the number of
// those that had none.
func TestDigestOfAHerd(t *testing.T) {
	t.Parallel()
	c := &clock{at: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	for _, step := range []struct {
		name    string
		wait    time.Duration
		outcome Outcome
		reason  Reason
		table   string
		want    []string
	}{
		{"the first at once", 0, Healed, "", "a", []string{"a healed x1 since 12:00:00"}},
		{"a repeat is held back", time.Second, Healed, "", "a", nil},
		{"another table at once", 0, Healed, "", "b", []string{"b healed x1 since 12:00:01"}},
		{"another outcome of the same table at once", 0, AlreadyHealed, "", "a", []string{"a already_healed x1 since 12:00:01"}},
		{"an error after a warning at once", 0, Failed, ReasonTimeout, "a", []string{"a failedtimeout x1 since 12:00:01"}},
		{"another reason at once", 0, Failed, ReasonConnection, "a", []string{"a failedconnection x1 since 12:00:01"}},
		{"its repeat is held back", 9 * time.Second, Failed, ReasonTimeout, "a", nil},
		{"still within the minute", 49*time.Second + 999*time.Millisecond, Healed, "", "a", nil},
		{"after the minute one line for all since", time.Millisecond, Healed, "", "a", []string{"a healed x3 since 12:00:01"}},
		{"a minute from there", 59 * time.Second, Healed, "", "a", []string{"a failedtimeout x1 since 12:00:10"}},
		{"which the summary of another kind does not shorten", time.Second, Healed, "", "a", []string{"a healed x2 since 12:01:59"}},
		{"a long pause", time.Hour, Healed, "", "a", []string{"a healed x1 since 13:02:00"}},
	} {
		if got := c.after(step.wait, step.outcome, step.reason, step.table); fmt.Sprint(got) != fmt.Sprint(step.want) {
			t.Fatalf("%s: %q, want %q", step.name, got, step.want)
		}
	}
}

// What is held back of a last, partial minute is written by Flush, once.
func TestDigestIsFlushed(t *testing.T) {
	t.Parallel()
	c := &clock{at: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	for range 5 {
		c.after(time.Second, Healed, "", "a")
	}
	c.after(0, Healed, "", "b")
	if got := told(c.digest.flush()); fmt.Sprint(got) != "[a healed x4 since 12:00:02]" {
		t.Errorf("flushed %q", got)
	}
	if got := told(c.digest.flush()); len(got) != 0 {
		t.Errorf("flushed again %q", got)
	}
	if got := c.after(time.Second, Healed, "", "a"); fmt.Sprint(got) != "[a healed x1 since 12:00:06]" {
		t.Errorf("after a flush %q", got)
	}
}

// The counts of all lines add up to the number of incidents, and the space that is
// used is bounded, however many tables there are.
func TestDigestLosesNothing(t *testing.T) {
	t.Parallel()
	var d digest
	at, incidents, lines, counted := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), 0, 0, 0
	take := func(all []line) {
		for _, l := range all {
			lines++
			counted += l.count
		}
	}
	for round := range 4 {
		for table := range maxKinds + 100 {
			at = at.Add(2 * time.Millisecond)
			incidents++
			take(d.admit(at, logger.Discard, Incident{Time: at, Outcome: Healed, Table: fmt.Sprint(table)}))
			if len(d.kinds) > maxKinds {
				t.Fatalf("round %d: %d kinds are kept", round, len(d.kinds))
			}
		}
	}
	take(d.flush())
	if counted != incidents || lines >= incidents/2+500 {
		t.Errorf("%d incidents, %d counted in %d lines", incidents, counted, lines)
	}
}

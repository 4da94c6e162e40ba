package status

import (
	"strings"
	"time"

	"github.com/seqheal/seqheal/plugin"
)

const (
	// recently is what the headline counts as having just happened, and still as going
	// on.
	recently = 10 * time.Minute
	still    = time.Minute
)

// happened is what the plugin did of late.
type happened struct {
	recent, day plugin.Counts
	still       bool
}

func happenedUntil(now time.Time, minutes []plugin.Minute, last *plugin.Incident) (h happened) {
	for _, m := range minutes {
		if m.Time.After(now.Add(-24 * time.Hour)) {
			h.day = added(h.day, m.Counts)
		}
		if m.Time.After(now.Add(-recently)) {
			h.recent = added(h.recent, m.Counts)
		}
	}
	h.still = last != nil && now.Sub(last.Time) < still
	return h
}

// headline is the one sentence that most readers come for: how the sequences stand,
// and what happened to inserts. mood is the class of its color: good, warn, bad or
// unknown.
func (d document) headline() (text, mood string) {
	text, mood = d.Audit.headline()
	h := happenedUntil(d.Time, d.Minutes, d.Stats.Last)
	switch {
	case h.recent.Total() > 0:
		text += "; " + outcome(h.recent) + " in the last 10 minutes"
		if h.still {
			text += ", still happening"
		}
		if h.recent.Refused+h.recent.Failed > 0 {
			mood = "bad"
		} else if mood == "good" {
			mood = "warn"
		}
	case h.day.Total() > 0:
		text += "; " + outcome(h.day) + " in the last 24 hours"
	}
	return text, mood
}

// outcome counts incidents, the worst first.
func outcome(c plugin.Counts) string {
	var parts []string
	if n := c.Refused + c.Failed; n > 0 {
		parts = append(parts, plural(int(n), "insert was not healed", "inserts were not healed"))
	}
	if n := c.Healed + c.AlreadyHealed; n > 0 {
		parts = append(parts, number(n)+" healed")
	}
	return strings.Join(parts, " and ")
}

func (a auditDocument) headline() (text, mood string) {
	if a.Time == nil {
		return "The sequences could not be read", "unknown"
	}
	so := ""
	if a.Pending > 0 {
		so = " so far"
	}
	exhausted, behind := a.States[plugin.StateExhausted], a.States[plugin.StateBehind]
	nearly, unreadable := a.States[plugin.StateNearlyExhausted], a.States[plugin.StateUnreadable]
	switch {
	case exhausted > 0 && behind > 0:
		return plural(exhausted, "sequence has", "sequences have") + " no value left, " + number(behind) + " behind" + so, "bad"
	case exhausted > 0:
		return plural(exhausted, "sequence has", "sequences have") + " no value left" + so, "bad"
	case behind > 0:
		return plural(behind, "sequence is", "sequences are") + " behind" + so, "warn"
	case nearly > 0:
		return plural(nearly, "sequence is", "sequences are") + " nearly used up" + so, "warn"
	case a.Pending > 0:
		return number(len(a.Findings)) + " of " + number(len(a.Findings)+a.Pending) + " sequences read, all in sync so far", "unknown"
	case a.Error != "":
		return "Not all sequences could be read", "unknown"
	case unreadable > 0:
		return plural(unreadable, "sequence", "sequences") + " could not be read", "unknown"
	case len(a.Findings) == 0:
		return "No column is fed by a sequence", "good"
	}
	return "All sequences are in sync", "good"
}

package status

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/seqheal/seqheal/plugin"
)

// The chart holds every incident that is remembered, in the shortest span that can.
func TestChart(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 5, 0, time.UTC)
	ago := func(d time.Duration, outcome plugin.Outcome) plugin.Incident {
		return plugin.Incident{Time: now.Add(-d), Outcome: outcome}
	}
	for _, c := range []struct {
		name      string
		incidents []plugin.Incident
		span      string
		text      string
		bars      int
		most      int
	}{
		{"none", nil, "10 minutes", "None", 0, 1},
		{"just now", []plugin.Incident{ago(0, plugin.Healed), ago(time.Second, plugin.AlreadyHealed), ago(2*time.Second, plugin.Failed)}, "10 minutes",
			"1 healed, 1 healed meanwhile, 1 refused or failed", 1, 3},
		{"out of order", []plugin.Incident{ago(time.Second, plugin.Healed), ago(50*time.Minute, plugin.Refused)}, "hour", "1 healed, 1 refused or failed", 2, 1},
		{"a clock that went back", []plugin.Incident{ago(-time.Hour, plugin.Healed)}, "10 minutes", "None", 0, 1},
		{"the edge", []plugin.Incident{ago(590*time.Second-1, plugin.Healed), ago(0, plugin.Healed)}, "10 minutes", "2 healed", 2, 1},
		{"beyond the edge", []plugin.Incident{ago(590*time.Second, plugin.Healed), ago(0, plugin.Healed)}, "hour", "2 healed", 2, 1},
		{"ten years ago", []plugin.Incident{ago(87600*time.Hour, plugin.Healed), ago(0, plugin.Healed)}, "year", "1 healed", 1, 1},
	} {
		got := chartOf(c.incidents, now)
		if got.Span != c.span || got.Text() != c.text || len(got.Bars) != c.bars || got.Most != c.most {
			t.Errorf("%s: %s, %q, %d bars, at most %d", c.name, got.Span, got.Text(), len(got.Bars), got.Most)
		}
		for _, b := range got.Bars {
			foot := float64(chartHeight)
			for _, p := range b.Parts {
				if p.X < 0 || p.X+p.W > 600 || p.Y < -0.02 || p.H <= 0 || foot-p.Y-p.H > 0.02 {
					t.Errorf("%s: %+v on %.2f", c.name, p, foot)
				}
				foot = p.Y
			}
		}
	}
}

func TestNumbersAreReadable(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "−1,234,567", -12: "−12", 9223372036854775807: "9,223,372,036,854,775,807"} {
		if got := number(n); got != want {
			t.Errorf("number(%d) = %s", n, got)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0.0 ms", 99 * time.Microsecond: "<0.1 ms", 1234 * time.Microsecond: "1.2 ms", 2177 * time.Millisecond: "2.2 s",
		61*time.Second + 260*time.Millisecond: "1m1.3s", 3*time.Hour + 1100*time.Millisecond: "3h0m1s",
	} {
		if got := took(d); got != want {
			t.Errorf("took(%s) = %s", d, got)
		}
	}
	for share, want := range map[float64]string{0: "0", 1e-9: "<0.1", 0.0123: "1.2", 0.5: "50", 0.9999: "99", 1: "100"} {
		if got := percent(share); got != want {
			t.Errorf("percent(%g) = %s", share, got)
		}
	}
}

// served is a handler with findings of the test's own.
func served(findings []plugin.Finding, err error) *handler {
	h := &handler{plugin: plugin.New(), now: time.Now}
	h.auditor = auditor{now: time.Now, timeout: time.Second, run: func(context.Context) ([]plugin.Finding, error) { return findings, err }}
	return h
}

func (h *handler) text(query string) string {
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, httptest.NewRequest("GET", "/"+query, nil))
	return recorder.Body.String()
}

// Every state has its place, its word and its headline.
func TestEveryState(t *testing.T) {
	t.Parallel()
	all := []plugin.Finding{
		{Table: "well", State: plugin.StateInSync, Used: 0.2, Last: -1234},
		{Table: "guess", State: plugin.StateInSync, Used: 0.3, Furthest: 5, FurthestKnown: true, Estimated: true},
		{Table: "blind", State: plugin.StateUnreadable, Reason: plugin.ReasonPermission, Err: errors.New("GRANT SELECT, password=x")},
		{Table: "nearly", State: plugin.StateNearlyExhausted, Used: 0.95, Left: 2147483640},
		{Table: "late", State: plugin.StateBehind, Behind: 1234567, Furthest: 1234567, FurthestKnown: true},
		{Table: "over", State: plugin.StateExhausted, Used: 1},
	}
	for n, want := range []string{
		"All sequences are in sync", "All sequences are in sync", "1 sequence could not be read", "1 sequence is nearly used up", "1 sequence is behind", "1 sequence has no value left",
	} {
		text := served(all[:n+1], nil).text("")
		if !strings.Contains(text, "<h1>"+want+"</h1>") || strings.Count(text, `<th scope="row"`) != n+1 {
			t.Errorf("with %s the page lacks %q or a row", all[n].Table, want)
		}
	}
	text := served(all, nil).text("")
	at := 0
	for _, part := range []string{
		"<b>over</b>", "exhausted", "100 %", "<b>late</b>", "<b>1,234,567</b>", "<b>nearly</b>", "95 %", "a row at 2,147,483,640 near the end of the range is left out",
		"<b>blind</b>", "GRANT SELECT, password=xxxxx", "<b>guess</b>", "≈ 5", "<b>well</b>", "−1,234", "no row",
	} {
		next := strings.Index(text[at:], part)
		if next < 0 {
			t.Fatalf("the page lacks %q, or has it elsewhere", part)
		}
		at += next
	}
	// What a time limit cut off is shown, and that it is not all.
	cut := served(all[:1], errors.New("out of time")).text("")
	if !strings.Contains(cut, "<h1>Not all sequences could be read</h1>") || !strings.Contains(cut, "<b>well</b>") || !strings.Contains(cut, "out of time") {
		t.Error("the page hides that it does not have all")
	}
}

// A page about thousands of sequences stays a page, and the JSON has them all.
func TestThousandsOfSequences(t *testing.T) {
	t.Parallel()
	var many []plugin.Finding
	for n := range 5000 {
		many = append(many, plugin.Finding{Schema: "tenant", Table: strings.Repeat("x", n%40), State: plugin.StateInSync})
	}
	many = append(many, plugin.Finding{Table: "the_late_one", State: plugin.StateBehind, Behind: 1})
	h := served(many, nil)
	text := h.text("")
	if strings.Count(text, `<th scope="row"`) != shownFindings || !strings.Contains(text, "The first 300 of 5,001") || !strings.Contains(text, "<b>the_late_one</b>") {
		t.Errorf("%d rows of %d bytes", strings.Count(text, `<th scope="row"`), len(text))
	}
	if n := strings.Count(h.text("?format=json"), `"state":`); n != 5001 {
		t.Errorf("the JSON has %d", n)
	}
}

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

// The chart counts every incident of its span, the shortest that holds all minutes.
func TestChart(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 7, 5, 0, time.UTC)
	ago := func(minutes int, c plugin.Counts) plugin.Minute {
		return plugin.Minute{Time: now.Truncate(time.Minute).Add(-time.Duration(minutes) * time.Minute), Counts: c}
	}
	many := plugin.Counts{Healed: 1000, AlreadyHealed: 200, Refused: 30, Failed: 4}
	one := plugin.Counts{Healed: 1}
	for _, c := range []struct {
		name    string
		minutes []plugin.Minute
		total   int64
		span    string
		text    string
		bars    int
		most    int64
		earlier int64
	}{
		{"none", nil, 0, "hour", "None", 0, 1, 0},
		{"just now", []plugin.Minute{ago(0, many)}, 1234, "hour", "1,000 healed, 200 healed meanwhile, 34 refused or failed", 1, 1234, 0},
		{"a clock that went back", []plugin.Minute{ago(-60, one)}, 1, "hour", "None", 0, 1, 1},
		{"the edge of an hour", []plugin.Minute{ago(59, one), ago(0, one)}, 2, "hour", "2 healed", 2, 1, 0},
		{"beyond it", []plugin.Minute{ago(60, one), ago(59, one), ago(0, one)}, 3, "6 hours", "3 healed", 2, 2, 0},
		{"five minutes are a bar", []plugin.Minute{ago(67, one), ago(66, one), ago(65, one), ago(0, one)}, 4, "6 hours", "4 healed", 2, 3, 0},
		{"a day", []plugin.Minute{ago(23*60, one), ago(0, one)}, 2, "24 hours", "2 healed", 2, 1, 0},
		{"days ago", []plugin.Minute{ago(3*24*60, many), ago(0, one)}, 1235, "24 hours", "1 healed", 1, 1, 1234},
	} {
		got := chartOf(c.minutes, c.total, now)
		if got.Span != c.span || got.Text() != c.text || len(got.Bars) != c.bars || got.Most != c.most || got.Earlier != c.earlier {
			t.Errorf("%s: %s, %q, %d bars, at most %d, %d earlier", c.name, got.Span, got.Text(), len(got.Bars), got.Most, got.Earlier)
		}
		for _, b := range got.Bars {
			inside(t, c.name, b)
		}
	}
}

func inside(t *testing.T, name string, b bar) {
	t.Helper()
	foot := float64(chartHeight)
	for _, p := range b.Parts {
		if p.X < 0 || p.X+p.W > chartWidth || p.Y < -0.02 || p.H <= 0 || foot-p.Y-p.H > 0.02 {
			t.Errorf("%s: %+v on %.2f", name, p, foot)
		}
		foot = p.Y
	}
}

// The headline tells how the sequences stand and what happened. What goes on is not
// calm green.
func TestHeadline(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 7, 5, 0, time.UTC)
	minute := func(ago int, c plugin.Counts) plugin.Minute {
		return plugin.Minute{Time: now.Truncate(time.Minute).Add(-time.Duration(ago) * time.Minute), Counts: c}
	}
	read := now
	calm := auditDocument{Time: &read, Findings: []plugin.Finding{{}}, States: map[plugin.State]int{plugin.StateInSync: 1}}
	worse := auditDocument{Time: &read, Findings: []plugin.Finding{{}}, States: map[plugin.State]int{plugin.StateExhausted: 1, plugin.StateBehind: 1200}}
	for _, c := range []struct {
		audit   auditDocument
		minutes []plugin.Minute
		last    time.Duration
		text    string
		mood    string
	}{
		{calm, nil, 0, "All sequences are in sync", "good"},
		{calm, []plugin.Minute{minute(5, plugin.Counts{Healed: 160}), minute(0, plugin.Counts{AlreadyHealed: 6})}, 3 * time.Second,
			"All sequences are in sync; 166 healed in the last 10 minutes, still happening", "warn"},
		{calm, []plugin.Minute{minute(9, plugin.Counts{Healed: 3})}, 9 * time.Minute, "All sequences are in sync; 3 healed in the last 10 minutes", "warn"},
		{calm, []plugin.Minute{minute(11, plugin.Counts{Healed: 3})}, 11 * time.Minute, "All sequences are in sync; 3 healed in the last 24 hours", "good"},
		{calm, []plugin.Minute{minute(3, plugin.Counts{Healed: 1, Refused: 1, Failed: 1})}, 3 * time.Minute,
			"All sequences are in sync; 2 inserts were not healed and 1 healed in the last 10 minutes", "bad"},
		{calm, []plugin.Minute{minute(25*60, plugin.Counts{Healed: 3})}, 25 * time.Hour, "All sequences are in sync", "good"},
		{worse, []plugin.Minute{minute(0, plugin.Counts{Healed: 1})}, 2 * time.Minute,
			"1 sequence has no value left, 1,200 behind; 1 healed in the last 10 minutes", "bad"},
		{auditDocument{}, nil, 0, "The sequences could not be read", "unknown"},
	} {
		d := document{Time: now, Audit: c.audit, Minutes: c.minutes}
		if c.minutes != nil {
			d.Stats.Last = &plugin.Incident{Time: now.Add(-c.last)}
		}
		if text, mood := d.headline(); text != c.text || mood != c.mood {
			t.Errorf("%q, %s\nwant %q, %s", text, mood, c.text, c.mood)
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
	for n, want := range map[int64]string{0: "0", 2147483647: "2,147,483,647", 999999999999999: "999,999,999,999,999", 9223372036854775807: "9.2 × 10¹⁸", 1e15: "1.0 × 10¹⁵"} {
		if got := short(n); got != want {
			t.Errorf("short(%d) = %s", n, got)
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
	h.auditor = auditor{now: time.Now, timeout: time.Second, run: func(context.Context, []string, func(int, int)) ([]plugin.Finding, error) {
		return findings, err
	}}
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
		"All sequences are in sync", "All sequences are in sync", "1 sequence could not be read", "1 sequence is nearly used up", "1 sequence is behind", "1 sequence has no value left, 1 behind",
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
		"<b>blind</b>", `data-name="Behind" class="n"></td>`, `data-name="Values left" class="n"></td>`, "GRANT SELECT, password=xxxxx", "<b>guess</b>", "≈ 5", "<b>well</b>", "−1,234", "no row",
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

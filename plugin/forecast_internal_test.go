package plugin

import (
	"math"
	"testing"
	"time"

	"github.com/seqheal/seqheal/internal/audit"
	"github.com/seqheal/seqheal/internal/catalog"
)

// reported is an audit of one column at 1,000 of 2,000.
func reported(rows int64, in time.Duration) (Finding, *audit.Report) {
	at := time.Date(2026, 1, 11, 0, 0, 0, 0, time.UTC)
	f := Finding{Schema: "s", Table: "t", Column: "id", Sequence: "q", Increment: 1, Last: 1000, Limit: 2000, Remaining: 1000, Time: at, State: StateInSync}
	fed := &catalog.Fed{}
	return f, &audit.Report{At: at, Columns: []*audit.Column{{Fed: fed, Inserted: catalog.Inserted{Rows: rows, In: in}}}}
}

func TestForecastFromStatistics(t *testing.T) {
	for _, c := range []struct {
		rows int64
		in   time.Duration
		rate float64
		days float64 // 0 for no end
	}{
		{rows: 1000, in: 10 * day, rate: 100, days: 10},
		{rows: 1, in: 1000 * day, rate: 0.001},
		{rows: 1000, in: time.Hour},
		{rows: 0, in: 0},
	} {
		f, report := reported(c.rows, c.in)
		findings := []Finding{f}
		auditSettings{forecast: true}.predict(findings, report)
		checkForecast(t, findings[0], ForecastStatistics, c.rate, c.days)
	}
}

func TestForecastFromAnEarlierAudit(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Finding)
		rate   float64
		days   float64
		none   bool
	}{
		{name: "ten days", change: func(*Finding) {}, rate: 50, days: 20},
		{name: "no values", change: func(f *Finding) { f.Last = 1000 }},
		{name: "set back since", change: func(f *Finding) { f.Last = 1500 }, none: true},
		{name: "another increment", change: func(f *Finding) { f.Increment = 2 }, none: true},
		{name: "another sequence", change: func(f *Finding) { f.Sequence = "r" }, none: true},
		{name: "another table", change: func(f *Finding) { f.Table = "u" }, none: true},
		{name: "unreadable then", change: func(f *Finding) { f.State = StateUnreadable }, none: true},
		{name: "later", change: func(f *Finding) { f.Time = f.Time.Add(20 * day) }, none: true},
		{name: "without a time", change: func(f *Finding) { f.Time = time.Time{} }, none: true},
	} {
		f, report := reported(1000, 10*day)
		earlier := f
		earlier.Last, earlier.Time = 500, f.Time.Add(-10*day)
		c.change(&earlier)
		findings := []Finding{f}
		auditSettings{forecast: true, earlier: []Finding{earlier}}.predict(findings, report)
		t.Log(c.name)
		if c.none {
			if findings[0].Forecast != "" {
				t.Errorf("%s: %+v", c.name, findings[0])
			}
			continue
		}
		if c.rate == 0 {
			if got := findings[0]; got.Forecast != ForecastEarlier || got.PerDay != 0 || !got.Ends.IsZero() {
				t.Errorf("%s: %+v", c.name, got)
			}
			continue
		}
		checkForecast(t, findings[0], ForecastEarlier, c.rate, c.days)
	}
}

func checkForecast(t *testing.T, f Finding, from Forecast, rate, days float64) {
	t.Helper()
	if rate == 0 {
		from = ""
	}
	if f.Forecast != from || math.Abs(f.PerDay-rate) > 1e-9 {
		t.Errorf("%+v, want %v a day", f, rate)
	}
	if days == 0 && !f.Ends.IsZero() || days != 0 && f.Ends.Sub(f.Time) != time.Duration(days*float64(day)) {
		t.Errorf("ends %v, want in %v days", f.Ends, days)
	}
}

// What sequences share is added up; the farthest end that a time can hold is none.
func TestForecastOfASharedSequence(t *testing.T) {
	f, report := reported(600, 10*day)
	report.Columns = append(report.Columns, &audit.Column{Fed: &catalog.Fed{}, Inserted: catalog.Inserted{Rows: 400, In: 10 * day}})
	findings := []Finding{f, f}
	auditSettings{forecast: true}.predict(findings, report)
	for _, f := range findings {
		checkForecast(t, f, ForecastStatistics, 100, 10)
	}
}

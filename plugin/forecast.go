package plugin

import (
	"log/slog"
	"time"

	"github.com/seqheal/seqheal/internal/audit"
	"github.com/seqheal/seqheal/internal/catalog"
)

// Forecast is where the rate of a forecast comes from.
type Forecast string

const (
	// ForecastEarlier: from the last value of an earlier audit to this one's.
	ForecastEarlier Forecast = "earlier"
	// ForecastStatistics: from the rows that the server has counted since its statistics
	// began, for the database or else for the whole server. Rows that name their ids count
	// as well; a database younger than its server seems slower than it is.
	ForecastStatistics Forecast = "statistics"
)

const (
	day = 24 * time.Hour
	// shortest is how old the server's statistics must be for a rate.
	shortest = day
	// farthest is how far ahead an end is reported.
	farthest = 100 * 365 * day
)

// predict fills in the forecasts. Findings stand in the order of the report's columns.
func (s auditSettings) predict(findings []Finding, report *audit.Report) {
	earlier := map[[4]string]Finding{}
	for _, f := range s.earlier {
		earlier[f.place()] = f
	}
	inserted := insertedBySequence(report)
	for i, column := range report.Columns {
		f := &findings[i]
		if f.State == StateUnreadable {
			continue
		}
		if s.earlier != nil {
			f.since(earlier[f.place()])
		} else if n := inserted[column.Sequence.OID]; n.In >= shortest {
			f.atRate(float64(n.Rows)*float64(day)/float64(n.In), ForecastStatistics)
		}
	}
}

// insertedBySequence adds up the rows of all columns that draw from a sequence.
func insertedBySequence(report *audit.Report) map[int64]catalog.Inserted {
	sums := map[int64]catalog.Inserted{}
	for _, c := range report.Columns {
		if c.Fed != nil {
			sums[c.Sequence.OID] = catalog.Inserted{Rows: sums[c.Sequence.OID].Rows + c.Inserted.Rows, In: max(sums[c.Sequence.OID].In, c.Inserted.In)}
		}
	}
	return sums
}

// place is what a finding is of.
func (f Finding) place() [4]string { return [4]string{f.Schema, f.Table, f.Column, f.Sequence} }

// since sets the forecast from an earlier finding of the same column. A sequence that was
// set back since, or whose increment changed, has no rate.
func (f *Finding) since(earlier Finding) {
	apart := f.Time.Sub(earlier.Time)
	forward := f.Last >= earlier.Last
	if f.Increment < 0 {
		forward = f.Last <= earlier.Last
	}
	if earlier.Time.IsZero() || earlier.State == StateUnreadable || apart <= 0 || !forward || f.Increment != earlier.Increment {
		return
	}
	values := (float64(f.Last) - float64(earlier.Last)) / float64(f.Increment)
	f.atRate(values*float64(day)/float64(apart), ForecastEarlier)
}

func (f *Finding) atRate(perDay float64, from Forecast) {
	f.PerDay, f.Forecast = perDay, from
	if f.Cycle || perDay <= 0 {
		return
	}
	if days := float64(f.Remaining) / perDay; days < float64(farthest/day) {
		f.Ends = f.Time.Add(time.Duration(days * float64(day)))
	}
}

func (f Finding) forecastRecord() []slog.Attr {
	if f.Forecast == "" {
		return nil
	}
	attrs := []slog.Attr{slog.String("forecast", string(f.Forecast)), slog.Float64("per_day", f.PerDay)}
	if !f.Ends.IsZero() {
		attrs = append(attrs, slog.Time("ends", f.Ends))
	}
	return attrs
}

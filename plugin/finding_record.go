package plugin

import (
	"encoding/json"
	"errors"
	"log/slog"
	"time"
)

// record is the one list of a finding's field names.
func (f Finding) record() []slog.Attr {
	attrs := []slog.Attr{
		slog.String("schema", f.Schema),
		slog.String("table", f.Table),
		slog.String("column", f.Column),
		slog.String("type", f.Type),
		slog.String("sequence", f.Sequence),
		slog.Int64("increment", f.Increment),
		slog.Int64("cache", f.Cache),
		slog.Bool("cycle", f.Cycle),
		slog.Int64("last", f.Last),
		slog.Int64("behind", f.Behind),
		slog.Float64("used", f.Used),
		slog.Bool("estimated", f.Estimated),
		slog.String("state", string(f.State)),
		slog.Bool("moved", f.Moved),
	}
	if !f.Time.IsZero() {
		attrs = append(attrs, slog.Time("time", f.Time))
	}
	if f.FurthestKnown {
		attrs = append(attrs, slog.Int64("furthest", f.Furthest))
	}
	if f.Left != 0 {
		attrs = append(attrs, slog.Int64("left", f.Left))
	}
	if f.State != StateUnreadable && f.State != StateUnused {
		attrs = append(attrs, slog.Int64("limit", f.Limit), slog.Bool("limited_by_column", f.LimitedByColumn), slog.Int64("remaining", f.Remaining))
	}
	if len(f.Narrow) > 0 {
		attrs = append(attrs, slog.Any("narrow_foreign_keys", f.Narrow))
	}
	if f.Subscribed {
		attrs = append(attrs, slog.Bool("subscribed", true))
	}
	if f.CycleAhead != 0 {
		attrs = append(attrs, slog.Int64("cycle_ahead", f.CycleAhead))
	}
	attrs = append(attrs, f.forecastRecord()...)
	if f.Moved {
		attrs = append(attrs, slog.Int64("from", f.From), slog.Int64("to", f.To))
	}
	attrs = append(attrs, recordOf(f.Causes())...)
	attrs = append(attrs, f.Front.record()...)
	if f.Reason != "" {
		attrs = append(attrs, slog.String("reason", string(f.Reason)))
	}
	if f.Err != nil {
		attrs = append(attrs, slog.String("error", f.Err.Error()))
	}
	return attrs
}

// LogValue groups the finding's fields under their snake_case names.
func (f Finding) LogValue() slog.Value { return slog.GroupValue(f.record()...) }

// MarshalJSON writes the same fields under the same names.
func (f Finding) MarshalJSON() ([]byte, error) {
	fields := map[string]any{}
	for _, attr := range f.record() {
		fields[attr.Key] = attr.Value.Any()
	}
	return json.Marshal(fields)
}

// UnmarshalJSON reads what MarshalJSON writes; Err is then a plain error.
func (f *Finding) UnmarshalJSON(text []byte) error {
	var r struct {
		Schema, Table, Column, Type, Sequence string
		Increment, Cache                      int64
		Cycle                                 bool
		Last                                  int64
		Furthest                              *int64
		Estimated                             bool
		Left, Behind                          int64
		Used                                  float64
		Limit                                 int64
		LimitedByColumn                       bool `json:"limited_by_column"`
		Remaining                             int64
		Narrow                                []NarrowKey `json:"narrow_foreign_keys"`
		CycleAhead                            int64       `json:"cycle_ahead"`
		PerDay                                float64     `json:"per_day"`
		Ends                                  time.Time
		Subscribed                            bool
		Forecast                              Forecast
		Time                                  time.Time
		State                                 State
		Reason                                Reason
		Error                                 string
		Moved                                 bool
		From, To                              int64
		explained
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return err
	}
	*f = Finding{
		Schema: r.Schema, Table: r.Table, Column: r.Column, Type: r.Type, Sequence: r.Sequence,
		Increment: r.Increment, Cache: r.Cache, Cycle: r.Cycle, Last: r.Last, FurthestKnown: r.Furthest != nil, Estimated: r.Estimated,
		Left: r.Left, Behind: r.Behind, Used: r.Used, Limit: r.Limit, LimitedByColumn: r.LimitedByColumn, Remaining: r.Remaining,
		Narrow: r.Narrow, CycleAhead: r.CycleAhead, PerDay: r.PerDay, Ends: r.Ends, Forecast: r.Forecast, Time: r.Time,
		Subscribed: r.Subscribed, State: r.State, Reason: r.Reason, Moved: r.Moved, From: r.From, To: r.To,
	}
	f.Cause, f.causes, f.Front = r.cause()
	if r.Furthest != nil {
		f.Furthest = *r.Furthest
	}
	if r.Error != "" {
		f.Err = errors.New(r.Error)
	}
	return nil
}

package otel

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/seqheal/seqheal/plugin"
	"github.com/seqheal/seqheal/plugin/auditor"
)

var outcomes = []plugin.Outcome{plugin.Healed, plugin.AlreadyHealed, plugin.Refused, plugin.Failed}

var states = []plugin.State{
	plugin.StateInSync, plugin.StateBehind, plugin.StateNearlyExhausted, plugin.StateExhausted, plugin.StateUnreadable,
}

// observe reports the latest audit. It asks the database nothing.
func (t *Telemetry) observe(ctx context.Context, o metric.Observer) error {
	r := t.audits.Latest()
	if !r.Tried.IsZero() {
		success := int64(1)
		if r.Err != nil {
			success = 0
		}
		o.ObserveInt64(t.success, success, t.with())
		o.ObserveFloat64(t.took, r.Took.Seconds(), t.with())
	}
	if r.Read.IsZero() {
		return nil
	}
	o.ObserveFloat64(t.age, time.Since(r.Read).Seconds(), t.with())
	t.start(ctx, r)
	count := map[plugin.State]int64{}
	for _, f := range r.Findings {
		count[f.State]++
	}
	for _, state := range states {
		o.ObserveInt64(t.sequences, count[state], t.with(attribute.String("state", string(state))))
	}
	// What needs attention comes first, because the SDK names so many series only.
	for _, healthy := range []bool{false, true} {
		for _, f := range r.Findings {
			if f.State == plugin.StateUnreadable || f.State == plugin.StateUnused || (f.State == plugin.StateInSync) != healthy {
				continue
			}
			column := t.with(named("schema", f.Schema), named("table", f.Table), named("column", f.Column))
			o.ObserveInt64(t.behind, f.Behind, column)
			o.ObserveFloat64(t.headroom, 1-f.Used, column)
		}
	}
	return nil
}

// start gives the counters of the audited tables their first value, 0.
func (t *Telemetry) start(ctx context.Context, r auditor.Result) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if r.Read.Equal(t.read) {
		return
	}
	t.read = r.Read
	for _, f := range r.Findings {
		if f.State == plugin.StateUnused {
			continue
		}
		table := [2]string{f.Schema, f.Table}
		if t.started[table] {
			continue
		}
		t.started[table] = true
		for _, outcome := range outcomes {
			t.incidents.Add(ctx, 0, t.with(named("schema", f.Schema), named("table", f.Table), attribute.String("outcome", string(outcome))))
		}
	}
}

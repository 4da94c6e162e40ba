// Package otel exports what the plugin did, and how the sequences stand, to
// OpenTelemetry: as metrics, and as an event on the span of the insert. Import it under
// another name than OpenTelemetry's own package:
//
//	import seqotel "github.com/seqheal/seqheal/plugin/otel"
//
//	audits := auditor.New(db)
//	telemetry, err := seqotel.New(audits)
//	healing := plugin.New(plugin.OnIncident(telemetry.OnIncident))
//	err = db.Use(healing)
//	go audits.Run(ctx)
//
// Collecting reads memory only. The audit runs where the application calls
// [auditor.Auditor.Run]; on a replica that does not call it, the metrics about sequences
// are absent and those about incidents are there.
//
// # Metrics
//
//	seqheal.incidents           {schema,table,outcome}   counter
//	seqheal.healing             {outcome}                histogram, seconds that incidents added to inserts
//	seqheal.sequence.behind     {schema,table,column}    gauge, values up to the furthest row
//	seqheal.sequence.headroom   {schema,table,column}    gauge, share of the range that is left
//	seqheal.sequences           {state}                  gauge, columns by state
//	seqheal.audit.success                                gauge, 1 if the latest audit read everything, else 0
//	seqheal.audit.age                                    gauge, seconds since an audit last read everything
//	seqheal.audit.duration                               gauge, seconds that the latest audit took
//
// Where Prometheus reads them they have the names of plugin/metrics, so that the same
// alert rules hold. Each outcome of a table that was audited starts at 0. The SDK names
// 2,000 series of an instrument and counts the rest together: with more tables raise
// sdkmetric.WithCardinalityLimit. Sequences that need attention come first.
package otel

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/seqheal/seqheal/plugin"
	"github.com/seqheal/seqheal/plugin/auditor"
)

// scope is the instrumentation's name.
const scope = "github.com/seqheal/seqheal/plugin/otel"

// Option changes one setting of [New].
type Option func(*settings)

type settings struct {
	provider   metric.MeterProvider
	attributes []attribute.KeyValue
}

// WithMeterProvider sets where the metrics go; the default is the global provider.
func WithMeterProvider(provider metric.MeterProvider) Option {
	return func(s *settings) { s.provider = provider }
}

// Database gives every metric the attribute database. Set it where one backend has the
// metrics of several databases whose tables have equal names.
func Database(name string) Option {
	return func(s *settings) { s.attributes = []attribute.KeyValue{attribute.String("database", name)} }
}

// Telemetry records incidents and reports audits. It is safe for concurrent use.
type Telemetry struct {
	audits       *auditor.Auditor
	common       []attribute.KeyValue
	registration metric.Registration

	incidents metric.Int64Counter
	seconds   metric.Float64Histogram

	behind, sequences, success metric.Int64ObservableGauge
	headroom, age, took        metric.Float64ObservableGauge

	mutex   sync.Mutex
	started map[[2]string]bool // tables whose counters were started
	read    time.Time          // when the findings that started the latest were read
}

// New creates the instruments for the incidents that [Telemetry.OnIncident] is given and
// for the results of audits. audits may be nil: then no metric is about sequences.
func New(audits *auditor.Auditor, options ...Option) (*Telemetry, error) {
	s := settings{provider: otel.GetMeterProvider()}
	for _, option := range options {
		option(&s)
	}
	t := &Telemetry{audits: audits, common: s.attributes, started: map[[2]string]bool{}}
	meter := s.provider.Meter(scope)
	if err := t.create(meter); err != nil || audits == nil {
		return t, err
	}
	var err error
	t.registration, err = meter.RegisterCallback(t.observe, t.behind, t.headroom, t.sequences, t.success, t.age, t.took)
	return t, err
}

func (t *Telemetry) create(meter metric.Meter) error {
	var errs [8]error
	t.incidents, errs[0] = meter.Int64Counter("seqheal.incidents", metric.WithUnit("{incident}"),
		metric.WithDescription("Inserts that collided because of a drifted sequence."))
	t.seconds, errs[1] = meter.Float64Histogram("seqheal.healing", metric.WithUnit("s"),
		metric.WithDescription("Time that incidents added to inserts."),
		metric.WithExplicitBucketBoundaries(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5))
	t.behind, errs[2] = meter.Int64ObservableGauge("seqheal.sequence.behind", metric.WithUnit("{value}"),
		metric.WithDescription("Values that a sequence has to give until it is past the furthest row."))
	t.headroom, errs[3] = meter.Float64ObservableGauge("seqheal.sequence.headroom", metric.WithUnit("1"),
		metric.WithDescription("Share of its range that a sequence has left, 0 to 1."))
	t.sequences, errs[4] = meter.Int64ObservableGauge("seqheal.sequences", metric.WithUnit("{column}"),
		metric.WithDescription("Columns that a sequence feeds, by state."))
	t.success, errs[5] = meter.Int64ObservableGauge("seqheal.audit.success",
		metric.WithDescription("1 if the latest audit read everything, else 0."))
	t.age, errs[6] = meter.Float64ObservableGauge("seqheal.audit.age", metric.WithUnit("s"),
		metric.WithDescription("Time since an audit last read everything."))
	t.took, errs[7] = meter.Float64ObservableGauge("seqheal.audit.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of the latest audit."))
	return errors.Join(errs[:]...)
}

// Close stops reporting audits. Incidents are still recorded.
func (t *Telemetry) Close() error {
	if t.registration == nil {
		return nil
	}
	return t.registration.Unregister()
}

// OnIncident counts one incident and adds it as an event to the span of ctx, which is
// the insert's. Give it to [plugin.OnIncident].
func (t *Telemetry) OnIncident(ctx context.Context, i plugin.Incident) {
	schema, table := i.SchemaAndTable()
	outcome := attribute.String("outcome", string(i.Outcome))
	t.incidents.Add(ctx, 1, t.with(named("schema", schema), named("table", table), outcome))
	t.seconds.Record(ctx, i.Duration.Seconds(), t.with(outcome))
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.AddEvent("seqheal.incident", trace.WithTimestamp(i.Time), trace.WithAttributes(eventOf(i, schema, table)...))
	}
}

func eventOf(i plugin.Incident, schema, table string) []attribute.KeyValue {
	event := []attribute.KeyValue{
		attribute.String("seqheal.outcome", string(i.Outcome)),
		named("seqheal.schema", schema),
		named("seqheal.table", table),
		named("seqheal.sequence", i.Sequence),
		attribute.Int64("seqheal.from", i.From),
		attribute.Int64("seqheal.to", i.To),
		attribute.Int64("seqheal.behind", i.Behind),
		attribute.Bool("seqheal.silent", i.Silent),
		attribute.Float64("seqheal.duration_ms", float64(i.Duration.Microseconds())/1000),
	}
	if i.Reason != "" {
		event = append(event, attribute.String("seqheal.reason", string(i.Reason)))
	}
	if i.Caller != "" {
		event = append(event, named("seqheal.caller", i.Caller))
	}
	if i.Cause.Kind != "" {
		event = append(event, attribute.String("seqheal.cause", string(i.Cause.Kind)), named("seqheal.evidence", i.Cause.Evidence))
	}
	if i.Err != nil {
		event = append(event, named("seqheal.error", i.Err.Error()))
	}
	return event
}

// named returns an attribute whose value comes from a database, which may not be UTF-8.
func named(key, value string) attribute.KeyValue {
	return attribute.String(key, strings.ToValidUTF8(value, "\uFFFD"))
}

func (t *Telemetry) with(attributes ...attribute.KeyValue) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(append(attributes, t.common...)...))
}

package otel_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
	"github.com/seqheal/seqheal/plugin/auditor"
	seqotel "github.com/seqheal/seqheal/plugin/otel"
)

// replica is one process of an application.
type replica struct {
	db        *gorm.DB
	audits    *auditor.Auditor
	telemetry *seqotel.Telemetry
	reader    *sdkmetric.ManualReader
}

func start(t *testing.T, place *pgtest.Place, options ...seqotel.Option) *replica {
	t.Helper()
	return startWith(t, place, auditor.With(plugin.InSchemas(place.Schema)), options...)
}

func startWith(t *testing.T, place *pgtest.Place, audited auditor.Option, options ...seqotel.Option) *replica {
	t.Helper()
	r := &replica{db: place.Open(nil), reader: sdkmetric.NewManualReader()}
	r.audits = auditor.New(r.db, audited)
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(r.reader))
	var err error
	if r.telemetry, err = seqotel.New(r.audits, append(options, seqotel.WithMeterProvider(provider))...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.telemetry.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := r.db.Use(plugin.New(plugin.OnIncident(r.telemetry.OnIncident))); err != nil {
		t.Fatal(err)
	}
	return r
}

// values are the series with their values, without the schema.
func (r *replica) values(t *testing.T, prefix string) map[string]float64 {
	t.Helper()
	var data metricdata.ResourceMetrics
	if err := r.reader.Collect(t.Context(), &data); err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	set := func(name string, attributes attribute.Set, value float64) {
		for _, a := range attributes.ToSlice() {
			if a.Key != "schema" {
				name += " " + a.Value.String()
			}
		}
		if strings.HasPrefix(name, prefix) {
			values[name] += value
		}
	}
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch points := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range points.DataPoints {
					set(m.Name, p.Attributes, float64(p.Value))
				}
			case metricdata.Gauge[int64]:
				for _, p := range points.DataPoints {
					set(m.Name, p.Attributes, float64(p.Value))
				}
			case metricdata.Gauge[float64]:
				for _, p := range points.DataPoints {
					set(m.Name, p.Attributes, p.Value)
				}
			case metricdata.Histogram[float64]:
				for _, p := range points.DataPoints {
					set(m.Name, p.Attributes, float64(p.Count))
				}
			}
		}
	}
	return values
}

func same(t *testing.T, what string, got, want map[string]float64) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) { // fmt sorts keys
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

const drifted = `CREATE TABLE users (id bigserial PRIMARY KEY, name text); INSERT INTO users SELECT g, 'old' FROM generate_series(1, 20) g`

// Before an audit has succeeded nothing is said of sequences. From then on every table
// has its counters, at 0, and its gauges, with names that join.
func TestMetrics(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(drifted)
	r := start(t, place, seqotel.Database("shop"))
	same(t, "before the audit", r.values(t, ""), map[string]float64{})
	r.audits.Audit(t.Context())
	got := r.values(t, "")
	if got["seqheal.sequence.headroom id shop users"] < 0.999 || got["seqheal.audit.age shop"] <= 0 || got["seqheal.audit.duration shop"] <= 0 {
		t.Errorf("%v", got)
	}
	for _, name := range []string{"seqheal.sequence.headroom id shop users", "seqheal.audit.age shop", "seqheal.audit.duration shop"} {
		delete(got, name)
	}
	same(t, "after the audit", got, map[string]float64{
		"seqheal.incidents shop healed users": 0, "seqheal.incidents shop already_healed users": 0, "seqheal.incidents shop refused users": 0, "seqheal.incidents shop failed users": 0,
		"seqheal.sequences shop behind": 1, "seqheal.sequences shop in_sync": 0, "seqheal.sequences shop nearly_exhausted": 0, "seqheal.sequences shop exhausted": 0, "seqheal.sequences shop unreadable": 0,
		"seqheal.sequence.behind id shop users": 20, "seqheal.audit.success shop": 1,
	})
	if err := r.db.Table("users").Create(map[string]any{"name": "new"}).Error; err != nil {
		t.Fatal(err)
	}
	same(t, "after an incident", r.values(t, "seqheal.incidents"), map[string]float64{
		"seqheal.incidents shop healed users": 1, "seqheal.incidents shop already_healed users": 0, "seqheal.incidents shop refused users": 0, "seqheal.incidents shop failed users": 0,
	})
	same(t, "time spent", r.values(t, "seqheal.healing"), map[string]float64{"seqheal.healing shop healed": 1})

	pool, err := r.db.DB()
	if err != nil {
		t.Fatal(err)
	}
	_ = pool.Close()
	r.audits.Audit(t.Context())
	got = r.values(t, "seqheal.")
	if got["seqheal.audit.success shop"] != 0 || got["seqheal.sequences shop behind"] != 1 {
		t.Errorf("after a failed audit %v", got)
	}
}

// The incident is an event on the span of the insert, and on no other.
func TestTheInsertsSpanHasTheEvent(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(drifted + "; CREATE SEQUENCE ring CYCLE MAXVALUE 9; CREATE TABLE rings (id bigint PRIMARY KEY DEFAULT nextval('ring'), name text); INSERT INTO rings VALUES (1)")
	r := start(t, place)
	spans := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test")
	for _, table := range []string{"users", "rings", "users"} {
		ctx, span := tracer.Start(t.Context(), table)
		_ = r.db.WithContext(ctx).Table(table).Create(map[string]any{"name": "new"}).Error
		span.End()
	}
	var told []string
	for _, span := range spans.Ended() {
		for _, event := range span.Events() {
			text := span.Name() + " " + event.Name
			for _, a := range event.Attributes {
				switch a.Key {
				case "seqheal.outcome", "seqheal.table", "seqheal.behind", "seqheal.reason":
					text += " " + a.Value.String()
				case "seqheal.caller":
					if !strings.Contains(a.Value.AsString(), "/otel/otel_test.go:") {
						t.Errorf("caller %s", a.Value.AsString())
					}
					told = append(told, span.Name()+" has a caller")
				case "seqheal.cause":
					if a.Value.AsString() != "bulk" && a.Value.AsString() != "unknown" {
						t.Errorf("cause %s", a.Value.AsString())
					}
					told = append(told, span.Name()+" has a cause")
				case "seqheal.schema":
					if a.Value.AsString() != place.Schema {
						t.Errorf("schema %s", a.Value.AsString())
					}
				}
			}
			told = append(told, text)
		}
	}
	slices.Sort(told)
	if want := "rings has a caller, rings has a cause, rings seqheal.incident refused rings 0 cycle, users has a caller, users has a cause, users seqheal.incident healed users 19"; strings.Join(told, ", ") != want {
		t.Errorf("events %s\nwant   %s", strings.Join(told, ", "), want)
	}
	// Without a span, and without audits.
	bare, err := seqotel.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	bare.OnIncident(context.Background(), plugin.Incident{Outcome: plugin.Healed, Table: "\"bad\xff\""})
	if err := bare.Close(); err != nil {
		t.Error(err)
	}
}

// Unused sequences have no table to be told apart by.
func TestUnusedSequencesHaveNoMetrics(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec("CREATE SEQUENCE one; CREATE SEQUENCE two; CREATE TABLE users (id serial PRIMARY KEY)")
	r := startWith(t, place, auditor.With(plugin.InSchemas(place.Schema), plugin.WithUnusedSequences()))
	if result := r.audits.Audit(t.Context()); result.Err != nil || len(result.Findings) != 3 {
		t.Fatalf("%d findings, %v", len(result.Findings), result.Err)
	}
	for prefix, want := range map[string]int{"seqheal.sequence.behind": 1, "seqheal.sequence.headroom": 1} {
		if got := r.values(t, prefix); len(got) != want {
			t.Errorf("%s: %v", prefix, got)
		}
	}
}

// The SDK names 2,000 series of an instrument: what needs attention is among them, and
// with a higher limit all are.
func TestWhatNeedsAttentionIsNamed(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(`DO $$ BEGIN FOR i IN 1..2100 LOOP EXECUTE format('CREATE TABLE a%s (id bigserial PRIMARY KEY)', i); END LOOP; END $$`)
	place.Exec("CREATE TABLE zuletzt (id bigserial PRIMARY KEY); INSERT INTO zuletzt VALUES (9)")
	r := start(t, place)
	r.audits.Audit(t.Context())
	got := r.values(t, "seqheal.sequence.behind")
	if got["seqheal.sequence.behind id zuletzt"] != 9 || len(got) > 2000 {
		t.Errorf("%d series, without the one behind: %v", len(got), got["seqheal.sequence.behind id zuletzt"])
	}
	reader := sdkmetric.NewManualReader()
	telemetry, err := seqotel.New(r.audits, seqotel.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithCardinalityLimit(0))))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = telemetry.Close() }()
	r.reader = reader
	if got := r.values(t, "seqheal.sequence.behind"); len(got) != 2101 {
		t.Errorf("%d series without a limit", len(got))
	}
}

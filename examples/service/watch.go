package main

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/plugin"
)

// watch is what Prometheus sees of the plugin.
type watch struct {
	// db is what is audited; the plugin heals inserts through the same.
	db      *gorm.DB
	healing *plugin.Plugin
	seconds *prometheus.HistogramVec

	mutex    sync.Mutex
	findings []plugin.Finding
	read     time.Time // when the audit last succeeded
	tried    time.Time
	took     time.Duration
	err      error
}

const (
	// auditEvery keeps scrapes from auditing more often than that; auditTimeout is
	// what a scrape waits for one.
	auditEvery   = 30 * time.Second
	auditTimeout = 5 * time.Second
)

var (
	incidents = prometheus.NewDesc("seqheal_incidents_total",
		"Inserts that met a drifted sequence, by table and outcome: healed, already_healed, refused, failed.", []string{"table", "outcome"}, nil)
	tablesKnown = prometheus.NewDesc("seqheal_tables_known", "Tables of which the plugin remembers the catalog's say.", nil, nil)
	headroom    = prometheus.NewDesc("seqheal_sequence_headroom_ratio",
		"Share of its range that a sequence has left, 0 to 1.", []string{"schema", "table", "column", "sequence"}, nil)
	behind = prometheus.NewDesc("seqheal_sequence_behind",
		"Values that a sequence has to give until it is past the furthest row.", []string{"schema", "table", "column", "sequence"}, nil)
	sequences = prometheus.NewDesc("seqheal_sequences",
		"Columns that a sequence feeds, by state: in_sync, behind, nearly_exhausted, exhausted, unreadable.", []string{"state"}, nil)
	auditSuccess = prometheus.NewDesc("seqheal_audit_success", "1 if the latest audit read everything, else 0.", nil, nil)
	auditRead    = prometheus.NewDesc("seqheal_audit_timestamp_seconds", "When an audit last read everything, 0 if never.", nil, nil)
	auditTook    = prometheus.NewDesc("seqheal_audit_duration_seconds", "What the latest audit took.", nil, nil)
)

func newWatch(db *gorm.DB) *watch {
	return &watch{db: db, seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "seqheal_healing_seconds", Help: "Time that incidents added to inserts, by outcome.",
		Buckets: []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5},
	}, []string{"outcome"})}
}

// register makes the registry that /metrics serves.
func (w *watch) register(healing *plugin.Plugin) *prometheus.Registry {
	w.healing = healing
	registry := prometheus.NewRegistry()
	registry.MustRegister(w, w.seconds, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// observe is an OnIncident.
func (w *watch) observe(_ context.Context, i plugin.Incident) {
	w.seconds.WithLabelValues(string(i.Outcome)).Observe(i.Duration.Seconds())
}

// addSpanEvent is an OnIncident: ctx is that of the insert.
func addSpanEvent(ctx context.Context, i plugin.Incident) {
	trace.SpanFromContext(ctx).AddEvent("seqheal.incident", trace.WithTimestamp(i.Time), trace.WithAttributes(
		attribute.String("seqheal.outcome", string(i.Outcome)),
		attribute.String("seqheal.reason", string(i.Reason)),
		attribute.String("seqheal.table", i.Table),
		attribute.String("seqheal.sequence", i.Sequence),
		attribute.Int64("seqheal.behind", i.Behind),
		attribute.Bool("seqheal.silent", i.Silent),
		attribute.Float64("seqheal.duration_ms", float64(i.Duration.Microseconds())/1000),
	))
}

// Describe implements prometheus.Collector.
func (w *watch) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{incidents, tablesKnown, headroom, behind, sequences, auditSuccess, auditRead, auditTook} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector. The counts are the plugin's own, so that
// they are as bounded as it is.
func (w *watch) Collect(metrics chan<- prometheus.Metric) {
	count := func(n int64, table string, outcome plugin.Outcome) {
		if n > 0 {
			metrics <- prometheus.MustNewConstMetric(incidents, prometheus.CounterValue, float64(n), table, string(outcome))
		}
	}
	stats := w.healing.Stats()
	for table, s := range stats.Tables {
		count(s.Healed, table, plugin.Healed)
		count(s.AlreadyHealed, table, plugin.AlreadyHealed)
		count(s.Refused, table, plugin.Refused)
		count(s.Failed, table, plugin.Failed)
	}
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	gauge(tablesKnown, float64(stats.TablesKnown))

	w.mutex.Lock() // one audit at a time; a second scrape waits for its result
	defer w.mutex.Unlock()
	w.audit()
	states := map[plugin.State]int{
		plugin.StateInSync: 0, plugin.StateBehind: 0, plugin.StateNearlyExhausted: 0, plugin.StateExhausted: 0, plugin.StateUnreadable: 0,
	}
	for _, f := range w.findings {
		states[f.State]++
		if f.State != plugin.StateUnreadable {
			gauge(headroom, 1-f.Used, f.Schema, f.Table, f.Column, f.Sequence)
			gauge(behind, float64(f.Behind), f.Schema, f.Table, f.Column, f.Sequence)
		}
	}
	for state, n := range states {
		gauge(sequences, float64(n), string(state))
	}
	success, at := 1.0, 0.0
	if w.err != nil {
		success = 0
	}
	if !w.read.IsZero() {
		at = float64(w.read.UnixMilli()) / 1000
	}
	gauge(auditSuccess, success)
	gauge(auditRead, at)
	gauge(auditTook, w.took.Seconds())
}

// audit reads the sequences when the last reading is too old. After a failure the
// findings are still those from before.
func (w *watch) audit() {
	if time.Since(w.tried) < auditEvery {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), auditTimeout)
	defer cancel()
	began := time.Now()
	findings, err := plugin.Audit(ctx, w.db)
	w.tried, w.err, w.took = time.Now(), err, time.Since(began)
	if err == nil {
		w.findings, w.read = findings, w.tried
	}
}

// Package metrics exports what the plugin did, and how the sequences stand, to
// Prometheus:
//
//	audits := auditor.New(db)
//	collector := metrics.New(audits)
//	healing := plugin.New(plugin.OnIncident(collector.OnIncident))
//	err := db.Use(healing)
//	prometheus.MustRegister(collector)
//	go audits.Run(ctx)
//
// A scrape reads memory only. The audit runs where the application calls
// [auditor.Auditor.Run]; on a replica that does not call it, the metrics about sequences
// are absent and those about incidents are there.
//
// # Metrics
//
//	seqheal_incidents_total{schema,table,outcome}          counter
//	seqheal_healing_seconds{outcome}                       histogram: what incidents added to inserts
//	seqheal_sequence_behind{schema,table,column}           gauge: values up to the furthest row
//	seqheal_sequence_headroom_ratio{schema,table,column}   gauge: share of the range that is left
//	seqheal_sequences{state}                               gauge: columns by state
//	seqheal_audit_success                                  gauge: 1 if the latest audit read everything, else 0
//	seqheal_audit_age_seconds                              gauge: time since an audit last read everything
//	seqheal_audit_duration_seconds                         gauge: what the latest audit took
//
// Schemas, tables and columns are names as the server keeps them, unquoted. Each
// outcome of a table that was audited starts at 0, so that rate and increase see its
// first incident. The gauges about sequences are absent until an audit has succeeded,
// and then stand for the last that did. Sequences that feed no column, as
// [plugin.WithUnusedSequences] lists them, have no metrics.
//
// Every replica that audits exports the same sequences: aggregate them with max or min,
// and incidents with sum.
package metrics

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seqheal/seqheal/plugin"
	"github.com/seqheal/seqheal/plugin/auditor"
)

// Option changes one setting of [New].
type Option func(*settings)

type settings struct{ labels prometheus.Labels }

// Database gives every metric the label database. Set it where one Prometheus scrapes
// programs of several databases whose tables have equal names.
func Database(name string) Option {
	return func(s *settings) { s.labels = prometheus.Labels{"database": name} }
}

var outcomes = []plugin.Outcome{plugin.Healed, plugin.AlreadyHealed, plugin.Refused, plugin.Failed}

var states = []plugin.State{
	plugin.StateInSync, plugin.StateBehind, plugin.StateNearlyExhausted, plugin.StateExhausted, plugin.StateUnreadable,
}

// Collector is a prometheus.Collector. It is safe for concurrent use.
type Collector struct {
	audits    *auditor.Auditor
	incidents *prometheus.CounterVec
	seconds   *prometheus.HistogramVec

	headroom, behind, sequences, success, age, took *prometheus.Desc

	names names

	// collecting guards gauges, the metrics of the findings that were read at the time
	// read.
	collecting sync.Mutex
	read       time.Time
	gauges     []prometheus.Metric
}

// New returns a collector of the incidents that its [Collector.OnIncident] is given,
// and of the results of audits. audits may be nil: then no metric is about sequences.
func New(audits *auditor.Auditor, options ...Option) *Collector {
	var s settings
	for _, option := range options {
		option(&s)
	}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, s.labels)
	}
	c := &Collector{
		audits: audits,
		incidents: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "seqheal_incidents_total", ConstLabels: s.labels,
			Help: "Inserts that collided because of a drifted sequence, by outcome: healed, already_healed, refused, failed.",
		}, []string{"schema", "table", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "seqheal_healing_seconds", ConstLabels: s.labels, Help: "Time that incidents added to inserts, by outcome.",
			Buckets: []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5},
		}, []string{"outcome"}),
		headroom:  desc("seqheal_sequence_headroom_ratio", "Share of its range that a sequence has left, 0 to 1.", "schema", "table", "column"),
		behind:    desc("seqheal_sequence_behind", "Values that a sequence has to give until it is past the furthest row.", "schema", "table", "column"),
		sequences: desc("seqheal_sequences", "Columns that a sequence feeds, by state: in_sync, behind, nearly_exhausted, exhausted, unreadable.", "state"),
		success:   desc("seqheal_audit_success", "1 if the latest audit read everything, else 0."),
		age:       desc("seqheal_audit_age_seconds", "Time since an audit last read everything."),
		took:      desc("seqheal_audit_duration_seconds", "Duration of the latest audit."),
		names:     names{audited: map[tableName]bool{}, unaudited: map[tableName]bool{}},
	}
	for _, outcome := range outcomes {
		c.seconds.WithLabelValues(string(outcome))
	}
	return c
}

// OnIncident counts one incident. Give it to [plugin.OnIncident].
func (c *Collector) OnIncident(_ context.Context, i plugin.Incident) {
	name, first := c.names.of(i)
	if first {
		c.start(name)
	}
	c.incidents.WithLabelValues(name.schema, name.table, string(i.Outcome)).Inc()
	c.seconds.WithLabelValues(string(i.Outcome)).Observe(i.Duration.Seconds())
}

// start exports a table's outcomes with the value 0.
func (c *Collector) start(name tableName) {
	for _, outcome := range outcomes {
		c.incidents.WithLabelValues(name.schema, name.table, string(outcome))
	}
}

// stop removes a table that was dropped.
func (c *Collector) stop(name tableName) {
	for _, outcome := range outcomes {
		c.incidents.DeleteLabelValues(name.schema, name.table, string(outcome))
	}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(descs chan<- *prometheus.Desc) {
	c.incidents.Describe(descs)
	c.seconds.Describe(descs)
	for _, desc := range []*prometheus.Desc{c.headroom, c.behind, c.sequences, c.success, c.age, c.took} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector. It asks the database nothing.
func (c *Collector) Collect(metrics chan<- prometheus.Metric) {
	if c.audits != nil {
		c.collectAudit(c.audits.Latest(), metrics)
	}
	c.incidents.Collect(metrics)
	c.seconds.Collect(metrics)
}

func gauge(desc *prometheus.Desc, value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
}

func (c *Collector) collectAudit(r auditor.Result, metrics chan<- prometheus.Metric) {
	for _, metric := range c.gaugesOf(r) {
		metrics <- metric
	}
	if !r.Read.IsZero() {
		metrics <- gauge(c.age, time.Since(r.Read).Seconds())
	}
	if r.Tried.IsZero() {
		return
	}
	success := 1.0
	if r.Err != nil {
		success = 0
	}
	metrics <- gauge(c.success, success)
	metrics <- gauge(c.took, r.Took.Seconds())
}

// gaugesOf returns the metrics of an audit's findings, which are made once for each
// audit, and starts the counters of its tables.
func (c *Collector) gaugesOf(r auditor.Result) []prometheus.Metric {
	c.collecting.Lock()
	defer c.collecting.Unlock()
	if r.Read.Equal(c.read) {
		return c.gauges
	}
	c.read, c.gauges = r.Read, nil
	if r.Read.IsZero() {
		return nil
	}
	added, dropped := c.names.audit(r.Findings)
	for _, name := range added {
		c.start(name)
	}
	for _, name := range dropped {
		c.stop(name)
	}
	count := map[plugin.State]int{}
	for _, f := range r.Findings {
		count[f.State]++
		if f.State != plugin.StateUnreadable && f.State != plugin.StateUnused {
			schema, table, column := valid(f.Schema), valid(f.Table), valid(f.Column)
			c.gauges = append(c.gauges, gauge(c.headroom, 1-f.Used, schema, table, column), gauge(c.behind, float64(f.Behind), schema, table, column))
		}
	}
	for _, state := range states {
		c.gauges = append(c.gauges, gauge(c.sequences, float64(count[state]), string(state)))
	}
	return c.gauges
}

package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
	"github.com/seqheal/seqheal/plugin/auditor"
	"github.com/seqheal/seqheal/plugin/metrics"
)

// replica is one process of an application.
type replica struct {
	db        *gorm.DB
	audits    *auditor.Auditor
	collector *metrics.Collector
	registry  *prometheus.Registry
}

func start(t *testing.T, place *pgtest.Place, options ...metrics.Option) *replica {
	t.Helper()
	r := &replica{db: place.Open(nil), registry: prometheus.NewPedanticRegistry()}
	r.audits = auditor.New(r.db, auditor.With(plugin.InSchemas(place.Schema)))
	r.collector = metrics.New(r.audits, options...)
	if err := r.db.Use(plugin.New(plugin.OnIncident(r.collector.OnIncident))); err != nil {
		t.Fatal(err)
	}
	r.registry.MustRegister(r.collector)
	return r
}

func (r *replica) insert(t *testing.T, table string) {
	t.Helper()
	if err := r.db.Table(table).Create(map[string]any{"name": "new"}).Error; err != nil {
		t.Fatal(err)
	}
}

// values are the exported series with their values, without the schema.
func (r *replica) values(t *testing.T, prefix string) map[string]float64 {
	t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, label := range m.GetLabel() {
				if label.GetName() != "schema" {
					name += " " + label.GetValue()
				}
			}
			if strings.HasPrefix(name, prefix) {
				values[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
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

const drifted = `CREATE TABLE users (id bigserial PRIMARY KEY, name text); INSERT INTO users SELECT g, 'old' FROM generate_series(1, 20) g;
	CREATE TABLE "Order Items" (id serial PRIMARY KEY, name text)`

// Before an audit has succeeded nothing is said of sequences. From then on every table
// has its counters, at 0, and its gauges.
func TestTablesStartAtZeroWithTheFirstAudit(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(drifted)
	r := start(t, place)
	same(t, "before the audit", r.values(t, ""), map[string]float64{
		"seqheal_healing_seconds healed": 0, "seqheal_healing_seconds already_healed": 0, "seqheal_healing_seconds refused": 0, "seqheal_healing_seconds failed": 0,
	})
	r.audits.Audit(t.Context())
	same(t, "incidents after the audit", r.values(t, "seqheal_incidents_total"), map[string]float64{
		"seqheal_incidents_total healed users": 0, "seqheal_incidents_total already_healed users": 0,
		"seqheal_incidents_total refused users": 0, "seqheal_incidents_total failed users": 0,
		"seqheal_incidents_total healed Order Items": 0, "seqheal_incidents_total already_healed Order Items": 0,
		"seqheal_incidents_total refused Order Items": 0, "seqheal_incidents_total failed Order Items": 0,
	})
	same(t, "states", r.values(t, "seqheal_sequences"), map[string]float64{
		"seqheal_sequences behind": 1, "seqheal_sequences in_sync": 1, "seqheal_sequences nearly_exhausted": 0, "seqheal_sequences exhausted": 0, "seqheal_sequences unreadable": 0,
	})
	same(t, "behind", r.values(t, "seqheal_sequence_behind"), map[string]float64{"seqheal_sequence_behind id users": 20, "seqheal_sequence_behind id Order Items": 0})
	same(t, "success", r.values(t, "seqheal_audit_success"), map[string]float64{"seqheal_audit_success": 1})
	if left := r.values(t, "seqheal_sequence_headroom_ratio"); left["seqheal_sequence_headroom_ratio id users"] < 0.999 || len(left) != 2 {
		t.Errorf("headroom %v", left)
	}
	if problems, err := testutil.GatherAndLint(r.registry); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", err, problems)
	}
}

// Incidents and audits name a table alike. A table that is dropped leaves.
func TestLabelsJoin(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(drifted)
	r := start(t, place, metrics.Database("shop"))
	r.insert(t, "users")
	same(t, "before the audit", r.values(t, "seqheal_incidents_total"), map[string]float64{
		"seqheal_incidents_total shop healed users": 1, "seqheal_incidents_total shop already_healed users": 0,
		"seqheal_incidents_total shop refused users": 0, "seqheal_incidents_total shop failed users": 0,
	})
	r.audits.Audit(t.Context())
	labels := map[string]bool{}
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			text := ""
			for _, label := range m.GetLabel() {
				switch label.GetName() {
				case "database", "schema", "table":
					text += label.GetName() + "=" + label.GetValue() + ";"
				}
			}
			if strings.Contains(text, "users") {
				labels[text] = true
			}
		}
	}
	if want := "database=shop;schema=" + place.Schema + ";table=users;"; len(labels) != 1 || !labels[want] {
		t.Errorf("users is named %v, not %s alone", labels, want)
	}
	place.Exec("DROP TABLE users")
	r.audits.Audit(t.Context())
	if left := r.values(t, "seqheal_"); left["seqheal_incidents_total shop healed Order Items"] != 0 || strings.Contains(fmt.Sprint(left), "users") {
		t.Errorf("after the drop %v", left)
	}
}

// A failed audit says so and keeps what was read before, with its age.
// Unused sequences have no table to be told apart by.
func TestUnusedSequencesHaveNoMetrics(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec("CREATE SEQUENCE one; CREATE SEQUENCE two; CREATE TABLE users (id serial PRIMARY KEY)")
	r := start(t, place)
	r.audits = auditor.New(r.db, auditor.With(plugin.InSchemas(place.Schema), plugin.WithUnusedSequences()))
	r.registry = prometheus.NewPedanticRegistry()
	r.registry.MustRegister(metrics.New(r.audits))
	if result := r.audits.Audit(t.Context()); result.Err != nil || len(result.Findings) != 3 {
		t.Fatalf("%d findings, %v", len(result.Findings), result.Err)
	}
	same(t, "behind", r.values(t, "seqheal_sequence_behind"), map[string]float64{"seqheal_sequence_behind id users": 0})
	if got := r.values(t, "seqheal_incidents_total"); len(got) != 4 {
		t.Errorf("incidents: %v", got)
	}
}

func TestAFailedAudit(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(drifted)
	r := start(t, place)
	pool, err := r.db.DB()
	if err != nil {
		t.Fatal(err)
	}
	r.audits.Audit(t.Context())
	_ = pool.Close()
	r.audits.Audit(t.Context())
	got := r.values(t, "seqheal_")
	if got["seqheal_audit_success"] != 0 || got["seqheal_sequences behind"] != 1 || got["seqheal_audit_age_seconds"] <= 0 {
		t.Errorf("%v", got)
	}
	never := start(t, place)
	if pool, err = never.db.DB(); err != nil {
		t.Fatal(err)
	}
	_ = pool.Close()
	never.audits.Audit(t.Context())
	got = never.values(t, "seqheal_")
	_, sequences := got["seqheal_sequences behind"]
	_, age := got["seqheal_audit_age_seconds"]
	if got["seqheal_audit_success"] != 0 || sequences || age {
		t.Errorf("no audit has succeeded yet: %v", got)
	}
}

// Two replicas against one server: each counts its own incidents, both see the same
// sequences, and the one that does not audit says nothing of them.
func TestTwoReplicas(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(drifted)
	first, second, third := start(t, place), start(t, place), start(t, place)
	first.audits.Audit(t.Context())
	second.audits.Audit(t.Context())
	for _, r := range []*replica{first, second} {
		if got := r.values(t, "seqheal_sequences behind"); got["seqheal_sequences behind"] != 1 {
			t.Errorf("%v", got)
		}
	}
	first.insert(t, "users")
	second.insert(t, "users")
	third.insert(t, "users")
	sum := 0.0
	for _, r := range []*replica{first, second, third} {
		sum += r.values(t, "seqheal_incidents_total healed users")["seqheal_incidents_total healed users"]
	}
	if sum != 1 { // the first healed for all
		t.Errorf("%g incidents", sum)
	}
	if got := third.values(t, "seqheal_audit"); len(got) != 0 {
		t.Errorf("a replica that does not audit says %v", got)
	}
}

// Incidents of more tables than are counted by name are counted all the same.
func TestIncidentsAreCountedInBoundedSpace(t *testing.T) {
	t.Parallel()
	c := metrics.New(nil)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	var inserts sync.WaitGroup
	for worker := range 4 {
		inserts.Go(func() {
			for n := range 1000 {
				c.OnIncident(context.Background(), plugin.Incident{Outcome: plugin.Healed, Table: fmt.Sprintf(`"tenant"."t%d_%d"`, worker, n), Duration: time.Millisecond})
			}
			c.OnIncident(context.Background(), plugin.Incident{Outcome: plugin.Failed, Table: "\"bad\xff\"", Err: errors.New("no")})
		})
	}
	inserts.Wait()
	r := &replica{registry: registry}
	got, all := r.values(t, "seqheal_incidents_total"), 0.0
	for _, value := range got {
		all += value
	}
	if all != 4004 || got["seqheal_incidents_total healed other"] < 2000 || len(got) > 2000*4+2 {
		t.Errorf("%g incidents in %d series, %g under other", all, len(got), got["seqheal_incidents_total healed other"])
	}
}

package service

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
	"github.com/seqheal/seqheal/plugin/auditor"
	"github.com/seqheal/seqheal/plugin/metrics"
	seqotel "github.com/seqheal/seqheal/plugin/otel"
)

// series are the names and labels of what a registry exports of seqheal.
func series(t *testing.T, registry *prometheus.Registry) []string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, family := range families {
		for _, m := range family.GetMetric() {
			text := family.GetName() + " " + family.GetType().String()
			for _, label := range m.GetLabel() {
				if !strings.HasPrefix(label.GetName(), "otel_") {
					text += " " + label.GetName() + "=" + label.GetValue()
				}
			}
			if strings.HasPrefix(text, "seqheal_") && !(strings.Contains(text, "healing") && !strings.Contains(text, "=healed")) {
				all = append(all, text)
			}
		}
	}
	slices.Sort(all)
	return all
}

// OpenTelemetry's metrics have the names of plugin/metrics where Prometheus reads them:
// one set of rules and one dashboard serve both.
func TestOpenTelemetryHasTheSameNames(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec("CREATE TABLE users (id bigserial PRIMARY KEY)")
	audits := auditor.New(place.Open(nil), auditor.With(plugin.InSchemas(place.Schema)))
	own, translated := prometheus.NewRegistry(), prometheus.NewRegistry()
	collector := metrics.New(audits)
	own.MustRegister(collector)
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(translated))
	if err != nil {
		t.Fatal(err)
	}
	telemetry, err := seqotel.New(audits, seqotel.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter))))
	if err != nil {
		t.Fatal(err)
	}
	audits.Audit(t.Context())
	for _, fn := range []func(context.Context, plugin.Incident){collector.OnIncident, telemetry.OnIncident} {
		fn(t.Context(), plugin.Incident{Outcome: plugin.Healed, Table: `"shop"."orders"`, Duration: time.Millisecond})
	}
	got, want := series(t, translated), series(t, own)
	// A table that no audit knows starts at 0 with its first incident where the client can.
	want = slices.DeleteFunc(want, func(s string) bool { return strings.Contains(s, "orders") && !strings.Contains(s, "=healed") })
	if strings.Join(got, "\n") != strings.Join(want, "\n") || len(want) < 10 {
		t.Errorf("OpenTelemetry's:\n%s\nown:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

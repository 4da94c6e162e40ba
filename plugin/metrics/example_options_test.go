package metrics_test

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seqheal/seqheal/plugin"
	"github.com/seqheal/seqheal/plugin/metrics"
)

// Without an auditor the metrics are those about incidents.
func ExampleNew() {
	collector := metrics.New(nil)
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector)
	collector.OnIncident(context.Background(), plugin.Incident{Table: `"public"."users"`, Outcome: plugin.Healed})
	families, err := registry.Gather()
	if err != nil {
		panic(err)
	}
	for _, family := range families {
		fmt.Println(family.GetName())
	}
	// Output:
	// seqheal_healing_seconds
	// seqheal_incidents_total
}

// Two databases whose tables have equal names, watched by one Prometheus.
func ExampleDatabase() {
	prometheus.MustRegister(metrics.New(nil, metrics.Database("shop")), metrics.New(nil, metrics.Database("archive")))
}

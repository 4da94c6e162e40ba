package metrics_test

import (
	"context"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/plugin"
	"github.com/seqheal/seqheal/plugin/auditor"
	"github.com/seqheal/seqheal/plugin/metrics"
)

func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	db, err := gorm.Open(postgres.Open("postgres://app@localhost/app"), &gorm.Config{})
	if err != nil {
		panic(err)
	}
	audits := auditor.New(db)
	collector := metrics.New(audits)
	if err := db.Use(plugin.New(plugin.OnIncident(collector.OnIncident))); err != nil {
		panic(err)
	}
	prometheus.MustRegister(collector)
	go audits.Run(ctx)
	http.Handle("/metrics", promhttp.Handler())
}

// One replica of many audits, here the first of a Kubernetes StatefulSet. The others
// export their incidents.
func Example_oneReplicaAudits() {
	db, err := gorm.Open(postgres.Open("postgres://app@localhost/app"), &gorm.Config{})
	if err != nil {
		panic(err)
	}
	audits := auditor.New(db, auditor.Every(5*time.Minute), auditor.If(func(context.Context) bool {
		return strings.HasSuffix(os.Getenv("HOSTNAME"), "-0")
	}))
	prometheus.MustRegister(metrics.New(audits, metrics.Database("shop")))
	go audits.Run(context.Background())
}

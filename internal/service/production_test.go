package service

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
	"github.com/seqheal/seqheal/plugin/auditor"
	"github.com/seqheal/seqheal/plugin/metrics"
	seqotel "github.com/seqheal/seqheal/plugin/otel"
	"github.com/seqheal/seqheal/plugin/status"
)

// production is the README's snippet.
func production(ctx context.Context, db *gorm.DB, mux *http.ServeMux) error {
	audits := auditor.New(db) // reads every sequence once a minute, for the metrics
	collector := metrics.New(audits)
	telemetry, err := seqotel.New(nil) // an event on the insert's span
	if err != nil {
		return err
	}
	healing := plugin.New(
		plugin.WithLogger(slog.Default()), // records in the group "seqheal" instead of GORM's lines
		plugin.OnIncident(collector.OnIncident),
		plugin.OnIncident(telemetry.OnIncident),
		plugin.WithStartupAudit(), // logs what is behind already
	)
	if err := db.Use(healing); err != nil {
		return err
	}
	defer healing.Flush() // repeats are one line a minute
	prometheus.MustRegister(collector)
	go audits.Run(ctx)
	mux.Handle("/debug/seqheal/", status.Handler(healing, db)) // behind your own login
	return nil
}

// What the README gives for production heals, counts, logs and shows.
func TestTheProductionSnippet(t *testing.T) {
	var log strings.Builder
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(before)
	place := pgtest.New(t)
	place.Exec(`CREATE TABLE tickets (id bigserial PRIMARY KEY, name text); INSERT INTO tickets SELECT n, 'imported' FROM generate_series(1, 20) n`)
	db, mux := place.Open(nil), http.NewServeMux()
	if err := production(t.Context(), db, mux); err != nil {
		t.Fatal(err)
	}
	created := struct {
		ID   int64
		Name string
	}{Name: "new"}
	if err := db.Table("tickets").Create(&created).Error; err != nil || created.ID != 21 {
		t.Fatalf("%+v, %v", created, err)
	}
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	healed := 0.0
	for _, family := range families {
		if family.GetName() == "seqheal_incidents_total" {
			healed = sum(family, map[string]string{"outcome": "healed", "table": "tickets"})
		}
	}
	page := httptest.NewRecorder()
	mux.ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/debug/seqheal/", nil))
	if healed != 1 || !strings.Contains(page.Body.String(), place.Schema+".tickets") {
		t.Errorf("%g incidents are counted, and the page shows %d %.200s", healed, page.Code, page.Body)
	}
	for _, part := range []string{"finding.behind=20", "seqheal.outcome=healed"} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log lacks %s: %s", part, log.String())
		}
	}
}

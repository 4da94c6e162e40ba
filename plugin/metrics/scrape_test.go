package metrics_test

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/seqheal/seqheal/internal/pgtest"
)

// manyTables makes 10,000 tables, a thousand in each transaction.
func manyTables(place *pgtest.Place) {
	for n := range 10 {
		place.Exec(fmt.Sprintf(`DO $$ BEGIN FOR i IN %d..%d LOOP
			EXECUTE format('CREATE TABLE t%%s (id bigserial PRIMARY KEY, name text)', i); END LOOP; END $$`, n*1000, n*1000+999))
	}
}

// A scrape of 10,000 tables is far from Prometheus' timeout of 10 s, and does not ask
// the database.
func TestAScrapeOfTenThousandTables(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	manyTables(place)
	r := start(t, place)
	result := r.audits.Audit(t.Context())
	if result.Err != nil || len(result.Findings) != 10_000 {
		t.Fatalf("%d findings, %v", len(result.Findings), result.Err)
	}
	pool, err := r.db.DB()
	if err != nil {
		t.Fatal(err)
	}
	_ = pool.Close() // a scrape does without the database
	handler := promhttp.HandlerFor(r.registry, promhttp.HandlerOpts{})
	for _, which := range []string{"first", "next"} {
		recorder := httptest.NewRecorder()
		began := time.Now()
		handler.ServeHTTP(recorder, httptest.NewRequest("GET", "/metrics", nil))
		took := time.Since(began)
		lines := bytes.Count(recorder.Body.Bytes(), []byte("\nseqheal_"))
		t.Logf("the %s scrape took %s for %d series of %d bytes; the audit %s", which, took, lines, recorder.Body.Len(), result.Took)
		if recorder.Code != 200 || lines < 60_000 || took > 8*time.Second {
			t.Errorf("the %s scrape: %d, %d series, %s", which, recorder.Code, lines, took)
		}
	}
}

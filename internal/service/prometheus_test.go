package service

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
	"github.com/seqheal/seqheal/plugin/auditor"
	"github.com/seqheal/seqheal/plugin/metrics"
)

// replica is one process of an application that audits, as Prometheus sees it.
type replica struct {
	db     *gorm.DB
	audits *auditor.Auditor
	server *httptest.Server
}

func startReplica(t *testing.T, place *pgtest.Place) *replica {
	t.Helper()
	r := &replica{db: place.Open(nil)}
	r.audits = auditor.New(r.db, auditor.With(plugin.InSchemas(place.Schema)))
	collector := metrics.New(r.audits)
	if err := r.db.Use(plugin.New(plugin.OnIncident(collector.OnIncident))); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collector)
	r.server = httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	t.Cleanup(r.server.Close)
	r.audits.Audit(t.Context())
	return r
}

const prometheusConfig = `
global: {scrape_interval: 500ms, evaluation_interval: 500ms}
rule_files: [%s]
scrape_configs:
  - job_name: shop
    metrics_path: /
    static_configs: [{targets: [%q, %q]}]
`

// scraped starts a Prometheus with the example's rules that scrapes two replicas, and
// returns its address.
func scraped(t *testing.T, first, second *replica) string {
	t.Helper()
	path, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatal("these tests need Prometheus: apt-get install prometheus")
	}
	rules, err := filepath.Abs(filepath.Join(example, "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := fmt.Sprintf(prometheusConfig, rules, first.server.Listener.Addr(), second.server.Listener.Addr())
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	_ = free.Close()
	command := exec.Command(path, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--log.level=error")
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill(); _ = command.Wait() })
	return "http://" + address
}

// ask evaluates a query; "" means no answer yet.
func ask(t *testing.T, prometheus, query string) string {
	t.Helper()
	response, err := http.Get(prometheus + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		return ""
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		Error string
		Data  struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return ""
	}
	if answer.Error != "" && answer.Error != "Service Unavailable" {
		t.Fatalf("%s: %s", query, answer.Error)
	}
	text := ""
	for _, result := range answer.Data.Result {
		delete(result.Metric, "__name__")
		text += fmt.Sprintf("%v %v;", result.Metric, result.Value[1])
	}
	return text
}

// A real Prometheus, with the example's rules, that scrapes two replicas of one
// database: one table behind is one, and first incidents count, on either replica.
func TestPrometheusReadsTwoReplicasRight(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(`CREATE TABLE late (id bigserial PRIMARY KEY, name text); INSERT INTO late VALUES (20, 'imported');
		CREATE TABLE users (id bigserial PRIMARY KEY, name text); CREATE TABLE orders (id bigserial PRIMARY KEY, name text)`)
	first, second := startReplica(t, place), startReplica(t, place)
	at := scraped(t, first, second)
	is := func(what, query, want string) {
		t.Helper()
		got := ""
		defer func() {
			if t.Failed() {
				t.Logf("%s is %s, want %s", query, got, want)
			}
		}()
		pgtest.Eventually(t, what, func() bool { got = ask(t, at, query); return got == want })
	}
	is("both replicas", `count(seqheal_sequence_behind > 0)`, "map[] 2;")
	is("one table behind", `count(seqheal:sequence_behind:max > 0)`, "map[] 1;")
	is("its value", `seqheal:sequence_behind:max{table="late"}`, fmt.Sprintf("map[column:id schema:%s table:late] 20;", place.Schema))
	is("the panel", readDashboard(t).Panels[0].Targets[0].Expr, "map[] 1;")
	if got := ask(t, at, `seqheal:incidents:increase15m`); got != "" {
		t.Errorf("incidents before the first: %s", got)
	}
	for table, r := range map[string]*replica{"users": first, "orders": second} {
		place.Exec("INSERT INTO " + table + " VALUES (1, 'imported')")
		if err := r.db.Table(table).Create(map[string]any{"name": "new"}).Error; err != nil {
			t.Fatal(err)
		}
	}
	is("an alert for each table", `count by (alertname) (ALERTS{alertname="SeqhealSequenceHealed", alertstate="firing"})`, "map[alertname:SeqhealSequenceHealed] 2;")
	is("no other alert", `count(ALERTS{alertstate="firing", alertname!="SeqhealSequenceHealed"})`, "")
	if got := ask(t, at, `sum(seqheal_incidents_total) == 2`); got == "" {
		t.Error("the incidents are not two")
	}
}

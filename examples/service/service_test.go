package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/seqheal/seqheal/internal/pgtest"
)

// served is the service on a place of the test's own.
type served struct {
	*shop
	t     *testing.T
	place *pgtest.Place
	at    string
	spans *tracetest.SpanRecorder
	log   bytes.Buffer
}

func start(t *testing.T) *served {
	t.Helper()
	s := &served{t: t, place: pgtest.New(t), spans: tracetest.NewSpanRecorder()}
	var err error
	s.shop, err = openShop(t.Context(), slog.New(slog.NewJSONHandler(&s.log, nil)), s.place.DSN,
		sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(s.spans)))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s.handler())
	s.at = server.URL
	t.Cleanup(func() {
		server.Close()
		s.close()
	})
	return s
}

func (s *served) get(path string) (int, string) {
	s.t.Helper()
	response, err := http.Get(s.at + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// metrics is what Prometheus reads.
func (s *served) metrics() map[string]*dto.MetricFamily {
	s.t.Helper()
	_, text := s.get("/metrics")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		s.t.Fatal(err)
	}
	return families
}

// sum adds up a family's values whose labels have these values.
func sum(family *dto.MetricFamily, labels map[string]string) (total float64) {
next:
	for _, metric := range family.GetMetric() {
		have := map[string]string{}
		for _, label := range metric.GetLabel() {
			have[label.GetName()] = label.GetValue()
		}
		for name, value := range labels {
			if have[name] != value {
				continue next
			}
		}
		total += metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + float64(metric.GetHistogram().GetSampleCount())
	}
	return total
}

// Tables that drift under load: no request fails, every order has the contents that
// were sent, and everything that watches says what happened.
func TestDriftUnderLoad(t *testing.T) {
	t.Parallel()
	s := start(t)
	const clients, each = 8, 25
	var sending sync.WaitGroup
	var mutex sync.Mutex
	sent := map[int64]Order{}
	finished := make(chan struct{})
	var sentCount atomic.Int64
	for client := range clients {
		sending.Go(func() {
			for n := range each {
				order := Order{Customer: fmt.Sprintf("customer %d/%d", client, n)}
				for item := range 1 + n%4 {
					order.Items = append(order.Items, Item{Product: fmt.Sprintf("product %d/%d/%d", client, n, item), Quantity: item + 1})
				}
				stored, err := sendOrder(t.Context(), http.DefaultClient, s.at, order)
				if err != nil {
					t.Errorf("%s: %v", order.Customer, err)
					continue
				}
				mutex.Lock()
				sent[stored.ID] = order
				mutex.Unlock()
				sentCount.Add(1)
			}
		})
	}
	go func() { sending.Wait(); close(finished) }()
	imports := 0
	for running := true; running; {
		before := sentCount.Load()
		if err := importRows(t.Context(), s.db, 10); err != nil {
			t.Error(err)
		}
		imports++
		// The next import comes when orders went on.
		pgtest.Eventually(t, "orders", func() bool {
			select {
			case <-finished:
				running = false
			default:
			}
			return !running || sentCount.Load() >= before+10
		})
	}
	// One more, which is met for certain.
	if err := importRows(t.Context(), s.db, 10); err != nil {
		t.Fatal(err)
	}
	last, err := sendOrder(t.Context(), http.DefaultClient, s.at, Order{Customer: "last", Items: []Item{{Product: "last", Quantity: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	sent[last.ID] = Order{Customer: "last", Items: []Item{{Product: "last", Quantity: 1}}}
	if len(sent) != clients*each+1 {
		t.Errorf("%d orders have an id of their own", len(sent))
	}
	items := 0
	for id, order := range sent {
		code, text := s.get(fmt.Sprintf("/orders/%d", id))
		var stored Order
		if err := json.Unmarshal([]byte(text), &stored); err != nil || code != http.StatusOK {
			t.Fatalf("%d %v: %s", code, err, text)
		}
		if stored.Customer != order.Customer || len(stored.Items) != len(order.Items) {
			t.Errorf("order %d is %+v, sent was %+v", id, stored, order)
			continue
		}
		for n, item := range stored.Items {
			items++
			if item.Product != order.Items[n].Product || item.Quantity != order.Items[n].Quantity {
				t.Errorf("order %d has %+v, sent was %+v", id, item, order.Items[n])
			}
		}
	}
	if got := s.place.Text("SELECT count(*) FROM items WHERE product <> 'import'"); got != fmt.Sprint(items) {
		t.Errorf("%s items are stored, of %d", got, items)
	}
	if wrong := s.place.Text("SELECT * FROM items JOIN orders ON orders.id = order_id WHERE (product = 'import') <> (customer = 'import')"); wrong != "" {
		t.Errorf("items of other orders:\n%s", wrong)
	}

	stats := s.healing.Stats()
	if stats.Healed == 0 || stats.Refused+stats.Failed != 0 {
		t.Errorf("%d imports, %+v\n%s", imports, stats.Counts, &s.log)
	}
	families := s.metrics()
	orders := `"` + s.place.Schema + `"."orders"`
	for name, c := range map[string]struct {
		labels map[string]string
		want   float64
	}{
		"seqheal_incidents_total": {map[string]string{"table": orders, "outcome": "healed"}, float64(stats.Tables[orders].Healed)},
		"seqheal_healing_seconds": {map[string]string{"outcome": "healed"}, float64(stats.Healed)},
		"seqheal_tables_known":    {nil, 2},
		"seqheal_audit_success":   {nil, 1},
		"seqheal_sequence_behind": {map[string]string{"schema": s.place.Schema}, 0},
	} {
		if got := sum(families[name], c.labels); families[name] == nil || got != c.want {
			t.Errorf("%s%v is %g, not %g", name, c.labels, got, c.want)
		}
	}
	if got := sum(families["seqheal_sequence_headroom_ratio"], map[string]string{"schema": s.place.Schema}); got < 1.999 || got > 2 { // a bigint is hardly begun
		t.Errorf("headroom of both in all %g", got)
	}
	_, page := s.get("/debug/seqheal/")
	for _, part := range []string{"Recent incidents", `<span class="state">healed</span>`, s.place.Schema + ".orders", "Resync now"} {
		if !strings.Contains(page, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	var events int64
	for _, span := range s.spans.Ended() {
		for _, event := range span.Events() {
			if event.Name != "seqheal.incident" || span.Name() != "POST /orders" {
				t.Errorf("%s on %s", event.Name, span.Name())
			}
			events++
		}
	}
	if events != stats.Total() {
		t.Errorf("%d span events for %d incidents", events, stats.Total())
	}
	if text := s.log.String(); !strings.Contains(text, `"msg":"seqheal: healed a drifted sequence"`) || strings.Contains(text, `"level":"ERROR"`) {
		t.Errorf("log %s", text)
	}
}

// Without the plugin the same imports make requests fail: the test above would notice.
func TestTheImportsDoHarm(t *testing.T) {
	t.Parallel()
	s := start(t)
	if err := importRows(t.Context(), s.db, 10); err != nil {
		t.Fatal(err)
	}
	plain := s.place.Open(nil)
	failed := 0
	for range 12 {
		if err := plain.Create(&Order{Customer: "c", Items: []Item{{Product: "p", Quantity: 1}}}).Error; err != nil {
			failed++
		}
	}
	if failed == 0 {
		t.Error("no insert failed")
	}
}

func TestWhatIsNoOrder(t *testing.T) {
	t.Parallel()
	s := start(t)
	for body, want := range map[string]int{
		`{"customer": "c", "items": []}`: 400, `{"items": [{"product": "p"}]}`: 400, `{`: 400, "": 400,
		`{"customer": "` + strings.Repeat("x", 2<<20) + `"}`:                                400,
		`{"id": 77, "customer": "c", "items": [{"id": 88, "product": "p", "quantity": 1}]}`: 201,
	} {
		response, err := http.Post(s.at+"/orders", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%.60s: %s", body, response.Status)
		}
	}
	if got := s.place.Text("SELECT o.id, i.id, order_id, product FROM orders o JOIN items i ON order_id = o.id"); got != "1|1|1|p" {
		t.Errorf("a client chose ids: %s", got)
	}
	for path, want := range map[string]int{"/orders/1": 200, "/orders/2": 404, "/orders/x": 404, "/healthz": 200, "/": 404} {
		if code, text := s.get(path); code != want {
			t.Errorf("%s: %d %s", path, code, text)
		}
	}
}

// The service ends requests under way before it ends itself, and leaves no connection.
func TestShutdown(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	name := "shutdown_" + place.Schema
	shop, err := openShop(t.Context(), slog.New(slog.DiscardHandler), place.DSNFor(map[string]string{"application_name": name}), sdktrace.NewTracerProvider())
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := "http://" + listener.Addr().String()
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, listener, shop.handler()) }()

	lock, err := place.SQL.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Exec("LOCK TABLE orders"); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	answered := make(chan error, 1)
	go func() {
		_, err := sendOrder(t.Context(), client, at, Order{Customer: "c", Items: []Item{{Product: "p", Quantity: 1}}})
		answered <- err
	}()
	const waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
	pgtest.Eventually(t, "the request to wait", func() bool { return place.Int(waiting+" AND wait_event_type = 'Lock'", name) == 1 })
	end()
	pgtest.Eventually(t, "no new request to be taken", func() bool {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	select {
	case err := <-ended:
		t.Errorf("the service ended with a request under way: %v", err)
	default:
	}
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(<-answered, <-ended); err != nil {
		t.Error(err)
	}
	shop.close()
	pgtest.Eventually(t, "the connections to be gone", func() bool { return place.Int(waiting, name) == 0 })
	if got := place.Text("SELECT customer FROM orders"); got != "c" {
		t.Errorf("stored %s", got)
	}
}

// The program as a whole: it starts a server of its own, heals what -demo drifts, and
// ends at an interrupt, with nothing left.
func TestTheProgram(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "service")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	command := exec.Command(program, "-addr", "127.0.0.1:0", "-demo", "-traces")
	var traces bytes.Buffer
	command.Stderr = &traces
	command.Env = append(os.Environ(), "SEQHEAL_DSN=")
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill() })
	lines := bufio.NewScanner(output)
	healed, status := false, ""
	for !healed && lines.Scan() {
		var entry struct {
			Msg, Level, Status string
			Seqheal            struct{ Outcome string }
		}
		if err := json.Unmarshal(lines.Bytes(), &entry); err != nil || entry.Level == "ERROR" {
			t.Fatalf("%v: %s", err, lines.Text())
		}
		if entry.Msg == "serving" {
			status = entry.Status
		}
		healed = entry.Seqheal.Outcome == "healed"
	}
	if !healed {
		t.Fatal("the program ended before it healed anything")
	}
	response, err := http.Get(status)
	if err != nil {
		t.Fatal(err)
	}
	page, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil || !strings.Contains(string(page), `<span class="state">healed</span>`) {
		t.Errorf("the page does not tell of it: %v", err)
	}
	if err := command.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		if strings.Contains(lines.Text(), `"level":"ERROR"`) {
			t.Error(lines.Text())
		}
	}
	if err := command.Wait(); err != nil {
		t.Errorf("%v: %s", err, traces.String())
	}
	if !strings.Contains(traces.String(), "seqheal.incident") {
		t.Error("no span has the event")
	}
}

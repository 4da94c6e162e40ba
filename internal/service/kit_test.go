package service

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/seqheal/seqheal/internal/pgtest"
)

const example = "../../examples/service"

// program is the example, built once.
var program string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "seqheal-service-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program = filepath.Join(dir, "service")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", program, ".")
	build.Dir = example
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the example: %v: %s", err, out)
		return 1
	}
	return m.Run()
}

// order and item are what the service takes and returns.
type order struct {
	ID       int64  `json:"id,omitempty"`
	Customer string `json:"customer"`
	Items    []item `json:"items"`
}

type item struct {
	ID       int64  `json:"id,omitempty"`
	Product  string `json:"product"`
	Quantity int    `json:"quantity"`
}

// database makes a database of the test's own and returns a place in it.
func database(t *testing.T) *pgtest.Place {
	t.Helper()
	place := pgtest.New(t)
	name := "db_" + place.Schema
	place.Exec("CREATE DATABASE " + name)
	t.Cleanup(func() { place.Exec("DROP DATABASE " + name + " WITH (FORCE)") })
	inside := *place
	inside.DSN = place.DSNFor(map[string]string{"dbname": name, "search_path": "seqheal_example,public"})
	inside.SQL = openSQL(t, inside.DSN)
	return &inside
}

// process is one running service.
type process struct {
	t       *testing.T
	command *exec.Cmd
	at      string
	stderr  bytes.Buffer
	ended   chan struct{}
	mutex   sync.Mutex
	log     []string
}

// launch starts the program and waits until it serves.
func launch(t *testing.T, dsn string, arguments ...string) *process {
	t.Helper()
	p := &process{t: t, ended: make(chan struct{}), command: exec.Command(program, append([]string{"-addr", "127.0.0.1:0"}, arguments...)...)}
	p.command.Env = append(os.Environ(), "DATABASE_URL="+dsn)
	p.command.Stderr = &p.stderr
	output, err := p.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.command.Process.Kill(); <-p.ended })
	serving := make(chan string, 1)
	go func() {
		defer close(p.ended)
		lines := bufio.NewScanner(output)
		for lines.Scan() {
			p.mutex.Lock()
			p.log = append(p.log, lines.Text())
			p.mutex.Unlock()
			var entry struct{ Msg, Orders string }
			if json.Unmarshal(lines.Bytes(), &entry) == nil && entry.Msg == "serving" {
				serving <- strings.TrimSuffix(entry.Orders, "/orders")
			}
		}
	}()
	select {
	case p.at = <-serving:
	case <-p.ended:
		t.Fatalf("the service ended: %s", p.logged())
	}
	return p
}

func (p *process) logged() string {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return strings.Join(p.log, "\n")
}

// interrupt sends Ctrl-C; wait waits for the end.
func (p *process) interrupt() {
	p.t.Helper()
	if err := p.command.Process.Signal(syscall.SIGINT); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) wait() error {
	<-p.ended
	return p.command.Wait()
}

func (p *process) get(path string) (int, string) {
	p.t.Helper()
	response, err := http.Get(p.at + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// send orders, and returns the order as the service stored it.
func (p *process) send(o order) (stored order, err error) {
	body, err := json.Marshal(o)
	if err != nil {
		return stored, err
	}
	response, err := http.Post(p.at+"/orders", "application/json", bytes.NewReader(body))
	if err != nil {
		return stored, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusCreated {
		return stored, fmt.Errorf("%s", response.Status)
	}
	return stored, json.NewDecoder(response.Body).Decode(&stored)
}

func (p *process) metrics() map[string]*dto.MetricFamily {
	p.t.Helper()
	_, text := p.get("/metrics")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		p.t.Fatal(err)
	}
	return families
}

// sum adds up a family's values whose labels have these values.
func sum(family *dto.MetricFamily, labels map[string]string) (total float64) {
	for _, metric := range family.GetMetric() {
		matching := 0
		for _, label := range metric.GetLabel() {
			if value, asked := labels[label.GetName()]; asked && value == label.GetValue() {
				matching++
			}
		}
		if matching == len(labels) {
			total += metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + float64(metric.GetHistogram().GetSampleCount())
		}
	}
	return total
}

// imports drift both tables: rows with explicit ids in front of their sequences.
func imports(place *pgtest.Place) {
	place.Exec(`INSERT INTO orders (id, customer, created_at)
		SELECT s.last_value + g, 'import', now() FROM orders_id_seq s, generate_series(1, 10) g ON CONFLICT DO NOTHING`)
	place.Exec(`INSERT INTO items (id, order_id, product, quantity)
		SELECT s.last_value + g, (SELECT max(id) FROM orders WHERE customer = 'import'), 'import', g
		FROM items_id_seq s, generate_series(1, 20) g ON CONFLICT DO NOTHING`)
}

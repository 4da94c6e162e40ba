package service

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/seqheal/seqheal/internal/pgtest"
)

func openSQL(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	pool, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	return pool
}

// clients send orders, each to a replica of its own, and remember what was stored.
type clients struct {
	mutex sync.Mutex
	sent  map[int64]order
	count atomic.Int64
}

func (c *clients) send(t *testing.T, client, orders int, replica *process) {
	for n := range orders {
		o := order{Customer: fmt.Sprintf("customer %d/%d", client, n)}
		for i := range 1 + n%4 {
			o.Items = append(o.Items, item{Product: fmt.Sprintf("product %d/%d/%d", client, n, i), Quantity: i + 1})
		}
		stored, err := replica.send(o)
		if err != nil {
			t.Errorf("%s: %v", o.Customer, err)
			continue
		}
		c.mutex.Lock()
		c.sent[stored.ID] = o
		c.mutex.Unlock()
		c.count.Add(1)
	}
}

// check reads every order back.
func (c *clients) check(t *testing.T, replica *process) {
	t.Helper()
	for id, o := range c.sent {
		code, text := replica.get(fmt.Sprintf("/orders/%d", id))
		var stored order
		if err := json.Unmarshal([]byte(text), &stored); err != nil || code != http.StatusOK {
			t.Fatalf("%d %v: %s", code, err, text)
		}
		for n := range stored.Items {
			stored.Items[n].ID = 0
		}
		if o.ID = id; fmt.Sprint(stored) != fmt.Sprint(o) {
			t.Errorf("order %d is %+v, sent was %+v", id, stored, o)
		}
	}
}

// Tables that drift under the load of two replicas: no request fails, every order has
// the contents that were sent, and everything that watches says what happened.
func TestTwoReplicasInDrift(t *testing.T) {
	t.Parallel()
	place := database(t)
	first := launch(t, place.DSN, "-traces")
	second := launch(t, place.DSN, "-replica")
	const each = 25
	c := clients{sent: map[int64]order{}}
	var sending sync.WaitGroup
	for client := range 8 {
		sending.Go(func() { c.send(t, client, each, []*process{first, second}[client%2]) })
	}
	finished := make(chan struct{})
	go func() { sending.Wait(); close(finished) }()
	for running := true; running; {
		before := c.count.Load()
		imports(place)
		pgtest.Eventually(t, "orders", func() bool {
			select {
			case <-finished:
				running = false
			default:
			}
			return !running || c.count.Load() >= before+10
		})
	}
	imports(place) // one more, which is met for certain
	c.send(t, 8, 1, second)
	if len(c.sent) != 8*each+1 {
		t.Errorf("%d orders have an id of their own", len(c.sent))
	}
	c.check(t, first)
	if wrong := place.Text("SELECT * FROM items JOIN orders ON orders.id = order_id WHERE (product = 'import') <> (customer = 'import')"); wrong != "" {
		t.Errorf("items of other orders:\n%s", wrong)
	}

	pgtest.Eventually(t, "the first audit", func() bool { return first.metrics()["seqheal_sequences"] != nil })
	a, b := first.metrics(), second.metrics()
	healed := map[string]string{"outcome": "healed"}
	if n := sum(a["seqheal_incidents_total"], healed) + sum(b["seqheal_incidents_total"], healed); n == 0 ||
		n != sum(a["seqheal_healing_seconds"], healed)+sum(b["seqheal_healing_seconds"], healed) || sum(b["seqheal_incidents_total"], healed) == 0 {
		t.Errorf("%g incidents were healed", n)
	}
	if n := sum(a["seqheal_sequences"], nil); n != 2 || sum(a["seqheal_audit_success"], nil) != 1 {
		t.Errorf("the audit found %g sequences", n)
	}
	for name := range b {
		if strings.HasPrefix(name, "seqheal_sequence") || strings.HasPrefix(name, "seqheal_audit") {
			t.Errorf("the second replica does not audit, and exports %s", name)
		}
	}
	_, page := second.get("/debug/seqheal/")
	for _, part := range []string{"Recent incidents", `<span class="state">healed</span>`, "seqheal_example.items"} {
		if !strings.Contains(page, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	for _, p := range []*process{second, first} {
		p.interrupt()
		if err := p.wait(); err != nil || strings.Contains(p.logged(), `"level":"ERROR"`) {
			t.Errorf("%v: %s", err, p.logged())
		}
	}
	if !strings.Contains(first.logged()+second.logged(), `"msg":"seqheal: healed a drifted sequence"`) || !strings.Contains(first.stderr.String(), "seqheal.incident") {
		t.Error("the log or the spans do not tell of it")
	}
}

func TestWhatIsNoOrder(t *testing.T) {
	t.Parallel()
	place := database(t)
	p := launch(t, place.DSN)
	for body, want := range map[string]int{
		`{"customer": "c", "items": []}`: 400, `{"items": [{"product": "p"}]}`: 400, `{`: 400, "": 400,
		`{"customer": "` + strings.Repeat("x", 2<<20) + `"}`:                                400,
		`{"id": 77, "customer": "c", "items": [{"id": 88, "product": "p", "quantity": 1}]}`: 201,
	} {
		response, err := http.Post(p.at+"/orders", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%.60s: %s", body, response.Status)
		}
	}
	if got := place.Text("SELECT o.id, i.id, order_id, product FROM orders o JOIN items i ON order_id = o.id"); got != "1|1|1|p" {
		t.Errorf("a client chose ids: %s", got)
	}
	for path, want := range map[string]int{"/orders/1": 200, "/orders/2": 404, "/orders/x": 404, "/healthz": 200, "/": 404} {
		if code, text := p.get(path); code != want {
			t.Errorf("%s: %d %s", path, code, text)
		}
	}
}

// The service ends requests under way before it ends itself, and leaves nothing in the
// database: what was there before is as it was.
func TestItLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	place := database(t)
	place.Exec(`CREATE TABLE public.orders (id serial PRIMARY KEY, theirs text); INSERT INTO public.orders VALUES (7, 'mine')`)
	const relations = "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE n.nspname !~ '^pg_|information_schema' ORDER BY 1, 2"
	before := place.Text(relations)
	p := launch(t, place.DSN)
	if _, err := p.send(order{Customer: "c", Items: []item{{Product: "p", Quantity: 1}}}); err != nil {
		t.Fatal(err)
	}
	lock, err := place.SQL.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Exec("LOCK TABLE seqheal_example.orders"); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := p.send(order{Customer: "late", Items: []item{{Product: "p", Quantity: 1}}})
		answered <- err
	}()
	pgtest.Eventually(t, "the request to wait", func() bool {
		return place.Int("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") == 1
	})
	p.interrupt()
	pgtest.Eventually(t, "no new request to be taken", func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.at, "http://"))
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	select {
	case <-p.ended:
		t.Error("the service ended with a request under way")
	default:
	}
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(<-answered, p.wait()); err != nil {
		t.Error(err)
	}
	if got := place.Text("SELECT id, theirs FROM public.orders"); got != "7|mine" || place.Int("SELECT last_value FROM public.orders_id_seq") != 1 {
		t.Errorf("another's table holds %s", got)
	}
	if after := place.Text(relations); after != before {
		t.Errorf("left behind:\n%s", after)
	}
}

// Where its schema exists the service does not start, and touches nothing. It says so,
// and what to do; without a database too.
func TestItRefusesWhatIsNotItsOwn(t *testing.T) {
	t.Parallel()
	place := database(t)
	place.Exec(`CREATE SCHEMA seqheal_example; CREATE TABLE orders (id serial PRIMARY KEY, theirs text); INSERT INTO orders VALUES (7, 'mine')`)
	for dsn, want := range map[string]string{
		place.DSN: "schema seqheal_example exists", "": "docker run", "nonsense": "cannot parse",
	} {
		code, out := runToEnd(t, dsn)
		if code != 1 || !strings.Contains(out, want) {
			t.Errorf("%d: %s", code, out)
		}
	}
	if got := place.Text("SELECT id, theirs FROM orders"); got != "7|mine" || place.Text("SELECT count(*) FROM pg_class WHERE relnamespace = 'seqheal_example'::regnamespace") != "3" {
		t.Errorf("the table holds %s", got)
	}
}

// The demo drifts its tables and heals them.
func TestTheDemo(t *testing.T) {
	t.Parallel()
	place := database(t)
	p := launch(t, place.DSN, "-demo")
	pgtest.Eventually(t, "a heal", func() bool { return strings.Contains(p.logged(), `"outcome":"healed"`) })
	p.interrupt()
	if err := p.wait(); err != nil || strings.Contains(p.logged(), `"level":"ERROR"`) {
		t.Errorf("%v: %s", err, p.logged())
	}
}

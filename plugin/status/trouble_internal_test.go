package status

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// clock is a time that the test sets.
type manualClock struct {
	mutex sync.Mutex
	at    time.Time
}

func (c *manualClock) now() time.Time {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.at
}

func (c *manualClock) advance(d time.Duration) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.at = c.at.Add(d)
}

// counted is an auditor whose audits the test counts and lets through.
func counted(clock *manualClock, run func(context.Context) ([]plugin.Finding, error)) (*auditor, *atomic.Int64) {
	var audits atomic.Int64
	return &auditor{now: clock.now, timeout: 10 * time.Second, run: func(ctx context.Context) ([]plugin.Finding, error) {
		audits.Add(1)
		return run(ctx)
	}}, &audits
}

var one = []plugin.Finding{{Table: "users", State: plugin.StateBehind}}

// Many pages that are open share one audit: those that come first wait for it, those
// that come while a newer one is made get the one before.
func TestManyClientsShareOneAudit(t *testing.T) {
	t.Parallel()
	clock := &manualClock{at: time.Now()}
	reached, open := make(chan struct{}, 100), make(chan struct{})
	a, audits := counted(clock, func(context.Context) ([]plugin.Finding, error) {
		reached <- struct{}{}
		<-open
		return one, nil
	})
	var clients sync.WaitGroup
	for range 50 {
		clients.Go(func() {
			if r := a.latest(context.Background()); r.err != nil || len(r.findings) != 1 {
				t.Errorf("%v, %d findings", r.err, len(r.findings))
			}
		})
	}
	<-reached
	close(open)
	clients.Wait()
	if n := audits.Load(); n != 1 {
		t.Fatalf("%d audits for clients that came at once", n)
	}
	clock.advance(keep - 1)
	a.latest(context.Background())
	if n := audits.Load(); n != 1 {
		t.Fatalf("%d audits while the first was good", n)
	}
	clock.advance(1)
	open = make(chan struct{})
	clients.Go(func() { a.latest(context.Background()) })
	<-reached
	for range 50 { // one audit is under way
		if r := a.latest(context.Background()); r.err != nil || len(r.findings) != 1 {
			t.Errorf("%v, %d findings", r.err, len(r.findings))
		}
	}
	close(open)
	clients.Wait()
	if n := audits.Load(); n != 2 {
		t.Errorf("%d audits in all", n)
	}
}

// An audit that takes long is kept for longer, so that open pages do not keep the
// server busy; a failed one is not.
func TestALongAuditIsKeptForLonger(t *testing.T) {
	t.Parallel()
	clock := &manualClock{at: time.Now()}
	failing := false
	a, audits := counted(clock, func(context.Context) ([]plugin.Finding, error) {
		clock.advance(2 * time.Second)
		if failing {
			return nil, errors.New("no connection")
		}
		return one, nil
	})
	a.latest(context.Background())
	clock.advance(keepFactor*2*time.Second - 1)
	a.latest(context.Background())
	if n := audits.Load(); n != 1 {
		t.Errorf("%d audits", n)
	}
	clock.advance(1)
	failing = true
	if r := a.latest(context.Background()); r.err == nil || len(r.findings) != 1 || !r.read.Before(r.tried) {
		t.Errorf("after a failure %+v", r)
	}
	clock.advance(keep)
	failing = false
	if r := a.latest(context.Background()); r.err != nil || audits.Load() != 3 {
		t.Errorf("after the trouble %+v, %d audits", r, audits.Load())
	}
}

// An audit that began before a resync is not shown as what came after it.
func TestAResyncOutdatesTheAudit(t *testing.T) {
	t.Parallel()
	clock := &manualClock{at: time.Now()}
	reached, open := make(chan struct{}, 10), make(chan struct{})
	a, audits := counted(clock, func(context.Context) ([]plugin.Finding, error) {
		reached <- struct{}{}
		<-open
		return one, nil
	})
	var first sync.WaitGroup
	first.Go(func() { a.latest(context.Background()) })
	<-reached
	a.outdate()
	close(open)
	first.Wait()
	a.latest(context.Background())
	a.latest(context.Background())
	if n := audits.Load(); n != 2 {
		t.Errorf("%d audits", n)
	}
	a.outdate()
	a.latest(context.Background())
	if n := audits.Load(); n != 3 {
		t.Errorf("%d audits", n)
	}
}

// A client that goes away does not end the audit that others wait for; one that waits
// has its own time; a panic frees them.
func TestClientsThatGo(t *testing.T) {
	t.Parallel()
	clock := &manualClock{at: time.Now()}
	reached, open := make(chan struct{}, 10), make(chan struct{})
	a, _ := counted(clock, func(ctx context.Context) ([]plugin.Finding, error) {
		reached <- struct{}{}
		<-open
		return one, ctx.Err()
	})
	ctx, leave := context.WithCancel(context.Background())
	results := make(chan result, 1)
	go func() { results <- a.latest(ctx) }()
	<-reached
	gone, go2 := context.WithCancel(context.Background())
	go2()
	if r := a.latest(gone); r.err == nil || !strings.Contains(r.err.Error(), "another request reads the database") {
		t.Errorf("a client without time: %+v", r)
	}
	leave()
	close(open)
	if r := <-results; r.err != nil {
		t.Error(r.err)
	}

	b, _ := counted(clock, func(context.Context) ([]plugin.Finding, error) { panic("oh no") })
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		b.latest(context.Background())
	}()
	if r := b.latest(context.Background()); r.err == nil || !strings.Contains(r.err.Error(), "panic") {
		t.Errorf("after a panic %+v", r)
	}
}

// proxy stands between the application and its database until it is cut: then it
// takes connections and says nothing, as a network that loses all packets does.
type proxy struct {
	net.Listener
	cut   atomic.Bool
	mutex sync.Mutex
	conns []net.Conn
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: listener}
	t.Cleanup(func() {
		_ = listener.Close()
		p.mutex.Lock()
		defer p.mutex.Unlock()
		for _, c := range p.conns {
			_ = c.Close()
		}
	})
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				_ = client.Close()
				continue
			}
			p.mutex.Lock()
			p.conns = append(p.conns, client, server)
			p.mutex.Unlock()
			for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
				go func() {
					buffer := make([]byte, 32<<10)
					for {
						n, err := way[0].Read(buffer)
						if err != nil {
							_ = way[1].Close()
							return
						}
						if !p.cut.Load() {
							_, _ = way[1].Write(buffer[:n])
						}
					}
				}()
			}
		}
	}()
	return p
}

// A database that goes away while the page is open: the page still comes, with what
// was read before and why there is nothing newer, and without the password. When the
// database is back, so is the page.
func TestTheDatabaseGoesAway(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(`CREATE TABLE users (id bigserial PRIMARY KEY); INSERT INTO users VALUES (7)`)
	at, _, _ := strings.Cut(strings.TrimPrefix(place.DSN, "postgres://postgres@"), "/")
	p := newProxy(t, at)
	_, port, _ := net.SplitHostPort(p.Addr().String())
	dsn := "host=127.0.0.1 port=" + port + " user=postgres password='hunter2 secret' dbname=postgres sslmode=disable search_path=" + place.Schema
	db, err := gorm.Open(postgres.Open(dsn), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		t.Fatal(err)
	}
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	clock := &manualClock{at: time.Now()}
	h := Handler(plugin.New(), db, WithAuditTimeout(500*time.Millisecond), WithAudit(plugin.InSchemas(place.Schema))).(*handler)
	h.now, h.auditor.now = clock.now, clock.now
	ask := func(query string) string {
		t.Helper()
		recorder := httptest.NewRecorder()
		h.ServeHTTP(recorder, httptest.NewRequest("GET", "/"+query, nil))
		if recorder.Code != http.StatusOK {
			t.Errorf("%d %s", recorder.Code, recorder.Body)
		}
		if strings.Contains(recorder.Body.String(), "hunter2") {
			t.Error("the page tells the password")
		}
		return recorder.Body.String()
	}
	if text := ask(""); !strings.Contains(text, "<h1>1 sequence is behind</h1>") {
		t.Fatal("the page does not tell of the drift")
	}
	p.cut.Store(true)
	clock.advance(keep * 20)
	for _, part := range []string{"<h1>1 sequence is behind</h1>", "There is nothing newer", "not all could be read within 500ms", "<b>users</b>"} {
		if text := ask(""); !strings.Contains(text, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	if text := ask("?format=json"); !strings.Contains(text, `"error": "not all could be read within 500ms`) {
		t.Errorf("the JSON tells no error: %s", text)
	}
	// A page that is opened only now.
	fresh := Handler(plugin.New(), db, WithAuditTimeout(300*time.Millisecond))
	recorder := httptest.NewRecorder()
	fresh.ServeHTTP(recorder, httptest.NewRequest("GET", "/", nil))
	for _, part := range []string{"<h1>The sequences could not be read</h1>", "Nothing could be read:", "not all could be read within 300ms"} {
		if text := recorder.Body.String(); !strings.Contains(text, part) || strings.Contains(text, "hunter2") {
			t.Errorf("the page lacks %q: %s", part, text)
		}
	}
	p.cut.Store(false)
	clock.advance(keep * 20)
	pgtest.Eventually(t, "the page to be well again", func() bool {
		clock.advance(keep * 20)
		return !strings.Contains(ask(""), "There is nothing newer")
	})
	_ = pool.Close()
	clock.advance(keep * 20)
	if text := ask(""); !strings.Contains(text, "There is nothing newer") || !strings.Contains(text, "closed") {
		t.Error("the page does not tell that the pool is closed")
	}
}

// No password in what is shown, however the driver writes it.
func TestPresentable(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"cannot parse `postgres://app:s3cret@db:5432/x?sslmode=bad`":  "cannot parse `postgres://app:xxxxx@db:5432/x?sslmode=bad`",
		"failed: postgresql://app:p@ss@db/x":                          "failed: postgresql://app:xxxxx@db/x",
		"dial host=db password='it''s \\' me' user=app":               "dial host=db password=xxxxx user=app",
		"dial host=db PassWord = s3cret user=app":                     "dial host=db PassWord = xxxxx user=app",
		"postgres://db/x?user=app&password=s3cret&sslmode=disable":    "postgres://db/x?user=app&password=xxxxx&sslmode=disable",
		"password authentication failed for user \"app\"":             "password authentication failed for user \"app\"",
		"ERROR: duplicate key value violates \"users_pkey\" at 12:30": "ERROR: duplicate key value violates \"users_pkey\" at 12:30",
	} {
		if got := presentable(errors.New(text)).Error(); got != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
	}
	if presentable(nil) != nil || presentable(io.EOF).Error() != "EOF" {
		t.Error("an error that is none, or another one")
	}
}

// The chart holds every incident that is remembered, in the shortest span that can.
func TestChart(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 5, 0, time.UTC)
	ago := func(d time.Duration, outcome plugin.Outcome) plugin.Incident {
		return plugin.Incident{Time: now.Add(-d), Outcome: outcome}
	}
	for _, c := range []struct {
		name      string
		incidents []plugin.Incident
		span      string
		text      string
		bars      int
		most      int
	}{
		{"none", nil, "10 minutes", "None", 0, 1},
		{"just now", []plugin.Incident{ago(0, plugin.Healed), ago(time.Second, plugin.AlreadyHealed), ago(2*time.Second, plugin.Failed)}, "10 minutes",
			"1 healed, 1 healed meanwhile, 1 refused or failed", 1, 3},
		{"out of order", []plugin.Incident{ago(time.Second, plugin.Healed), ago(50*time.Minute, plugin.Refused)}, "hour", "1 healed, 1 refused or failed", 2, 1},
		{"a clock that went back", []plugin.Incident{ago(-time.Hour, plugin.Healed)}, "10 minutes", "None", 0, 1},
		{"the edge", []plugin.Incident{ago(590*time.Second-1, plugin.Healed), ago(0, plugin.Healed)}, "10 minutes", "2 healed", 2, 1},
		{"beyond the edge", []plugin.Incident{ago(590*time.Second, plugin.Healed), ago(0, plugin.Healed)}, "hour", "2 healed", 2, 1},
		{"ten years ago", []plugin.Incident{ago(87600*time.Hour, plugin.Healed), ago(0, plugin.Healed)}, "year", "1 healed", 1, 1},
	} {
		got := chartOf(c.incidents, now)
		if got.Span != c.span || got.Text() != c.text || len(got.Bars) != c.bars || got.Most != c.most {
			t.Errorf("%s: %s, %q, %d bars, at most %d", c.name, got.Span, got.Text(), len(got.Bars), got.Most)
		}
		for _, b := range got.Bars {
			foot := float64(chartHeight)
			for _, p := range b.Parts {
				if p.X < 0 || p.X+p.W > 600 || p.Y < -0.02 || p.H <= 0 || foot-p.Y-p.H > 0.02 {
					t.Errorf("%s: %+v on %.2f", c.name, p, foot)
				}
				foot = p.Y
			}
		}
	}
}

func TestNumbersAreReadable(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "−1,234,567", -12: "−12", 9223372036854775807: "9,223,372,036,854,775,807"} {
		if got := number(n); got != want {
			t.Errorf("number(%d) = %s", n, got)
		}
	}
	for share, want := range map[float64]string{0: "0", 1e-9: "<0.1", 0.0123: "1.2", 0.5: "50", 0.9999: "99", 1: "100"} {
		if got := percent(share); got != want {
			t.Errorf("percent(%g) = %s", share, got)
		}
	}
}

// served is a handler with findings of the test's own.
func served(findings []plugin.Finding, err error) *handler {
	h := &handler{plugin: plugin.New(), now: time.Now}
	h.auditor = auditor{now: time.Now, timeout: time.Second, run: func(context.Context) ([]plugin.Finding, error) { return findings, err }}
	return h
}

func (h *handler) text(query string) string {
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, httptest.NewRequest("GET", "/"+query, nil))
	return recorder.Body.String()
}

// Every state has its place, its word and its headline.
func TestEveryState(t *testing.T) {
	t.Parallel()
	all := []plugin.Finding{
		{Table: "well", State: plugin.StateInSync, Used: 0.2, Last: -1234},
		{Table: "guess", State: plugin.StateInSync, Used: 0.3, Furthest: 5, FurthestKnown: true, Estimated: true},
		{Table: "blind", State: plugin.StateUnreadable, Reason: plugin.ReasonPermission, Err: errors.New("GRANT SELECT, password=x")},
		{Table: "nearly", State: plugin.StateNearlyExhausted, Used: 0.95, Left: 2147483640},
		{Table: "late", State: plugin.StateBehind, Behind: 1234567, Furthest: 1234567, FurthestKnown: true},
		{Table: "over", State: plugin.StateExhausted, Used: 1},
	}
	for n, want := range []string{
		"All sequences are in sync", "All sequences are in sync", "1 sequence could not be read", "1 sequence is nearly used up", "1 sequence is behind", "1 sequence has no value left",
	} {
		text := served(all[:n+1], nil).text("")
		if !strings.Contains(text, "<h1>"+want+"</h1>") || strings.Count(text, `<th scope="row"`) != n+1 {
			t.Errorf("with %s the page lacks %q or a row", all[n].Table, want)
		}
	}
	text := served(all, nil).text("")
	at := 0
	for _, part := range []string{
		"<b>over</b>", "exhausted", "100 %", "<b>late</b>", "<b>1,234,567</b>", "<b>nearly</b>", "95 %", "a row at 2,147,483,640 near the end of the range is left out",
		"<b>blind</b>", "GRANT SELECT, password=xxxxx", "<b>guess</b>", "≈ 5", "<b>well</b>", "−1,234", "no row",
	} {
		next := strings.Index(text[at:], part)
		if next < 0 {
			t.Fatalf("the page lacks %q, or has it elsewhere", part)
		}
		at += next
	}
	// What a time limit cut off is shown, and that it is not all.
	cut := served(all[:1], errors.New("out of time")).text("")
	if !strings.Contains(cut, "<h1>Not all sequences could be read</h1>") || !strings.Contains(cut, "<b>well</b>") || !strings.Contains(cut, "out of time") {
		t.Error("the page hides that it does not have all")
	}
}

// A page about thousands of sequences stays a page, and the JSON has them all.
func TestThousandsOfSequences(t *testing.T) {
	t.Parallel()
	var many []plugin.Finding
	for n := range 5000 {
		many = append(many, plugin.Finding{Schema: "tenant", Table: strings.Repeat("x", n%40), State: plugin.StateInSync})
	}
	many = append(many, plugin.Finding{Table: "the_late_one", State: plugin.StateBehind, Behind: 1})
	h := served(many, nil)
	text := h.text("")
	if strings.Count(text, `<th scope="row"`) != shownFindings || !strings.Contains(text, "The first 300 of 5,001") || !strings.Contains(text, "<b>the_late_one</b>") {
		t.Errorf("%d rows of %d bytes", strings.Count(text, `<th scope="row"`), len(text))
	}
	if n := strings.Count(h.text("?format=json"), `"state":`); n != 5001 {
		t.Errorf("the JSON has %d", n)
	}
}

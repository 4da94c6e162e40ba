package status

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
	return &auditor{now: clock.now, timeout: 10 * time.Second, run: func(ctx context.Context, _ []string, _ func(int, int)) ([]plugin.Finding, error) {
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
	if r := a.latest(gone); r.err == nil || !strings.Contains(r.err.Error(), "another request is reading the database") {
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

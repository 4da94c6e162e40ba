package status

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/seqheal/seqheal/plugin"
)

const (
	// keep is how long an audit is good for, unless it took more than a tenth of that:
	// pages that are left open must not keep a server busy.
	keep       = 5 * time.Second
	keepFactor = 10
)

// result is what audits came to.
type result struct {
	// findings were read at the time read, in the time took.
	findings []plugin.Finding
	read     time.Time
	took     time.Duration
	// err is why the latest audit failed, tried when that was.
	err   error
	tried time.Time
}

// auditor makes one audit at a time and remembers it.
type auditor struct {
	run     func(context.Context) ([]plugin.Finding, error)
	timeout time.Duration
	now     func() time.Time

	mutex sync.Mutex
	last  *result
	// until is how long last is good for.
	until time.Time
	// running is closed when the audit under way is over, nil when there is none.
	running chan struct{}
	// outdated is set when the audit under way began before a resync.
	outdated bool
}

// latest returns the remembered result while it is good or another request is
// making a new one, and makes one itself otherwise.
func (a *auditor) latest(ctx context.Context) result {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	for {
		a.mutex.Lock()
		if a.last != nil && (a.running != nil || a.now().Before(a.until)) {
			defer a.mutex.Unlock()
			return *a.last
		}
		if a.running == nil {
			a.running = make(chan struct{})
			a.mutex.Unlock()
			return a.audit(ctx)
		}
		running := a.running
		a.mutex.Unlock()
		select {
		case <-running:
		case <-ctx.Done():
			return result{err: fmt.Errorf("another request reads the database, and was not done in time: %w", ctx.Err()), tried: a.now()}
		}
	}
}

// audit runs on for its timeout although the client may go: others wait for it.
func (a *auditor) audit(ctx context.Context) (r result) {
	began := a.now()
	defer func() {
		a.mutex.Lock()
		defer a.mutex.Unlock()
		good := keep
		if len(r.findings) > 0 {
			good = max(keep, keepFactor*a.now().Sub(began))
		}
		if r.err != nil && a.last != nil && !a.last.read.IsZero() {
			r.findings, r.read, r.took = a.last.findings, a.last.read, a.last.took
		}
		a.last, a.until = &r, a.now().Add(good)
		if a.outdated {
			a.until = time.Time{}
		}
		close(a.running)
		a.running, a.outdated = nil, false
	}()
	r.err = fmt.Errorf("the audit ended with a panic") // unless it returns
	detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.timeout)
	defer cancel()
	r.findings, r.err = a.run(detached)
	ended := a.now()
	if r.err != nil {
		r.tried = ended
		if detached.Err() != nil {
			r.err = fmt.Errorf("not all could be read within %s: %w", a.timeout, r.err)
		}
	}
	if r.err == nil || len(r.findings) > 0 {
		r.read, r.took = ended, ended.Sub(began)
	}
	return r
}

// outdate makes the next request audit anew.
func (a *auditor) outdate() {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.until = time.Time{}
	a.outdated = a.running != nil
}

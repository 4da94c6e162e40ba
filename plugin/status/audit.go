package status

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/seqheal/seqheal/plugin"
)

const (
	// keep is how long an audit is good for, unless it took more than a tenth of that:
	// pages that are left open must not keep a server busy.
	keep       = 5 * time.Second
	keepFactor = 10
	// mostPatience is how many times the timeout one step may take, on a database of which
	// less time reads nothing.
	mostPatience = 8
	// abandoned is when an audit that no request went on with is begun anew.
	abandoned = time.Minute
	// leastStep is how many tables a step asks for at least, after the first.
	leastStep = 200
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
	// pending is how many columns of findings are still to be read, because the first
	// audit is under way.
	pending int
	// again is true when the next request tries with more time.
	again bool
	// reached and total are the progress of the audit under way, 0 without one.
	reached, total int
}

// auditor makes one audit at a time and remembers it. An audit is made in steps, each
// of which a request waits for: a database with many tables is read by several requests.
type auditor struct {
	// run audits the tables with these quoted names, or all, and tells its progress.
	run     func(ctx context.Context, tables []string, progress func(done, total int)) ([]plugin.Finding, error)
	timeout time.Duration
	now     func() time.Time

	mutex sync.Mutex
	last  *result
	// until is how long last is good for.
	until time.Time
	// pass is the audit of which some steps are done, nil without one.
	pass *pass
	// running is closed when the step under way is over, nil when there is none.
	running chan struct{}
	// outdated is set when the step under way began before a resync.
	outdated bool
	// reached and total are the progress of the audit under way.
	reached, total int
	// patience is how many times the timeout a step may take, 0 for once. It grows until
	// an audit is complete: a database that hangs later is not a slow one.
	patience int
	complete bool
}

// errNoProgress ends an audit whose last step read nothing.
var errNoProgress = errors.New("the tables that are left were not read")

// pass is one audit of all tables.
type pass struct {
	findings []plugin.Finding
	took     time.Duration
	at       time.Time // when the last step ended
	// missing are the findings of what was not reached yet.
	missing []plugin.Finding
	// size is how many of missing the next step asks for.
	size int
}

// latest returns the remembered result while it is good or another request is making a
// new one, and makes one itself, or the next step of one, otherwise.
func (a *auditor) latest(ctx context.Context) result {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	for {
		a.mutex.Lock()
		a.forgetAbandoned()
		if a.last != nil && (a.running != nil || a.pass == nil && a.now().Before(a.until)) {
			defer a.mutex.Unlock()
			return a.shown()
		}
		if a.running == nil {
			a.running = make(chan struct{})
			a.mutex.Unlock()
			return a.step(ctx)
		}
		running := a.running
		a.mutex.Unlock()
		select {
		case <-running:
		case <-ctx.Done():
			return result{err: fmt.Errorf("another request is reading the database and was not done in time: %w", ctx.Err()), tried: a.now()}
		}
	}
}

// forgetAbandoned drops an audit of which a part would be too old by now.
func (a *auditor) forgetAbandoned() {
	if a.pass == nil || a.running != nil || a.now().Sub(a.pass.at) < abandoned {
		return
	}
	a.pass = nil
	if a.last.pending > 0 {
		a.last = nil
	}
}

// shown returns the last result with the progress of the audit under way.
func (a *auditor) shown() result {
	r := *a.last
	if a.pass != nil || a.running != nil {
		r.reached, r.total = a.reached, a.total
	}
	return r
}

// step reads what one request has time for. It runs on for its timeout although the
// client may go: others wait for it. After a step that was cut off before it read
// anything the next one has twice the time, up to the first complete audit.
func (a *auditor) step(ctx context.Context) (r result) {
	began := a.now()
	a.mutex.Lock()
	p := a.pass
	if p == nil {
		p = &pass{}
		a.reached, a.total = 0, 0
	}
	base, timeout := len(p.findings), a.timeout*time.Duration(max(1, a.patience))
	a.mutex.Unlock()
	findings, err := []plugin.Finding(nil), fmt.Errorf("the audit ended with a panic") // unless run returns
	cutOff := false
	defer func() {
		a.mutex.Lock()
		defer a.mutex.Unlock()
		p.took += a.now().Sub(began)
		advanced := p.take(findings, cutOff) && (err == nil || cutOff)
		a.finish(p, advanced, err)
		if cutOff && !advanced && !a.complete && a.patience < mostPatience {
			a.patience = 2 * max(1, a.patience)
			a.until, a.last.again = time.Time{}, true
		}
		if a.outdated {
			a.until, a.pass = time.Time{}, nil
		}
		close(a.running)
		a.running, a.outdated = nil, false
		r = a.shown()
	}()
	detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	findings, err = a.run(detached, p.next(), func(done, total int) {
		a.mutex.Lock()
		defer a.mutex.Unlock()
		a.reached, a.total = base+done, max(a.total, total)
	})
	if cutOff = err != nil && detached.Err() != nil; cutOff {
		err = fmt.Errorf("not all could be read within %s: %w", timeout, err)
	}
	return r
}

// next returns the tables that the next step asks for, nil for all.
func (p *pass) next() []string {
	var tables []string
	for _, f := range p.missing[:min(len(p.missing), p.size)] {
		tables = append(tables, f.QuotedTable())
	}
	return slices.Compact(tables)
}

// take adds what a step read. It reports whether the step reached anything. cutOff is
// true when the step had no more time; the next one then asks for less than it reached,
// because tables that are named take longer.
func (p *pass) take(findings []plugin.Finding, cutOff bool) (advanced bool) {
	rest := p.missing[min(len(p.missing), p.size):]
	before := len(p.findings)
	p.missing = nil
	for _, f := range findings {
		if cutOff && notReached(f) {
			p.missing = append(p.missing, f)
		} else {
			p.findings = append(p.findings, f)
		}
	}
	p.missing = append(p.missing, rest...)
	reached := len(p.findings) - before
	if p.size = 2 * reached; cutOff {
		p.size = reached * 3 / 4
	}
	p.size = max(p.size, leastStep)
	return reached > 0
}

// notReached tells a column that an audit had no time for from one that cannot be read.
func notReached(f plugin.Finding) bool {
	return f.State == plugin.StateUnreadable &&
		(f.Reason == plugin.ReasonCanceled || f.Reason == plugin.ReasonTimeout || f.Reason == plugin.ReasonConnection)
}

// finish makes the result after a step: of an audit that is complete, goes on, or ends
// here because of err.
func (a *auditor) finish(p *pass, advanced bool, err error) {
	now := a.now()
	r := result{read: now, took: p.took}
	p.at = now
	switch {
	case len(p.missing) > 0 && advanced: // the next request goes on
		a.pass, a.reached, a.total = p, len(p.findings), len(p.findings)+len(p.missing)
		if a.last == nil || a.last.read.IsZero() || a.last.pending > 0 {
			r.findings, r.pending = slices.Clone(p.findings), len(p.missing)
			a.last = &r
		}
		return
	case err == nil && len(p.missing) == 0:
		r.findings, a.complete = p.findings, true
	default:
		r.err, r.tried = cmp.Or(err, errNoProgress), now
		r.findings = append(p.findings, p.missing...)
		if a.last != nil && !a.last.read.IsZero() && a.last.pending == 0 {
			r.findings, r.read, r.took = a.last.findings, a.last.read, a.last.took
		} else if len(r.findings) == 0 {
			r.read, r.took = time.Time{}, 0
		}
	}
	good := keep
	if len(p.findings) > 0 {
		good = max(keep, keepFactor*p.took)
	}
	a.pass, a.last, a.until = nil, &r, now.Add(good)
}

// outdate makes the next request audit anew.
func (a *auditor) outdate() {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.until, a.pass = time.Time{}, nil
	a.outdated = a.running != nil
}

// has reports whether a table was found by the last audit.
func (a *auditor) has(table string) bool {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return a.last != nil && slices.ContainsFunc(a.last.findings, func(f plugin.Finding) bool { return f.QuotedTable() == table })
}

// Package auditor audits a database's sequences again and again, for what exports the
// result: plugin/metrics and plugin/otel.
//
//	audits := auditor.New(db)
//	go audits.Run(ctx)
//
// Nothing is sent to the database unless [Auditor.Run] or [Auditor.Audit] is called.
// A scrape reads the latest result and waits for none.
package auditor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/plugin"
)

// Option changes one setting of [New].
type Option func(*Auditor)

// Every sets the pause between two audits; the default is one minute.
func Every(pause time.Duration) Option {
	return func(a *Auditor) { a.pause = pause }
}

// Timeout limits one audit; the default is five minutes. An audit that is cut off
// counts as failed.
func Timeout(timeout time.Duration) Option {
	return func(a *Auditor) { a.timeout = timeout }
}

// With narrows what is audited, to [plugin.InSchemas] for example.
func With(options ...plugin.AuditOption) Option {
	return func(a *Auditor) { a.options = append(a.options, options...) }
}

// If chooses which replica audits. fn is called before each audit, with a context that
// ends when [Auditor.Run] does. While it returns false this replica sends nothing and
// has no result, so that its metrics about sequences are absent.
func If(fn func(context.Context) bool) Option {
	return func(a *Auditor) { a.chosen = fn }
}

// Result is what the audits found so far.
type Result struct {
	// Findings are those of the last audit that succeeded, and Read is when it ended:
	// the zero time when none has.
	Findings []plugin.Finding
	Read     time.Time
	// Tried is when the latest audit ended, successful or not; the zero time before
	// the first. Took is its duration, and Err is why it failed.
	Tried time.Time
	Took  time.Duration
	Err   error
}

// Auditor audits one database in the background. It is safe for concurrent use.
type Auditor struct {
	pause, timeout time.Duration
	options        []plugin.AuditOption
	chosen         func(context.Context) bool
	audit          func(context.Context) ([]plugin.Finding, error)
	now            func() time.Time

	mutex  sync.Mutex
	latest Result
}

// New returns an auditor of db that has not audited yet.
func New(db *gorm.DB, options ...Option) *Auditor {
	a := &Auditor{
		pause: time.Minute, timeout: 5 * time.Minute, now: time.Now,
		chosen: func(context.Context) bool { return true },
	}
	for _, option := range options {
		option(a)
	}
	a.audit = func(ctx context.Context) ([]plugin.Finding, error) { return plugin.Audit(ctx, db, a.options...) }
	return a
}

// Run audits, pauses and audits again until ctx ends. It runs on the caller's
// goroutine, starts none, and holds no connection while it pauses. Call it once.
func (a *Auditor) Run(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		if ctx.Err() != nil {
			return
		}
		if a.chosen(ctx) {
			a.Audit(ctx)
		} else {
			a.forget()
		}
		pause.Reset(a.pause)
	}
}

// Audit audits once, on the caller's goroutine, and returns what [Auditor.Latest]
// returns from then on. When the audit fails the findings are those from before.
func (a *Auditor) Audit(ctx context.Context) Result {
	began := a.now()
	limited, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	findings, err := a.audit(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("not all could be read within %s: %w", a.timeout, err)
	}
	ended := a.now()

	a.mutex.Lock()
	defer a.mutex.Unlock()
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return a.latest // the program ends: that is no failure of the database's
	}
	a.latest.Tried, a.latest.Took, a.latest.Err = ended, ended.Sub(began), err
	if err == nil {
		a.latest.Findings, a.latest.Read = findings, ended
	}
	return a.latest
}

// Latest returns what the audits found so far. It asks the database nothing. The
// findings are shared: do not change them.
func (a *Auditor) Latest() Result {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return a.latest
}

// forget drops the result: another replica's is newer.
func (a *Auditor) forget() {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.latest = Result{}
}

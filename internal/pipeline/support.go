package pipeline

import (
	"context"
	"database/sql"
	"sync"
	"time"

	"github.com/seqheal/seqheal/internal/conn"
)

// Way is how statements with a savepoint go out on a pool.
type Way int

const (
	// ThreeTrips: SAVEPOINT, INSERT and RELEASE as statements of their own.
	ThreeTrips Way = iota
	// OneTrip: a [Sending].
	OneTrip
	// NoSavepoints: the server has none, or the driver takes one statement at a time. Nothing
	// may be added to a transaction there, because an error would abort it for good.
	NoSavepoints
)

func (w Way) String() string { return [...]string{"three trips", "one trip", "no savepoints"}[w] }

// Support is what a pool can do, and why it cannot do better.
type Support struct {
	Way    Way
	Reason Reason // zero for OneTrip
	again  bool   // nothing is proven yet
}

// String is such as "one trip" or "three trips: a tracer is set".
func (s Support) String() string {
	if s.Reason.Cause == CauseNone {
		return s.Way.String()
	}
	return s.Way.String() + ": " + s.Reason.String()
}

const (
	// proofLimit is how long the proof may take: about six round trips. forgetLimit is how long
	// its last one may, after it.
	proofLimit  = 2 * time.Second
	forgetLimit = 250 * time.Millisecond
	// A pool that gave no connection, or lost it, is asked again after askAgain, then
	// after twice that, and so on up to askAtLeast.
	askAgain   = time.Second
	askAtLeast = 10 * time.Minute
	// maxPools bounds what is remembered. A program has one pool, or a few.
	maxPools = 64
)

// Pools remembers what was proven of connection pools. The zero value is ready to use.
// It holds no connection and no goroutine.
type Pools struct {
	mu    sync.Mutex
	known map[*sql.DB]*pool
}

type pool struct {
	support Support
	proving bool
	// asked counts proofs that found no connection; the next is due at next.
	asked int
	next  time.Time
}

// Support returns what the pool can do. The first insert to ask has it proved on a second
// connection, never in the caller's transaction. Where none is free at once the proof waits for
// one at most 250 ms, and the insert does not wait for the proof: it gets ThreeTrips, as others
// do that ask meanwhile. Where no connection was free,
// or it was lost, the proof is tried again later, at growing intervals; every other
// answer is kept.
func (p *Pools) Support(ctx context.Context, db *sql.DB) Support {
	if db == nil {
		return Support{Reason: Reason{CauseDriver, "unknown"}}
	}
	known, mayProve := p.enter(db)
	if !mayProve {
		return known
	}
	if conn.Exhausted(db) && db.Stats().MaxOpenConnections > 1 {
		go func() { p.leave(db, prove(context.WithoutCancel(ctx), db)) }()
		return unproven
	}
	support := prove(ctx, db)
	p.leave(db, support)
	return support
}

// unproven is what is known before the proof.
var unproven = Support{Reason: Reason{Cause: CauseUnproven}, again: true}

// Known returns what was proven so far, one for each pool.
func (p *Pools) Known() (all []Support) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, entry := range p.known {
		if !entry.proving {
			all = append(all, entry.support)
		}
	}
	return all
}

// enter returns what is known, or makes the caller the one that proves it.
func (p *Pools) enter(db *sql.DB) (known Support, mayProve bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	entry := p.known[db]
	switch {
	case entry == nil:
		if p.known == nil || len(p.known) >= maxPools {
			p.known = map[*sql.DB]*pool{}
		}
		p.known[db] = &pool{proving: true, support: unproven}
		return Support{}, true
	case entry.proving || entry.next.IsZero() || time.Now().Before(entry.next):
		return entry.support, false
	}
	entry.proving = true
	return Support{}, true
}

func (p *Pools) leave(db *sql.DB, support Support) {
	p.mu.Lock()
	defer p.mu.Unlock()
	entry := p.known[db]
	if entry == nil { // displaced meanwhile
		return
	}
	entry.proving, entry.support, entry.next = false, support, time.Time{}
	if support.again {
		entry.next = time.Now().Add(min(askAgain<<min(entry.asked, 16), askAtLeast))
		entry.asked++
	}
}

// NotSent hands back the reason of a statement that was not sent. A pool whose
// connection has a tracer sends in three trips from now on, because the tracer has just
// seen a query that failed; any other reason is asked of each connection anew.
func (p *Pools) NotSent(db *sql.DB, reason Reason) {
	if reason.Cause != CauseTracer && reason.Cause != CauseDriver {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if entry := p.known[db]; entry != nil && entry.support.Way == OneTrip {
		entry.support = Support{Reason: reason}
	}
}

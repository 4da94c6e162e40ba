package conn

import (
	"context"
	"fmt"
	"math"
	"time"
)

// limits keeps the plugin's statements within a time budget by the server's own
// statement_timeout and lock_timeout. A cancelled context would close the
// caller's connection; a limit of the server's leaves it usable.
type limits struct {
	until time.Time
	// own are the session's settings, which only ever shorten the budget. Zero
	// is none.
	ownStatement, ownLock time.Duration
	// set is what was last sent to the server.
	set time.Duration
}

// Within limits everything sent through c until the returned function is called.
// The caller must be inside a savepoint, for the settings are SET LOCAL and are
// undone by rolling back to it. own are the session's settings, zero for none.
func (c *Conn) Within(until time.Time, ownStatement, ownLock time.Duration) (release func()) {
	outer := c.limits
	c.limits = &limits{until: until, ownStatement: ownStatement, ownLock: ownLock}
	return func() { c.limits = outer }
}

// LockWithin makes the limits of Within, where there are any, wait for a lock no
// longer than this, until the returned function is called. It sends nothing: the
// caller has set lock_timeout in a savepoint of its own, and without this a
// renewal of the limits in there would lengthen it again.
func (c *Conn) LockWithin(lock time.Duration) (release func()) {
	outer := c.limits
	if outer == nil {
		return func() {}
	}
	inner := *outer
	if inner.ownLock == 0 || lock < inner.ownLock {
		inner.ownLock = lock
	}
	c.limits = &inner
	return func() { c.limits = outer }
}

// Left is what is left of the time budget, a day without one.
func (c *Conn) Left() time.Duration {
	if c.limits == nil {
		return 24 * time.Hour
	}
	return time.Until(c.limits.until)
}

func (l *limits) check() error {
	if l != nil && time.Until(l.until) <= 0 {
		return ErrTimeSpent
	}
	return nil
}

// apply sends new limits when what is left has become clearly less than what
// the server was told: a limit binds only the statements after the one that
// sets it (measured), hence a statement of its own. A heal that is quick sends
// it once.
func (l *limits) apply(ctx context.Context, c *Conn) error {
	if l == nil {
		return nil
	}
	left := time.Until(l.until)
	if left <= 0 {
		return ErrTimeSpent
	}
	if l.set > 0 && left >= l.set*9/10 {
		return nil
	}
	l.set = left
	_, err := c.pool.ExecContext(ctx, fmt.Sprintf(
		PlanAsWritten+"; SET LOCAL statement_timeout = %d; SET LOCAL lock_timeout = %d",
		milliseconds(left, l.ownStatement), milliseconds(left, l.ownLock)))
	return err
}

// PlanAsWritten keeps the planner from trying the orders in which the catalog
// query's tables could be joined, 12 ms against 4 (measured), and from compiling it. Undone with the
// savepoint, as the limits are.
const PlanAsWritten = "SET LOCAL join_collapse_limit = 1; SET LOCAL jit = off"

// shortest is the shortest limit of the plugin's own: it binds the ROLLBACK at the end too,
// where a limit that ends late stops the next statement on the connection ([Aside]).
const shortest = 50 * time.Millisecond

// milliseconds is the shorter of both, never 0, which the server takes as no limit, and
// never more than its integer holds, 24 days.
func milliseconds(left, own time.Duration) int64 {
	left = max(left, shortest)
	if own > 0 && own < left {
		left = own
	}
	return min(max(1, left.Milliseconds()), math.MaxInt32)
}

package heal

import (
	"context"
	"fmt"
	"strings"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/sequence"
)

// failUnsent fails a statement that must not be sent, and reports whether it did: one whose
// heal failed for a passing reason, such as a lock or the time limit, and whose
// drawn ids collided with rows, or would. The transaction is then aborted, the error wraps
// [ErrRowsMissing], and the next try succeeds.
func (in *insert) failUnsent(ctx context.Context, a *attempt, t *catalog.Table) bool {
	if !a.mayBeRetried() || !a.hitRows() && !in.wouldCollide(ctx, t) {
		return false
	}
	in.failAborted(ctx, fmt.Errorf("%w: an upsert into table %s was not sent, because sequence %s is about to give ids that exist and was not moved: %w",
		ErrRowsMissing, t.QuotedName(), t.Sequence.QuotedName(), a.failure.Err))
	return true
}

// wouldCollide reports whether the statement's own draws would collide with rows, or did as a
// second connection saw it where none may be read here. With CACHE it is false, because other
// sessions may have stored values that they drew before.
func (in *insert) wouldCollide(ctx context.Context, t *catalog.Table) bool {
	if t.Triggers.BeforeInsertRow || t.Sequence.Cache > 1 || in.stmt.Ended() {
		return false
	}
	ahead := in.ahead(t)
	ahead.Exactly, ahead.NotHere = true, true
	answer, err := sequence.Preflight(ctx, in.conn(), t, ahead)
	return answer != sequence.Free || err != nil
}

// hitRows reports whether the statement, which was undone, collided with rows that are not
// its own. A suspicion alone does not count: on a busy table other sessions draw in
// between.
func (a *attempt) hitRows() bool {
	moved := a.move != nil && a.move.Moved
	return a.collision.evidence == missingRows || a.collision.evidence == suspected && moved
}

// mayBeRetried reports whether the heal failed for a passing reason.
func (a *attempt) mayBeRetried() bool { return a.failure != nil && !a.failure.Refused }

// presume decides whose a collision is when the heal ended before the catalog was
// read: by the table whose key was looked at, else by what is remembered of it, else by the
// name that PostgreSQL gives to primary keys.
func (a *attempt) presume() {
	if a.collision.from != nil {
		a.table, a.verdict = a.collision.from, drift
		return
	}
	e := a.collision.server
	looksLikeKey := strings.HasSuffix(e.Constraint, "_pkey")
	if entry := a.tables.Get(a.stmt.Target); entry != nil && entry.Table.Fed() &&
		(!entry.Ambiguous || a.collision.violated() == entry.Table.FullName()) {
		t := entry.Table
		if by := a.collision.by(t); by != nil {
			t = by
		}
		a.table = t
		key := e.Constraint == t.Constraint || t.Partitioned && looksLikeKey
		if key && a.drawsFrom(t) && !a.names(t) {
			a.verdict = drift
		}
		return
	}
	if looksLikeKey && a.stmt.OmitsModelKey() {
		a.verdict = drift
	}
}

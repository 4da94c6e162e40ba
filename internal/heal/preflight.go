package heal

import (
	"context"
	"errors"
	"fmt"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/sequence"
	"github.com/seqheal/seqheal/internal/statement"
)

// ErrRowsMissing is wrapped by the errors of upserts that would lose or change rows
// because a sequence drifted.
var ErrRowsMissing = errors.New("seqheal: rows of an upsert are missing")

// preflight asks, before it sends the statement, whether one of the values that the
// statement is about to draw is taken: by a row that is there, or by an id that the
// statement names itself. Afterwards it would be too late: an upsert shows no
// collision, and a deferred key is checked at COMMIT.
type preflight struct {
	*insert
	text  statement.Text
	table *catalog.Table
	// noticed is true when the caller notices a collision afterwards. Otherwise the
	// statement is not sent when its heal fails.
	noticed bool
	healed  bool
}

func (*preflight) guard() Guard { return Preflight }

func (s *preflight) send(ctx context.Context) *collision {
	if !s.ensureTransaction(ctx) {
		return nil
	}
	if !s.healed && s.nextIsTaken(ctx, s.table) {
		return &collision{evidence: foreseen}
	}
	err := s.insert.send(s.text)
	if !s.healed && pgerr.Is(err, pgerr.SerializationFailure) {
		s.healForRetry(ctx, s, err, s.ahead(s.table).Count)
	}
	return nil
}

// ensureTransaction begins a transaction of the plugin's own where the statement is in
// none. It reports false when the statement has its result: it was sent as it is, on
// a connection whose state is not known, or no transaction could be begun.
func (in *insert) ensureTransaction(ctx context.Context) bool {
	switch {
	case in.inTransaction():
		return true
	case !conn.Outside(ctx, in.stmt.DB):
		_ = in.sendAsWritten()
		return false
	}
	if err := in.enter(ctx); err != nil {
		in.stmt.Fail(err)
		return false
	}
	return true
}

// ahead is what the statement is about to do with the table's sequence.
func (in *insert) ahead(t *catalog.Table) sequence.Ahead {
	return sequence.Ahead{
		Count: int64(in.stmt.Insert.Omitted(t.FedColumn())), Named: in.namedBeside(t), Prefixes: in.prefixes(t),
	}
}

// nextIsTaken reports whether one of the values that come next is taken. Where that
// cannot be read it is false.
func (in *insert) nextIsTaken(ctx context.Context, t *catalog.Table) bool {
	taken, err := sequence.Preflight(ctx, in.conn(), t, in.ahead(t))
	return err == nil && taken
}

func (s *preflight) heal(ctx context.Context, a *attempt) strategy {
	s.healed = true
	if !a.healHere(ctx) {
		return nil
	}
	return s
}

func (s *preflight) abandon(ctx context.Context, a *attempt) {
	if !s.noticed && s.mustNotBeSent(ctx, a, s.table) {
		return
	}
	_ = s.insert.send(s.text)
}

// mustNotBeSent fails a statement whose heal failed for a passing reason, such as a
// lock or the time limit, when its own draws would meet rows: the next try succeeds.
func (in *insert) mustNotBeSent(ctx context.Context, a *attempt, t *catalog.Table) bool {
	if !a.mayBeRetried() || !in.wouldCollide(ctx, t) {
		return false
	}
	in.conn().Abort(ctx)
	in.stmt.Fail(fmt.Errorf("%w: an upsert into table %s was not sent, because sequence %s is about to give ids that exist and was not moved: %w",
		ErrRowsMissing, t.QuotedName(), t.Sequence.QuotedName(), a.failure.Err))
	return true
}

// wouldCollide reports whether the statement's own draws meet rows. With CACHE it is
// not known which values other sessions have drawn and stored already.
func (in *insert) wouldCollide(ctx context.Context, t *catalog.Table) bool {
	if t.UpsertTrigger || t.Sequence.Cache > 1 || in.stmt.Ended() {
		return false
	}
	ahead := in.ahead(t)
	ahead.Exactly = true
	taken, err := sequence.Preflight(ctx, in.conn(), t, ahead)
	return taken || err != nil
}

// mayBeRetried reports whether the heal failed for a passing reason.
func (a *attempt) mayBeRetried() bool { return a.failure != nil && !a.failure.Refused }

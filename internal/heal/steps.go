package heal

import (
	"context"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/sequence"
)

// lookInSteps looks where one statement cannot ask. It reports whether that ended the
// sending; otherwise the statement is still to be sent.
func (s *preflight) lookInSteps(ctx context.Context, f fence) (hit *collision, r fenced, ended bool) {
	sequence.TakeLock(ctx, s.conn(), s.stmt.Lock())
	switch t, answer := s.askInSteps(ctx); {
	case answer == sequence.Taken:
		return &collision{evidence: foreseen, from: t}, fenced{}, true
	case answer == sequence.Stale && s.countReading():
		hit, r = s.lookAgain(ctx, f)
		return hit, r, true
	case answer == sequence.NotHere:
		hit, r = s.lookFromSecond(ctx, f)
		return hit, r, true
	}
	return nil, fenced{}, false
}

// askInSteps asks where one statement cannot. It returns the key that the answer is about,
// the first that is taken.
func (s *preflight) askInSteps(ctx context.Context) (*catalog.Table, sequence.Answer) {
	for _, t := range s.lookedAt() {
		if answer := s.askOf(ctx, t); answer != sequence.Free && answer != sequence.Unknown {
			return t, answer
		}
	}
	return s.table, sequence.Free
}

// askOf asks about one key: through WithResyncDB where the role may not see every row.
func (s *preflight) askOf(ctx context.Context, t *catalog.Table) sequence.Answer {
	switch {
	case sequence.Askable(t) && !t.Indexed && s.leading(t) == nil:
		s.complainUnprotected(sequence.NoIndexOf(t))
	case sequence.Askable(t):
	case s.settings.ResyncDB != nil:
		return s.askAsAdmin(ctx, t)
	default:
		s.complainUnprotected(sequence.NotAskable(t))
	}
	answer, err := sequence.Preflight(ctx, s.conn(), t, s.aheadHere(t))
	if err != nil && !pgerr.Lost(err) {
		s.complainUnprotected(err)
	}
	return answer
}

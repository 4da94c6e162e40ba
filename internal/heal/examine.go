package heal

import (
	"context"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/sequence"
)

// examine ends a sending. When a row that is not the statement's own holds a value that it
// drew, what it did is undone: a collision, by which the furthest row is read before the
// statement is sent again.
func (s *preflight) examine(ctx context.Context, r fenced) *collision {
	switch {
	case r.err != nil:
		return s.failed(ctx, r)
	case r.open:
		return s.askAfter(ctx, r)
	}
	return nil
}

// failed ends a sending that the server rejected. A collision is undone: of the tripwire, or a
// 23505 of a key that ON CONFLICT does not name, or of a table into which a trigger inserts. There a
// row that names its id may have given it to the trigger. After 40001 the sequence is moved for the
// caller's retry. Any other error is the caller's own.
func (s *preflight) failed(ctx context.Context, r fenced) *collision {
	var hit *collision
	switch {
	case s.wired:
		hit = s.collidedOrTripped(ctx, s, r.err, s.table)
	case pgerr.Is(r.err, pgerr.SerializationFailure) && s.drawsFrom(s.table):
		s.healForRetry(ctx, s, r.err, s.table, s.draws(s.table))
	case !s.names(s.table) || len(s.table.Keys) > 0 && s.table.IsTarget():
		hit = s.collided(r.err)
	}
	if hit == nil {
		s.settle(ctx, r)
		return nil
	}
	hit.undone = s.undo(ctx)
	return hit
}

// askAfter asks of each key whether a row that is not the statement's own holds a value that
// it drew, and undoes the statement if one does. Otherwise, and where that cannot be asked,
// it releases the savepoint, with the last question in one round trip.
func (s *preflight) askAfter(ctx context.Context, r fenced) *collision {
	keys, stored := s.watchedKeys(), sequence.Position{}
	switch len(r.before) {
	case len(keys):
	case len(keys) + 1:
		stored = r.before[len(keys)]
	default:
		keys = nil // the look was given up
	}
	for i, t := range keys {
		before := r.before[i]
		if !before.Found {
			continue
		}
		after := sequence.After{Before: before.Value, Draws: int64(s.omitted(t)), Stored: r.rows, AllDrawn: !s.names(t),
			Updates: s.updates(), Fewer: r.rows < int64(s.stmt.Insert.Rows())}
		answer, released, err := s.askKeyAfter(ctx, t, after, stored, i == len(keys)-1)
		switch {
		case err != nil: // the connection is gone
			s.failAborted(ctx, err)
			return nil
		case answer == sequence.Stale && s.countReading() && s.readings <= mostFollowed:
			return &collision{evidence: suspected, from: t, undone: s.undo(ctx)} // the heal reads it anew
		case answer == sequence.Taken:
			return &collision{evidence: s.evidenceBehind(ctx, t, before.Value), from: t, undone: s.undo(ctx)}
		case released:
			return nil
		}
	}
	s.release(ctx)
	return nil
}

// mostFollowed bounds how often a statement that was sent is undone because its table turned out
// to be another one.
const mostFollowed = 2

// askKeyAfter asks of one key. With last it releases the savepoint where the answer is Free.
func (s *preflight) askKeyAfter(ctx context.Context, t *catalog.Table, after sequence.After, stored sequence.Position, last bool) (answer sequence.Answer, released bool, err error) {
	question, ok := sequence.AskAfter(t, after)
	if !ok {
		return s.askAdminAfter(ctx, t, after.Before), false, nil
	}
	answer, err = sequence.PutAfter(ctx, s.conn(), question, last)
	if answer == sequence.Taken && err == nil && s.onlyLocked(ctx, t, after.Before, stored) {
		return sequence.Unknown, false, nil
	}
	return answer, last && answer == sequence.Free, err
}

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
// collision, and a deferred key is checked at COMMIT. The statement is sent as the
// caller wrote it, in the same savepoint.
type preflight struct {
	*insert
	text  statement.Text
	table *catalog.Table
	// noticed is true when the caller notices a collision afterwards. Otherwise the
	// statement is not sent when its heal fails.
	noticed bool
	// blind is true when the values cannot be told: only that the table is the
	// remembered one is asked.
	blind bool
	// counted is true when every row must come back, so that one which is missing tells.
	counted bool
	// elsewhere is true while the rows have been looked at from another connection.
	elsewhere bool
}

func (*preflight) guard() Guard { return Preflight }

// asked is the table by every key whose drift the caller would not notice: under DO
// NOTHING without a target that is each from which a row draws.
func (s *preflight) asked() []*catalog.Table {
	if s.stmt.Insert.ConflictTarget(nil, "", "") != statement.OnAny {
		return []*catalog.Table{s.table}
	}
	if keys := s.drawnKeys(s.table); len(keys) > 0 {
		return keys
	}
	return []*catalog.Table{s.table}
}

// met is a collision of a value that the table's sequence gave.
func met(t *catalog.Table, by evidence, undone error) *collision {
	return &collision{evidence: by, undone: undone, from: t.KeyName()}
}

func (s *preflight) send(ctx context.Context) *collision {
	if !s.ensureTransaction(ctx) {
		return nil
	}
	hit, r := s.ask(ctx, s.watched())
	if hit != nil {
		return hit
	}
	return s.examine(ctx, s, r)
}

// watched is a fence that stays open, so that what the statement met can be asked for
// afterwards; a plain one where the caller notices a collision or that cannot be asked.
func (s *preflight) watched() fence {
	if s.noticed || s.blind || !s.drawsFrom(s.table) {
		return fence{}
	}
	if _, ok := sequence.AskAfter(s.table, 0, 0); !ok && !s.seenByAdmin() {
		return fence{}
	}
	return fence{keepOpen: true, last: sequence.AskLast(s.table)}
}

// examine ends a sending. A row that is not the statement's own under one of the values
// that it drew is a suspicion: what the statement did is undone, and it is sent again
// after the furthest row was read.
func (s *preflight) examine(ctx context.Context, by strategy, r fenced) *collision {
	switch {
	case r.err != nil:
		if hit := s.collided(r.err); hit != nil {
			hit.undone = s.undo(ctx) // of a key that ON CONFLICT does not name
			return hit
		}
		if pgerr.Is(r.err, pgerr.SerializationFailure) && s.drawsFrom(s.table) {
			s.healForRetry(ctx, by, r.err, s.ahead(s.table).Count)
		}
		s.settle(ctx, r)
	case !r.open:
	case !r.before.Found:
		s.release(ctx)
	default:
		return s.askAfter(ctx, r)
	}
	return nil
}

// askAfter asks what the statement met, and releases the savepoint unless that is a row
// that is not its own. Where it cannot be asked what the statement did stands.
func (s *preflight) askAfter(ctx context.Context, r fenced) *collision {
	question, ok := sequence.AskAfter(s.table, r.before.Value, int64(s.omitted(s.table)))
	if !ok {
		if s.askAdminAfter(ctx, r.before.Value) == sequence.Taken {
			return met(s.table, s.evidenceBehind(ctx, r.before.Value), s.undo(ctx))
		}
		s.release(ctx)
		return nil
	}
	switch answer, err := sequence.PutAfter(ctx, s.conn(), question); {
	case err != nil: // the connection is gone
		s.conn().Abort(ctx)
		s.stmt.Fail(err)
	case answer == sequence.Taken && !s.onlyLocked(ctx, r.before.Value):
		return met(s.table, s.evidenceBehind(ctx, r.before.Value), s.undo(ctx))
	case answer != sequence.Free:
		s.release(ctx)
	}
	return nil
}

// ask sends the statement behind its question, and once more after the table turned out
// to be another one. A taken value is a collision. Where the question cannot be asked
// the statement is sent without it.
func (s *preflight) ask(ctx context.Context, f fence) (*collision, fenced) {
	f.questions = s.questions()
	if len(f.questions) == 0 && !s.blind {
		switch t, answer := s.askInSteps(ctx); answer {
		case sequence.Taken:
			return met(t, foreseen, nil), fenced{}
		case sequence.Moved:
			return s.askAgain(ctx, f)
		case sequence.Elsewhere:
			return s.lookElsewhere(ctx, f)
		}
	}
	r := s.sendFenced(ctx, s.text, f)
	if r.unopened || r.unsent && s.conn().RollBack(ctx) != nil {
		// An aborted transaction, a closed connection: GORM's own error.
		_ = s.insert.send(s.text)
		return nil, fenced{err: s.stmt.DB.Error, rows: s.stmt.DB.RowsAffected}
	}
	if !r.unsent {
		return nil, r
	}
	switch {
	case r.answer == sequence.Taken:
		return met(s.asked()[r.asked], foreseen, nil), fenced{}
	case r.answer == sequence.Moved && s.readsAgain():
		return s.askAgain(ctx, f)
	case r.answer == sequence.Elsewhere:
		return s.lookElsewhere(ctx, f)
	}
	if !pgerr.Lost(r.err) {
		s.complainUnprotected(ctx, r.err)
	}
	return nil, s.sendUnasked(ctx, s.text, fence{keepOpen: f.keepOpen})
}

// lookElsewhere looks at the rows from a second connection, because in SERIALIZABLE a look
// on the statement's own makes other sessions fail (measured), and then sends the statement.
// Rows of the transaction itself are not seen from there.
func (s *preflight) lookElsewhere(ctx context.Context, f fence) (*collision, fenced) {
	for _, t := range s.asked() {
		answer := sequence.Unknown
		_ = s.onFreeSecond(ctx, func(ctx context.Context, c *conn.Conn) (err error) {
			answer, err = lookFrom(ctx, c, t, s.ahead(t))
			return err
		})
		if answer == sequence.Taken {
			return met(t, foreseen, nil), fenced{}
		}
	}
	s.elsewhere = true
	defer func() { s.elsewhere = false }()
	return s.ask(ctx, f)
}

// sendUnasked sends the statement in a savepoint, and where none can be opened as it is:
// in an aborted transaction or after the context has ended that gives GORM's own error.
func (in *insert) sendUnasked(ctx context.Context, text statement.Text, f fence) fenced {
	r := in.sendFenced(ctx, text, f)
	if r.unopened {
		_ = in.send(text)
		return fenced{err: in.stmt.DB.Error, rows: in.stmt.DB.RowsAffected}
	}
	return r
}

// complainUnprotected reports a question that the server does not answer.
func (in *insert) complainUnprotected(ctx context.Context, err error) {
	if in.stmt.Ended() {
		return
	}
	in.complain(ctx, fmt.Sprintf("seqheal: upserts into table %s are sent without protection from drift: %v", in.stmt.Target.Table, err))
}

// askAgain reads the table anew and asks about that one.
func (s *preflight) askAgain(ctx context.Context, f fence) (*collision, fenced) {
	s.tables.Forget(s.stmt.Target, s.table)
	entry, err := s.readFirst(ctx, s.conn())
	if err == nil && entry != nil {
		s.table = entry.Table
		if key, _ := s.conflictKey(s.drawnKeys(s.table)); key != nil {
			s.table = key
		}
		s.blind = !s.drawsFrom(s.table) || !predictable(s.table)
		if s.blind && !s.mayDraw(s.table) {
			return nil, s.sendUnasked(ctx, s.text, fence{keepOpen: f.keepOpen})
		}
	}
	if f.last != "" {
		f = s.watched() // the sequence is another one too
	}
	return s.ask(ctx, f)
}

// evidenceBehind is what a stranger's row among the drawn values means: drift when the
// statement alone has drawn since before, a suspicion when another session has too.
func (s *preflight) evidenceBehind(ctx context.Context, before int64) evidence {
	last := s.lastDrawn(ctx, s.table)
	if last.Found && sequence.Steps(before, last.Value, s.table.Sequence.Increment) == int64(s.omitted(s.table)) {
		return missingRows
	}
	return suspected
}

// questions ask about the values that come next, in one statement for each key; none
// where that takes several.
func (s *preflight) questions() (questions []string) {
	if s.blind {
		return []string{sequence.StillThere(s.table)}
	}
	for _, t := range s.asked() {
		ahead := s.ahead(t)
		ahead.Elsewhere = !s.counted && !s.elsewhere
		question, ok := sequence.Ask(t, ahead)
		if !ok {
			return nil
		}
		questions = append(questions, question)
	}
	return questions
}

// ensureTransaction begins a transaction of the plugin's own where the statement is in
// none. It reports false when none could be begun, which is the statement's error.
func (in *insert) ensureTransaction(ctx context.Context) bool {
	if in.inTransaction() {
		return true
	}
	if err := in.enter(ctx); err != nil {
		in.stmt.Fail(err)
		return false
	}
	return true
}

// ahead is what the statement is about to do with the table's sequence.
func (in *insert) ahead(t *catalog.Table) sequence.Ahead {
	return sequence.Ahead{Count: int64(in.omitted(t)), Named: in.namedBeside(t), Prefixes: in.prefixes(t)}
}

func (s *preflight) heal(ctx context.Context, a *attempt) strategy {
	if !a.healHere(ctx) {
		return nil
	}
	return s
}

// abandon sends the statement as it is: nothing was in front of the sequence, or nothing
// more can be done.
func (s *preflight) abandon(ctx context.Context, a *attempt) {
	if a.collision.evidence == uniqueViolation {
		s.conn().Abort(ctx)
		s.stmt.Fail(a.collision.err)
		return
	}
	if !s.noticed && s.mustNotBeSent(ctx, a, s.table.ByKey(a.collision.from)) {
		return
	}
	_ = s.insert.send(s.text)
}

package heal

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/sequence"
	"github.com/seqheal/seqheal/internal/statement"
)

// ErrRowsMissing is wrapped by the errors of upserts that would lose or change rows
// because a sequence drifted.
var ErrRowsMissing = errors.New("seqheal: rows of an upsert are missing")

// preflight sends a statement that shows no collision as the caller wrote it, in a savepoint,
// behind a check that the table is the one that was read. A question after it finds the rows
// that it met. Where none can be asked it looks before it sends the statement: is one of the
// values that come next taken, by a row that is there, or by an id that the statement names
// itself? A key that is checked at COMMIT is looked at, too.
type preflight struct {
	*insert
	text  statement.Text
	table *catalog.Table
	// noticed is true when a collision is an error for the caller, at COMMIT. Otherwise the
	// statement is not sent when its heal fails.
	noticed bool
	// blind is true when the values that come next cannot be foreseen. The question is then
	// whether the table is the remembered one.
	blind bool
	// wired is true while the text has a tripwire at the key of the table. The look is then only
	// at the ids that rows name, because the tripwire lets them pass.
	wired bool
	// counted is true when every row must come back, so that a missing one is evidence.
	counted bool
	// looked is true once the rows were looked at by the whole key, so that the question asks
	// only whether the table is the remembered one.
	looked bool
	// lookedFromSecond is true once a second connection has looked at the rows, so that
	// the question asks only whether the table is the remembered one.
	lookedFromSecond bool
}

func (*preflight) guard() Guard { return Preflight }

// lookedAt is the table by every key whose drift the caller would not notice: under DO
// NOTHING without a target that is each from which a row draws.
func (s *preflight) lookedAt() []*catalog.Table {
	if !s.waitsForAnyKey() {
		return []*catalog.Table{s.table}
	}
	if keys := s.drawnKeys(s.table); len(keys) > 0 {
		return keys
	}
	return []*catalog.Table{s.table}
}

func (s *preflight) send(ctx context.Context) *collision {
	if !s.ensureTransaction(ctx) {
		return nil
	}
	hit, r := s.sendBehindLook(ctx, s.watched())
	if hit != nil {
		return hit
	}
	return s.examine(ctx, r)
}

// watched is a fence that stays open for the questions after the statement, a plain one
// where the caller notices a collision or they cannot be asked.
func (s *preflight) watched() (f fence) {
	for _, t := range s.watchedKeys() {
		f.last, f.keepOpen = append(f.last, sequence.AskLast(t)), true
	}
	if f.keepOpen && s.countsStored() {
		f.last = append(f.last, sequence.AskStored(s.table))
	}
	return f
}

// watchedKeys are the keys of which one can ask after the statement whether it met a row.
func (s *preflight) watchedKeys() (keys []*catalog.Table) {
	if s.noticed || s.blind || s.wired {
		return nil
	}
	for _, t := range s.lookedAt() {
		if s.drawsFrom(t) && (sequence.AskableAfter(t) || s.seenByAdmin(t)) && sequence.AskLast(t) != "" {
			keys = append(keys, t)
		}
	}
	return keys
}

// sendBehindLook sends the statement behind its look: is one of the values that come next
// taken? Then it is not sent, and that is a collision. Where the table turned out to be
// another one, that one is looked at; where no look can be made, the statement is sent
// without.
func (s *preflight) sendBehindLook(ctx context.Context, f fence) (*collision, fenced) {
	f.questions = s.questions()
	if len(f.questions) == 0 && !s.blind {
		if hit, r, ended := s.lookInSteps(ctx, f); ended {
			return hit, r
		}
	}
	r := s.sendLocked(ctx, f)
	if r.unopened || r.unsent && s.conn().RollBack(ctx) != nil {
		return nil, s.sendUnfenced(s.text, r)
	}
	if !r.unsent {
		return nil, r
	}
	if r.answer == sequence.Taken {
		r.answer = s.lookExactly(ctx, s.lookedAt()[r.failed])
	}
	switch {
	case r.answer == sequence.Free:
		s.looked = true
		defer func() { s.looked = false }()
		return s.sendBehindLook(ctx, f)
	case r.answer == sequence.Taken:
		return &collision{evidence: foreseen, from: s.lookedAt()[r.failed]}, fenced{}
	case r.answer == sequence.Stale && s.countReading():
		return s.lookAgain(ctx, f)
	case r.answer == sequence.NotHere:
		return s.lookFromSecond(ctx, f)
	}
	if !pgerr.Lost(r.err) {
		s.complainUnprotected(r.err)
	}
	return nil, s.sendUnasked(ctx, s.text, fence{keepOpen: f.keepOpen})
}

// sendLocked sends the statement behind its questions, and before those what locks the table,
// where they lock the sequence. What fails to lock the table is left out, unless it has waited for
// a lock, as the statement would.
func (s *preflight) sendLocked(ctx context.Context, f fence) fenced {
	asks := func(q sequence.Question) bool { return q.Look != "" }
	if len(f.last) > 0 || slices.ContainsFunc(f.questions, asks) {
		f.lock = s.stmt.Lock()
	}
	r := s.sendFenced(ctx, s.text, f)
	switch {
	case !r.unlocked:
		return r
	case pgerr.Is(r.err, pgerr.LockNotAvailable, pgerr.QueryCanceled):
		s.stmt.Fail(r.err)
		return fenced{err: r.err}
	case s.conn().RollBack(ctx) != nil:
		return r
	}
	f.lock = ""
	return s.sendFenced(ctx, s.text, f)
}

// lookFromSecond looks at the rows from a second connection, because in SERIALIZABLE a look
// on the statement's own makes other sessions fail (measured), and then sends the statement.
// Rows of the transaction itself are not seen from there. A sequence that was set back since
// the look counts as it stood there, so that the question afterwards finds too few draws.
func (s *preflight) lookFromSecond(ctx context.Context, f fence) (*collision, fenced) {
	before := map[int64]sequence.Position{} // by the sequence's oid
	for _, t := range s.lookedAt() {
		answer := sequence.Unknown
		err := s.onFreeSecond(ctx, func(ctx context.Context, c *conn.Conn) (err error) {
			before[t.Sequence.OID] = sequence.ReadLast(ctx, c, t)
			answer, err = lookFrom(ctx, c, t, s.aheadBeside(t, s.exactly(t)))
			return err
		})
		switch {
		case answer == sequence.Taken:
			return &collision{evidence: foreseen, from: t}, fenced{}
		case errors.Is(err, conn.ErrNoSecond):
			s.complainUnprotected(fmt.Errorf("in SERIALIZABLE rows are read from a second connection: %w; raise SetMaxOpenConns", err))
		}
	}
	s.lookedFromSecond = true
	defer func() { s.lookedFromSecond = false }()
	hit, r := s.sendBehindLook(ctx, f)
	for i, t := range s.watchedKeys() {
		if i < len(r.before) {
			r.before[i] = r.before[i].With(t.Sequence, before[t.Sequence.OID])
		}
	}
	return hit, r
}

// complainUnprotected reports a question that the server does not answer.
func (in *insert) complainUnprotected(err error) {
	if in.stmt.Ended() {
		return
	}
	in.complain(fmt.Sprintf("seqheal: upserts into table %s are sent without protection from drift: %v", in.stmt.Target.Table, err))
}

// lookAgain reads the table anew, and sends the statement behind a look at that one.
func (s *preflight) lookAgain(ctx context.Context, f fence) (*collision, fenced) {
	wired := s.wired
	s.looked, s.wired, s.text = false, false, s.stmt.Text()
	entry, err := s.readAnew(ctx, s.table)
	if err == nil && entry != nil {
		s.table = entry.Table
		if key, _ := s.conflictKey(s.drawnKeys(s.table)); key != nil {
			s.table = key
		}
		s.blind, s.counted = !s.drawsPredictably(s.table), s.rowsTell(s.table)
		if text, ok := s.withTripwire(s.table); ok && wired && !s.blind {
			s.text, s.wired = text, true
		}
		if s.blind && !s.mayDraw(s.table) {
			return nil, s.sendUnasked(ctx, s.text, fence{keepOpen: f.keepOpen})
		}
	}
	anew := s.watched() // the sequence is another one too
	anew.keepOpen = anew.keepOpen || f.keepOpen || s.counted
	return s.sendBehindLook(ctx, anew)
}

// evidenceBehind is what the row means that was found among the drawn values. DO UPDATE has
// locked it. What DO NOTHING left alone is drift when this statement alone has drawn since
// before, a suspicion when another session has too.
func (s *preflight) evidenceBehind(ctx context.Context, t *catalog.Table, before int64) evidence {
	if s.updates() {
		return missingRows
	}
	last := s.lastDrawn(ctx, t)
	if last.Found && sequence.Steps(before, last.Value, t.Sequence.Increment) == int64(s.omitted(t)) {
		return missingRows
	}
	return suspected
}

// lookExactly looks once more where a composite key's look found a value taken, which went by
// the sequence's column alone. The answer is Free where no such row has the same values in the
// others: numbers begin anew in each year, ids are another tenant's.
func (s *preflight) lookExactly(ctx context.Context, t *catalog.Table) sequence.Answer {
	beside := s.exactly(t)
	if beside == nil || len(s.lookedAt()) > 1 {
		return sequence.Taken
	}
	ahead := s.aheadBeside(t, beside)
	ahead.NotHere = s.aheadHere(t).NotHere
	answer, err := sequence.Preflight(ctx, s.conn(), t, ahead)
	if err != nil {
		return sequence.Taken
	}
	return answer
}

// questions ask about the values that come next, one for each key; none where a look takes
// several statements.
func (s *preflight) questions() (questions []sequence.Question) {
	if s.blind || s.looked {
		return []sequence.Question{sequence.StillThere(s.table, s.waitsForAnyKey())}
	}
	for _, t := range s.lookedAt() {
		question, ok := sequence.Ask(t, s.aheadHere(t))
		switch {
		case ok:
		case s.wired:
			question = sequence.StillThere(t, false)
		default:
			return nil
		}
		questions = append(questions, question)
	}
	return questions
}

// aheadHere is ahead for a look on the statement's own connection.
func (s *preflight) aheadHere(t *catalog.Table) sequence.Ahead {
	ahead := s.ahead(t)
	ahead.NotHere = !s.counted && !s.wired && !s.lookedFromSecond
	ahead.Afterwards = s.counted || s.wired || (s.updates() || !s.names(t) && sequence.CountsAfter(t)) && slices.Contains(s.watchedKeys(), t)
	return ahead
}

// ahead is what the statement is about to do with the table's sequence.
func (in *insert) ahead(t *catalog.Table) sequence.Ahead {
	return in.aheadBeside(t, in.leading(t))
}

// aheadBeside is ahead among the rows that have these values beside, nil for all rows.
func (in *insert) aheadBeside(t *catalog.Table, beside *sequence.Beside) sequence.Ahead {
	return sequence.Ahead{Count: in.draws(t), Named: in.namedBeside(t, beside), Beside: beside, AllKeys: in.waitsForAnyKey()}
}

func (s *preflight) heal(ctx context.Context, a *attempt) strategy { return a.healAndSend(ctx, s) }

// abandon fails the statement after a 23505 or a tripwire, and where its draws would damage
// rows unnoticed. Otherwise it sends it as it is: nothing was in front of the sequence, or
// nothing more can be done.
func (s *preflight) abandon(ctx context.Context, a *attempt) {
	if a.collision.evidence == uniqueViolation || a.collision.evidence == metRow {
		s.failAborted(ctx, a.lastError())
		return
	}
	if !s.noticed && s.failUnsent(ctx, a, s.table.ByKey(a.collision.from.KeyName())) {
		return
	}
	err := s.sendOn(s.pool(), s.text)
	if !s.wired {
		return
	}
	if hit := s.tripped(err, s.table); hit != nil {
		a.collision = *hit
		s.failAborted(ctx, a.lastError())
	}
}

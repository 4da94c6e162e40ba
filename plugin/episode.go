package plugin

import (
	"context"
	"errors"
	"time"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/resync"
)

// proof is how a collision is known.
type proof int

const (
	serverError proof = iota // the server said so
	noRow                    // the conflict guard returned no row
	foresight                // the plugin looked: a value in front of the sequence is taken
)

// ErrTableChanged is returned for an insert whose table changed under the
// running program in a way that makes it impossible to tell whether its row was
// stored: a trigger was added, say. The transaction can only roll back; the next
// insert into the table is fenced by a savepoint.
var ErrTableChanged = errors.New("seqheal: the table changed while the program ran")

// episode is one insert that met a collision, from the first one until the
// caller has a result. It becomes at most one Incident.
type episode struct {
	h       *healer
	s       *statement
	started time.Time
	// met is when the last collision was known.
	met   time.Time
	guard string
	// first is the error of the first collision, nil under the conflict guard.
	first error
	last  collision
	// rounds counts heals; ours is true once the collision is known to be drift
	// or one that the plugin has to speak about.
	rounds int
	ours   bool

	table   *catalog.Table
	session conn.Session
	// target is the furthest value that a round had to pass.
	target resync.Sight
	// guess is true when the target is only what the collision told.
	guess bool
	key   resync.Sight
	// keyBefore is the key of the round before.
	keyBefore resync.Sight
	// unexplained counts the rounds running in which the same id collided although
	// the sequence was past every row before.
	unexplained int
	from, to    int64
	drew        bool
	moved       bool
	outlier     resync.Sight
	refusal     *resync.Refusal
	poisoned    error // ErrTableChanged
	noSecond    error // why there is no second connection to look from
	// primary is the key that collided, and own what others wait for meanwhile.
	primary primary
	own     *answer[*moved]
	// followed is true once the insert was sent again after another's heal.
	followed bool
}

func (h *healer) open(s *statement, hit collision, guardName string) *episode {
	s.tables.opened.Add(1)
	now := time.Now()
	return &episode{h: h, s: s, started: now, met: now, guard: guardName, first: hit.err, last: hit}
}

// meet takes in the collision of a retry.
func (e *episode) meet(hit collision) {
	e.unfollow()
	e.last, e.keyBefore, e.met = hit, e.key, time.Now()
}

// nextRound reports whether another heal is allowed.
func (e *episode) nextRound() bool {
	if e.rounds >= e.h.plugin.settings.maxRounds {
		e.refusal = &resync.Refusal{Reason: string(ReasonRounds), Err: errRounds}
		return false
	}
	e.rounds++
	return true
}

var errRounds = errors.New("rows kept appearing in front of the sequence; " +
	"stop the import of explicit ids, or raise plugin.WithMaxRounds")

// failed notes why the heal ended without success, at whatever step.
func (e *episode) failed(err error) {
	e.presume()
	e.refusal = resync.Explain(err)
	if e.s.contextEnded() && !e.refusal.Refused {
		e.refusal = &resync.Refusal{Reason: resync.Canceled, Err: err}
	}
}

// deadline is when the time budget of this episode is spent.
func (e *episode) deadline(ctx context.Context) time.Time {
	until := e.started.Add(e.h.plugin.settings.timeout)
	if end, ok := ctx.Deadline(); ok && end.Before(until) {
		return end
	}
	return until
}

// close has the episode reported, unless it was none of the plugin's business.
func (e *episode) close() {
	if e == nil {
		return
	}
	e.lead(false)
	e.s.tables.closed.Add(1)
	if !e.ours {
		return
	}
	if e.table.Fed() {
		e.s.tables.unpass(e.table.Sequence)
	}
	e.s.closed = append(e.s.closed, e)
}

// report reports the statement's episodes. It is called once nothing of the
// plugin's own is open any more, for an OnIncident may take its time, and may
// need the connection.
func (h *healer) report(s *statement) {
	if len(s.closed) == 0 {
		return
	}
	incidents := make([]Incident, len(s.closed))
	for n, e := range s.closed {
		incidents[n] = e.incident()
	}
	for _, incident := range incidents {
		h.plugin.report(s.db.Statement.Context, s.db.Logger, incident)
	}
}

// incident is what the episode came to.
func (e *episode) incident() Incident {
	i := Incident{
		Time: e.started, Outcome: AlreadyHealed, From: e.from, To: e.to, Behind: e.behind(),
		Rows: e.s.insert.Rows(), Guard: e.guard, Rounds: max(1, e.rounds), Duration: time.Since(e.started),
		Err: e.s.db.Error, Silent: e.s.effect != "", effect: e.s.effect,
	}
	i.Constraint = e.last.constraint
	if v := e.last.violated; v.Table != "" {
		i.Table = catalog.Quote(v.Schema, v.Table)
	}
	if t := e.table; t != nil {
		i.Table = t.QuotedName()
		if t.Constraint != "" {
			i.Constraint = t.Constraint
		}
		if t.Fed() {
			i.Sequence, i.Column = t.Sequence.QuotedName(), catalog.Quote(t.FedColumn())
			i.OtherColumns = max(0, t.Sequence.Feeders-1)
		}
	}
	if e.key.Found {
		i.Key, i.KeyKnown = e.key.Value, true
	}
	if e.outlier.Found {
		i.Left = e.outlier.Value
	}
	if e.moved {
		i.Outcome = Healed
	}
	if e.refusal != nil {
		i.Outcome, i.Reason, i.Err = Failed, Reason(e.refusal.Reason), e.refusal.Err
		if e.refusal.Refused {
			i.Outcome = Refused
		}
	}
	return i
}

// behind is how many values the sequence had to give to pass the furthest row.
func (e *episode) behind() int64 {
	if !e.drew || !e.target.Found || e.table.Sequence.Reached(e.from, e.target.Value) {
		return 0
	}
	return resync.Steps(e.from, e.target.Value, e.table.Sequence.Increment)
}

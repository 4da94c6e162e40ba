package heal

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/facts"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/sequence"
)

// attempt is the heal of one INSERT that collided, from the first collision until the
// caller has a result. It becomes at most one [Incident].
type attempt struct {
	*insert
	started time.Time
	// guardedBy is the guard under which the first collision was found.
	guardedBy Guard
	rounds    int
	earlier   int       // rounds counted by the attempt that this one was split from
	collision collision // the latest
	verdict   verdict
	session   conn.Session
	table     *catalog.Table
	target    target
	// move is what became of the sequence over all rounds, nil before the first draw.
	move *sequence.Move
	// second is why no second connection can be used; it is waited for once.
	second  error
	failure *sequence.Refusal
	// origin is what is known of how the sequence drifted.
	origin origin
}

// target is the furthest value that the sequence has to pass.
type target struct {
	sequence.Position
	// guessed is true when it is only what the statement and the server said, because
	// the rows could not all be looked at.
	guessed bool
}

// begin opens the attempt of a statement that collided.
func (in *insert) begin(s strategy, c collision) *attempt {
	in.tables.HealBegins()
	a := &attempt{insert: in, started: time.Now(), guardedBy: s.guard(), collision: c}
	a.origin.given, a.origin.at, a.origin.known = in.memory.Given()
	return a
}

// attempts are those of one INSERT, one for each key that collided.
type attempts []*attempt

// of is the attempt of the key that collided, a new one at its first collision.
func (all *attempts) of(in *insert, s strategy, c collision) *attempt {
	for _, a := range *all {
		if a.concerns(c) {
			a.next(c)
			return a
		}
	}
	a := in.begin(s, c)
	*all = append(*all, a)
	return a
}

// concerns reports whether the collision is one of the key that the attempt heals.
func (a *attempt) concerns(c collision) bool {
	if a.table == nil || len(a.table.Keys) == 0 {
		return true
	}
	key := c.by(a.table)
	return key == nil || key.FedColumn() == a.table.FedColumn()
}

// isElsewhere reports whether the key is one of another table than the attempt has healed:
// of one that a trigger or a rule inserts into.
func (a *attempt) isElsewhere(key *catalog.Table) bool {
	return key.Fed() && key.Sequence.OID != a.table.Sequence.OID && key.QuotedName() != a.table.QuotedName()
}

// split ends what was healed in the rounds before this one as an attempt of its own: what
// it found says nothing of another table.
func (a *attempt) split() {
	healed := *a
	healed.rounds = a.rounds - 1
	healed.collision = collision{evidence: a.collision.evidence, key: a.collision.previous.key}
	a.tables.HealBegins()
	healed.end()
	*a = attempt{insert: a.insert, started: time.Now(), guardedBy: a.guardedBy, rounds: a.rounds, earlier: healed.rounds,
		collision: a.collision, session: a.session, second: a.second}
	a.collision.previous = previous{}
}

// next takes the collision of a statement that was sent again.
func (a *attempt) next(c collision) {
	c.previous = previous{key: a.collision.key, repeats: a.collision.previous.repeats}
	a.collision = c
}

var errRounds = errors.New("rows kept appearing in front of the sequence; " +
	"stop the import of explicit ids, or raise plugin.WithMaxRounds")

// end ends the attempt, and queues an incident if drift caused the collision.
func (a *attempt) end() {
	a.tables.HealEnds()
	moved := a.move != nil && a.move.Moved
	if !moved && (a.verdict != drift || a.collision.evidence == suspected) {
		return
	}
	if a.table.Fed() {
		a.tables.NotPassed(facts.SequenceOf(a.table))
	}
	a.drifted = append(a.drifted, a)
}

// fail records why a heal ended without success, at whatever step.
func (a *attempt) fail(err error) {
	if a.verdict == undecided && a.table == nil {
		a.presume()
	}
	a.failure = sequence.Explain(err)
	if a.stmt.Ended() && !a.failure.Refused {
		a.failure = &sequence.Refusal{Reason: sequence.Canceled, Err: err}
	}
}

// deadline is when the time limit of this heal is spent.
func (a *attempt) deadline(ctx context.Context) time.Time {
	until := a.started.Add(a.settings.Timeout)
	if end, ok := ctx.Deadline(); ok && end.Before(until) {
		return end
	}
	return until
}

// healHere runs a round on the statement's own connection, and reports whether the
// statement may be sent again.
func (a *attempt) healHere(ctx context.Context) bool {
	err := a.collision.undone
	if err == nil {
		err = a.healOn(ctx, a.conn())
	}
	if err != nil {
		a.fail(err)
	}
	if pgerr.Is(err, pgerr.SerializationFailure) {
		a.collision.err = err // the transaction is lost, and on this the caller retries it
	}
	return err == nil && a.verdict == drift
}

// healAndSend runs a round on the statement's own connection, and returns s to send the
// statement once more, nil when it must not be sent.
func (a *attempt) healAndSend(ctx context.Context, s strategy) strategy {
	if !a.healHere(ctx) {
		return nil
	}
	return s
}

// healAside runs a round on a second connection, for a transaction that is lost.
func (a *attempt) healAside(ctx context.Context) {
	if err := a.onSecond(ctx, func(ctx context.Context, c *conn.Conn, _ conn.Session) error {
		return a.round(ctx, c, a.elsewhere())
	}); err != nil {
		a.fail(err)
	}
}

// elsewhere is the statement's table under a name that stands for it in every session: with
// the schema that the server gives, which a search_path of the statement's own may have chosen.
func (a *attempt) elsewhere() catalog.Name {
	target, violated := a.stmt.Target, a.collision.violated()
	if target.Schema == "" && violated.Table == target.Table {
		return violated
	}
	return target
}

// healOn runs a round on a connection that is in a transaction, inside a savepoint
// that is rolled back: the sequence stays moved, locks and settings do not. It begins
// anew where the table was renamed or replaced during the round.
func (a *attempt) healOn(ctx context.Context, c *conn.Conn) (err error) {
	for range mostReadings {
		err = c.InSavepoint(ctx, func() error { return a.round(ctx, c, a.stmt.Target) })
		if err == nil || !replacedMeanwhile(err) || a.stmt.Ended() {
			break
		}
	}
	return err
}

// replacedMeanwhile reports whether a table was not found under the name that the catalog
// gave a moment before, or not at all.
func replacedMeanwhile(err error) bool {
	return errors.Is(err, catalog.ErrNotFound) || pgerr.Is(err, pgerr.UndefinedTable, pgerr.UndefinedColumn, pgerr.InternalError)
}

// round classifies the collision and, where drift caused it, locates the furthest row
// and advances the sequence. It sets the verdict. target is the statement's table.
func (a *attempt) round(ctx context.Context, c *conn.Conn, target catalog.Name) (err error) {
	if a.session, err = conn.ReadSession(ctx, c); err != nil {
		return err
	}
	defer c.Within(a.deadline(ctx), a.session.StatementTimeout, a.session.LockTimeout)()
	verdict, err := a.classify(ctx, c, target)
	if err != nil {
		return err
	}
	if a.verdict = verdict; verdict != drift {
		return nil
	}
	if err := sequence.Permitted(a.table, a.session); err != nil {
		return err
	}
	before := a.target.Position
	found, err := a.locate(ctx, c)
	if err != nil {
		return err
	}
	a.target.Position = found.With(a.table.Sequence, before)
	return a.advance(ctx, c, before)
}

// healForRetry moves the sequence from a second connection when a statement failed
// with 40001: an id that it drew may have collided with a row outside its snapshot, and
// the caller's retry must not collide with the next one. Such a failure can have another
// cause, such as a row that was updated concurrently, so nothing is done or reported
// unless one of the next count values is taken.
func (in *insert) healForRetry(ctx context.Context, s strategy, err error, table *catalog.Table, count int64) {
	for _, t := range in.drawnKeys(table) {
		hit := &collision{evidence: foreseen, from: t}
		hit.err, hit.server = err, pgerr.Error{Schema: t.Schema, Table: t.Name, Constraint: t.Constraint}
		a := in.begin(s, *hit)
		a.rounds = 1
		failed := a.onSecond(ctx, func(ctx context.Context, c *conn.Conn, _ conn.Session) error {
			answer, err := lookFrom(ctx, c, t, sequence.Ahead{Count: count, Beside: in.exactly(t)})
			if answer != sequence.Taken {
				return err
			}
			return a.round(ctx, c, a.elsewhere())
		})
		if a.verdict == drift && failed != nil {
			a.fail(failed)
		}
		a.end()
	}
}

// noticeExhausted reports an insert that failed because its sequence has no value left.
func (in *insert) noticeExhausted() {
	err := in.stmt.DB.Error
	if !pgerr.Is(err, pgerr.SequenceLimitReached) || len(in.drifted) > 0 {
		return
	}
	server, _ := pgerr.From(err)
	a := in.begin(passthrough{insert: in}, collision{})
	a.guardedBy, a.verdict = None, drift
	in.effect = "" // an upsert that fails to draw harms no row
	a.collision.server = pgerr.Error{Schema: in.stmt.Target.Schema, Table: in.stmt.Target.Table}
	a.failure = &sequence.Refusal{Reason: sequence.Exhausted, Refused: true, Err: fmt.Errorf(
		"table %s: its sequence has no value left; widen the column with ALTER TABLE ... TYPE bigint and the sequence with ALTER SEQUENCE ... AS bigint: %w", in.stmt.Target.Table, err)}
	if entry := in.tables.Get(in.stmt.Target); entry != nil && !entry.Ambiguous {
		for _, t := range entry.Table.ByKeys() {
			if in.drawsFrom(t) && (len(t.Keys) == 0 || strings.Contains(server.Message, `"`+t.Sequence.Name+`"`)) {
				a.table = t
				a.failure = sequence.Explain(sequence.NoValueLeft(t))
			}
		}
	}
	a.end()
}

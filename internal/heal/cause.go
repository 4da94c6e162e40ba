package heal

import (
	"context"
	"strings"
	"time"

	"github.com/seqheal/seqheal/internal/caller"
	"github.com/seqheal/seqheal/internal/cause"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/facts"
	"github.com/seqheal/seqheal/internal/sequence"
)

// lookWait bounds a look on the program's side, where the server does not answer. In the
// caller's transaction the end of the wait closes the connection, and what the transaction
// has stored is lost: there it is as long as that of a rollback.
const (
	lookWait       = time.Second
	lookWaitInside = 5 * time.Second
)

// origin is what is known of how a sequence drifted.
type origin struct {
	// given is the highest value that was seen of the sequence before the heal, and at
	// when, where one is known.
	given int64
	at    time.Time
	known bool
	// low is the first value that may have been taken when the heal looked; front and
	// causes are what was found there afterwards.
	low    int64
	front  cause.Front
	causes []cause.Cause
}

// explain finds the application's line that sent a statement which collided because of
// drift, and what made the sequence drift. It runs after the statement has its result and
// changes nothing of it.
func (in *insert) explain(ctx context.Context) {
	if len(in.drifted) == 0 {
		return
	}
	in.sender = caller.Here()
	for _, a := range in.drifted {
		a.explain(ctx)
	}
	// From here on ids are measured against where the heal left the sequence.
	in.memory, in.highest = in.tables.Memory(in.stmt.Target), 0
	for _, a := range in.drifted {
		if a.move != nil && a.owned() {
			in.memory.Restart(a.move.To, time.Now())
		}
	}
}

// owned reports whether what is remembered under the statement's name concerns the
// attempt's key: of a table with several it is the one that decides.
func (a *attempt) owned() bool {
	return a.table.Fed() && a.table.ByKeys()[0] == a.table && a.table.Own && a.table.View == nil && !a.table.Temporary
}

// explain sets the attempt's causes and what lay in front.
func (a *attempt) explain(ctx context.Context) {
	located := a.move != nil && a.target.Found
	var q cause.Question
	if located && a.move.Moved {
		q = a.question()
		a.origin.front = q.Front(cause.Seen{})
	}
	var reason string
	switch {
	case a.stmt.DB.Error != nil:
		reason = "the rows in front are looked at only after an insert that succeeded"
	case !located:
		reason = "the rows in front were not looked at"
	case !a.move.Moved:
		reason = "the incident of the insert that moved the sequence has the cause"
	case a.session.Isolation == conn.Serializable:
		reason = "the rows in front are not looked at in SERIALIZABLE"
	case ctx.Err() != nil:
		reason = "the rows in front were not looked at: the insert's context has ended"
	default:
		reason = cause.Readable(a.table)
	}
	if reason != "" {
		a.origin.causes = []cause.Cause{cause.Without(reason)}
		return
	}
	seen, err := a.look(ctx, q)
	a.origin.front, a.origin.causes = q.Front(seen), q.Judge(seen, err)
}

// question is the question about what lay in front of the sequence.
func (a *attempt) question() cause.Question {
	q := cause.Question{Table: a.table, Limit: cause.Limit, At: a.move.From, From: a.origin.low, To: a.target.Value}
	memory := a.tables.Memory(a.stmt.Target)
	if memory == nil || !a.owned() {
		return q
	}
	if a.stmt.Target.Schema == "" {
		q.Path = a.session.SearchPath[:max(0, strings.LastIndexByte(a.session.SearchPath, '/'))]
	}
	if memory == a.memory && a.origin.known {
		q.Given, q.GivenAt = a.origin.given, a.origin.at
	}
	if n := memory.LastNamed(); n != nil && n.Column == a.table.ShownFed() {
		q.Named = n
	}
	return q
}

// look reads what lay in front: in READ COMMITTED in a savepoint of the statement's own
// transaction, elsewhere on another connection, if one is free at once. A context that
// ends meanwhile would close the caller's connection, so the server's limits bound it.
func (a *attempt) look(ctx context.Context, q cause.Question) (seen cause.Seen, err error) {
	inside, wait := a.inTransaction() && a.session.Isolation == conn.ReadCommitted, lookWait
	if inside {
		wait = lookWaitInside
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wait)
	defer cancel()
	fn := func(c *conn.Conn) error {
		seen, err = q.Look(ctx, c)
		return err
	}
	if inside {
		err := a.conn().InLimitedSavepoint(ctx, q.Limits(), fn)
		return seen, err
	}
	err = conn.Aside(ctx, conn.PoolOf(a.stmt.DB), q.Limits(), fn)
	return seen, err
}

// lowest is the first value that may have been taken, in the sequence's direction: the id
// that collided, or what the statement had drawn.
func (a *attempt) lowest(move sequence.Move) int64 {
	seq := a.table.Sequence
	switch {
	case a.collision.evidence == foreseen && move.From != seq.First():
		return move.From + seq.Increment // nothing was drawn before the heal
	case a.collision.key.Found && seq.Reached(move.From, a.collision.key.Value):
		return a.collision.key.Value
	case a.collision.evidence != missingRows && a.collision.evidence != suspected:
		return move.From
	}
	drawn := int64(max(1, a.omitted(a.table)))
	if sequence.Steps(seq.First(), move.From, seq.Increment) < drawn {
		return seq.First()
	}
	return move.From - (drawn-1)*seq.Increment
}

// rememberNamed keeps which ids a statement that was stored has named, when, and from
// where. An upsert that may have changed rows that were there before shows nothing.
func (in *insert) rememberNamed() {
	stmt := in.stmt
	if in.memory == nil || stmt.DB.Error != nil {
		return
	}
	if upsert := stmt.Insert.OnConflict; upsert != nil && (!upsert.DoNothing || stmt.DB.RowsAffected < int64(stmt.Insert.Rows())) {
		return
	}
	column := stmt.KeyColumn()
	if stmt.DB.Statement.Schema == nil {
		if entry := in.tables.Get(stmt.Target); entry != nil && entry.Table.Fed() {
			column = entry.Table.ShownFed()
		}
	}
	highest, ok := stmt.Insert.Highest(column)
	if !ok {
		return
	}
	named := &facts.Named{Highest: highest, Column: column, At: stmt.Sent}
	named.Sender.Record()
	in.memory.NamedIDs(named)
}

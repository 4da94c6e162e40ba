package heal

import (
	"context"
	"database/sql"
	"strconv"
	"strings"

	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/pipeline"
	"github.com/seqheal/seqheal/internal/sequence"
	"github.com/seqheal/seqheal/internal/statement"
)

// fence is how a statement is sent in a savepoint.
type fence struct {
	// lock is sent before the questions, empty for none ([statement.Statement.Lock]).
	lock string
	// questions are sent first; when one fails the statement is not sent.
	questions []sequence.Question
	// last asks for the values before the sequences' next ones, before the statement.
	last []string
	// keepOpen leaves the savepoint open after a success, for evidence to be looked at.
	keepOpen bool
}

// fenced is how one sending in a savepoint ended. After any error of the server the
// transaction is aborted, with the savepoint open in it.
type fenced struct {
	err error
	// unsent is true when the statement was not sent, because a question failed with err.
	unsent bool
	// unopened is true when the statement was not sent and no savepoint is open: in an aborted
	// transaction, for example. An older savepoint of the name may be open there, which
	// must not be rolled back to.
	unopened bool
	// unlocked is true when the statement was not sent because fence.lock failed with err.
	unlocked bool
	// answer is that of the question which failed, Free without one, and failed its index
	// in fence.questions.
	answer sequence.Answer
	failed int
	// open is true when the savepoint was left open and the transaction is alive.
	open bool
	// rows is how many rows the statement stored or changed, where the savepoint is left open.
	rows int64
	// before are the answers to fence.last, none where they were not asked for.
	before []sequence.Position
}

// oneTrip reports whether the statement's connection takes a savepoint, a statement and
// RELEASE in one round trip.
func (in *insert) oneTrip(ctx context.Context) bool {
	return in.way(ctx).Way == pipeline.OneTrip && pipeline.Usable(in.pool()).Cause == pipeline.CauseNone
}

// sendFenced sends the statement in a savepoint: SAVEPOINT, the questions, the INSERT
// and RELEASE in one round trip where the pool takes that, otherwise one by one.
func (in *insert) sendFenced(ctx context.Context, text statement.Text, f fence) fenced {
	if f.keepOpen {
		in.stmt.Keep()
	}
	if in.oneTrip(ctx) {
		if r, sent := in.sendInOneTrip(text, f); sent {
			return r
		}
	}
	return in.sendInTrips(ctx, text, f)
}

// sendUnasked sends the statement in a savepoint, and where none can be opened as it is:
// in an aborted transaction or after the context has ended that gives GORM's own error.
func (in *insert) sendUnasked(ctx context.Context, text statement.Text, f fence) fenced {
	r := in.sendFenced(ctx, text, f)
	if r.unopened {
		return in.sendUnfenced(text, r)
	}
	return r
}

// sendUnfenced ends a statement whose savepoint could not be opened. In an aborted transaction the
// statement is sent and gets the server's error. Where the connection was lost or the context has
// ended nothing is sent, and that is its error.
func (in *insert) sendUnfenced(text statement.Text, r fenced) fenced {
	if r.unopened && !serverSpoke(r.err) {
		in.stmt.Fail(r.err)
	} else {
		_ = in.sendOn(in.pool(), text)
	}
	return fenced{err: in.stmt.DB.Error}
}

// sendInOneTrip reports false when nothing was sent because this connection differs
// from the pool's others.
func (in *insert) sendInOneTrip(text statement.Text, f fence) (fenced, bool) {
	own := in.stmt.Text()
	plan := pipeline.Plan{Savepoint: true, KeepOpen: f.keepOpen, Rewritten: text.SQL != own.SQL}
	if f.lock != "" {
		plan.Questions = append(plan.Questions, pipeline.Question{SQL: f.lock, Prepare: true})
	}
	locks := len(plan.Questions)
	var asked []int // the indexes in f.questions
	for i, question := range f.questions {
		for n, sql := range question.Statements() {
			plan.Questions = append(plan.Questions, pipeline.Question{SQL: sql, Prepare: n == 0})
			asked = append(asked, i)
		}
	}
	for _, last := range f.last {
		plan.Questions = append(plan.Questions, pipeline.Question{SQL: last, Prepare: true})
	}
	sending := pipeline.New(in.pool(), plan)
	err := in.sendOn(sending.ConnPool(), text)
	out := sending.Outcome()
	if out.NotSent.Cause != pipeline.CauseNone {
		in.pipes.NotSent(conn.PoolOf(in.stmt.DB), out.NotSent)
		return fenced{}, false
	}
	r := fenced{err: err, rows: out.Rows}
	if out.Failed == pipeline.StepSavepoint {
		return fenced{err: out.Err, unopened: true}, true
	}
	if out.Failed == pipeline.StepQuestion {
		r.err, r.unsent = out.Err, true
		r.answer = sequence.AnswerOf(out.Err) // also of fence.last: the sequence may have another name
		switch i := out.Question - locks; {
		case i < 0:
			r.unlocked = true
		case i < len(asked):
			r.failed = asked[i]
		}
		return r, true
	}
	r.open = out.SavepointOpen && !serverSpoke(out.Err)
	if len(out.Answers) == len(plan.Questions) {
		for _, answer := range out.Answers[len(out.Answers)-len(f.last):] {
			value, err := strconv.ParseInt(answer, 10, 64)
			r.before = append(r.before, sequence.Position{Value: value, Found: err == nil})
		}
	}
	return r, true
}

// sendInTrips sends SAVEPOINT, the questions, the statement and RELEASE one by one.
func (in *insert) sendInTrips(ctx context.Context, text statement.Text, f fence) fenced {
	c := in.conn()
	open := c.Savepoint
	if f.lock != "" {
		open = func(ctx context.Context) error { return c.SavepointAnd(ctx, f.lock) }
	}
	if err := open(ctx); err != nil {
		opened := f.lock != "" && serverSpoke(err) && !pgerr.Is(err, pgerr.InFailedTransaction, pgerr.NoActiveTransaction)
		return fenced{err: err, unopened: !opened, unsent: opened, unlocked: opened}
	}
	for i, question := range f.questions {
		if err := c.Exec(ctx, strings.Join(question.Statements(), "; ")); err != nil {
			return fenced{err: err, unsent: true, answer: sequence.AnswerOf(err), failed: i}
		}
	}
	var before []sequence.Position
	for _, last := range f.last {
		var value sql.NullInt64
		if err := c.Row(ctx, last, nil, &value); err != nil {
			return fenced{err: err, unsent: true, answer: sequence.AnswerOf(err)}
		}
		before = append(before, sequence.Position{Value: value.Int64, Found: value.Valid})
	}
	if f.keepOpen {
		rows, err := in.sendCounted(text)
		return fenced{err: err, rows: rows, open: !serverSpoke(err), before: before}
	}
	err := in.sendOn(in.pool(), text)
	r := fenced{err: err, open: !serverSpoke(err), before: before}
	if err == nil {
		in.release(ctx)
		r.err, r.open = in.stmt.DB.Error, false
	}
	return r
}

func serverSpoke(err error) bool {
	_, spoke := pgerr.From(err)
	return spoke
}

// release keeps what the statement did. A statement whose savepoint cannot be
// released is reported as failed, so its transaction must not be committed.
func (in *insert) release(ctx context.Context) {
	if err := in.conn().Release(ctx); err != nil {
		in.conn().Abort(ctx)
		_ = in.stmt.DB.AddError(err)
	}
}

// undo rolls back what the statement did, and what GORM filled from it.
func (in *insert) undo(ctx context.Context) error {
	in.stmt.Undo()
	return in.conn().RollBack(ctx)
}

// settle hands an error that is the caller's own on as it is. The transaction stays as
// PostgreSQL left it; where the error is the driver's or Scan's it goes on.
func (in *insert) settle(ctx context.Context, r fenced) {
	if r.open {
		_ = in.conn().Release(ctx)
	}
}

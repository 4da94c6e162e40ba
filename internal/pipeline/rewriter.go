package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/seqheal/seqheal/internal/conn"
)

const (
	// notSentText is what database/sql believes to send. It is not the INSERT, because
	// pgx may drop the text of a query that failed from its statement cache.
	notSentText   = "-- seqheal"
	maxParameters = math.MaxUint16
)

// errAnswered keeps pgx from sending anything after the rewriter.
var errAnswered = errors.New("pipeline: answered")

// rewriter sends a plan's pipeline from inside pgx.
type rewriter struct {
	plan     Plan
	insert   string
	prepared bool // GORM prepares the statement, whatever the exec mode
	exec     bool // no rows are wanted
	answer   answer
}

// answer is what came back, with the rows decoded.
type answer struct {
	Outcome
	rows rowSet
}

// RewriteQuery implements [pgx.QueryRewriter]. database/sql calls it again, with another
// connection, when a pool's connection turns out to be closed: an error that pgx takes
// as safe to retry is handed on for that.
func (r *rewriter) RewriteQuery(ctx context.Context, conn *pgx.Conn, _ string, args []any) (string, []any, error) {
	r.answer = answer{}
	s := sessionOf(conn)
	if conn.PgConn().TxStatus() == 'E' {
		r.plan = Plan{} // the server refuses the INSERT alone in the words that plain gets
	}
	if r.answer.NotSent = r.refusal(s, conn.PgConn().TxStatus()); r.answer.NotSent.Cause != CauseNone {
		return "", nil, errAnswered
	}
	r.send(ctx, &wire{conn: conn, session: s, mode: r.mode(s)}, args)
	if pgconn.SafeToRetry(r.answer.Err) {
		return "", nil, r.answer.Err
	}
	return "", nil, errAnswered
}

// mode is how pgx would send the statement itself.
func (r *rewriter) mode(s *session) pgx.QueryExecMode {
	if r.prepared {
		return pgx.QueryExecModeCacheStatement
	}
	return s.mode
}

// refusal is why this connection cannot take the plan right now. txStatus is the
// protocol's: I outside a transaction, T in one, E in an aborted one.
func (r *rewriter) refusal(s *session, txStatus byte) Reason {
	switch {
	case s.tracer.Cause != CauseNone:
		return s.tracer
	case s.unfit.Cause != CauseNone && !r.prepared:
		return s.unfit
	case r.plan.Savepoint && txStatus == 'I':
		return Reason{Cause: CauseOutside}
	case !r.plan.Savepoint && txStatus == 'T':
		return Reason{Cause: CauseInside}
	}
	return Reason{}
}

// Savepoints are always named alike: one hides an older one of the same name until it
// is released, and nothing of the caller's runs between.
const (
	setSavepoint = "SAVEPOINT seqheal"
	rollbackTo   = "ROLLBACK TO SAVEPOINT seqheal"
	release      = "RELEASE SAVEPOINT seqheal"
)

// send sends the plan, and once more when only the prepared statement was out of date:
// the session's were deallocated, or the table's columns have changed their types.
func (r *rewriter) send(ctx context.Context, w *wire, args []any) {
	opening := ""
	if r.plan.Savepoint {
		opening = setSavepoint
	}
	r.attempt(ctx, w, args, opening, r.plan.Rewritten)
	asked := r.answer.Failed == StepQuestion || r.answer.Failed == StepInsert
	if !asked || !w.session.outdated(r.answer.Err) || w.conn.IsClosed() {
		return
	}
	if r.plan.Savepoint {
		opening = rollbackTo
	}
	r.answer = answer{Outcome: Outcome{SavepointOpen: r.answer.SavepointOpen}}
	r.attempt(ctx, w, args, opening, true)
}

// attempt sends the plan once. opening is SAVEPOINT, ROLLBACK TO or nothing; inside says
// that a new statement is parsed after it, not before.
func (r *rewriter) attempt(ctx context.Context, w *wire, args []any, opening string, inside bool) {
	messages := r.messages(args)
	if !inside {
		insert, err := w.prepare(ctx, r.insert)
		if err != nil {
			r.fail(StepInsert, err)
			return
		}
		messages[len(messages)-1].statement = insert
	}
	if missing := w.unknown(messages); len(missing) > 0 {
		if !r.describe(ctx, w, opening, missing) {
			return
		}
		opening = ""
	}
	for _, m := range messages { // before anything of the plan is sent
		if err := r.encode(w, m); err != nil {
			r.fail(m.step, err)
			r.answer.Question = m.index
			return
		}
	}
	if r.travel(ctx, w, opening, messages) {
		return
	}
	if r.answer.Failed == StepInsert {
		w.session.failed(r.insert, r.answer.Err)
	}
}

// describe has the server parse and describe statements, and reports whether it did.
func (r *rewriter) describe(ctx context.Context, w *wire, opening string, missing []*message) bool {
	if r.travel(ctx, w, opening, missing) {
		return true
	}
	for _, m := range missing {
		w.session.close(m.statement.sd.Name) // it exists when only its description failed
	}
	if r.answer.Failed == StepInsert {
		r.answer.Err = unparsed{r.answer.Err}
	}
	return false
}

// unparsed is the error of an INSERT that the server could not parse, with a *pgconn.PgError
// beneath, as that of pgx's own [pgconn.PrepareError] is: GORM translates none of them.
type unparsed struct{ error }

func (u unparsed) Unwrap() error { return u.error }

// messages are the questions and the INSERT.
func (r *rewriter) messages(args []any) []*message {
	messages := make([]*message, 0, len(r.plan.Questions)+1)
	for i, q := range r.plan.Questions {
		m := &message{step: StepQuestion, index: i, sql: conn.OnPrimary + q.SQL, kept: q.Prepare, read: r.readAnswer}
		messages = append(messages, m)
	}
	m := &message{step: StepInsert, sql: r.insert, args: args, read: r.readRows}
	if r.exec {
		m.read = r.readTag
	}
	return append(messages, m)
}

// encode encodes a message's arguments. Their number is checked with plain's words.
func (r *rewriter) encode(w *wire, m *message) error {
	if m.step == StepInsert && m.statement != nil && len(m.statement.sd.ParamOIDs) != len(m.args) {
		switch want := len(m.statement.sd.ParamOIDs); {
		case r.prepared:
			return fmt.Errorf("sql: expected %d arguments, got %d", want, len(m.args))
		case !r.exec:
			return fmt.Errorf("expected %d arguments, got %d", want, len(m.args))
		}
	}
	return m.encode(w)
}

// travel makes one round trip: the opening, the messages and, after an INSERT, RELEASE.
// It reports whether all of it succeeded.
func (r *rewriter) travel(ctx context.Context, w *wire, opening string, messages []*message) bool {
	t := w.start(ctx)
	if opening != "" {
		t.statement(StepSavepoint, opening, func(*pgconn.ResultReader) error {
			r.answer.SavepointOpen = true
			return nil
		})
	}
	last := StepCommit
	for _, m := range messages {
		t.message(m)
	}
	if r.plan.Savepoint {
		last = StepRelease
		if !messages[len(messages)-1].describe && !r.plan.KeepOpen {
			t.statement(StepRelease, release, func(*pgconn.ResultReader) error {
				r.answer.SavepointOpen = false
				return nil
			})
		}
	}
	failed, err := t.run(last)
	if err != nil {
		r.fail(failed.step, err)
		r.answer.Question = failed.index
	}
	if w.conn.IsClosed() {
		r.answer.SavepointOpen = false
	}
	return err == nil
}

func (r *rewriter) fail(step Step, err error) { r.answer.Failed, r.answer.Err = step, err }

func (r *rewriter) readAnswer(_ *wire, reader *pgconn.ResultReader) error {
	text := ""
	for first := true; reader.NextRow(); first = false {
		if values := reader.Values(); first && len(values) > 0 {
			text = string(values[0])
		}
	}
	_, err := reader.Close()
	if err == nil {
		r.answer.Answers = append(r.answer.Answers, text)
	}
	return err
}

func (r *rewriter) readRows(w *wire, reader *pgconn.ResultReader) error {
	r.answer.rows = readRows(w.conn.TypeMap(), reader)
	return r.readTag(w, reader)
}

func (r *rewriter) readTag(_ *wire, reader *pgconn.ResultReader) error {
	tag, err := reader.Close()
	r.answer.Rows = tag.RowsAffected()
	return err
}

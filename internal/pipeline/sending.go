package pipeline

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"gorm.io/gorm"
)

// ErrNotSent is what the wrapper returns when nothing was sent because the statement
// cannot go out in one round trip. [Outcome.NotSent] says why. Connection and
// transaction are as they were.
var ErrNotSent = errors.New("pipeline: not sent")

// Plan is what goes out together with an INSERT.
type Plan struct {
	// Savepoint puts the questions and the INSERT into a savepoint. The connection
	// must be in a transaction. Without it the connection must be outside one, and
	// the pipeline is a transaction by itself: what fails undoes all of it. In an aborted
	// transaction the INSERT is sent alone, for the server's error.
	Savepoint bool
	// KeepOpen leaves out RELEASE: the caller looks at what came back first, then
	// releases the savepoint or rolls back to it.
	KeepOpen bool
	// Rewritten says that the INSERT is not the caller's own text. It is then parsed
	// inside the savepoint, so that a server that rejects it does not abort the
	// transaction. The error of a rejection has a *pgconn.PgError beneath, as pgx's
	// *pgconn.PrepareError has otherwise.
	Rewritten bool
	// Questions are sent before the INSERT, in this order.
	Questions []Question
}

// Question is a statement without parameters that is sent before the INSERT. An error that
// it raises keeps the INSERT from running.
type Question struct {
	SQL string
	// Prepare has the text prepared when it is asked again on a connection. Its plan then
	// stays: it must not depend on how many rows a table has.
	Prepare bool
}

// Step is a part of the pipeline.
type Step int

// The steps in the order in which they run.
const (
	StepNone      Step = iota
	StepSavepoint      // SAVEPOINT, or the connection failed before it
	StepQuestion
	StepInsert // parsing and encoding included
	StepRelease
	StepCommit // the end of a pipeline without a savepoint: what is checked at COMMIT
)

var stepText = [...]string{"none", "savepoint", "question", "insert", "release", "commit"}

func (s Step) String() string { return stepText[s] }

// Outcome is what became of one sending.
type Outcome struct {
	// NotSent is why nothing was sent. The rest is zero then.
	NotSent Reason
	// Failed is the step that raised Err, StepNone when all succeeded. When it is
	// StepInsert, Err is what plain pgx returns for the INSERT.
	Failed Step
	Err    error
	// Question is the index of the question that failed.
	Question int
	// SavepointOpen says that SAVEPOINT took effect and RELEASE did not. After an
	// error of the server the transaction is aborted and ROLLBACK TO brings it back;
	// after any other error it is alive. False after the connection was lost.
	SavepointOpen bool
	// Answers holds the first column of the first row of each question that
	// succeeded, as text; empty for none.
	Answers []string
	// Rows is the number of rows that the INSERT stored, as the server counts them.
	Rows int64
}

// Sending is one sending of one INSERT. It is not safe for concurrent use.
type Sending struct {
	pool    gorm.ConnPool
	plan    Plan
	used    bool
	outcome Outcome
}

// New plans the sending of the next statement on a connection pool or transaction.
func New(pool gorm.ConnPool, plan Plan) *Sending { return &Sending{pool: pool, plan: plan} }

// Outcome is valid after the statement was handed to [Sending.ConnPool].
func (s *Sending) Outcome() Outcome { return s.outcome }

// send hands the statement to pgx, and returns the answer when a pipeline was sent. An
// error without an answer is database/sql's own, or ErrNotSent.
func (s *Sending) send(ctx context.Context, query string, args []any, exec bool) (*answer, error) {
	target, prepared, reason := unwrap(s.pool)
	switch {
	case s.used:
		reason = Reason{Cause: CauseUsed}
	case exec && len(args) == 0 && !prepared:
		reason = Reason{Cause: CauseText}
	case len(args) > maxParameters:
		reason = Reason{Cause: CauseParameters}
	}
	if reason.Cause != CauseNone {
		s.outcome = Outcome{NotSent: reason}
		return nil, ErrNotSent
	}
	s.used = true
	r := &rewriter{plan: s.plan, insert: query, prepared: prepared, exec: exec}
	_, err := target.ExecContext(ctx, notSentText, append([]any{r}, args...)...)
	switch {
	case errors.Is(err, errAnswered):
		s.outcome = r.answer.Outcome
	case err == nil: // a driver that does not know pgx's arguments
		s.outcome = Outcome{NotSent: Reason{CauseDriver, fmt.Sprintf("%T without QueryRewriter", target)}}
	default: // database/sql's own, or the connection failed before the INSERT was sent
		s.outcome = r.answer.Outcome
		s.outcome.Failed, s.outcome.Err = max(s.outcome.Failed, StepSavepoint), err
		return nil, err
	}
	if s.outcome.NotSent.Cause != CauseNone {
		return nil, ErrNotSent
	}
	return &r.answer, nil
}

// query answers with rows when the INSERT succeeded. An error of the COMMIT comes after
// the rows, as it does with pgx.
func (s *Sending) query(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	a, err := s.send(ctx, query, args, false)
	if err != nil {
		return nil, err
	}
	if a.Err != nil && (a.Failed != StepCommit || len(a.rows.values) == 0) {
		return nil, a.Err
	}
	a.rows.last = a.Err
	return openRows(ctx, &a.rows)
}

func (s *Sending) execute(ctx context.Context, query string, args []any) (sql.Result, error) {
	a, err := s.send(ctx, query, args, true)
	if err != nil {
		return nil, err
	}
	if a.Err != nil {
		return nil, a.Err
	}
	return driver.RowsAffected(a.Rows), nil // what pgx's driver returns
}

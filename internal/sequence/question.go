package sequence

import (
	"context"
	"fmt"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgerr"
)

// A question answers by how it fails, because several statements travel in one round
// trip only without a result to read.
const (
	divisionByZero  = "22012" // a value is taken
	invalidArgument = "2201E" // ln(0): the table is not the one that was read
	invalidPower    = "2201F" // sqrt(-1): no row may be read here
	noSavepoint     = "3B001"
)

// Answer is what a question came to.
type Answer int

const (
	Free    Answer = iota // none of the values is taken
	Taken                 // one is
	Stale                 // the name stands for another table, or another sequence feeds it
	Unknown               // the question failed otherwise
	NotHere               // rows must not be read on this connection, only from another one
)

// AnswerOf reads a question's error.
func AnswerOf(err error) Answer {
	switch {
	case err == nil:
		return Free
	case pgerr.Is(err, divisionByZero):
		return Taken
	case pgerr.Is(err, invalidPower):
		return NotHere
	case pgerr.Is(err, invalidArgument, pgerr.InsufficientPrivilege, pgerr.UndefinedTable, pgerr.UndefinedColumn, invalidSchema, wrongObjectType, pgerr.InternalError):
		return Stale
	}
	return Unknown
}

// Codes of questions about names and oids that are gone.
const (
	invalidSchema   = "3F000"
	wrongObjectType = "42809"
)

// Question is what is asked before a statement, in statements that fail as [AnswerOf] reads
// it. They are two because a statement without parameters can be prepared, and its plan then
// stays as it is. That of the Check depends on the catalog alone; that of the Look was a
// sequential scan for as long as the connection lived, planned on a table of a few rows and
// kept while that grew to a million in one transaction (182 ms instead of 1.1, measured).
type Question struct {
	// Check asks whether the table is the one that was read. It locks no table.
	Check string
	// Look asks for the values that come next, empty for none.
	Look string
	// rows is true when the Look reads the table, and partitions when it has some.
	rows, partitions bool
}

// Statements are to be sent in this order in a savepoint, the Check first. What the Look has
// locked is given back before the statement follows: with the lock of a reader a writer waits
// for CREATE INDEX, and an ALTER TABLE behind that for the reader, until one of them fails
// (measured); and the partitions that the statement does not touch would stay locked. It waits
// for those no longer than 100 ms.
func (q Question) Statements() []string {
	switch {
	case q.Look == "":
		return []string{q.Check}
	case !q.rows:
		return []string{q.Check, q.Look}
	case !q.partitions:
		return []string{q.Check, openAhead, q.Look, undoAhead, closeAhead}
	}
	return []string{q.Check, openAhead, boundAhead, q.Look, undoAhead, closeAhead}
}

// TakeLock sends a statement that locks a table, in a transaction that keeps the lock and is alive
// afterwards.
func TakeLock(ctx context.Context, c *conn.Conn, lock string) {
	if err := c.Exec(ctx, openAhead+"; "+lock+"; "+closeAhead); err != nil {
		_ = c.UndoAfter(ctx, err, takeBack) // the statement fails alike, or has no such default
	}
}

// text is the question for [Put], which gives everything back.
func (q Question) text() string {
	if q.Look == "" {
		return q.Check
	}
	return q.Check + "; " + q.Look
}

// stillThere asks for a check alone.
//
//	%[1]s the check   %[2]s "+" and notSerializable, or nothing
const stillThere = `SELECT pg_catalog.ln(CASE WHEN %[1]s THEN 1 ELSE 0 END)%[2]s`

// notSerializable fails with sqrt(-1) in SERIALIZABLE. The argument must not be a constant, which
// would be computed while the question is planned.
const notSerializable = `pg_catalog.sqrt(CASE WHEN pg_catalog.current_setting('transaction_isolation') = 'serializable' THEN -1 ELSE 0 END)`

// StillThere is a question that fails when the table is not the one that was read, and with
// allKeys when a unique index was added, dropped or replaced as well.
func StillThere(t *catalog.Table, allKeys bool) Question {
	return Question{Check: fmt.Sprintf(stillThere, check(t, allKeys), "")}
}

func check(t *catalog.Table, allKeys bool) string {
	if allKeys {
		return t.Identity.CheckAllKeys()
	}
	return t.Identity.Check()
}

// Every look ahead stands in a savepoint that is rolled back, with a short wait for the
// lock of a migration. Its name is not the guard's: a failed insert leaves that savepoint
// in the aborted transaction, and a rollback to it would undo the failure.
const (
	openAhead  = "SAVEPOINT seqheal_ahead"
	boundAhead = "SET LOCAL lock_timeout = 100"
	undoAhead  = "ROLLBACK TO SAVEPOINT seqheal_ahead"
	closeAhead = "RELEASE SAVEPOINT seqheal_ahead"

	setAside = openAhead + "; " + boundAhead
	takeBack = undoAhead + "; " + closeAhead
)

// Put sends a question in a transaction, which is left as it was, in one round trip when
// the answer is Free. The error is the server's for Unknown, and one of the connection.
func Put(ctx context.Context, c *conn.Conn, question string) (Answer, error) {
	failure, lost := sendAside(ctx, c, c.Exec, question)
	if lost != nil {
		return Unknown, lost
	}
	return answered(failure)
}

// sendAside sends statements in a savepoint that is rolled back, in one round trip. The failure is
// theirs, after which the transaction is as it was; lost is why it could not be put back.
func sendAside(ctx context.Context, c *conn.Conn, send func(context.Context, string) error, statements string) (failure, lost error) {
	if failure = send(ctx, setAside+"; "+statements+"; "+takeBack); failure != nil {
		if lost = c.UndoAfter(ctx, failure, takeBack); pgerr.Is(lost, noSavepoint) {
			lost = failure // it came before the savepoint, as the end of a statement_timeout can
		}
	}
	return failure, lost
}

// answered is what a question's failure answers; the error remains where that is nothing.
func answered(err error) (Answer, error) {
	answer := AnswerOf(err)
	if answer != Unknown {
		err = nil
	}
	return answer, err
}

package heal

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/sequence"
	"github.com/seqheal/seqheal/internal/statement"
)

// conflict sends one row with ON CONFLICT (key) DO NOTHING: no round trip and no
// subtransaction. No row back means that the key was taken.
type conflict struct {
	*insert
	table *catalog.Table
	text  statement.Text // guarded
}

func (conflict) guard() Guard { return Conflict }

func (s conflict) send(ctx context.Context) *collision {
	err := s.sendOn(s.pool(), s.text)
	switch {
	case err == nil && s.stmt.DB.RowsAffected == 0:
		return &collision{evidence: emptyResult, from: s.table}
	case err == nil:
	case pgerr.Is(err, pgerr.SerializationFailure):
		// REPEATABLE READ and SERIALIZABLE: the row lies outside the snapshot. The
		// caller retries on this code, and then the sequence is past it.
		s.healForRetry(ctx, s, err, s.table, 1)
	case s.rejected(err):
		s.reportRejected(err)
	default:
		return s.surprised(err)
	}
	return nil
}

// surprised is the collision of a unique index of the table that was not there when it was
// read, nil for any other error. The transaction is lost, and the next statement reads the
// table anew.
func (s conflict) surprised(err error) *collision {
	hit := s.collided(err)
	if hit == nil || hit.violated() != s.table.FullName() {
		return nil
	}
	if slices.ContainsFunc(s.table.Uniques, func(x catalog.UniqueIndex) bool { return x.Name == hit.server.Constraint }) {
		return nil
	}
	s.tables.Reread(s.stmt.Target)
	return hit
}

// rejected reports whether the server does not accept the guard, because the table
// was changed under the running program.
func (s conflict) rejected(err error) bool {
	e, ok := pgerr.From(err)
	if !ok {
		return false
	}
	switch e.Code {
	case pgerr.UndefinedColumn: // unless it is a column of the caller's
		return slices.ContainsFunc(s.table.QuotedKey(), func(column string) bool {
			return strings.Contains(e.Message, column) && !strings.Contains(s.stmt.Text().SQL, column)
		})
	case pgerr.InvalidColumnReference, pgerr.ObjectNotReady, pgerr.InsufficientPrivilege:
		return true
	case pgerr.FeatureNotSupported:
		return e.Routine != "RevalidateCachedQuery" // "cached plan must not change result type"
	}
	return false
}

// reportRejected keeps the table on savepoints and reports the insert that was lost.
func (s conflict) reportRejected(err error) {
	s.tables.Unguard(s.stmt.Target)
	a := s.begin(s, collision{err: err})
	a.verdict, a.table = drift, s.table
	server, _ := pgerr.From(err)
	a.failure = &sequence.Refusal{Reason: GuardRejected, Err: fmt.Errorf(
		"the server rejected ON CONFLICT DO NOTHING (SQLSTATE %s), because the table or its rights changed while the program ran; "+
			"inserts into it are fenced by savepoints from now on: %w", server.Code, err)}
	a.end()
}

func (s conflict) heal(ctx context.Context, a *attempt) strategy {
	if a.collision.err != nil {
		a.healAside(ctx) // for the caller's retry
		return nil
	}
	if !a.healHere(ctx) {
		return nil
	}
	return s.chooseGuard()
}

// abandon sends the statement without the guard, which kept PostgreSQL from saying
// anything.
func (s conflict) abandon(ctx context.Context, a *attempt) {
	switch {
	case a.collision.err != nil:
		s.failAborted(ctx, a.collision.err)
		return
	case a.verdict == noCollision:
		return // the empty result stands
	case a.failure.Has(sequence.Exhausted) && s.failTaken(ctx, a):
		return
	}
	err := s.sendAsWritten()
	switch {
	case err != nil && s.stmt.Ended():
		s.conn().Abort(ctx) // it was not sent, and the collision is a failure all the same
	case err == nil && a.failure.Has(OutOfRounds):
		a.failure = nil // out of rounds, and in time after all
	}
}

// duplicate fails in the words in which PostgreSQL rejects a key that exists.
//
//	%[1]s the message   %[2]s the detail   %[3]s schema   %[4]s table   %[5]s constraint; literals
const duplicate = `DO $seqheal$ BEGIN RAISE unique_violation USING MESSAGE = %[1]s, DETAIL = %[2]s, SCHEMA = %[3]s, TABLE = %[4]s, CONSTRAINT = %[5]s; END $seqheal$`

// plainName is a name that PostgreSQL shows without quotes.
var plainName = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

// failTaken fails the statement with the 23505 that the guard has suppressed, because the
// sequence has no further value to send it with. It reports false where the id is not known.
func (s conflict) failTaken(ctx context.Context, a *attempt) bool {
	key, t := s.lastDrawn(ctx, a.table), a.table
	if !key.Found || len(t.Key) != 1 {
		return false
	}
	literal := func(format string, args ...any) string { // nothing ends the dollar quote
		return strings.ReplaceAll(catalog.Literal(fmt.Sprintf(format, args...)), "$", `' || pg_catalog.chr(36) || '`)
	}
	a.collision.key = key
	column := t.FedColumn()
	if !plainName.MatchString(column) {
		column = catalog.Quote(column)
	}
	s.stmt.Fail(s.conn().Exec(ctx, fmt.Sprintf(duplicate, literal(`duplicate key value violates unique constraint "%s"`, t.Constraint),
		literal("Key (%s)=(%d) already exists.", column, key.Value), literal("%s", t.Schema), literal("%s", t.Name), literal("%s", t.Constraint))))
	return true
}

// Package pipeline sends an INSERT together with its savepoint, and with questions
// about it, in one round trip.
//
// A [Sending] stands in for Statement.ConnPool while GORM's create callback runs.
// It takes the one INSERT that the callback sends and puts this on the wire, in one
// write with one Sync at its end:
//
//	Close …                          prepared statements of this package that are no longer wanted
//	SAVEPOINT seqheal                where the plan has one
//	questions                        what locks the table, looks ahead: any that fails keeps the INSERT from running
//	the INSERT, as it was handed over
//	RELEASE SAVEPOINT seqheal        unless the plan keeps the savepoint open
//
// Questions stand inside the savepoint, because a failing one aborts the transaction
// and ROLLBACK TO must be able to save it. One that succeeds needs no rollback of its
// own: it takes no lock that the INSERT would not wait for.
//
// [Outcome] tells which step failed and whether the savepoint is still open. The rows
// are handed to GORM as *sql.Rows with the values that pgx's own would have.
//
// # How it gets to the connection
//
// A [pgx.QueryRewriter] among the arguments of ExecContext is called by pgx with its
// *pgx.Conn, under the lock of database/sql that any other statement would run under.
// The rewriter sends the pipeline, reads all of the answer and returns an error, so
// that pgx sends nothing itself. This works through *sql.DB, *sql.Conn and *sql.Tx and
// beneath GORM's prepared statements.
//
// pgx's SendBatch would be shorter and is not used: it closes the connection at a value
// that it cannot encode, leaves SAVEPOINT in the statement cache, wraps errors and
// returns arrays, ranges and times in other formats than database/sql's (measured).
//
// # What stays on a connection
//
// INSERTs are prepared once per connection, under names of this package's own, at most
// as many as pgx's own statement cache holds. A question is prepared where
// [Question.Prepare] allows it, when it is asked a second time, in the trip that asks it, at
// most 32 of them: whether a table is as it was takes the server 0.4 ms when it is parsed
// anew, and 0.1 ms prepared (measured). They are kept with the connection
// ([pgconn.PgConn.CustomData]) and gone with it. After an error that may be about the
// prepared statement it is closed in front of the next pipeline, never in a trip of its
// own.
//
// # Where it is used
//
// [Pools] proves once per pool that all of this works there. The connection is asked
// each time: where it differs from the pool's others, [Outcome.NotSent] says so, nothing
// was sent, and the caller sends in three round trips.
package pipeline

package heal

import (
	"context"
	"errors"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/caller"
	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/facts"
	"github.com/seqheal/seqheal/internal/pipeline"
	"github.com/seqheal/seqheal/internal/sequence"
	"github.com/seqheal/seqheal/internal/statement"
)

// insert is one INSERT and what surrounds it.
type insert struct {
	*Healer
	stmt   *statement.Statement
	tables *facts.Tables
	// memory is what was seen of the table's sequence, nil where nothing may be kept, and
	// highest the highest id in it when the statement was prepared.
	memory  *facts.Memory
	highest int64
	// endedBefore is how many heals had ended when the statement was prepared.
	endedBefore int64
	// effect is what drift would do to the statement without an error.
	effect Effect
	// inside is true when the statement is in a transaction that is not the plugin's own.
	inside bool
	// ownTx is a transaction that the plugin began for the statement, nil without one.
	ownTx      *conn.Transaction
	connection *conn.Conn
	// unread is an error that is not the server's, such as GORM's when it reads the rows: outside
	// a transaction the rows are stored already. Nil without one.
	unread error
	// drifted are the attempts that became an incident, and sender is the application's line
	// that sent their statement.
	drifted []*attempt
	sender  caller.Line
	// remarks are handed over with the incidents.
	remarks []remark
	// readings counts how often the table turned out to be another one.
	readings int
}

// remark is a sentence for the logger, and the reporter's method that takes it.
type remark struct {
	to      func(context.Context, logger.Interface, string)
	message string
}

// mostReadings bounds how often one statement reads a table that is replaced again and
// again.
const mostReadings = 8

// countReading counts that a table turned out to be another one, and reports whether it is
// read anew.
func (in *insert) countReading() bool {
	in.readings++
	return in.readings <= mostReadings
}

// inTransaction reports whether the statement is in a transaction: the caller's,
// GORM's or the plugin's own.
func (in *insert) inTransaction() bool { return in.ownTx != nil || in.inside }

// pool is what the statement is sent on.
func (in *insert) pool() gorm.ConnPool {
	if in.ownTx != nil {
		return in.ownTx.Pool
	}
	return in.stmt.DB.Statement.ConnPool
}

// conn is the statement's connection for the plugin's own statements; outside a
// transaction it is the pool.
func (in *insert) conn() *conn.Conn {
	if in.ownTx != nil {
		return in.ownTx.Conn
	}
	if in.connection == nil {
		in.connection = conn.In(in.stmt.DB, in.stmt.DB.Statement.ConnPool)
	}
	return in.connection
}

// way is how statements with a savepoint go out on the statement's pool, which is said once, as
// it is that they cannot.
func (in *insert) way(ctx context.Context) pipeline.Support {
	support := in.pipes.Support(ctx, conn.PoolOf(in.stmt.DB))
	if support.Reason.Cause != pipeline.CauseUnproven && in.tables.Once(support.String()) {
		in.remarks = append(in.remarks, remark{in.reporter.Note, "seqheal: a savepoint and its statement are sent in " + support.String()})
	}
	if support.Way == pipeline.NoSavepoints {
		in.complain("seqheal: no savepoint can be used here (" + support.Reason.String() + "), so inserts in a transaction are not protected from drift: " +
			"keep sequences in front of their rows with plugin.Resync, or set SkipDefaultTransaction")
	}
	return support
}

// enter begins a transaction of the plugin's own at the role's default level. The
// statement is sent in it until leave.
func (in *insert) enter(ctx context.Context) error {
	tx, err := conn.Begin(ctx, in.stmt.DB, nil)
	if err == nil {
		in.ownTx = tx
	}
	return err
}

// ensureTransaction begins a transaction of the plugin's own where the statement is in
// none. It reports false when none could be begun, which is the statement's error, and where no
// savepoint can be used in it: the statement is then sent as the caller wrote it.
func (in *insert) ensureTransaction(ctx context.Context) bool {
	if in.inTransaction() {
		return true
	}
	if in.way(ctx).Way == pipeline.NoSavepoints {
		_ = in.sendAsWritten()
		return false
	}
	if err := in.enter(ctx); err != nil {
		in.stmt.Fail(err)
		return false
	}
	return true
}

// leave ends the plugin's own transaction, if there is one: a commit unless the server or the
// plugin has refused the statement. A commit that fails is the statement's error.
func (in *insert) leave(returned bool) {
	tx := in.ownTx
	if tx == nil {
		return
	}
	in.ownTx = nil
	failure := in.stmt.DB.Error
	if !returned || failure != nil && (in.unread == nil || !errors.Is(failure, in.unread)) {
		tx.Rollback()
		return
	}
	if err := tx.Commit(); err != nil && failure == nil {
		in.stmt.Fail(err)
	}
}

// failAborted fails the statement and leaves the transaction in the state of a failed one,
// so that it can only roll back.
func (in *insert) failAborted(ctx context.Context, err error) {
	in.conn().Abort(ctx)
	in.stmt.Fail(err)
}

// drop rolls back the plugin's own transaction, if there is one.
func (in *insert) drop() {
	if in.ownTx != nil {
		in.ownTx.Rollback()
		in.ownTx = nil
	}
}

// sendAsWritten sends the statement as the caller wrote it.
func (in *insert) sendAsWritten() error { return in.sendOn(in.pool(), in.stmt.Text()) }

// sendOn sends the statement in this form on a pool and returns the driver's error.
func (in *insert) sendOn(pool gorm.ConnPool, text statement.Text) error {
	stmt := in.stmt.DB.Statement
	outer := stmt.ConnPool
	defer func() { stmt.ConnPool = outer }()
	stmt.ConnPool = pool
	in.unread = nil
	err := in.stmt.Send(text)
	if err != nil && !serverSpoke(err) && !in.stmt.Ended() {
		in.unread = err
	}
	return err
}

// sendCounted is sendOn on the statement's own pool, with the number of rows that it stored or
// changed.
func (in *insert) sendCounted(text statement.Text) (rows int64, err error) {
	if !in.stmt.FillsSlice() {
		err = in.sendOn(in.pool(), text)
		return in.stmt.DB.RowsAffected, err
	}
	counter := pipeline.NewCounter(in.pool())
	err = in.sendOn(counter.ConnPool(), text)
	return counter.Rows(), err
}

// report hands over remarks and incidents once no connection of the plugin's own is held:
// a callback of the application may take its time, and may need the connection.
func (in *insert) report() {
	for _, r := range in.remarks {
		r.to(in.stmt.DB.Statement.Context, in.stmt.DB.Logger, r.message)
	}
	if len(in.drifted) == 0 {
		return
	}
	incidents := make([]Incident, len(in.drifted))
	for i, a := range in.drifted {
		incidents[i] = a.incident()
	}
	for _, incident := range incidents {
		in.reporter.Report(in.stmt.DB.Statement.Context, in.stmt.DB.Logger, incident)
	}
}

// complain has report say what keeps statements from being protected, each message once.
func (in *insert) complain(message string) {
	if in.tables.Once(message) {
		in.remarks = append(in.remarks, remark{in.reporter.Complain, message})
	}
}

// omitted is how many rows leave their key to the table's sequence.
func (in *insert) omitted(t *catalog.Table) int { return in.stmt.Insert.Omitted(t.ShownFed()) }

// draws is how many values the statement draws of the key's sequence, at most: also a row that
// names its id draws for further columns that the sequence feeds.
func (in *insert) draws(t *catalog.Table) int64 {
	further := max(1, t.Draws) - 1
	return int64(in.omitted(t)) + int64(in.stmt.Insert.Rows())*further
}

// names reports whether a row names the value that the sequence gives to others.
func (in *insert) names(t *catalog.Table) bool { return in.stmt.Insert.Names(t.ShownFed()) }

// explicit are the ids that rows name; false when some are no integers here.
func (in *insert) explicit(t *catalog.Table) ([]int64, bool) {
	return in.stmt.Insert.Explicit(t.ShownFed())
}

// furthestNamed is the furthest id that rows name, of those that the sequence can give.
func (in *insert) furthestNamed(t *catalog.Table) (furthest sequence.Position) {
	explicit, _ := in.explicit(t) // what is no int64 is beyond every sequence, or computed
	for _, id := range explicit {
		if t.Sequence.Contains(id) {
			furthest = furthest.With(t.Sequence, sequence.Position{Value: id, Found: true})
		}
	}
	return furthest
}

// drawsFrom reports whether a row of the statement leaves its key to the table's
// sequence.
func (in *insert) drawsFrom(t *catalog.Table) bool { return t.Fed() && in.omitted(t) > 0 }

// drawsPredictably is drawsFrom for a sequence whose next values can be told.
func (in *insert) drawsPredictably(t *catalog.Table) bool {
	return in.drawsFrom(t) && predictable(t)
}

// drawnKeys is the table by each key that a row of the statement leaves to a sequence whose
// values can be told.
func (in *insert) drawnKeys(t *catalog.Table) (keys []*catalog.Table) {
	for _, key := range t.ByKeys() {
		if in.drawsPredictably(key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// mayDraw reports whether a row leaves an integer key out: one that a sequence feeds,
// or may feed by now.
func (in *insert) mayDraw(t *catalog.Table) bool {
	if slices.ContainsFunc(t.ByKeys(), in.drawsFrom) {
		return true
	}
	for _, column := range t.Key {
		switch column.Type {
		case "int2", "int4", "int8", "numeric":
			if in.stmt.Insert.Omitted(t.Shown(column.Name)) > 0 {
				return true
			}
		}
	}
	return in.stmt.OmitsIntegerModelKey()
}

package plugin

import (
	"context"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/guard"
	"github.com/seqheal/seqheal/internal/pgerr"
)

// create stands in for GORM's create callback and tells the life of one insert:
// prepare the statement, read what it is about to do, choose how to survive a
// collision, send, and on a collision look, draw, move, and send once more.
func (h *healer) create(db *gorm.DB) {
	if h.wrapped.Load() {
		db.InstanceSet(watchCallback, true)
	}
	if db.Error != nil || db.DryRun || db.Statement.SQL.Len() > 0 {
		h.original(db) // nothing will be sent, or the SQL is the caller's own
		return
	}
	s := h.prepare(db)
	if s == nil {
		return
	}
	defer s.translate()
	defer h.report(s) // before the error is translated, and after all else
	switch {
	case !s.readable:
		s.run()
	case s.insert.OnConflict != nil:
		h.upsert(s)
	default:
		h.createFenced(s)
	}
	if h.plugin.settings.prevention {
		h.prevent(s)
	}
}

// createFenced sends a statement whose collisions are 23505s, in the way of the
// mode.
func (h *healer) createFenced(s *statement) {
	switch {
	case !s.inTransaction():
		h.createOutside(s)
	case h.plugin.settings.guard == GuardOff:
		h.createUnfenced(s)
	default:
		h.createInside(s)
	}
}

// createOutside sends an insert that is a transaction of its own: it may fail,
// for nothing else is lost with it. The retry runs in a short transaction of the
// plugin's, so that a pooler cannot put another session between the draw and the
// INSERT; where another insert has just healed the same key, it is as plain as the
// first try.
func (h *healer) createOutside(s *statement) {
	err := s.run()
	hit, ok := h.collided(s, err)
	ctx := s.db.Statement.Context
	if !ok || !outsideForSure(ctx, s.db) {
		return
	}
	e := h.open(s, hit, "none")
	defer e.close()
	if e.follow(ctx, false) {
		if hit, ok = h.collided(s, s.run()); !ok {
			return
		}
		e.meet(hit)
	}
	for e.nextRound() {
		tx, err := beginOwn(s)
		if err != nil {
			e.failed(err)
			s.fail(e.first)
			return
		}
		if !e.follow(ctx, true) && !e.healInOwn(tx) {
			tx.rollback()
			s.fail(e.first)
			return
		}
		err = tx.run(s)
		if err == nil {
			return
		}
		if hit, ok = h.collided(s, err); !ok {
			return
		}
		e.meet(hit)
	}
}

// createUnfenced sends an insert in a transaction under GuardOff. The caller gets
// the error and an aborted transaction, and a sequence with which the next try
// succeeds.
func (h *healer) createUnfenced(s *statement) {
	h.lookUp(s.db.Statement.Context, s)
	err := s.run()
	hit, ok := h.collided(s, err)
	if !ok {
		return
	}
	e := h.open(s, hit, "off")
	defer e.close()
	e.nextRound()
	e.healAside(serverError)
}

// createInside sends an insert in a transaction, which a collision must not
// abort.
func (h *healer) createInside(s *statement) {
	ctx := s.db.Statement.Context
	k := h.lookUp(ctx, s)
	if k != nil && !k.mayCollide(s) {
		s.run()
		return
	}
	if k != nil && k.hopeless() != nil {
		h.createHopeless(s, k)
		return
	}
	if k != nil && k.table.InitiallyDeferred {
		h.afterPreflight(s, k, true).close() // a collision at COMMIT comes after every chance to heal
		return
	}
	var e *episode
	for {
		fence := h.choose(s, k)
		hit, collided := fence.send(ctx)
		if !collided {
			e.abortGivenUp(ctx, s.conn())
			break
		}
		if e == nil {
			e = h.open(s, hit, fence.name())
			defer e.close()
			if hit.err != nil && hit.undone == nil && e.follow(ctx, true) {
				continue
			}
		} else {
			e.meet(hit)
		}
		if !e.nextRound() || !e.healIn(ctx, s.conn(), fence.proof()) {
			e.giveUp(ctx, s.conn())
			return
		}
		k = s.tables.get(s.target)
	}
}

// giveUp ends an insert in a transaction that could not be healed, or was none of
// the plugin's business: the caller gets what PostgreSQL said, and the transaction
// is left aborted, as PostgreSQL left it.
func (e *episode) giveUp(ctx context.Context, c *conn.Conn) {
	switch {
	case e.poisoned != nil:
		guard.Abort(ctx, c)
		e.s.fail(e.poisoned)
	case e.last.err != nil:
		guard.Abort(ctx, c)
		e.s.fail(e.last.err)
	default: // the conflict guard kept PostgreSQL from saying anything
		err := e.s.run()
		switch {
		case err != nil && e.s.contextEnded():
			guard.Abort(ctx, c) // it was not sent, and the collision is a failure all the same
		case err == nil && e.refusal != nil && e.refusal.Reason == string(ReasonRounds):
			e.refusal = nil // out of rounds, and in time after all
		}
	}
}

// abortGivenUp aborts the transaction of an insert that met drift and whose caller
// gave up before it had the result: the failure must not become a commit of the
// rest (P6). An insert that met none goes as without the plugin.
func (e *episode) abortGivenUp(ctx context.Context, c *conn.Conn) {
	if e != nil && e.s.db.Error != nil && e.s.contextEnded() {
		guard.Abort(ctx, c)
	}
}

// createHopeless sends an insert whose sequence must never be moved: a collision
// is reported, and is the caller's error.
func (h *healer) createHopeless(s *statement, k *known) {
	err := s.run()
	hit, ok := h.collided(s, err)
	if !ok || !k.isKeys(s, hit) {
		return
	}
	e := h.open(s, hit, "none")
	defer e.close()
	e.nextRound()
	e.table = k.table
	e.ours = true
	e.failed(k.hopeless())
	s.tables.forget(s.target, hit.violated) // the next insert sees whether the advice was taken
}

// fence keeps the transaction alive through one sending of the statement.
type fence struct {
	h *healer
	s *statement
	// clause is the conflict guard's text; empty for the savepoint guard.
	clause string
}

// choose picks the fence. The conflict guard needs a table that qualifies and a
// statement of one row that can run twice and whose empty result cannot be
// mistaken.
func (h *healer) choose(s *statement, k *known) fence {
	f := fence{h: h, s: s}
	if h.plugin.settings.guard == GuardAuto && k != nil && s.insert.Rows() == 1 && s.insert.Plain && s.where == s.values &&
		!s.insert.HasExpression() && !s.fillsSliceFromScratch() {
		f.clause = k.conflictClause
	}
	return f
}

func (f fence) name() string {
	if f.clause != "" {
		return "conflict"
	}
	return "savepoint"
}

// proof tells whether a collision is known only by the absence of a row.
func (f fence) proof() proof {
	if f.clause != "" {
		return noRow
	}
	return serverError
}

// send runs the statement in the fence. On a collision that may be drift the
// transaction is alive and the statement undone; in every other case the result
// is the caller's and the transaction is as PostgreSQL left it.
func (f fence) send(ctx context.Context) (hit collision, collided bool) {
	if f.clause != "" {
		return f.sendGuarded()
	}
	s, c := f.s, f.s.conn()
	if err := guard.Set(ctx, c); err != nil {
		s.run() // an aborted transaction, a closed connection: GORM's own error
		return collision{}, false
	}
	err := s.run()
	if err == nil {
		if err := guard.Release(ctx, c); err != nil {
			// Reported as failed, so it must not be stored.
			guard.Abort(ctx, c)
			_ = s.db.AddError(err)
		}
		return collision{}, false
	}
	if _, spoke := pgerr.From(err); !spoke {
		// The server took the rows, or the connection is gone: the error is the
		// driver's or Scan's, and the transaction goes on as without the plugin.
		_ = guard.Release(ctx, c)
		return collision{}, false
	}
	if hit, collided = f.h.collided(s, err); !collided {
		return collision{}, false
	}
	hit.undone = guard.Undo(ctx, c) // where it fails, the heal does, and says so
	return hit, true
}

// sendGuarded runs the statement with ON CONFLICT (key) DO NOTHING. No row means
// that the key was taken.
func (f fence) sendGuarded() (hit collision, collided bool) {
	s := f.s
	err := s.runWith(f.clause)
	switch {
	case err == nil:
		return collision{}, s.db.RowsAffected == 0
	case pgerr.Is(err, pgerr.SerializationFailure):
		// REPEATABLE READ and SERIALIZABLE: the row lies outside the snapshot. The
		// caller retries on this code, and then the sequence is past it.
		if k := s.tables.get(s.target); k != nil && k.table.Fed() {
			f.h.afterSerializationFailure(s, k, collision{
				err: err, violated: catalog.Name{Schema: k.table.Schema, Table: k.table.Name}, constraint: k.table.Constraint,
			}, f.name(), 1).close()
		}
	case f.rejected(err):
		s.tables.unguard(s.target)
		f.h.reportRejected(s, err)
	}
	return collision{}, false
}

// rejected tells of a server that does not accept the guard, because the table
// was changed under the running program.
func (f fence) rejected(err error) bool {
	e, ok := pgerr.From(err)
	if !ok {
		return false
	}
	switch e.Code {
	case pgerr.InvalidColumnReference, pgerr.ObjectNotReady, pgerr.InsufficientPrivilege:
		return true
	case pgerr.FeatureNotSupported:
		return e.Routine != "RevalidateCachedQuery" // "cached plan must not change result type"
	}
	return false
}

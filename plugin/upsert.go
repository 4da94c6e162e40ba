package plugin

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/guard"
	"github.com/seqheal/seqheal/internal/insert"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/resync"
)

// ErrRowsMissing is returned for an upsert that names some of its ids and leaves
// others to the database, when fewer rows came back than were sent and nothing
// legitimate explains it: while it ran, somebody inserted rows with explicit ids
// in front of the sequence, or they were there in SERIALIZABLE, where the plugin does
// not look before it sends. No row was overwritten. It is returned as well for rows
// that DO NOTHING dropped, or would drop, because of drift, when the heal failed. The
// transaction can only roll back; the next try succeeds.
var ErrRowsMissing = errors.New("seqheal: rows of an upsert are missing")

// upsert sends a statement with ON CONFLICT (DESIGN section 5). On a drifted
// table such a statement does not fail: it overwrites or drops rows.
func (h *healer) upsert(s *statement) {
	k, err := h.know(s)
	if err != nil {
		s.fail(err)
		return
	}
	if k == nil || !k.mayCollide(s) || k.hopeless() != nil {
		s.run()
		return
	}
	t := k.table
	mixed := s.insert.Names(t.FedColumn())
	switch s.insert.ConflictTarget(columnNames(t.Key), t.Constraint, s.primaryColumn()) {
	case insert.OnOther:
		// A collision on the key is an ordinary 23505 here.
		h.createFenced(s)
	case insert.OnKey:
		switch {
		case mixed:
			h.inTransaction(s, func() { h.upsertMixed(s, k) })
		case t.UpsertTrigger || !s.leaveOutOnConflict():
			// A trigger may find ids, or would notice that the clause is gone.
			s.run()
		default:
			// No row can mean to meet an existing one: a plain INSERT.
			s.effect = effectOf(s)
			h.createFenced(s)
		}
	case insert.OnAny:
		s.effect = wouldDrop
		if s.insert.Rows() == 1 {
			h.insertOrDrop(s, k)
		} else {
			h.inTransaction(s, func() { h.afterPreflight(s, k, false).close() })
		}
	}
}

// What drift would have done without an error.
const (
	wouldOverwrite = "would have overwritten a row"
	wouldDrop      = "would have dropped a row"
)

func effectOf(s *statement) string {
	if s.insert.OnConflict.DoNothing {
		return wouldDrop
	}
	return wouldOverwrite
}

// upsertMixed sends an upsert in which some rows name their ids, which may exist,
// and some do not, which must not. The preflight moves a drifted sequence; the
// WHERE keeps even a race from overwriting anything but the rows that were named.
func (h *healer) upsertMixed(s *statement, k *known) {
	s.effect = effectOf(s)
	t, onConflict := k.table, s.insert.OnConflict
	callersWhere := len(onConflict.Where.Exprs) > 0
	restricted := !onConflict.DoNothing && s.updateOnly(t)
	counted := restricted && !callersWhere && !t.UpsertTrigger && !t.UpdateTrigger
	e := h.afterPreflight(s, k, counted)
	defer func() { e.close() }()
	sent := int64(s.insert.Rows())
	if s.db.Error != nil || !counted || s.db.RowsAffected >= sent {
		return
	}
	missing := fmt.Errorf("%w: %d of %d rows for table %s came back, because rows with explicit ids are in front of sequence %s; roll back and try again",
		ErrRowsMissing, s.db.RowsAffected, sent, t.QuotedName(), t.Sequence.QuotedName())
	guard.Abort(s.db.Statement.Context, s.conn())
	s.fail(missing)
	switch {
	case e == nil:
		e = h.open(s, collision{}, "preflight")
	case e.refusal != nil:
		return // what kept the heal before the statement from its work is the reason
	}
	e.rounds++
	e.healAside(foresight) // in SERIALIZABLE no look would warn the next try
}

// afterPreflight asks, in the statement's own transaction, whether one of the
// values that it is about to draw is taken, by a row that is there or by an id that
// the statement names itself, heals if so, and sends it. Afterwards
// it would be too late: which rows were dropped cannot be told. noticed tells that the
// caller would notice that some were; else a statement is not sent when the heal fails.
// The episode is the caller's to close; nil when there was no drift.
func (h *healer) afterPreflight(s *statement, k *known, noticed bool) (e *episode) {
	ctx, c := s.db.Statement.Context, s.conn()
	panics := true
	defer func() {
		if panics {
			e.close()
		}
	}()
	ahead := resync.Ahead{
		Count: int64(s.insert.Omitted(k.table.FedColumn())), Named: s.namedBeside(k.table), Prefixes: s.prefixes(k.table),
	}
	if taken, err := resync.Preflight(ctx, c, k.table, ahead); err == nil && taken {
		e = h.open(s, collision{}, "preflight")
		e.nextRound()
		e.healIn(ctx, c, foresight)
		if e.canBeTriedAgain() && !noticed && e.wouldMeet(ctx, c, k, ahead) {
			guard.Abort(ctx, c)
			s.fail(fmt.Errorf("%w: an upsert into table %s was not sent, because sequence %s is about to give ids that exist and was not moved: %w",
				ErrRowsMissing, k.table.QuotedName(), k.table.Sequence.QuotedName(), e.refusal.Err))
			panics = false
			return e
		}
	}
	err := s.run()
	e.abortGivenUp(ctx, c)
	if e == nil && pgerr.Is(err, pgerr.SerializationFailure) {
		e = h.afterSerializationFailure(s, k, collision{}, "preflight", int(ahead.Count))
	}
	panics = false
	return e
}

// wouldMeet reports whether the statement's own draws meet rows, not only those of
// others meanwhile; with CACHE nobody knows what others have drawn and stored already.
func (e *episode) wouldMeet(ctx context.Context, c *conn.Conn, k *known, ahead resync.Ahead) bool {
	if k.table.UpsertTrigger || k.table.Sequence.Cache > 1 || e.s.contextEnded() {
		return false
	}
	ahead.Exactly = true
	taken, err := resync.Preflight(ctx, c, k.table, ahead)
	return taken || err != nil
}

// canBeTriedAgain tells of a heal that failed for what passes, a lock or the time say.
func (e *episode) canBeTriedAgain() bool { return e.refusal != nil && !e.refusal.Refused }

// insertOrDrop sends one row under DO NOTHING without a target. No row back means
// that a unique index was hit: the caller's own conflict, or the key of a drifted
// sequence, told by whether the id just drawn exists.
func (h *healer) insertOrDrop(s *statement, k *known) {
	if s.inTransaction() {
		h.insertUnlessDrifted(s, k)
		return
	}
	if err := s.run(); err != nil || s.db.RowsAffected > 0 || k.table.InsertTrigger {
		return
	}
	if !h.mayHaveMetDrift(s, k) {
		return
	}
	// currval is the session's: the statement is sent again in a transaction,
	// where no pooler can put another session between. It was dropped, so it can.
	h.inTransaction(s, func() { h.insertUnlessDrifted(s, k) })
}

// mayHaveMetDrift reports whether a row that was dropped outside a transaction can
// have been dropped for its key. With no other unique index nothing else explains
// it. With one, the sequence tells, unless somebody in this process healed
// meanwhile: then it is past the rows and was not when the row was sent.
func (h *healer) mayHaveMetDrift(s *statement, k *known) bool {
	if len(k.table.Violated.Others) == 0 || s.tables.healedSince(s.healsBefore) {
		return true
	}
	behind, err := resync.MayBeBehind(s.db.Statement.Context, s.conn(), k.table)
	if pgerr.Lost(err) {
		s.fail(err) // nothing was stored, and nobody can say why
		return false
	}
	return err == nil && (behind || s.tables.healedSince(s.healsBefore))
}

func (h *healer) insertUnlessDrifted(s *statement, k *known) {
	ctx := s.db.Statement.Context
	c := s.conn()
	var e *episode
	for {
		if err := s.run(); err != nil || s.db.RowsAffected > 0 {
			e.abortGivenUp(ctx, c)
			return
		}
		drawn, taken, unseen, err := resync.DrawnIsTaken(ctx, c, k.table, s.beside(0, k.table), false)
		if unseen {
			taken, err = h.takenForOthers(s, k, drawn)
		}
		if err != nil {
			guard.Abort(ctx, c)
			s.fail(err) // nothing was stored, and nobody can say why
			return
		}
		if !taken {
			return
		}
		if e == nil {
			e = h.open(s, collision{}, "none")
			defer e.close()
		}
		if k.table.InsertTrigger {
			e.leave(k, drawn)
			return
		}
		e.last.drawn = resync.Sight{Value: drawn, Found: true}
		if !e.nextRound() || !e.healIn(ctx, c, foresight) {
			if e.canBeTriedAgain() {
				guard.Abort(ctx, c)
				s.fail(fmt.Errorf("%w: ON CONFLICT DO NOTHING dropped a row for table %s, because sequence %s gave id %d, which exists: %w",
					ErrRowsMissing, k.table.QuotedName(), k.table.Sequence.QuotedName(), drawn, e.refusal.Err))
			}
			return
		}
	}
}

// leave reports a row that was dropped where the plugin cannot tell by what.
func (e *episode) leave(k *known, drawn int64) {
	e.rounds, e.ours, e.table = 1, true, k.table
	e.key = resync.Sight{Value: drawn, Found: true}
	e.refusal = &resync.Refusal{Reason: resync.Unsupported, Refused: true, Err: fmt.Errorf(
		"table %s has a trigger on INSERT, so a row that ON CONFLICT DO NOTHING did not return may be the trigger's doing; "+
			"id %d that was drawn for it exists: move the sequence %s with plugin.Resync",
		k.table.QuotedName(), drawn, k.table.Sequence.QuotedName())}
}

// know returns what is known of the table, outside a transaction by asking in a
// short one of the plugin's own. A connection that is lost there fails the insert,
// as it would have failed the INSERT: sent on another connection with nothing
// known, it could change a row.
func (h *healer) know(s *statement) (*known, error) {
	if k := s.tables.get(s.target); k != nil {
		return k, nil
	}
	ctx := s.db.Statement.Context
	if s.inTransaction() {
		return h.lookUp(ctx, s), nil
	}
	if !outsideForSure(ctx, s.db) {
		return nil, nil
	}
	tx, err := beginOn(s.db, ctx, readCommitted)
	if err == nil {
		defer tx.rollback()
		var k *known
		if k, err = h.readKnown(ctx, tx.conn, s); err == nil {
			return k, nil
		}
	}
	if pgerr.Lost(err) && !errors.Is(err, gorm.ErrInvalidTransaction) {
		return nil, err
	}
	return nil, nil // no transaction can be had here
}

// inTransaction runs fn in the statement's transaction, or in a short one of the
// plugin's own that ends as the statement does.
func (h *healer) inTransaction(s *statement, fn func()) {
	if s.inTransaction() {
		fn()
		return
	}
	if !outsideForSure(s.db.Statement.Context, s.db) {
		s.run()
		return
	}
	tx, err := beginOwn(s)
	if err != nil {
		s.fail(err)
		return
	}
	tx.around(s, fn)
}

// primaryColumn is the column that clause.PrimaryKey stands for.
func (s *statement) primaryColumn() string {
	schema := s.db.Statement.Schema
	switch {
	case schema == nil:
		return ""
	case schema.PrioritizedPrimaryField != nil:
		return schema.PrioritizedPrimaryField.DBName
	case len(schema.PrimaryFieldDBNames) > 0:
		return schema.PrimaryFieldDBNames[0]
	}
	return ""
}

func columnNames(key []catalog.Column) []string {
	names := make([]string, len(key))
	for i, column := range key {
		names[i] = column.Name
	}
	return names
}

package plugin

import (
	"errors"
	"fmt"
	"slices"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/resync"
)

// prevent moves the sequence past the ids that a successful insert has named, so that
// nothing drifts (WithPrevention). It asks the server only when one of them lies beyond
// the furthest value that the sequence is known to have passed, and never touches the
// insert's result: where it cannot move the sequence, a later heal will.
func (h *healer) prevent(s *statement) {
	if !s.mayNameIDs() {
		return
	}
	k, err := h.know(s)
	if err != nil || k == nil || !k.table.Fed() || !k.table.Own || k.hopeless() != nil {
		return
	}
	t := k.table
	explicit, readable := s.insert.Explicit(t.FedColumn())
	if !readable {
		return
	}
	furthest := resync.Sight{}
	for _, id := range explicit {
		if t.Sequence.Contains(id) {
			furthest = furthest.With(t.Sequence, resync.Sight{Value: id, Found: true})
		}
	}
	passed := s.tables.passed(t.Sequence)
	if !furthest.Found || passed.Found && t.Sequence.Reached(passed.Value, furthest.Value) || t.Sequence.Reached(furthest.Value, t.Limit()) {
		return
	}
	if !t.Sequence.CanUse {
		h.cannotPrevent(s, t, "may not draw from it", "USAGE")
		return
	}
	ctx := s.db.Statement.Context
	inside := s.inTransaction() || !outsideForSure(ctx, s.db)
	switch err := resync.Pass(ctx, s.conn(), t, passed, furthest.Value, inside); {
	case errors.Is(err, resync.ErrTooFar):
		h.cannotPrevent(s, t, "may not set it and they are too far for drawing", "UPDATE")
	case err == nil && !resync.Near(t, furthest.Value):
		s.tables.pass(t.Sequence, furthest.Value)
	}
}

// cannotPrevent says once which right is missing, and leaves the sequence alone from
// then on.
func (h *healer) cannotPrevent(s *statement, t *catalog.Table, lacking, right string) {
	s.tables.pass(t.Sequence, t.Limit())
	h.plugin.complain(s.db.Statement.Context, s.db.Logger, fmt.Sprintf("seqheal: ids named for table %s cannot move sequence %[2]s along, for the role %s: "+
		"GRANT %s ON SEQUENCE %[2]s to it", t.QuotedName(), t.Sequence.QuotedName(), lacking, right))
}

// mayNameIDs reports whether a row names a value for one of the model's key columns;
// without a model, only the table itself can tell.
func (s *statement) mayNameIDs() bool {
	if s.db.Error != nil || !s.readable {
		return false
	}
	schema := s.db.Statement.Schema
	return schema == nil || slices.ContainsFunc(schema.PrimaryFieldDBNames, s.insert.Names)
}

// passed is the furthest value that the sequence is known to have passed.
func (t *tables) passed(seq catalog.Sequence) resync.Sight {
	t.mutex.RLock()
	defer t.mutex.RUnlock()
	last, known := t.furthest[seq.OID]
	return resync.Sight{Value: last, Found: known}
}

// pass notes that the sequence has come as far as value.
func (t *tables) pass(seq catalog.Sequence, value int64) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	room(t.furthest, seq.OID)
	t.furthest[seq.OID] = value
}

// unpass forgets it: the sequence turned out to be behind its rows, so that somebody
// moved it backwards.
func (t *tables) unpass(seq catalog.Sequence) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	delete(t.furthest, seq.OID)
}

// WithPrevention moves a sequence at once past the ids that an insert through GORM
// names itself, so that seed scripts, imports and fixtures no longer make it drift.
//
// After a successful insert it sends one further statement, on the insert's connection,
// and only when one of its ids lies beyond all that the sequence is known to have passed
// in this process. In a transaction that statement stands in a savepoint that is taken
// back: the sequence stays moved even when the transaction rolls back. An id in the last
// tenth of what is left of the range is left alone, as is one that the statement
// computes. What prevention cannot do, a heal does when an insert collides.
func WithPrevention() Option {
	return func(s *settings) { s.prevention = true }
}

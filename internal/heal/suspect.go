package heal

import (
	"context"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/sequence"
)

// onlyLocked reports whether what looks like a row that the statement met is its own: a
// trigger has locked it since, as a row that refers to it by a foreign key does. A row that
// was met is committed, so that a second connection sees it, and none of the statement's.
func (s *preflight) onlyLocked(ctx context.Context, t *catalog.Table, before int64) bool {
	if !t.Triggers.AfterRow && !t.Triggers.InsertStatement {
		return false
	}
	last := s.lastDrawn(ctx, t)
	if !last.Found || !t.Sequence.Reached(last.Value, before) || !t.DrawnByTrigger() &&
		sequence.Steps(before, last.Value, t.Sequence.Increment) < int64(s.omitted(t)) {
		return false // it was set back meanwhile
	}
	met := true
	err := s.onFreeSecond(ctx, func(ctx context.Context, c *conn.Conn) error {
		session, err := conn.ReadSession(ctx, c)
		if err == nil && session.Role == t.Identity.Role {
			met, err = sequence.TakenBetween(ctx, c, t, before, last.Value)
		}
		return err
	})
	return err == nil && !met
}

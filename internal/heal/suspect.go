package heal

import (
	"context"
	"errors"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/sequence"
)

// updates reports whether the statement changes the row that it meets.
func (in *insert) updates() bool {
	onConflict := in.stmt.Insert.OnConflict
	return onConflict != nil && !onConflict.DoNothing
}

// mayBeLocked reports whether something may lock a row that an upsert has stored: a trigger, such
// as one that stores a row with a foreign key to it, or a foreign key of the table to itself. Such
// a row looks like one that was met.
func (s *preflight) mayBeLocked(t *catalog.Table) bool {
	return s.updates() && (t.Triggers.AfterRow || t.Triggers.InsertStatement || t.Triggers.BeforeInsertRow || t.Triggers.References)
}

// countsStored reports whether the rows that were stored are counted, because their number
// tells them from rows that were met.
func (s *preflight) countsStored() bool { return s.mayBeLocked(s.table) && !s.table.Elsewhere }

// onlyLocked reports whether a row that looks like one that the statement met is its own, locked
// by a trigger or a foreign key: by the number of rows that were stored, and where that does not
// tell by a second connection. That sees a row that was met, because it is committed, and none of
// the statement's. Without either the row counts as the statement's own under a trigger that fires
// for stored rows, which lock them as a rule, and else as one that was met.
func (s *preflight) onlyLocked(ctx context.Context, t *catalog.Table, before int64, stored sequence.Position) bool {
	if !s.mayBeLocked(t) {
		return false
	}
	if stored.Found {
		switch drawn, all, err := s.storedSince(ctx, t, stored.Value); {
		case err != nil || drawn < int64(s.omitted(t)):
			return false // one of those that have drawn their ids was met
		case all == int64(s.stmt.Insert.Rows()):
			return true
		} // rows that name ids were updated, or a trigger inserts into the table as well
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
			met, err = sequence.TakenBetween(ctx, c, t, nil, before, last.Value)
		}
		return err
	})
	return err == nil && !met || errors.Is(err, conn.ErrNoSecond) && (t.Triggers.AfterRow || t.Triggers.InsertStatement)
}

// storedSince is how many rows the transaction has stored in the table beyond before, all of them
// and without those that name their ids, as far as these can be told.
func (s *preflight) storedSince(ctx context.Context, t *catalog.Table, before int64) (drawn, all int64, err error) {
	var now, named int64
	if err := s.conn().Row(ctx, sequence.AskStored(t), nil, &now); err != nil {
		return 0, 0, err
	}
	all = now - before
	if ids, _ := s.explicit(t); len(ids) > 0 {
		named, err = sequence.CountUntouched(ctx, s.conn(), t, ids)
	}
	return all - named, all, err
}

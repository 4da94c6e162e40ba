package heal

import (
	"context"
	"time"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/sequence"
)

// readMaxAsAdmin reads the furthest value through WithResyncDB, because the
// application's role may not see every row.
func (a *attempt) readMaxAsAdmin(ctx context.Context, named sequence.Position) (found sequence.Position, err error) {
	if a.settings.ResyncDB == nil {
		return named, a.rowsHidden()
	}
	err = a.asAdmin(ctx, func(ctx context.Context, c *conn.Conn, _ conn.Session, t *catalog.Table) error {
		if t.RowSecurity || !t.Selectable {
			return a.rowsHidden()
		}
		found, err = sequence.ReadMax(ctx, c, t, nil)
		return err
	})
	return named.With(a.table.Sequence, found), err
}

// rowsHidden is the refusal when the rows that collide cannot be read: by row-level
// security, or without SELECT.
func (a *attempt) rowsHidden() error {
	if !a.table.RowSecurity {
		return sequence.NoSelect(a.table, a.session.Role)
	}
	return sequence.Refuse(sequence.RowSecurity,
		"table %s: row-level security hides rows from role %s, so the furthest id is unknown; "+
			"give plugin.WithResyncDB a connection whose role has BYPASSRLS",
		a.table.QuotedName(), catalog.Quote(a.session.Role))
}

// advanceAsAdmin moves the sequence through WithResyncDB. The statement then draws by
// itself, with the rights of its own role.
func (a *attempt) advanceAsAdmin(ctx context.Context, before sequence.Position) error {
	if a.settings.ResyncDB == nil {
		if !a.table.Sequence.CanUse {
			return sequence.NoUsage(a.table, a.session.Role)
		}
		return a.rowsHidden()
	}
	return a.asAdmin(ctx, func(ctx context.Context, c *conn.Conn, session conn.Session, t *catalog.Table) error {
		goal := a.goal(c, before)
		goal.Table, goal.Role, goal.Beside = t, session.Role, nil
		move, err := sequence.Advance(ctx, c, goal)
		a.record(move)
		return err
	})
}

// asAdmin runs fn on WithResyncDB, in a transaction that is rolled back.
func (a *attempt) asAdmin(ctx context.Context, fn func(context.Context, *conn.Conn, conn.Session, *catalog.Table) error) error {
	pool, err := a.settings.ResyncDB.DB()
	if err != nil {
		return err
	}
	return conn.OnSecond(ctx, pool, conn.Budget{Until: a.deadline(ctx), Lock: secondLock}, func(ctx context.Context, c *conn.Conn, session conn.Session) error {
		table, err := catalog.Read(ctx, c, a.table.FullName(), catalog.Name{})
		if err != nil {
			return err
		}
		return fn(ctx, c, session, table.ByKey(a.table.KeyName()))
	})
}

// askAsAdmin asks about the values that come next through WithResyncDB.
func (s *preflight) askAsAdmin(ctx context.Context, t *catalog.Table) (answer sequence.Answer) {
	a := &attempt{insert: s.insert, started: time.Now(), table: t}
	err := a.asAdmin(ctx, func(ctx context.Context, c *conn.Conn, _ conn.Session, seen *catalog.Table) (err error) {
		answer, err = sequence.Preflight(ctx, c, seen, s.ahead(t))
		return err
	})
	if err != nil {
		return sequence.Unknown
	}
	return answer
}

// seenByAdmin reports whether rows that the role may not see can be read through
// WithResyncDB.
func (s *preflight) seenByAdmin(t *catalog.Table) bool {
	return s.settings.ResyncDB != nil && t.RowSecurity && t.Sequence.Cache <= 1
}

// askAdminAfter reports whether a row that is committed holds one of the values that the
// statement has drawn: its own rows are not seen from there.
func (s *preflight) askAdminAfter(ctx context.Context, t *catalog.Table, before int64) sequence.Answer {
	last := s.lastDrawn(ctx, t)
	switch {
	case !last.Found:
		return sequence.Unknown
	case t.DrawnByTrigger() && !t.Sequence.Reached(last.Value, before+t.Sequence.Increment):
		return sequence.Free // nothing was drawn
	case !t.DrawnByTrigger() && (last.Value-before)/t.Sequence.Increment < int64(s.omitted(t)):
		return sequence.Taken // it was moved back meanwhile, and where the first draws were is not known
	}
	answer := sequence.Free
	a := &attempt{insert: s.insert, started: time.Now(), table: t}
	err := a.asAdmin(ctx, func(ctx context.Context, c *conn.Conn, _ conn.Session, seen *catalog.Table) error {
		taken, err := sequence.TakenBetween(ctx, c, seen, nil, before, last.Value)
		if taken {
			answer = sequence.Taken
		}
		return err
	})
	if err != nil {
		return sequence.Unknown
	}
	return answer
}

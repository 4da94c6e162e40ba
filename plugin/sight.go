package plugin

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/resync"
)

var readCommitted = &sql.TxOptions{Isolation: sql.LevelReadCommitted}

// see finds the furthest value in the way, from wherever the rows may be looked
// at: READ COMMITTED, the insert's own connection; REPEATABLE READ, there and
// from a second one, for the snapshot hides what others committed; SERIALIZABLE,
// from a second one only, for a look on the caller's would make bystanders fail
// with 40001 (measured).
func (e *episode) see(ctx context.Context, c *conn.Conn) (resync.Sight, error) {
	t, named := e.table, e.named()
	if t.RowSecurity || !t.Selectable {
		return e.seeAsAdmin(ctx, named)
	}
	prefixes := e.s.prefixes(t)
	if !t.Indexed && prefixes == nil {
		if e.guess = named.Found; e.guess {
			return named, nil
		}
		return named, &resync.Refusal{Reason: resync.NoIndex, Refused: true, Err: fmt.Errorf(
			"table %s: no index begins with column %s, so only a sequential scan would find its furthest value; CREATE INDEX ON %[1]s (%[2]s)",
			t.QuotedName(), catalog.Quote(t.FedColumn()))}
	}
	sight := named
	if e.session.Isolation != conn.Serializable {
		own, err := e.look(ctx, c, e.session, prefixes)
		if err != nil {
			return sight, err
		}
		sight = sight.With(t.Sequence, own)
	}
	if e.session.Isolation == conn.ReadCommitted {
		return sight, nil
	}
	if e.noSecond == nil { // waited for once in an insert
		var second resync.Sight
		second, e.noSecond = e.seeFromSecond(prefixes)
		sight = sight.With(t.Sequence, second)
	}
	// From there the caller's own uncommitted rows are not to be seen; without it, and
	// under a snapshot, nothing that was committed since.
	e.guess = e.session.Isolation == conn.Serializable || e.noSecond != nil
	if e.noSecond != nil && !sight.Found {
		return sight, &resync.Refusal{Reason: resync.NoSight, Err: fmt.Errorf(
			"table %s: in a %s transaction the rows are looked at from a second connection: %w; raise SetMaxOpenConns",
			t.QuotedName(), e.session.Isolation, e.noSecond)}
	}
	return sight, nil
}

// look looks once, or once for each prefix.
func (e *episode) look(ctx context.Context, c *conn.Conn, session conn.Session, prefixes []*resync.Prefix) (sight resync.Sight, err error) {
	looks := e.h.looks
	if e.rounds > 1 || e.followed { // what was shared did not tell of the row that collided
		looks = new(resync.Looks)
	}
	if len(prefixes) == 0 {
		return looks.Look(ctx, c, session, e.table, nil)
	}
	for _, prefix := range prefixes {
		found, err := looks.Look(ctx, c, session, e.table, prefix)
		if err != nil {
			return sight, err
		}
		sight = sight.With(e.table.Sequence, found)
	}
	return sight, nil
}

// secondLock is how long a look from a second connection waits for a lock: the
// caller itself may hold it, after a TRUNCATE say.
const secondLock = 250 * time.Millisecond

// onSecond lets fn look from a second connection, which does not wait for long.
func (e *episode) onSecond(fn func(context.Context, *conn.Conn, conn.Session) error) error {
	return e.s.aside(func(ctx context.Context, c *conn.Conn) error {
		session, err := conn.ReadSession(ctx, c)
		if err != nil {
			return err
		}
		defer c.Within(e.deadline(ctx), session.StatementTimeout, secondLock)()
		return fn(ctx, c, session)
	})
}

func (e *episode) seeFromSecond(prefixes []*resync.Prefix) (sight resync.Sight, err error) {
	err = e.onSecond(func(ctx context.Context, c *conn.Conn, session conn.Session) error {
		sight, err = e.look(ctx, c, session, prefixes)
		return err
	})
	return sight, err
}

// exists reports whether the colliding id is in the table, looked at as in see.
func (e *episode) exists(ctx context.Context, c *conn.Conn) (taken bool, err error) {
	if e.session.Isolation != conn.Serializable {
		taken, err = resync.Exists(ctx, c, e.table, e.key.Value, nil)
	}
	if err != nil || taken || e.session.Isolation == conn.ReadCommitted {
		return taken, err
	}
	if e.noSecond == nil {
		e.noSecond = e.onSecond(func(ctx context.Context, c *conn.Conn, _ conn.Session) (err error) {
			taken, err = resync.Exists(ctx, c, e.table, e.key.Value, nil)
			return err
		})
	}
	if e.noSecond == nil {
		return taken, nil
	}
	drawn, err := e.wasDrawnLast(ctx, c)
	return !drawn, err
}

// wasDrawnLast reports whether the colliding id is what this session drew last: by the
// statement itself, when a row of it draws and the transaction goes on after it.
func (e *episode) wasDrawnLast(ctx context.Context, c *conn.Conn) (bool, error) {
	drawn, err := resync.LastDrawn(ctx, c, e.table)
	if pgerr.Is(err, pgerr.ObjectNotReady) {
		return false, nil
	}
	return drawn == e.key, err
}

// detouredSince reports whether the table has got a trigger on INSERT or a rule since
// the transaction took its snapshot: the server obeys it and the catalog does not tell
// of it, so that no row proves nothing. Without a second connection nobody can say.
func (e *episode) detouredSince(t *catalog.Table) (detoured bool) {
	if e.noSecond != nil {
		return false
	}
	e.noSecond = e.onSecond(func(ctx context.Context, c *conn.Conn, _ conn.Session) error {
		now, err := catalog.Read(ctx, c, catalog.Name{Schema: t.Schema, Table: t.Name}, catalog.Name{})
		detoured = err == nil && (now.InsertTrigger || now.Detour)
		return err
	})
	return detoured
}

// seeAsAdmin looks through WithResyncDB, because the application's role may not
// see every row.
func (e *episode) seeAsAdmin(ctx context.Context, named resync.Sight) (sight resync.Sight, err error) {
	if e.h.plugin.settings.resyncDB == nil {
		return named, e.blind()
	}
	err = e.asAdmin(ctx, func(ctx context.Context, c *conn.Conn, session conn.Session, t *catalog.Table) error {
		if t.RowSecurity || !t.Selectable {
			return e.blind()
		}
		sight, err = new(resync.Looks).Look(ctx, c, session, t, nil)
		return err
	})
	return named.With(e.table.Sequence, sight), err
}

// blind is the refusal when nobody can see the rows that collide.
func (e *episode) blind() error {
	if !e.table.RowSecurity {
		return resync.NoSelect(e.table, e.session.Role)
	}
	return &resync.Refusal{Reason: resync.RowSecurity, Refused: true, Err: fmt.Errorf(
		"table %s: row-level security hides rows from role %s, so the furthest id is unknown; "+
			"give plugin.WithResyncDB a connection whose role has BYPASSRLS",
		e.table.QuotedName(), catalog.Quote(e.session.Role))}
}

// moveAsAdmin moves the sequence through WithResyncDB. The retry then draws by
// itself, by right of the insert.
func (e *episode) moveAsAdmin(ctx context.Context, margin int64) error {
	if e.h.plugin.settings.resyncDB == nil {
		if !e.table.Sequence.CanUse {
			return resync.NoUsage(e.table, e.session.Role)
		}
		return e.blind()
	}
	return e.asAdmin(ctx, func(ctx context.Context, c *conn.Conn, session conn.Session, t *catalog.Table) error {
		goal := e.goal(c)
		goal.Table, goal.Margin, goal.Role, goal.Prefix = t, margin, session.Role, nil
		move, err := resync.Advance(ctx, c, goal)
		e.took(move)
		return err
	})
}

// asAdmin runs fn on WithResyncDB, in a transaction that is rolled back.
func (e *episode) asAdmin(ctx context.Context, fn func(context.Context, *conn.Conn, conn.Session, *catalog.Table) error) error {
	pool, err := e.h.plugin.settings.resyncDB.DB()
	if err != nil {
		return err
	}
	return onSecond(ctx, pool, func(ctx context.Context, c *conn.Conn) error {
		session, err := conn.ReadSession(ctx, c)
		if err != nil {
			return err
		}
		defer c.Within(e.deadline(ctx), session.StatementTimeout, session.LockTimeout)()
		table, err := catalog.Read(ctx, c, catalog.Name{Schema: e.table.Schema, Table: e.table.Name}, catalog.Name{})
		if err != nil {
			return err
		}
		return fn(ctx, c, session, table)
	})
}

// healAside moves the sequence from a second connection, for a transaction that
// is lost, so that the application's own retry of it succeeds.
func (e *episode) healAside(known proof) {
	err := e.s.aside(func(ctx context.Context, c *conn.Conn) error {
		_, err := e.heal(ctx, c, known)
		return err
	})
	if err != nil {
		e.failed(err)
	}
}

// aside runs fn on a second connection of the statement's pool.
func (s *statement) aside(fn func(context.Context, *conn.Conn) error) error {
	pool, err := s.db.DB()
	if err != nil {
		return err
	}
	return onSecond(s.db.Statement.Context, pool, fn)
}

// takenForOthers reports whether the id that was drawn for a row which DO NOTHING
// dropped is taken, in SERIALIZABLE: as a second connection sees it, which no look of
// the caller's own then makes bystanders fail for. Where there is none, and no wait for
// one either, for most such rows are duplicates on a healthy table, the caller's looks;
// and where nothing else is known that drops rows, for the transaction's own.
func (h *healer) takenForOthers(s *statement, k *known, drawn int64) (taken bool, err error) {
	err = errNoSecond
	if pool, poolErr := s.db.DB(); poolErr == nil && !exhausted(pool) {
		err = s.aside(func(ctx context.Context, c *conn.Conn) (err error) {
			defer c.Within(time.Now().Add(h.plugin.settings.timeout), 0, secondLock)()
			taken, err = resync.Exists(ctx, c, k.table, drawn, s.beside(0, k.table))
			return err
		})
	}
	if err != nil || !taken && k.conflictClause != "" && len(k.table.Violated.Others) == 0 {
		_, taken, _, err = resync.DrawnIsTaken(s.db.Statement.Context, s.conn(), k.table, s.beside(0, k.table), true)
	}
	return taken, err
}

// afterSerializationFailure moves the sequence when a statement may have met a row
// outside the transaction's snapshot with an id that it drew, so that the caller's retry
// does not meet the next one; in SERIALIZABLE no look would warn an upsert's. Such a
// failure can be somebody else's doing, a row that was updated meanwhile say, so that
// nothing is done, nor reported, unless values that come next are taken: a row far in
// front of the sequence is no drift.
func (h *healer) afterSerializationFailure(s *statement, k *known, hit collision, guardName string, count int) *episode {
	e := h.open(s, hit, guardName)
	e.rounds = 1
	err := e.s.aside(func(ctx context.Context, c *conn.Conn) error {
		taken, err := resync.Preflight(ctx, c, k.table, resync.Ahead{Count: int64(count), Prefixes: s.prefixes(k.table)})
		if err == nil && taken {
			_, err = e.heal(ctx, c, foresight)
		}
		return err
	})
	if e.ours && err != nil {
		e.failed(err)
	}
	return e
}

// reportRejected reports an insert whose conflict guard the server did not take.
func (h *healer) reportRejected(s *statement, err error) {
	e := h.open(s, collision{err: err}, "conflict")
	if k := s.tables.get(s.target); k != nil {
		e.table = k.table
	}
	e.ours = true
	server, _ := pgerr.From(err)
	e.refusal = &resync.Refusal{Reason: string(ReasonGuardRejected), Err: fmt.Errorf(
		"the server rejected ON CONFLICT DO NOTHING (SQLSTATE %s), because the table or its rights changed while the program ran; "+
			"inserts into it are fenced by savepoints from now on: %w", server.Code, err)}
	e.close()
}

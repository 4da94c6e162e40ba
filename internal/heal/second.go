package heal

import (
	"context"
	"errors"
	"time"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/sequence"
)

// secondLock is how long a second connection waits for a lock: the caller may hold
// it, after a TRUNCATE for example.
const secondLock = 250 * time.Millisecond

// onSecond runs fn on a second connection of the statement's pool.
func (a *attempt) onSecond(ctx context.Context, fn func(context.Context, *conn.Conn, conn.Session) error) error {
	return conn.OnSecond(ctx, conn.PoolOf(a.stmt.DB), conn.Budget{Until: a.deadline(ctx), Lock: secondLock}, fn)
}

// onFreeSecond runs fn on a second connection of the statement's pool, where one is free at
// once.
func (in *insert) onFreeSecond(ctx context.Context, fn func(context.Context, *conn.Conn) error) error {
	pool := conn.PoolOf(in.stmt.DB)
	if conn.Exhausted(pool) || !in.tables.MayWaitForSecond() {
		return conn.ErrNoSecond
	}
	budget := conn.Budget{Until: time.Now().Add(in.settings.Timeout), Lock: secondLock}
	err := conn.OnSecond(ctx, pool, budget, func(ctx context.Context, c *conn.Conn, _ conn.Session) error { return fn(ctx, c) })
	in.tables.Second(!errors.Is(err, conn.ErrNoSecond))
	return err
}

// lookFrom asks on a second connection about the values that come next. Its search_path or
// role may be another one than the statement's, which can be set for a transaction only. The
// table is then read there, by its schema.
func lookFrom(ctx context.Context, c *conn.Conn, t *catalog.Table, ahead sequence.Ahead) (sequence.Answer, error) {
	ahead.FromSecond = true
	answer, err := sequence.Preflight(ctx, c, t, ahead)
	if answer != sequence.Stale {
		return answer, err
	}
	there, err := catalog.Read(ctx, c, t.FullName(), catalog.Name{})
	if err != nil || there.OID != t.OID {
		return sequence.Unknown, err
	}
	return sequence.Preflight(ctx, c, there.ByKey(t.KeyName()), ahead)
}

// exists reports whether the colliding id is in the table, read as in locate. Without a
// second connection an id that this session did not draw last counts as there.
func (a *attempt) exists(ctx context.Context, c *conn.Conn) (taken bool, err error) {
	key := a.collision.key.Value
	if a.session.Isolation != conn.Serializable {
		taken, err = sequence.Exists(ctx, c, a.table, key, nil)
	}
	if err != nil || taken || a.session.Isolation == conn.ReadCommitted {
		return taken, err
	}
	if a.second == nil {
		a.second = a.onSecond(ctx, func(ctx context.Context, c *conn.Conn, _ conn.Session) (err error) {
			taken, err = sequence.Exists(ctx, c, a.table, key, nil)
			return err
		})
	}
	if a.second == nil {
		return taken, nil
	}
	drawn, err := a.wasDrawnLast(ctx, c)
	return !drawn, err
}

// wasDrawnLast reports whether the colliding id is what this session drew last: by the
// statement itself, when a row of it draws and the transaction goes on after it.
func (a *attempt) wasDrawnLast(ctx context.Context, c *conn.Conn) (bool, error) {
	drawn, err := sequence.LastDrawn(ctx, c, a.table)
	if pgerr.Is(err, pgerr.ObjectNotReady) {
		return false, nil // this session has drawn nothing
	}
	return drawn == a.collision.key, err
}

// detouredSince reports whether the table has got a trigger on INSERT or a rule since
// the transaction took its snapshot: the server obeys it and the catalog does not show
// it, so an empty result proves nothing. Without a second connection it is false.
func (a *attempt) detouredSince(ctx context.Context) (detoured bool) {
	if a.second != nil {
		return false
	}
	t := a.table
	a.second = a.onSecond(ctx, func(ctx context.Context, c *conn.Conn, _ conn.Session) error {
		now, err := catalog.Read(ctx, c, t.FullName(), catalog.Name{})
		detoured = err == nil && (now.Triggers.BeforeInsertRow || now.Triggers.InsertStatement || now.Detour)
		return err
	})
	return detoured
}

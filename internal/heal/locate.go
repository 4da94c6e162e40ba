package heal

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/sequence"
)

// locate finds the furthest value in front of the sequence and makes it the target.
func (a *attempt) locate(ctx context.Context, c *conn.Conn) error {
	found, err := a.furthest(ctx, c)
	if err != nil {
		return err
	}
	a.target.Position = found.With(a.table.Sequence, a.target.Position)
	return nil
}

// furthest reads the furthest value from wherever the rows may be read: in READ
// COMMITTED on the insert's own connection; in REPEATABLE READ there and from a second
// one, because the snapshot hides what others committed; in SERIALIZABLE from a
// second one only, because a read on the caller's makes other sessions fail with
// 40001 (measured).
func (a *attempt) furthest(ctx context.Context, c *conn.Conn) (sequence.Position, error) {
	t, named := a.table, a.named()
	if t.RowSecurity || !t.Selectable {
		return a.readMaxAsAdmin(ctx, named)
	}
	var leading *sequence.Beside
	if !t.Indexed {
		if leading = a.leading(t); leading == nil {
			if a.target.guessed = named.Found; a.target.guessed {
				return named, nil
			}
			return named, sequence.NoIndexOf(t)
		}
	}
	found := named
	if a.session.Isolation != conn.Serializable {
		own, err := a.readMax(ctx, c, a.session, leading)
		if err != nil {
			return found, err
		}
		found = found.With(t.Sequence, own)
	}
	if a.session.Isolation == conn.ReadCommitted {
		return found, nil
	}
	return a.readMaxFromSecond(ctx, found, leading)
}

// readMaxFromSecond adds what a second connection sees to what was found.
func (a *attempt) readMaxFromSecond(ctx context.Context, found sequence.Position, leading *sequence.Beside) (sequence.Position, error) {
	t := a.table
	if a.second == nil {
		var other sequence.Position
		a.second = a.onSecond(ctx, conn.Budget{Lock: secondLock}, func(ctx context.Context, c *conn.Conn, session conn.Session) (err error) {
			other, err = a.readMax(ctx, c, session, leading)
			return err
		})
		found = found.With(t.Sequence, other)
	}
	// The caller's own uncommitted rows are not seen from there; without it, and under
	// a snapshot, nothing is seen that was committed since.
	a.target.guessed = a.session.Isolation == conn.Serializable || a.second != nil
	if a.second != nil && !found.Found {
		return found, &sequence.Refusal{Reason: sequence.NoSight, Err: fmt.Errorf(
			"table %s: in a %s transaction the rows are read from a second connection: %w; raise SetMaxOpenConns",
			t.QuotedName(), a.session.Isolation, a.second)}
	}
	return found, nil
}

// named is the furthest value that the statement and the server name: explicit ids of
// the same statement and the colliding key.
func (a *attempt) named() sequence.Position {
	seq := a.table.Sequence
	furthest := sequence.Position{}
	if key := a.collision.key; key.Found && seq.Contains(key.Value) {
		furthest = key
	}
	if a.table.IsTarget() {
		explicit, _ := a.explicit(a.table)
		for _, id := range explicit {
			if seq.Contains(id) {
				furthest = furthest.With(seq, sequence.Position{Value: id, Found: true})
			}
		}
	}
	return furthest
}

// readMax reads the furthest value. In the first round READ COMMITTED callers that ask at
// the same moment share the answer: without that slow reads (a dead index tail, a thousand
// partitions) queue a herd past its time limit (measured).
func (a *attempt) readMax(ctx context.Context, c *conn.Conn, session conn.Session, leading *sequence.Beside) (sequence.Position, error) {
	read := func() (sequence.Position, error) { return sequence.ReadMax(ctx, c, a.table, leading) }
	if a.rounds > 1 || session.Isolation != conn.ReadCommitted {
		return read() // a shared answer did not show the row, or is not of this snapshot
	}
	// Half the time that is left: the caller that reads may wait for a migration that
	// waits for this transaction.
	return a.maxima.Do(ctx, a.sharedBy(session, leading), c.Left()/2, read)
}

// sharedBy is equal for callers that get the same answer: those of one database, role
// and search_path that ask about the same table and sequence.
func (a *attempt) sharedBy(session conn.Session, leading *sequence.Beside) string {
	parts := []string{session.Server, session.Database, session.Role, session.SearchPath,
		strconv.FormatInt(a.table.OID, 10), strconv.FormatInt(a.table.Sequence.OID, 10)}
	if leading != nil {
		for _, set := range leading.Sets {
			parts = append(parts, alike(set))
		}
	}
	return strings.Join(parts, "\x00")
}

// secondLock is how long a second connection waits for a lock: the caller may hold
// it, after a TRUNCATE for example.
const secondLock = 250 * time.Millisecond

// onSecond runs fn on a second connection of the statement's pool.
func (a *attempt) onSecond(ctx context.Context, budget conn.Budget, fn func(context.Context, *conn.Conn, conn.Session) error) error {
	pool, err := a.stmt.DB.DB()
	if err != nil {
		return err
	}
	budget.Until = a.deadline(ctx)
	return conn.OnSecond(ctx, pool, budget, fn)
}

// onFreeSecond runs fn on a second connection of the statement's pool, where one is free at
// once.
func (in *insert) onFreeSecond(ctx context.Context, fn func(context.Context, *conn.Conn) error) error {
	pool, err := in.stmt.DB.DB()
	if err != nil {
		return err
	}
	if conn.Exhausted(pool) || !in.tables.MayWaitForSecond() {
		return conn.ErrNoSecond
	}
	budget := conn.Budget{Until: time.Now().Add(in.settings.Timeout), Lock: secondLock}
	err = conn.OnSecond(ctx, pool, budget, func(ctx context.Context, c *conn.Conn, _ conn.Session) error { return fn(ctx, c) })
	in.tables.Second(!errors.Is(err, conn.ErrNoSecond))
	return err
}

// lookFrom asks on a second connection about the values that come next. Its search_path or
// role may be another one than the statement's, which has them in a transaction alone: the
// table is then read there, by its schema.
func lookFrom(ctx context.Context, c *conn.Conn, t *catalog.Table, ahead sequence.Ahead) (sequence.Answer, error) {
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

// exists reports whether the colliding id is in the table, read as in furthest. Without a
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
		a.second = a.onSecond(ctx, conn.Budget{Lock: secondLock}, func(ctx context.Context, c *conn.Conn, _ conn.Session) (err error) {
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
	a.second = a.onSecond(ctx, conn.Budget{Lock: secondLock}, func(ctx context.Context, c *conn.Conn, _ conn.Session) error {
		now, err := catalog.Read(ctx, c, t.FullName(), catalog.Name{})
		detoured = err == nil && (now.Triggers.BeforeInsertRow || now.Triggers.InsertStatement || now.Detour)
		return err
	})
	return detoured
}

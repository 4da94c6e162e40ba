package plugin

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/guard"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/resync"
)

// boundCatalogRead keeps the first read of a table from waiting for a lock of
// somebody's migration; undone with the savepoint.
const boundCatalogRead = conn.PlanAsWritten + "; SET LOCAL lock_timeout = 100"

// lookUp returns what is known of the statement's table. The first time, it asks
// on the insert's own connection, inside a savepoint that it takes back; those who
// are first at the same moment share one answer, as all later ones do. It
// returns nil when the server could not say; the table is asked for again at the
// next insert. It is nil as well when the collision may be another table's: only a
// savepoint can fence that.
func (h *healer) lookUp(ctx context.Context, s *statement) *known {
	k := s.tables.get(s.target)
	if k == nil {
		k, _ = h.readKnown(ctx, s.conn(), s) // a connection that is gone fails the INSERT too
	}
	if k != nil && k.mayCollideElsewhere(s) {
		return nil
	}
	return k
}

// readKnown reads the table for the first time. The error tells of a connection that
// is gone or an aborted transaction; when the server merely could not say, there is
// none.
func (h *healer) readKnown(ctx context.Context, c *conn.Conn, s *statement) (*known, error) {
	k, err := s.tables.firstReads.current(ctx, s.target.Schema+"\x00"+s.target.Table, func() (*known, error) {
		return h.readKnownOn(ctx, c, s)
	})
	if errors.Is(err, errUntold) {
		return nil, nil // a table that is not there yet may be there at the next insert
	}
	return k, err
}

// errUntold keeps one session's trouble from being taken for an answer by those who
// share the read: its role or search_path may be another one.
var errUntold = errors.New("the server could not say")

func (h *healer) readKnownOn(ctx context.Context, c *conn.Conn, s *statement) (*known, error) {
	table, err, gone := h.ask(ctx, c, s, boundCatalogRead)
	upsert := s.insert.OnConflict != nil
	if upsert && pgerr.Is(err, pgerr.LockNotAvailable) {
		// The upsert would wait for that lock as well. Unprotected it could change or
		// drop a row.
		table, err, gone = h.ask(ctx, c, s, conn.PlanAsWritten)
	}
	switch {
	case gone != nil && s.contextEnded():
		return nil, ctx.Err() // rather than what the driver says of the transaction
	case gone != nil:
		return nil, gone
	case err == nil:
		return s.tables.put(s.target, table), nil
	case upsert && !errors.Is(err, catalog.ErrNotFound) && !s.contextEnded():
		h.plugin.complain(ctx, s.db.Logger, fmt.Sprintf("seqheal: an upsert is sent without protection from drift, "+
			"for its table could not be looked up: %v; raise statement_timeout", err))
	}
	return nil, errUntold
}

// ask reads the table in a savepoint that it takes back, under these settings. gone
// tells of a connection that is gone or an aborted transaction.
func (h *healer) ask(ctx context.Context, c *conn.Conn, s *statement, settings string) (table *catalog.Table, err, gone error) {
	if err := guard.Set(ctx, c); err != nil {
		return nil, nil, err
	}
	if err = c.Exec(ctx, settings); err == nil {
		table, err = catalog.Read(ctx, c, catalog.Name(s.target), catalog.Name{})
	}
	return table, err, guard.Undo(ctx, c)
}

// mayCollide reports whether a row of the statement leaves its key to a sequence.
func (k *known) mayCollide(s *statement) bool {
	return k.table.Fed() && s.insert.Omitted(k.table.FedColumn()) > 0
}

// mayCollideElsewhere reports whether no sequence feeds the table's own key, but a view,
// a rule or a trigger can carry the row into one that a sequence feeds.
func (k *known) mayCollideElsewhere(s *statement) bool {
	t := k.table
	return t != nil && (!t.Fed() || t.KeysBelow) && (t.Detour || t.InsertTrigger) && s.modelOmitsKey()
}

// hopeless returns why a collision on this table could never be healed, or nil.
func (k *known) hopeless() error {
	return resync.Permitted(k.table, conn.Session{})
}

// isKeys reports whether a collision is known or likely to be one of the table's key.
// The server names the partition's constraint, and for a foreign partition none.
func (k *known) isKeys(s *statement, hit collision) bool {
	t := k.table
	switch {
	case hit.constraint != "" && (hit.constraint == t.Constraint || s.tables.judge(hit.server) == primaryKey):
		return true
	case !t.Partitioned:
		return false
	case hit.server.Detail == "": // withheld from a role that may not read the key
		return strings.HasSuffix(hit.constraint, "_pkey")
	}
	return hit.server.Names(columnNames(t.Key))
}

// collision is what a failed or guarded INSERT told.
type collision struct {
	err        error // nil under the conflict guard
	violated   catalog.Name
	constraint string
	server     pgerr.Error
	drawn      resync.Sight // the id that was drawn, when it is known to exist
	undone     error        // of the savepoint's rollback
}

// collided decides, from memory alone, whether err may be drift: a 23505 that is
// not known to be on another index than a primary key, of a statement in which a
// row leaves its key out.
func (h *healer) collided(s *statement, err error) (collision, bool) {
	e, ok := pgerr.From(err)
	if !ok || e.Code != pgerr.UniqueViolation {
		return collision{}, false
	}
	switch s.tables.judge(e) {
	case otherUnique:
		return collision{}, false
	case strange:
		s.tables.forget(s.target, violatedName(e))
		return collision{}, false
	}
	if k := s.tables.get(s.target); k != nil && k.table.Fed() && k.table.Violated.Constraint == e.Constraint && !k.mayCollide(s) {
		return collision{}, false // every row names its id
	}
	return collision{err: err, violated: violatedName(e), constraint: e.Constraint, server: e}, true
}

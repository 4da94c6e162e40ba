package plugin

import (
	"context"
	"fmt"
	"strings"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/guard"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/resync"
)

// healIn looks, draws and moves on the connection of a transaction, inside a
// savepoint that it takes back: the sequence stays moved, locks and settings do
// not. It reports whether the statement may be sent again.
func (e *episode) healIn(ctx context.Context, c *conn.Conn, known proof) bool {
	err := guard.Set(ctx, c)
	again := false
	if err == nil {
		again, err = e.heal(ctx, c, known)
		if undo := guard.Undo(ctx, c); err == nil {
			err = undo
		}
	}
	if err != nil {
		e.failed(err)
	}
	if pgerr.Is(err, pgerr.SerializationFailure) {
		e.last.err = err // the transaction is lost, and on this the caller tries it again
	}
	return again && err == nil
}

// presume decides whose collision it is when the heal ended before the catalog
// was read: by what is known of the table, else by the name that PostgreSQL gives
// to primary keys.
func (e *episode) presume() {
	if e.ours || e.table != nil {
		return
	}
	if k := e.s.tables.get(e.s.target); k != nil && k.table.Fed() {
		e.table = k.table
		primary := e.last.constraint == k.table.Constraint || e.s.tables.judge(e.last.server) == primaryKey ||
			k.table.Partitioned && strings.HasSuffix(e.last.constraint, "_pkey")
		e.ours = e.last.err == nil || primary && k.mayCollide(e.s) && !e.s.insert.Names(k.table.FedColumn())
		return
	}
	e.ours = strings.HasSuffix(e.last.constraint, "_pkey") && e.s.modelOmitsKey()
}

// healInOwn heals in the plugin's own transaction, which the INSERT follows in.
// A role whose default level takes a snapshot has the look in a READ COMMITTED
// transaction first, and keeps its level for the INSERT.
func (e *episode) healInOwn(tx *transaction) bool {
	ctx := e.s.db.Statement.Context
	session, err := conn.ReadSession(ctx, tx.conn)
	if err != nil {
		e.failed(err)
		return false
	}
	if session.Isolation == conn.ReadCommitted {
		return e.healIn(ctx, tx.conn, serverError)
	}
	e.lead(false) // it gives its connection back, and those who wait hold theirs
	tx.rollback()
	look, err := beginOn(e.s.db, ctx, readCommitted)
	if err != nil {
		e.failed(err)
		return false
	}
	again := e.healIn(ctx, look.conn, serverError)
	look.rollback()
	if !again {
		return false
	}
	fresh, err := beginOwn(e.s)
	if err != nil {
		e.failed(err)
		return false
	}
	*tx = *fresh
	return e.passCached(ctx, tx.conn)
}

// passCached draws on the retry's own connection, where it is not the one that
// was healed on and may hold cached values from before.
func (e *episode) passCached(ctx context.Context, c *conn.Conn) bool {
	if e.table.Sequence.Cache <= 1 || !e.target.Found || !e.table.Sequence.CanUse {
		return true
	}
	if err := guard.Set(ctx, c); err != nil {
		e.failed(err)
		return false
	}
	release := c.Within(e.deadline(ctx), e.session.StatementTimeout, e.session.LockTimeout)
	_, err := resync.Advance(ctx, c, e.goal(nil))
	release()
	if undo := guard.Undo(ctx, c); err == nil {
		err = undo
	}
	if err != nil {
		e.failed(err)
	}
	return err == nil
}

// heal is one round: read the catalog afresh, decide whether this is drift, look,
// draw, move. An error ends it; false without an error means that it is not drift.
func (e *episode) heal(ctx context.Context, c *conn.Conn, known proof) (again bool, err error) {
	defer func() { e.lead(again && err == nil) }()
	if e.session, err = conn.ReadSession(ctx, c); err != nil {
		return false, err
	}
	release := c.Within(e.deadline(ctx), e.session.StatementTimeout, e.session.LockTimeout)
	defer release()
	ours, err := e.readTable(ctx, c, known)
	if err != nil || !ours {
		return false, err
	}
	if drift, err := e.isDrift(ctx, c, known); err != nil || !drift {
		return false, err
	}
	e.ours = true
	if known == noRow && e.follow(ctx, true) {
		return true, nil
	}
	if err := resync.Permitted(e.table, e.session); err != nil {
		return false, err
	}
	return e.lookAndMove(ctx, c)
}

// readTable reads the table whose key collided. It reports false when the
// collision is not one of a sequence-fed primary key that the statement left out.
func (e *episode) readTable(ctx context.Context, c *conn.Conn, known proof) (bool, error) {
	target := catalog.Name(e.s.target)
	table, err := e.readCatalog(ctx, c, target)
	if err != nil {
		return false, err
	}
	if known == noRow && table.NotGuardable == "" && e.session.Isolation != conn.ReadCommitted && e.detouredSince(table) {
		table.InsertTrigger, table.NotGuardable = true, "a trigger or a rule that this transaction does not see"
	}
	e.s.tables.put(e.s.target, table)
	e.table = table
	if known == noRow && table.NotGuardable != "" {
		// No row proves nothing any more, neither that it was stored nor that it
		// was not.
		e.ours = true
		e.s.tables.unguard(e.s.target)
		e.poisoned = fmt.Errorf("%w: insert into %s returned no row, and the table now has %s; roll back and try again",
			ErrTableChanged, table.QuotedName(), table.NotGuardable)
		return false, &resync.Refusal{Reason: string(ReasonTableChanged), Err: e.poisoned}
	}
	if known == serverError && e.last.constraint != table.Violated.Constraint || !table.Fed() {
		return false, nil
	}
	if known == serverError && e.last.constraint == "" && !e.last.server.Names(columnNames(table.Key)) {
		return false, nil // a foreign partition's, on an index of another server
	}
	if table.Own {
		return e.s.insert.Omitted(table.FedColumn()) > 0, nil
	}
	return e.s.modelOmitsKey(), nil
}

// readCatalog reads the table as it is after the collision. Those of one process
// who collide at the same moment share one read, where it cannot tell them
// anything else than their own would: not under a snapshot, and not in a
// transaction that has written and may have changed the table itself.
func (e *episode) readCatalog(ctx context.Context, c *conn.Conn, target catalog.Name) (*catalog.Table, error) {
	read := func() (*catalog.Table, error) { return catalog.Read(ctx, c, target, e.last.violated) }
	if e.session.Isolation != conn.ReadCommitted || e.session.Wrote {
		return read()
	}
	v := e.last.violated
	key := strings.Join([]string{target.Schema, target.Table, v.Schema, v.Table,
		e.session.Database, e.session.Role, e.session.SearchPath}, "\x00")
	return e.s.tables.freshReads.fresh(ctx, key, e.met, read)
}

// readKey finds the colliding id: told by the server, or drawn by this session.
// Only SERIALIZABLE has to ask what was drawn, for it may be all that is known
// where no second connection can look.
func (e *episode) readKey(ctx context.Context, c *conn.Conn, known proof) (err error) {
	e.key = e.last.drawn
	switch {
	case known == serverError:
		e.key.Value, e.key.Found = e.last.server.Key(e.table.Column, len(e.table.Key))
	case known == noRow && e.session.Isolation == conn.Serializable:
		e.key, err = resync.LastDrawn(ctx, c, e.table)
	}
	return err
}

// isDrift tells a row that met its own statement's explicit ids, or an explicit
// id that exists, from a drawn one. Only statements that do both need a look.
func (e *episode) isDrift(ctx context.Context, c *conn.Conn, known proof) (bool, error) {
	t := e.table
	if err := e.readKey(ctx, c, known); err != nil {
		return false, err
	}
	if !t.Own && e.key.Found && t.Sequence.CanRead {
		// A trigger's insert into another table: it may name its ids itself.
		return resync.WasDrawn(ctx, c, t.Sequence, e.key.Value)
	}
	if known == foresight || !t.Own || !e.s.insert.Names(t.FedColumn()) {
		return true, nil
	}
	explicit, readable := e.s.insert.Explicit(t.FedColumn())
	if !readable || !e.key.Found {
		return false, nil
	}
	named := 0
	for _, id := range explicit {
		if id == e.key.Value {
			named++
		}
	}
	switch {
	case named == 0:
		return true, nil
	case named > 1 || !t.Selectable || t.RowSecurity:
		return false, nil // twice in one statement, or nobody can say
	case e.session.Isolation != conn.ReadCommitted && e.key == e.keyBefore:
		// The sequence has passed it since, so that no row can have drawn it again: it
		// is there, where nobody could look.
		e.ours = e.moved
		return false, nil
	}
	taken, err := e.exists(ctx, c)
	if err == nil && taken && e.guard == "savepoint" && e.s.insert.OnConflict != nil && e.s.drawsBefore(t, e.key.Value) {
		// ON CONFLICT on other columns: the row that names the id may have updated
		// another one, and the one that collided have drawn it. What was drawn last is
		// the statement's own draw, where one comes before that row.
		return e.wasDrawnLast(ctx, c)
	}
	return !taken, err
}

// lookAndMove finds the furthest value and moves the sequence past it.
func (e *episode) lookAndMove(ctx context.Context, c *conn.Conn) (bool, error) {
	before := e.target
	sight, err := e.see(ctx, c)
	if err != nil {
		return false, err
	}
	e.target = sight.With(e.table.Sequence, before)
	if !e.target.Found {
		return e.rounds == 1, nil // nothing is in the way any more
	}
	margin := e.margin(before)
	if e.table.RowSecurity || !e.table.Selectable || !e.table.Sequence.CanUse {
		return e.moveBothWays(ctx, c, margin)
	}
	goal := e.goal(c)
	goal.Margin = margin
	if e.session.Isolation == conn.Serializable {
		goal.Below = nil
	}
	move, err := resync.Advance(ctx, c, goal)
	if resync.Explain(err).Has(resync.Permission) && e.h.plugin.settings.resyncDB != nil {
		return e.moveBothWays(ctx, c, margin)
	}
	e.took(move)
	if err != nil {
		return false, err
	}
	if !move.Moved && before.Found && e.target == before && e.setElsewhere() {
		// The sequence was past every row before this run as well.
		e.ours = e.moved
		return false, nil
	}
	return true, nil
}

// setElsewhere reports whether something else than the sequence sets the id that
// collides, a trigger say, which is not our business. Not where nothing of the kind
// is on the table, nor where the sequence is known to have given the id or it was
// another id before: then the sequence was moved back in between, and somebody else
// has moved it forward again. They may have hit the very same id, so that one round
// is no proof yet.
func (e *episode) setElsewhere() bool {
	if e.table.Own && e.table.NotGuardable == "" || e.last.drawn.Found {
		return false
	}
	if e.key.Found && e.keyBefore.Found && e.key != e.keyBefore {
		e.unexplained = 0
		return false
	}
	e.unexplained++
	return e.unexplained > 1 || e.rounds == e.h.plugin.settings.maxRounds
}

// moveBothWays moves the sequence through WithResyncDB and then draws past what
// this session has cached from before, where it may.
func (e *episode) moveBothWays(ctx context.Context, c *conn.Conn, margin int64) (bool, error) {
	if err := e.moveAsAdmin(ctx, margin); err != nil {
		return false, err
	}
	if e.table.Sequence.Cache <= 1 || !e.table.Sequence.CanUse {
		return true, nil
	}
	_, err := resync.Advance(ctx, c, e.goal(nil))
	return err == nil, err
}

// took adds a move to the episode.
func (e *episode) took(move resync.Move) {
	if !e.drew {
		e.from, e.drew = move.From, true
	}
	e.to = move.To
	e.moved = e.moved || move.Moved
	if move.Outlier.Found {
		e.outlier = move.Outlier
		e.target = resync.Sight{Value: move.To, Found: true}
	}
}

// mostMargin bounds what one round leaves in front of the rows. Whoever computes
// ids from the sequence or from the furthest row follows every margin, and with
// several heals that take it for an import a sequence ran away to 10^11 within
// seconds (measured). It is walked in 10 ms, while others wait for the lock.
const mostMargin = 1 << 15

// margin grows from round to round with what appeared since the last look: the
// rows of an import that is running right now.
func (e *episode) margin(before resync.Sight) int64 {
	if e.rounds == 1 || !before.Found {
		return 0
	}
	appeared := resync.Steps(before.Value, e.target.Value, e.table.Sequence.Increment)
	least := int64(64) << (3 * min(e.rounds-2, 6))
	return min(mostMargin, max(least, 2*min(appeared, mostMargin)))
}

// goal is how far the sequence has to go; below is where the rows may be looked
// at, nil where they may not.
func (e *episode) goal(below *conn.Conn) resync.Goal {
	goal := resync.Goal{
		Table: e.table, Target: e.target.Value, Rows: int64(e.s.insert.Rows()),
		Below: below, Role: e.session.Role, Guess: e.guess,
	}
	if !e.table.Indexed {
		switch prefixes := e.s.prefixes(e.table); len(prefixes) {
		case 1:
			goal.Prefix = prefixes[0]
		default:
			goal.Below = nil // nobody can look along one index
		}
	}
	return goal
}

// named is what the statement and the server tell of values in the way, without
// a look: explicit ids of the same statement and the colliding key.
func (e *episode) named() resync.Sight {
	seq := e.table.Sequence
	sight := resync.Sight{}
	if e.key.Found && seq.Contains(e.key.Value) {
		sight = e.key
	}
	if e.table.Own {
		explicit, _ := e.s.insert.Explicit(e.table.FedColumn())
		for _, id := range explicit {
			if seq.Contains(id) {
				sight = sight.With(seq, resync.Sight{Value: id, Found: true})
			}
		}
	}
	return sight
}

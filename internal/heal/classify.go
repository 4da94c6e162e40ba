package heal

import (
	"context"
	"strings"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/facts"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/sequence"
)

// evidence is how a collision is known.
type evidence int

const (
	uniqueViolation evidence = iota // the server returned 23505
	emptyResult                     // the conflict guard returned no row
	droppedRow                      // DO NOTHING returned no row, and the id that was drawn exists
	foreseen                        // one of the values that come next is taken
	missingRows                     // an upsert returned fewer rows than it must
)

// collision is a drawn value that may have met a row. Nothing of the statement is
// stored.
type collision struct {
	evidence evidence
	// err and server are what the server said, for a uniqueViolation.
	err    error
	server pgerr.Error
	// key is the id that collided, where it is known.
	key sequence.Position
	// undone is the error of the savepoint's rollback.
	undone error
}

func (c collision) violated() catalog.Name {
	return catalog.Name{Schema: c.server.Schema, Table: c.server.Table}
}

// verdict says whose a collision is.
type verdict int

const (
	undecided   verdict = iota
	drift               // a value that the sequence gave met a row
	callersOwn          // the caller gets what PostgreSQL says
	noCollision         // an empty result that is not a collision: a trigger skipped the row
)

// collided decides, from what is remembered, whether err may be drift: a 23505 that is
// not known to be another unique index's, of a statement in which a row leaves its key
// out. It returns nil for every other error and for none.
func (in *insert) collided(err error) *collision {
	if err == nil {
		return nil
	}
	e, ok := pgerr.From(err)
	if !ok || e.Code != pgerr.UniqueViolation {
		return nil
	}
	c := &collision{err: err, server: e}
	switch in.tables.IndexOf(e) {
	case facts.OtherIndex:
		return nil
	case facts.NewIndex:
		in.tables.Forget(in.stmt.Target, c.violated())
		return nil
	}
	if entry := in.tables.Get(in.stmt.Target); entry != nil {
		if t := entry.Table; t.Fed() && t.Violated.Constraint == e.Constraint && !in.drawsFrom(t) {
			return nil // every row names its id
		}
	}
	return c
}

// drawsFrom reports whether a row of the statement leaves its key to the table's
// sequence.
func (in *insert) drawsFrom(t *catalog.Table) bool {
	return t.Fed() && in.stmt.Insert.Omitted(t.FedColumn()) > 0
}

// classify reads the table as it is now and decides whose the collision is.
func (a *attempt) classify(ctx context.Context, c *conn.Conn) (verdict, error) {
	table, err := catalog.Read(ctx, c, a.stmt.Target, a.collision.violated())
	if err != nil {
		return undecided, err
	}
	a.table = table
	a.tables.Put(a.stmt.Target, table)
	if !table.Fed() || !a.ofTheKey() || !a.leavesKeyOut() {
		return callersOwn, nil
	}
	switch a.collision.evidence {
	case emptyResult:
		return a.classifyEmptyResult(ctx, c)
	case uniqueViolation:
		return a.classifyViolation(ctx, c)
	}
	return drift, nil
}

// ofTheKey reports whether the server's error is one of the primary key.
func (a *attempt) ofTheKey() bool {
	e := a.collision.server
	switch {
	case a.collision.evidence != uniqueViolation:
		return true
	case e.Constraint != a.table.Violated.Constraint:
		return false
	case e.Constraint == "": // a foreign partition's, on an index of another server
		return e.Names(columnNames(a.table.Key))
	}
	return true
}

// leavesKeyOut reports whether a row of the statement leaves the key that collided to
// its sequence; for another table, whether one leaves the model's key out.
func (a *attempt) leavesKeyOut() bool {
	if a.table.Own {
		return a.stmt.Insert.Omitted(a.table.FedColumn()) > 0
	}
	return a.stmt.OmitsModelKey()
}

// classifyEmptyResult decides what it means that the conflict guard returned no row.
// On a table that qualifies for the guard it is a collision. Elsewhere, because the
// table was changed under the running program, a trigger may have skipped the row:
// then it is a collision if the id that was drawn exists.
func (a *attempt) classifyEmptyResult(ctx context.Context, c *conn.Conn) (verdict, error) {
	if a.session.Isolation == conn.Serializable {
		// With no second connection to look from, it is all that is known.
		key, err := sequence.LastDrawn(ctx, c, a.table)
		if err != nil {
			return undecided, err
		}
		a.collision.key = key
	}
	if a.table.NotGuardable == "" && (a.session.Isolation == conn.ReadCommitted || !a.detouredSince(ctx)) {
		return drift, nil
	}
	a.tables.Unguard(a.stmt.Target)
	id, taken, unseen, err := sequence.DrawnIsTaken(ctx, c, a.table, nil, false)
	if unseen {
		taken, err = a.takenForOthers(ctx, a.table, id)
	}
	switch {
	case err != nil:
		return undecided, err
	case taken:
		a.collision.key = sequence.Position{Value: id, Found: true}
		return drift, nil
	}
	return noCollision, nil
}

// classifyViolation distinguishes a drawn id from one that the statement names.
func (a *attempt) classifyViolation(ctx context.Context, c *conn.Conn) (verdict, error) {
	t := a.table
	key := &a.collision.key
	key.Value, key.Found = a.collision.server.Key(t.Column, len(t.Key))
	switch {
	case !t.Own && key.Found && t.Sequence.CanRead:
		// A trigger's insert into another table, which may name its ids itself.
		drawn, err := sequence.WasDrawn(ctx, c, t.Sequence, key.Value)
		return driftIf(drawn), err
	case !t.Own || !a.stmt.Insert.Names(t.FedColumn()):
		return drift, nil
	}
	return a.classifyMixed(ctx, c)
}

func driftIf(is bool) verdict {
	if is {
		return drift
	}
	return callersOwn
}

// classifyMixed decides for a statement in which some rows name their ids: the id
// that collided may be a named one.
func (a *attempt) classifyMixed(ctx context.Context, c *conn.Conn) (verdict, error) {
	t, key := a.table, a.collision.key
	explicit, readable := a.stmt.Insert.Explicit(t.FedColumn())
	if !readable || !key.Found {
		return callersOwn, nil
	}
	named := 0
	for _, id := range explicit {
		if id == key.Value {
			named++
		}
	}
	switch {
	case named == 0:
		return drift, nil
	case named > 1 || !t.Selectable || t.RowSecurity:
		return callersOwn, nil // twice in one statement, or not to be seen
	case a.session.Isolation != conn.ReadCommitted && key == a.previous.key:
		// The sequence has passed it since, so no row can have drawn it again: it is
		// in the table, where it cannot be seen.
		return callersOwn, nil
	}
	taken, err := a.exists(ctx, c)
	if err == nil && taken && a.met == Savepoint && a.stmt.Insert.OnConflict != nil && a.drawsBefore(t, key.Value) {
		// ON CONFLICT on other columns: the row that names the id may have updated
		// another one, and the one that collided may have drawn it. What was drawn last
		// is the statement's own draw, where a draw comes before that row.
		drawn, err := a.wasDrawnLast(ctx, c)
		return driftIf(drawn), err
	}
	return driftIf(!taken), err
}

// presume decides whose a collision is when the heal ended before the catalog was
// read: by what is remembered of the table, else by the name that PostgreSQL gives to
// primary keys.
func (a *attempt) presume() {
	e := a.collision.server
	looksLikeKey := strings.HasSuffix(e.Constraint, "_pkey")
	if entry := a.tables.Get(a.stmt.Target); entry != nil && entry.Table.Fed() {
		t := entry.Table
		a.table = t
		key := e.Constraint == t.Constraint || a.tables.IndexOf(e) == facts.KeyIndex || t.Partitioned && looksLikeKey
		if a.collision.evidence != uniqueViolation || key && a.drawsFrom(t) && !a.stmt.Insert.Names(t.FedColumn()) {
			a.verdict = drift
		}
		return
	}
	if looksLikeKey && a.stmt.OmitsModelKey() {
		a.verdict = drift
	}
}

// columnNames are the names of a key's columns.
func columnNames(key []catalog.Column) []string {
	names := make([]string, len(key))
	for i, column := range key {
		names[i] = column.Name
	}
	return names
}

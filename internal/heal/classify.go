package heal

import (
	"context"
	"slices"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
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
	metRow                          // DO UPDATE met a row by an id that was drawn
	suspected                       // a row that is not its own may hold a value that an upsert drew
)

// collision is a drawn value that may be taken. Nothing of the statement is stored.
type collision struct {
	evidence evidence
	// err is what the server said where it did, and server its parts, where they name the key
	// that collided.
	err    error
	server pgerr.Error
	// from is the table by the key whose sequence gave the value, nil where the heal finds it.
	from *catalog.Table
	// key is the id that collided, where it is known.
	key sequence.Position
	// undone is the error of the savepoint's rollback.
	undone error
	// previous is the collision of the round before.
	previous previous
}

// previous is what stays of the collision of the round before.
type previous struct {
	key sequence.Position
	// repeats counts the rounds in a row in which this id collided although the
	// sequence was past every row.
	repeats int
}

// violated is the table that the server named, the zero Name where it named none.
func (c collision) violated() catalog.Name {
	return catalog.Name{Schema: c.server.Schema, Table: c.server.Table}
}

// by is the table by the key that collided, nil when it is none of those that sequences
// feed: by the columns in the server's detail, and where that was withheld by the name of
// the constraint, as the catalog has it now. The server names the first index that is
// violated, which may be one over the columns of a key and more.
func (c collision) by(t *catalog.Table) *catalog.Table {
	if c.evidence != uniqueViolation {
		return t.ByKey(c.from.KeyName())
	}
	columns, _, known := c.server.Columns()
	for _, key := range t.ByKeys() {
		if known && key.HasKey(columns) ||
			!known && c.server.Constraint != "" && (c.server.Constraint == key.Constraint || c.server.Constraint == key.Violated.Constraint) {
			return key
		}
	}
	for _, key := range t.ByKeys() {
		if key.Fed() && (known && key.Within(columns) ||
			!known && slices.ContainsFunc(t.Uniques, func(x catalog.UniqueIndex) bool { return x.Name == c.server.Constraint && x.Covers(key) })) {
			return key
		}
	}
	return nil
}

// verdict says whose a collision is.
type verdict int

const (
	undecided   verdict = iota
	drift               // a value that the sequence gave collided with a row
	callersOwn          // the caller gets what PostgreSQL says
	noCollision         // an empty result that is not a collision: a trigger skipped the row
)

// collided decides whether err may be drift: a 23505 of plain columns one of which a
// row leaves out, or whose columns were withheld. It returns nil for every other error
// and for none. Nothing that is remembered decides here but the names of a view's
// columns.
func (in *insert) collided(err error) *collision {
	if err == nil {
		return nil
	}
	e, ok := pgerr.From(err)
	if !ok || e.Code != pgerr.UniqueViolation {
		return nil
	}
	c := &collision{err: err, server: e}
	columns, plain, known := e.Columns()
	switch {
	case !known:
		return c // a right to the key's columns is missing, or another server answers
	case !plain:
		return nil // an index on an expression
	}
	entry := in.tables.Get(in.stmt.Target)
	for _, column := range columns {
		if entry != nil && entry.Table.IsTarget() {
			column = entry.Table.Shown(column)
		}
		if in.stmt.Insert.Omitted(column) > 0 {
			return c
		}
	}
	return nil
}

// classify reads the table as it is now, remembers it, and decides whose the collision is. It
// sets the attempt's table, by the key that collided, and a.session.Isolation to what the rows
// are read under. A collision in another table than before begins an attempt of its own.
func (a *attempt) classify(ctx context.Context, c *conn.Conn, target catalog.Name) (verdict, error) {
	table, err := catalog.Read(ctx, c, target, a.collision.violated())
	if err != nil {
		return undecided, err
	}
	key := a.collision.by(table)
	if key == nil && a.mayBeTheKey(table) {
		key = table
	}
	if a.move != nil && a.isElsewhere(key) {
		a.split()
	}
	if table.Fed() || a.move == nil { // an earlier round is reported with its sequence
		a.table = table
	}
	if table.Elsewhere && a.inside && a.session.Isolation == conn.ReadCommitted {
		// postgres_fdw reads under a snapshot that lasts as long as the transaction
		// (PostgreSQL manual, F.38.4).
		a.session.Isolation = conn.RepeatableRead
	}
	if table.IsTarget() && target == a.stmt.Target {
		a.tables.Put(a.stmt.Target, table)
	}
	if table.Unlinked {
		a.complainUnlinked(table)
	}
	if !key.Fed() {
		return callersOwn, nil
	}
	a.table = key
	draws := a.omitted(key) > 0
	if !key.IsTarget() {
		draws = a.stmt.OmitsModelKey()
	}
	switch evidence := a.collision.evidence; {
	case !draws:
		return callersOwn, nil
	case evidence == emptyResult:
		return a.classifyEmptyResult(ctx, c)
	case evidence == uniqueViolation:
		return a.classifyViolation(ctx, c)
	case evidence == metRow:
		return a.classifyMetRow(ctx, c)
	}
	return drift, nil
}

// mayBeTheKey reports whether a server that names neither table nor constraint may mean the
// key. The columns, if it names those, may have other names on that server.
func (a *attempt) mayBeTheKey(t *catalog.Table) bool {
	e := a.collision.server
	columns, _, known := e.Columns()
	if a.collision.evidence != uniqueViolation || e.Table != "" || e.Constraint != "" || e.Raised() || known && !t.Elsewhere || !t.Fed() {
		return false
	}
	return slices.Contains(columns, t.FedColumn()) || !slices.ContainsFunc(columns, a.stmt.Insert.Has)
}

// classifyEmptyResult decides what it means that the conflict guard returned no row.
// On a table that qualifies for the guard it is a collision. Elsewhere, because the
// table was changed under the running program, a trigger may have skipped the row:
// then it is a collision if the id that was drawn exists.
func (a *attempt) classifyEmptyResult(ctx context.Context, c *conn.Conn) (verdict, error) {
	if a.session.Isolation == conn.Serializable {
		// Without a second connection the drawn id is all that is known of the rows.
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
	answer, err := a.drawnIsTaken(ctx, a.table)
	switch {
	case err != nil:
		return undecided, err
	case answer == sequence.Taken:
		a.collision.key = a.lastDrawn(ctx, a.table)
		return drift, nil
	}
	return noCollision, nil
}

// classifyViolation distinguishes a drawn id from one that the statement names.
func (a *attempt) classifyViolation(ctx context.Context, c *conn.Conn) (verdict, error) {
	t, e := a.table, a.collision.server
	key := &a.collision.key
	key.Value, key.Found = a.keyIn(e)
	switch {
	case e.Constraint == "" && !key.Found:
		return a.classifyUnnamed(ctx, c)
	case !t.IsTarget() && key.Found && t.Sequence.CanRead:
		// A trigger's insert into another table, which may name its ids itself.
		drawn, err := sequence.WasDrawn(ctx, c, t.Sequence, key.Value)
		return driftIf(drawn), err
	case !t.IsTarget() || !a.names(t):
		return drift, nil
	}
	return a.classifyMixed(ctx, c)
}

// keyIn reads the colliding id out of the error's detail.
func (a *attempt) keyIn(e pgerr.Error) (int64, bool) {
	columns, _, _ := e.Columns() // in the order of the index, which need not be the key's
	return e.Key(slices.Index(columns, a.table.FedColumn()), len(columns))
}

// classifyUnnamed decides where the server does not say what collided: it is drift if the
// id that was drawn exists. That can be asked only in the transaction that drew it: outside
// one the first collision stays undecided, and the statement is sent again in a savepoint.
func (a *attempt) classifyUnnamed(ctx context.Context, c *conn.Conn) (verdict, error) {
	if a.guardedBy == None && a.rounds == 1 {
		return undecided, nil
	}
	if a.collision.key = a.lastDrawn(ctx, a.table); !a.collision.key.Found {
		return callersOwn, nil
	}
	taken, err := a.exists(ctx, c)
	return driftIf(taken), err
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
	explicit, readable := a.explicit(t)
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
	case a.session.Isolation != conn.ReadCommitted && key == a.collision.previous.key:
		// The sequence has passed it since, so no row can have drawn it again: it is
		// in the table, where it cannot be seen.
		return callersOwn, nil
	}
	taken, err := a.exists(ctx, c)
	if err == nil && taken && a.guardedBy == Savepoint && a.stmt.Insert.OnConflict != nil && a.drawsBefore(t, key.Value) {
		// ON CONFLICT on other columns: the row that names the id may have updated
		// another one, and the one that collided may have drawn it. What was drawn last
		// is the statement's own draw, where a draw comes before that row.
		drawn, err := a.wasDrawnLast(ctx, c)
		return driftIf(drawn), err
	}
	return driftIf(!taken), err
}

package heal

import (
	"context"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pipeline"
	"github.com/seqheal/seqheal/internal/statement"
)

// strategy keeps a collision of one statement from doing harm: from aborting the
// transaction, and from changing or dropping a row without an error.
type strategy interface {
	// guard is the name in [Incident].Guard.
	guard() Guard
	// send sends the statement once. It returns nil when the caller has its result:
	// the rows are stored, or the error is the caller's own. Otherwise nothing is
	// stored, and the transaction is as the strategy's heal expects it.
	send(context.Context) *collision
	// heal runs one round of a heal and returns how the statement is sent again, nil
	// when it is not.
	heal(context.Context, *attempt) strategy
	// abandon leaves the caller with the result of a collision that was not healed.
	abandon(context.Context, *attempt)
}

// choose picks the strategy of the first sending; how the statement is sent again is what
// that strategy's heal returns. It returns nil when the statement already has its result.
// In the healthy case it sends nothing. Otherwise it asks about a table that is not known,
// which table an ambiguous name stands for, which index has a constraint's name, once for each
// pool how a savepoint is sent, and whether a connection that is not database/sql's own pool
// is in a transaction.
func (in *insert) choose(ctx context.Context) strategy {
	if !in.stmt.Readable {
		return passthrough{insert: in}
	}
	in.inside = conn.Inside(in.stmt.DB)
	if !conn.Certain(in.stmt.DB) {
		in.inside = !conn.Outside(ctx, in.stmt.DB)
	}
	if in.inTransaction() && in.way(ctx).Way == pipeline.NoSavepoints {
		return passthrough{insert: in}
	}
	if in.stmt.Insert.OnConflict != nil {
		return in.chooseUpsert(ctx, false)
	}
	return in.choosePlain(ctx)
}

// choosePlain picks the strategy of a statement that fails where its key collides, at COMMIT
// at the latest.
func (in *insert) choosePlain(ctx context.Context) strategy {
	if !in.inTransaction() {
		return &autocommit{insert: in, text: in.stmt.Text()}
	}
	entry := in.tables.Get(in.stmt.Target)
	if entry == nil || entry.Table.Uncommitted && !entry.Ambiguous {
		entry, _ = in.readFirst(ctx, in.conn()) // a connection that is gone fails the INSERT too
	}
	switch {
	case in.settings.Guard == GuardOff:
		return passthrough{insert: in, resyncs: true}
	case entry == nil || entry.Ambiguous: // nothing is certain of it
	case !in.mayDraw(entry.Table) && !in.mayCollideElsewhere(entry.Table):
		return passthrough{insert: in}
	case entry.Table.InitiallyDeferred && in.drawsFrom(entry.Table):
		return &preflight{insert: in, text: in.stmt.Text(), table: entry.Table, noticed: true}
	}
	return in.chooseGuard()
}

// mayCollideElsewhere reports whether a view, a rule or a trigger can carry the row into
// another table whose key it draws.
func (in *insert) mayCollideElsewhere(t *catalog.Table) bool {
	return (!t.Fed() || t.KeysBelow) && (t.Detour || t.Triggers.BeforeInsertRow || t.Triggers.InsteadOf || t.Triggers.AfterRow) && in.stmt.OmitsModelKey()
}

// chooseGuard picks the conflict guard for one row of a table that qualifies, in a
// statement that can be sent twice and whose empty result means one thing only. Every
// other statement is sent in a savepoint.
func (in *insert) chooseGuard() strategy {
	entry, stmt, text := in.tables.Get(in.stmt.Target), in.stmt, in.stmt.Text()
	if in.settings.Guard == GuardAuto && entry != nil && entry.Guard != "" && in.drawsFrom(entry.Table) &&
		stmt.Insert.Rows() == 1 && stmt.Insert.Plain && text.GuardAllowed() && stmt.Insert.OnConflict == nil &&
		!stmt.Insert.HasExpression() && !stmt.FillsSliceFromScratch() {
		return conflict{in, entry.Table, text.Guarded(entry.Guard)}
	}
	return &savepoint{insert: in, text: text}
}

// chooseUpsert picks the strategy of a statement with ON CONFLICT. On a drifted
// table such a statement does not fail: it overwrites or drops rows. With fresh the table
// is read anew.
func (in *insert) chooseUpsert(ctx context.Context, fresh bool) strategy {
	entry, err := in.lookUpForUpsert(ctx, fresh)
	if err != nil {
		in.stmt.Fail(err)
		return nil
	}
	if entry == nil || !in.mayDraw(entry.Table) {
		return passthrough{insert: in}
	}
	keys := in.drawnKeys(entry.Table)
	if len(keys) == 0 {
		// No sequence feeds the key, or its values cannot be foreseen. The question is
		// whether that still holds.
		if in.stmt.Insert.OnConflict.DoNothing {
			return newDroppedRows(in, entry.Table)
		}
		return in.chooseLook(entry.Table)
	}
	if !fresh && !in.knowsTarget(ctx, entry.Table) {
		return in.chooseUpsert(ctx, true) // the key may be another one by now
	}
	switch t, target := in.conflictKey(keys); target {
	case statement.OnOther:
		return in.choosePlain(ctx) // a collision on the key is an ordinary 23505 here
	case statement.OnKey:
		return in.chooseKeyUpsert(t)
	default:
		return in.chooseDropped(t)
	}
}

// conflictKey is the key that ON CONFLICT waits for, of those from whose sequence a row
// draws; the first of them when it waits for any. A unique index over a key's columns and
// more stands for the key: a drawn value that exists can meet it first.
func (in *insert) conflictKey(keys []*catalog.Table) (*catalog.Table, statement.Target) {
	for _, t := range keys {
		if target := in.conflictTarget(t, t.KeyNames(), t.Constraint); target != statement.OnOther {
			return t, target
		}
	}
	for _, t := range keys {
		for _, x := range t.Uniques {
			if x.Covers(t) && in.conflictTarget(t, x.Columns, x.Name) == statement.OnKey {
				return t, statement.OnKey
			}
		}
	}
	return nil, statement.OnOther
}

// knowsTarget reports whether the index that ON CONFLICT waits for is one that was read. A
// constraint that is named is asked for, because the name may belong to another index by now.
// An index on an expression is never the key.
func (in *insert) knowsTarget(ctx context.Context, t *catalog.Table) bool {
	onConflict := in.stmt.Insert.OnConflict
	if onConflict.OnConstraint == "" && (len(onConflict.Columns) == 0 || in.stmt.Insert.ConflictsOnExpression()) {
		return true
	}
	for _, x := range t.Uniques {
		if in.conflictTarget(t, x.Columns, x.Name) == statement.OnKey {
			return onConflict.OnConstraint == "" || catalog.StillNamed(ctx, in.conn(), x)
		}
	}
	return false
}

// conflictTarget tells whether ON CONFLICT waits for the index of this name over these
// columns of the table.
func (in *insert) conflictTarget(t *catalog.Table, columns []string, name string) statement.Target {
	names := make([]string, len(columns))
	for i, column := range columns {
		names[i] = t.Shown(column)
	}
	return in.stmt.Insert.ConflictTarget(names, name, in.stmt.PrimaryColumn())
}

// waitsForAnyKey reports whether the statement has DO NOTHING without a target.
func (in *insert) waitsForAnyKey() bool {
	return in.stmt.Insert.ConflictTarget(nil, "", "") == statement.OnAny
}

// chooseDropped picks the strategy of a statement under DO NOTHING without a target.
func (in *insert) chooseDropped(t *catalog.Table) strategy {
	if in.stmt.Insert.Rows() == 1 && !in.skips(t) && !t.Triggers.InsertStatement && !t.Triggers.AfterRow {
		in.effect = WouldDrop
		return &dropped{insert: in, table: t}
	}
	return newDroppedRows(in, t)
}

// skips reports whether something on the table may keep a row from being stored, so
// that a row which does not come back is no evidence.
func (in *insert) skips(t *catalog.Table) bool {
	return t.Triggers.BeforeInsertRow || t.Triggers.InsteadOf || t.Rules
}

// predictable reports whether the values that come next follow from the sequence's last
// one.
func predictable(t *catalog.Table) bool { return t.Unsupported == "" && !t.Sequence.Cycle }

// chooseKeyUpsert picks the strategy of a statement whose ON CONFLICT names a key from whose
// sequence a row draws: with a tripwire, and where that may not be added behind a look.
func (in *insert) chooseKeyUpsert(t *catalog.Table) strategy {
	if in.stmt.Insert.OnConflict.DoNothing {
		return newDroppedRows(in, t)
	}
	text, ok := in.withTripwire(t)
	if !ok {
		return in.chooseLook(t)
	}
	in.effect = WouldOverwrite
	switch {
	case in.names(t):
		return &preflight{insert: in, text: text, table: t, wired: true}
	case in.inTransaction():
		return &savepoint{insert: in, text: text, wired: t}
	}
	return &autocommit{insert: in, text: text, wired: t}
}

// chooseLook picks the strategy of an upsert that is sent as the caller wrote it.
func (in *insert) chooseLook(t *catalog.Table) strategy {
	in.effect = WouldOverwrite
	return &preflight{insert: in, text: in.stmt.Text(), table: t, blind: !in.drawsPredictably(t)}
}

// withTripwire is the statement's text with a tripwire: DO UPDATE fails where a row whose id
// was drawn meets another one. It reports false where a row that draws may meet one on a
// healthy table, because something other than the sequence can give the id; where the ids of
// the other rows cannot be told; and where the tripwire would need more of the table than the
// caller's clause does.
func (in *insert) withTripwire(t *catalog.Table) (statement.Text, bool) {
	text, onConflict, column := in.stmt.Text(), in.stmt.Insert.OnConflict, t.ShownFed()
	if column == "" || in.skips(t) || !text.HasConflict() || len(onConflict.Columns) == 0 || onConflict.OnConstraint != "" || in.stmt.Target.Table == "excluded" {
		return text, false
	}
	ids, readable := in.explicit(t)
	if in.names(t) && (!readable || !t.IntegerKey()) {
		return text, false
	}
	return text.WithTripwire(catalog.Quote(column), ids), true
}

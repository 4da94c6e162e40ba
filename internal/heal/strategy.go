package heal

import (
	"context"

	"github.com/seqheal/seqheal/internal/facts"
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

// choose picks the strategy. It is the only place that decides. It returns nil when
// the statement already has its result.
func (in *insert) choose(ctx context.Context) strategy {
	switch {
	case !in.stmt.Readable:
		return passthrough{insert: in, text: in.stmt.Text()}
	case in.stmt.Insert.OnConflict != nil:
		return in.chooseUpsert(ctx)
	}
	return in.choosePlain(ctx, in.stmt.Text())
}

// choosePlain picks the strategy of a statement whose collisions are 23505s.
func (in *insert) choosePlain(ctx context.Context, text statement.Text) strategy {
	if !in.inTransaction() {
		return &autocommit{insert: in, text: text}
	}
	entry := in.lookUp(ctx)
	switch {
	case in.settings.Guard == GuardOff:
		return passthrough{in, text, true}
	case entry == nil:
		return savepoint{in, text}
	case !in.drawsFrom(entry.Table):
		return passthrough{in, text, false}
	case entry.Table.InitiallyDeferred:
		return &preflight{insert: in, text: text, table: entry.Table, noticed: true}
	}
	return in.fence(text)
}

// fence picks the conflict guard for one row of a table that qualifies, in a
// statement that can be sent twice and whose empty result means one thing only. Every
// other statement is sent in a savepoint.
func (in *insert) fence(text statement.Text) strategy {
	entry, stmt := in.tables.Get(in.stmt.Target), in.stmt
	if in.settings.Guard == GuardAuto && entry != nil && entry.Guard != "" &&
		stmt.Insert.Rows() == 1 && stmt.Insert.Plain && text.GuardAllowed() &&
		!stmt.Insert.HasExpression() && !stmt.FillsSliceFromScratch() {
		return conflict{in, text.Guarded(entry.Guard)}
	}
	return savepoint{in, text}
}

// chooseUpsert picks the strategy of a statement with ON CONFLICT. On a drifted
// table such a statement does not fail: it overwrites or drops rows.
func (in *insert) chooseUpsert(ctx context.Context) strategy {
	text := in.stmt.Text()
	entry, err := in.lookUpAnywhere(ctx)
	if err != nil {
		in.stmt.Fail(err)
		return nil
	}
	if entry == nil || !in.drawsFrom(entry.Table) || unmovable(entry.Table) {
		return passthrough{insert: in, text: text}
	}
	table := entry.Table
	mixed := in.stmt.Insert.Names(table.FedColumn())
	switch in.stmt.Insert.ConflictTarget(columnNames(table.Key), table.Constraint, in.stmt.PrimaryColumn()) {
	case statement.OnOther:
		return in.choosePlain(ctx, text) // a collision on the key is an ordinary 23505 here
	case statement.OnKey:
		return in.chooseKeyUpsert(ctx, entry, mixed)
	default:
		in.effect = WouldDrop
		if in.stmt.Insert.Rows() == 1 {
			return &dropped{insert: in, entry: entry}
		}
		return &preflight{insert: in, text: text, table: table}
	}
}

// chooseKeyUpsert picks the strategy of a statement whose ON CONFLICT names the key.
func (in *insert) chooseKeyUpsert(ctx context.Context, entry *facts.Entry, mixed bool) strategy {
	in.effect = WouldOverwrite
	if in.stmt.Insert.OnConflict.DoNothing {
		in.effect = WouldDrop
	}
	if mixed {
		return newMixed(in, entry.Table)
	}
	plain, ok := in.stmt.Text().WithoutConflict()
	if entry.Table.UpsertTrigger || !ok {
		// A trigger may choose ids, or would notice that the clause is gone.
		in.effect = ""
		return passthrough{insert: in, text: in.stmt.Text()}
	}
	// No row can mean to meet an existing one: a plain INSERT.
	return in.choosePlain(ctx, plain)
}

package heal

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/facts"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/sequence"
)

// prevent moves the sequence past the ids that a successful insert has named, so that
// nothing drifts. It never touches the insert's result: where it cannot move the
// sequence, a later heal will.
func (in *insert) prevent() {
	if !in.mayNameIDs() {
		return
	}
	ctx := in.stmt.DB.Statement.Context
	entry, err := in.lookUpForUpsert(ctx, false)
	if err != nil || entry == nil || !in.advanceKeysPast(ctx, entry.Table) {
		return
	}
	in.tables.Forget(in.stmt.Target, entry.Table)
	if entry, err = in.lookUpForUpsert(ctx, true); err == nil && entry != nil {
		in.advanceKeysPast(ctx, entry.Table)
	}
}

// advanceKeysPast moves each sequence that feeds a key, and reports whether the name
// stands for another table.
func (in *insert) advanceKeysPast(ctx context.Context, t *catalog.Table) (moved bool) {
	for _, key := range t.ByKeys() {
		if in.advancePast(ctx, key) == sequence.Stale {
			return true
		}
	}
	return false
}

// advancePast moves the table's sequence past the ids that the statement named.
func (in *insert) advancePast(ctx context.Context, t *catalog.Table) sequence.Answer {
	if !t.Fed() || !t.IsTarget() || !predictable(t) {
		return sequence.Free
	}
	named := in.furthestNamed(t)
	if !named.Found || t.Sequence.Reached(named.Value, t.Limit()) {
		return sequence.Free // none, or the sequence cannot go on behind it
	}
	if !t.Sequence.CanUse {
		in.cannotPrevent(t, "may not draw from it", "USAGE")
		return sequence.Free
	}
	// A value that was passed before may choose how the question is put: the server
	// compares.
	passed := sequence.Position{}
	passed.Value, passed.Found = in.tables.HighWater(facts.SequenceOf(t))
	if passed.Found && passed.Value == t.Limit() {
		return sequence.Free
	}
	switch err := sequence.Pass(ctx, in.conn(), t, passed, named.Value, in.inTransaction()); {
	case errors.Is(err, sequence.ErrTooFar):
		in.tables.Passed(facts.SequenceOf(t), t.Limit()) // each try would use up a value
		in.cannotPrevent(t, "may not set it and they are too far for drawing", "UPDATE")
	case pgerr.Is(err, pgerr.InsufficientPrivilege):
		in.cannotPrevent(t, "may not both draw from it and ask for its last value", "USAGE, SELECT")
	case err != nil:
		return sequence.AnswerOf(err)
	case !sequence.Near(t, named.Value):
		in.tables.Passed(facts.SequenceOf(t), named.Value)
	}
	return sequence.Free
}

// cannotPrevent reports once which right is missing.
func (in *insert) cannotPrevent(t *catalog.Table, lacking, right string) {
	in.complain(fmt.Sprintf("seqheal: table %s: ids that inserts name cannot move sequence %[2]s along, because the role %s; "+
		"GRANT %s ON SEQUENCE %[2]s to it", t.QuotedName(), t.Sequence.QuotedName(), lacking, right))
}

// mayNameIDs reports whether a row names a value for one of the model's key columns, or
// for another key that is known; without a model, only the table itself can tell.
func (in *insert) mayNameIDs() bool {
	if in.stmt.DB.Error != nil || !in.stmt.Readable {
		return false
	}
	if entry := in.tables.Get(in.stmt.Target); entry != nil && slices.ContainsFunc(entry.Table.Keys, in.names) {
		return true
	}
	schema := in.stmt.DB.Statement.Schema
	return schema == nil || slices.ContainsFunc(schema.PrimaryFieldDBNames, in.stmt.Insert.Names)
}

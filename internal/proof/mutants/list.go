package main

// The tests that mutants are given.
func in(packageName, run string) []test { return []test{{packageName: packageName, run: run}} }

// model is one worker of the model's programs.
var model = []test{{packageName: "./model", run: "^TestPrograms$/^all$/^tables_1$", model: true}}

var mutants = []mutant{
	{
		name: "no advisory lock",
		edits: []edit{{"internal/resync/advance.go", `	if err := c.Row(ctx, lock, []any{int64(lockClass), seq.OID}, new(string)); err != nil {
		return move, err
	}
`, ``}},
		tests: in("./internal/resync", "^TestAdvanceHoldsTheLockUntilItIsUndone$"),
	},
	{
		name: "setval without greatest: it moves backwards",
		edits: []edit{{"internal/resync/advance.go",
			`SELECT CASE WHEN pg_catalog.sign($3::pg_catalog.int8::pg_catalog.numeric) * ($2::pg_catalog.int8::pg_catalog.numeric - d.v) > $5::pg_catalog.int8`,
			`SELECT CASE WHEN $5::pg_catalog.int8 > 0`}},
		tests: in("./internal/resync", "^TestNobodyComesBetweenTheDrawAndTheSetval$"),
	},
	{
		name:  "deciding on a cached value, walk",
		edits: []edit{{"internal/resync/advance.go", `move.To, err = drawOn(ctx, c, seq, seq.Cache)`, `move.To, err = drawOn(ctx, c, seq, 1)`}},
		tests: in("./internal/resync", "^TestAdvancePassesValuesThatTheSessionCached$"),
	},
	{
		name: "deciding on a cached value, jump",
		edits: []edit{
			{"internal/resync/advance.go", `move.To, err = drawOn(ctx, c, seq, seq.Cache)`, `move.To, err = drawOn(ctx, c, seq, 1)`},
			{"internal/resync/advance.go", `[]any{seq.OID, target, seq.Increment, max(1, seq.Cache), spread(far, seq.Increment)}`,
				`[]any{seq.OID, target, seq.Increment, 1, spread(far, seq.Increment)}`},
		},
		tests: in("./internal/resync", "^TestHealersOfOneSequenceNeverStepItBackwards$"),
	},
	{
		name: "trusting a cached value that lies beyond the rows",
		edits: []edit{{"internal/resync/advance.go", `	if seq.Cache > 1 && seq.Reached(first, goal.Target) {`,
			`	if false {`}},
		tests: in("./internal/resync", "^TestAdvanceOfASequenceThatWasSetBack$"),
	},
	{
		name: "draw and setval in two statements",
		edits: []edit{{"internal/resync/advance.go", `	err := c.Row(ctx, jump, []any{seq.OID, target,`, `	if last, err := drawOn(ctx, c, seq, seq.Cache); err != nil || seq.Reached(last, target) {
		return last, err
	}
	return target, c.Row(ctx, "SELECT setval($1::int8::oid::regclass, $2::int8)", []any{seq.OID, target}, new(int64))
	err := c.Row(ctx, jump, []any{seq.OID, target,`}},
		tests: in("./internal/resync", "^TestNobodyComesBetweenTheDrawAndTheSetval$"),
	},
	{
		name: "setval to the target itself: the sequence loses its phase",
		edits: []edit{{"internal/resync/advance.go",
			`(d.v + pg_catalog.ceil(($2::pg_catalog.int8::pg_catalog.numeric - d.v) / $3::pg_catalog.int8) * $3::pg_catalog.int8)::pg_catalog.int8)`,
			`$2::pg_catalog.int8)`}},
		tests: in("./plugin", "^TestHealsEveryKindOfKey$/^odd_ids,_far$"),
	},
	{
		name:  "the maximum of a descending sequence",
		edits: []edit{{"internal/catalog/table.go", "		return \"min\"\n", "		return \"max\"\n"}},
		tests: in("./internal/resync", "^TestLookFindsTheFurthestRowInTheSequencesOwnRange$"),
	},
	{
		name:  "retry without savepoint",
		edits: []edit{{"plugin/create.go", `	if err := guard.Set(ctx, c); err != nil {`, `	if err := ctx.Err(); err != nil {`}},
		tests: model,
	},
	{
		name: "ROLLBACK TO without RELEASE",
		edits: []edit{{"internal/guard/guard.go", `"ROLLBACK TO SAVEPOINT seqheal; RELEASE SAVEPOINT seqheal"`,
			`"ROLLBACK TO SAVEPOINT seqheal"`}},
		tests: in("./internal/guard", "^TestRowsAfterTheGuardBelongToTheTransactionItself$"),
	},
	{
		name: "the heal's savepoint kept: its lock stays",
		edits: []edit{{"plugin/heal.go", `		if undo := guard.Undo(ctx, c); err == nil {
			err = undo
		}
	}
	if err != nil {
		e.failed(err)`, `		if undo := guard.Release(ctx, c); err == nil {
			err = undo
		}
	}
	if err != nil {
		e.failed(err)`}},
		tests: model,
	},
	{
		name: "a genuine failure undone: the transaction goes on",
		edits: []edit{{"plugin/create.go", `	if hit, collided = f.h.collided(s, err); !collided {
		return collision{}, false`, `	if hit, collided = f.h.collided(s, err); !collided {
		_ = guard.Undo(ctx, c)
		return collision{}, false`}},
		tests: model,
	},
	{
		name: "a look ahead goes back to the guard's savepoint",
		edits: []edit{{"internal/resync/preflight.go", `takeBack = "ROLLBACK TO SAVEPOINT seqheal_ahead; RELEASE SAVEPOINT seqheal_ahead"`,
			`takeBack = "ROLLBACK TO SAVEPOINT seqheal; RELEASE SAVEPOINT seqheal"`},
			{"internal/resync/preflight.go", `"SAVEPOINT seqheal_ahead; SET`, `"SAVEPOINT seqheal; SET`}},
		tests: in("./plugin", "^TestUpsertsInAnAbortedTransaction$"),
	},
	{
		name: "hooks run twice",
		edits: []edit{{"plugin/statement.go", `	s.reset()
	if guard != ""`, `	s.reset()
	if before := db.Callback().Create().Get("gorm:before_create"); before != nil {
		before(db)
	}
	if guard != ""`}},
		tests: model,
	},
	{
		name: "guard clause left in stmt.Clauses",
		edits: []edit{{"plugin/statement.go", `		s.restoreClauses()
	}()`, `		s.restoreClauses()
		if guard != "" {
			stmt.AddClause(clause.OnConflict{DoNothing: true})
		}
	}()`}},
		tests: in("./plugin", "^TestHealthyTableIsAsWithoutThePlugin$/^default,_guard_0,_caller's_transaction_false$"),
	},
	{
		name: "conflict guard on a table with a trigger",
		edits: []edit{{"internal/catalog/read.go", `	case t.InsertTrigger:`, `	case t.InsertTrigger && t.Cycles():`},
			{"internal/catalog/table.go", `// QuotedKey returns`, `// Cycles reports whether the sequence does.
func (t *Table) Cycles() bool { return t.Sequence.Cycle }

// QuotedKey returns`}},
		tests: model,
	},
	{
		name: "conflict guard without a target",
		edits: []edit{{"internal/guard/guard.go", `return " ON CONFLICT (" + strings.Join(key, ",") + ") DO NOTHING"`,
			`return strings.Join(key[:0], ",") + " ON CONFLICT DO NOTHING"`}},
		tests: in("./internal/guard", "^TestConflictClauseGoesBetweenValuesAndTheRest$"),
	},
	{
		name:  "conflict guard though the statement has an expression",
		edits: []edit{{"plugin/create.go", `		!s.insert.HasExpression() && !s.fillsSliceFromScratch() {`, `		!s.fillsSliceFromScratch() {`}},
		tests: in("./plugin", "^TestSideEffectsOfAnExpressionHappenOnce$"),
	},
	{
		name: "decision by struct instead of VALUES",
		edits: []edit{
			{"plugin/know.go", `	return k.table.Fed() && s.insert.Omitted(k.table.FedColumn()) > 0`, `	if stmt := s.db.Statement; stmt.Schema != nil && stmt.ReflectValue.Kind() == reflect.Struct {
		_, zero := stmt.Schema.PrioritizedPrimaryField.ValueOf(stmt.Context, stmt.ReflectValue)
		return k.table.Fed() && zero
	}
	return k.table.Fed() && s.insert.Omitted(k.table.FedColumn()) > 0`},
			{"plugin/know.go", `	"context"
`, `	"context"
	"reflect"
`},
		},
		tests: model,
	},
	{
		name:  "TranslateError not restored",
		edits: []edit{{"plugin/statement.go", `	if err := s.db.Error; err != nil && s.quiet != nil {`, `	if err := s.db.Error; err != nil && s.quiet != nil && s.contextEnded() {`}},
		tests: model,
	},
	{
		name:  "ON CONFLICT left out of a mixed upsert",
		edits: []edit{{"plugin/upsert.go", `		case mixed:`, `		case mixed && t.Partitioned:`}},
		tests: model,
	},
	{
		name:  "ON CONFLICT kept where all ids are left out",
		edits: []edit{{"plugin/upsert.go", `		case t.UpsertTrigger || !s.leaveOutOnConflict():`, `		case t.UpsertTrigger || !mixed:`}},
		tests: model,
	},
	{
		name: "DO UPDATE restricted by the id alone",
		edits: []edit{{"plugin/statement.go", `	tuples, readable := s.insert.Tuples(t.FedColumn(), columnNames(t.Key))`,
			`	alone := *t
	alone.Key, alone.Column = t.Key[t.Column:t.Column+1], 0
	t = &alone
	tuples, readable := s.insert.Tuples(t.FedColumn(), columnNames(t.Key))`}},
		tests: in("./plugin", "^TestARaceOverwritesNoOtherTenantsRow$"),
	},
	{
		name:  "rows missing of a mixed upsert not detected",
		edits: []edit{{"plugin/upsert.go", ` || s.db.RowsAffected >= sent {`, ` || s.db.RowsAffected >= 0*sent {`}},
		tests: in("./plugin", "^TestRaceBehindThePreflight$"),
	},
	{
		name:  "an upsert sent although its heal failed",
		edits: []edit{{"plugin/upsert.go", `e.canBeTriedAgain() && !noticed`, `false && !noticed`}},
		tests: in("./plugin", "^TestAnUpsertWhoseHealFailsIsNotSent$"),
	},
	{
		name:  "a second connection's BEGIN waited for without end",
		edits: []edit{{"plugin/own.go", `	waiting.Reset(secondWait)`, `	waiting.Reset(24 * time.Hour)`}},
		tests: in("./plugin", "^TestGuardOffWhereNoServerConnectionIsLeft$"),
	},
	{
		name:  "a partition's other index taken for its key",
		edits: []edit{{"plugin/create.go", `if !ok || !k.isKeys(s, hit) {`, `if !ok {`}},
		tests: in("./plugin", "^TestAnotherIndexOfAPartitionThatIsNeverHealed$"),
	},
	{
		name:  "ids that an upsert names itself not looked at",
		edits: []edit{{"plugin/upsert.go", ` Named: s.namedBeside(k.table),`, ``}},
		tests: model,
	},
	{
		name:  "dropped rows compared by the id alone",
		edits: []edit{{"plugin/upsert.go", `s.beside(0, k.table), false)`, `nil, false)`}},
		tests: in("./plugin", "^TestDroppedRowBesideAnotherTenantsID$"),
	},
	{
		name: "a 23505 of another index taken for drift",
		edits: []edit{
			{"plugin/heal.go", `	if known == serverError && e.last.constraint != table.Violated.Constraint || !table.Fed() {`, `	if !table.Fed() {`},
			{"plugin/know.go", `	case otherUnique:
		return collision{}, false
	case strange:`, `	case strange:`},
		},
		tests: model,
	},
	{
		name: "an explicit id that exists taken for drift",
		edits: []edit{{"plugin/heal.go", `	return !taken, err
}`, `	return !taken || t.Own, err
}`}},
		tests: model,
	},
	{
		name:  "no margin in later rounds",
		edits: []edit{{"plugin/heal.go", `	return min(mostMargin, max(least, 2*min(appeared, mostMargin)))`, `	return 0 * max(least, appeared)`}},
		tests: in("./plugin", "^TestARunningImportIsOvertaken$"),
	},
	{
		name:  "an upsert's failure in SERIALIZABLE heals nothing",
		edits: []edit{{"plugin/upsert.go", `	e.healAside(foresight) // in`, `	// in`}},
		tests: in("./plugin", "^TestUpsertsUnderASnapshot$"),
	},
	{
		name:  "no guess at rows outside a snapshot",
		edits: []edit{{"plugin/sight.go", `conn.Serializable || e.noSecond != nil`, `conn.Serializable`}},
		tests: in("./plugin", "^TestRowsOutsideTheSnapshotWithoutASecondConnection$"),
	},
	{
		name:  "a trigger outside the snapshot overlooked",
		edits: []edit{{"plugin/sight.go", `(now.InsertTrigger || now.Detour)`, `now.Detour`}},
		tests: in("./plugin", "^TestATriggerThatTheSnapshotDoesNotShow$"),
	},
	{
		name:  "a named id outside the snapshot taken for drift",
		edits: []edit{{"plugin/sight.go", `taken || e.session.Isolation == conn.ReadCommitted {`, `taken || e.session.Isolation != conn.Serializable {`}},
		tests: in("./plugin", "^TestABatchThatNamesAnIDOutsideTheSnapshot$"),
	},
	{
		name: "the error of the first run kept",
		edits: []edit{{"plugin/statement.go", `	s.db.Error, s.db.RowsAffected = nil, s.before.rowsAffected
	if result`, `	s.db.RowsAffected = s.before.rowsAffected
	if result`}},
		tests: model,
	},
	{
		name:  "names quoted without doubling their quotes",
		edits: []edit{{"internal/catalog/name.go", "strings.ReplaceAll(part, `\"`, `\"\"`)", "strings.ReplaceAll(part, `\"`, `\"`)"}},
		tests: in("./plugin", "^TestHostileNames$"),
	},
}

package main

// The tests that mutants are given.
func in(packageName, run string) []test { return []test{{packageName: packageName, run: run}} }

var mutants = []mutant{
	{
		name: "no advisory lock",
		edits: []edit{{"internal/sequence/advance.go", `	if err := c.Row(ctx, lock, []any{int64(LockClass), seq.OID}, new(string)); err != nil {
		return move, err
	}
`, ""}},
		tests: in("./internal/sequence", "^TestAdvanceHoldsTheLockUntilItIsUndone$"),
	},
	{
		name:  "setval without greatest: it moves backwards",
		edits: []edit{{"internal/sequence/advance.go", "SELECT CASE WHEN pg_catalog.sign($3::pg_catalog.int8::pg_catalog.numeric) * ($2::pg_catalog.int8::pg_catalog.numeric - d.v) > $5::pg_catalog.int8", "SELECT CASE WHEN $5::pg_catalog.int8 > 0"}},
		tests: in("./internal/sequence", "^TestNobodyComesBetweenTheDrawAndTheSetval$"),
	},
	{
		name:  "deciding on a cached value, walk",
		edits: []edit{{"internal/sequence/advance.go", "move.To, err = drawOn(ctx, c, seq, seq.Cache)", "move.To, err = drawOn(ctx, c, seq, 1)"}},
		tests: in("./internal/sequence", "^TestAdvancePassesValuesThatTheSessionCached$"),
	},
	{
		name: "deciding on a cached value, jump",
		edits: []edit{
			{"internal/sequence/advance.go", "move.To, err = drawOn(ctx, c, seq, seq.Cache)", "move.To, err = drawOn(ctx, c, seq, 1)"},
			{"internal/sequence/advance.go", "[]any{seq.OID, target, seq.Increment, max(1, seq.Cache), spread(far, seq.Increment)}", "[]any{seq.OID, target, seq.Increment, 1, spread(far, seq.Increment)}"},
		},
		tests: in("./internal/sequence", "^TestHealersOfOneSequenceNeverStepItBackwards$"),
	},
	{
		name:  "trusting a cached value that lies beyond the rows",
		edits: []edit{{"internal/sequence/advance.go", "\tif seq.Cache <= 1 || !seq.Reached(first, g.Target) {", "\tif seq.Cache > 0 {"}},
		tests: in("./internal/sequence", "^TestAdvanceOfASequenceThatWasSetBack$"),
	},
	{
		name: "draw and setval in two statements",
		edits: []edit{{"internal/sequence/advance.go", "\terr := c.Row(ctx, jump, []any{seq.OID, target,", `	if last, err := drawOn(ctx, c, seq, seq.Cache); err != nil || seq.Reached(last, target) {
		return last, err
	}
	return target, c.Row(ctx, "SELECT setval($1::int8::oid::regclass, $2::int8)", []any{seq.OID, target}, new(int64))
	err := c.Row(ctx, jump, []any{seq.OID, target,`}},
		tests: in("./internal/sequence", "^TestNobodyComesBetweenTheDrawAndTheSetval$"),
	},
	{
		name:  "setval to the target itself: the sequence loses its phase",
		edits: []edit{{"internal/sequence/advance.go", "(d.v + pg_catalog.ceil(($2::pg_catalog.int8::pg_catalog.numeric - d.v) / $3::pg_catalog.int8) * $3::pg_catalog.int8)::pg_catalog.int8)", "$2::pg_catalog.int8)"}},
		tests: in("./internal/sequence", "^TestAdvanceMovesForwardInTheSequencesOwnSteps$"),
	},
	{
		name: "the maximum of a descending sequence",
		edits: []edit{{"internal/catalog/sequence.go", `		return "min"
`, `		return "max"
`}},
		tests: in("./internal/sequence", "^TestLookFindsTheFurthestRowInTheSequencesOwnRange$"),
	},
	{
		name:  "the check left out of a question",
		edits: []edit{{"internal/sequence/preflight.go", "	question, refuse := StillThere(t, a.AllKeys), \"\"\n", "	question, refuse := Question{Check: \"SELECT 1\"}, \"\"\n"}},
		tests: in("./internal/sequence", "^TestPreflight_noticesThatTheTableIsAnotherOne$"),
	},
	{
		name:  "what a look has locked is kept",
		edits: []edit{{"internal/sequence/question.go", "	case !q.rows:\n", "	case q.Look != \"\":\n"}},
		tests: in("./internal/sequence", "^TestQuestion_holdsNoLock$"),
	},
	{
		name:  "rows looked at before a statement after which one can ask",
		edits: []edit{{"internal/heal/preflight.go", "	ahead.Afterwards = s.counted || s.wired || (", "	ahead.Afterwards = s.blind && ("}},
		tests: in("./internal/hostile", "^TestTrips_ofRowsUnderDoNothing$"),
	},
	{
		name:  "rows that DO UPDATE met looked for among those of other sessions",
		edits: []edit{{"internal/sequence/afterwards.go", "		met = fmt.Sprintf(updated, among)\n", "		met = fmt.Sprintf(stranger, among)\n"}},
		tests: in("./internal/hostile", "^TestOthers_lockTheRowThatIsMet$"),
	},
	{
		name:  "a foreign key that is deferred taken for the key's",
		edits: []edit{{"internal/catalog/facts.go", "AND o.contype IN ('p', 'u', 'x') ", ""}},
		tests: in("./internal/catalog", "^TestReadFindsTheSequenceThatFeedsTheKey$"),
	},
	{
		name:  "what is embedded by a nil pointer stays allocated",
		edits: []edit{{"internal/statement/values.go", "		if at.IsNil() {\n			return at\n		}\n", "		if at.IsNil() {\n			at.Set(reflect.New(at.Type().Elem()))\n		}\n"}},
		tests: in("./internal/statement", "^TestUndo$"),
	},
	{
		name:  "maps of rows that were undone stay in the slice",
		edits: []edit{{"internal/statement/values.go", "		if value.CanSet() {\n			s.keep(value)\n		}\n", ""}},
		tests: in("./internal/statement", "^TestUndo$"),
	},
	{
		name: "a look ahead goes back to the guard's savepoint",
		edits: []edit{
			{"internal/sequence/question.go", `openAhead  = "SAVEPOINT seqheal_ahead"`, `openAhead  = "SAVEPOINT seqheal"`},
			{"internal/sequence/question.go", `undoAhead  = "ROLLBACK TO SAVEPOINT seqheal_ahead"`, `undoAhead  = "ROLLBACK TO SAVEPOINT seqheal"`},
			{"internal/sequence/question.go", `closeAhead = "RELEASE SAVEPOINT seqheal_ahead"`, `closeAhead = "RELEASE SAVEPOINT seqheal"`},
		},
		tests: in("./internal/sequence", "^TestPreflightLeavesAnAbortedTransactionAborted$"),
	},
	{
		name:  "a sequence that was not called has no value before the next",
		edits: []edit{{"internal/sequence/afterwards.go", "return lastOf(t.Sequence)", `return "SELECT " + fmt.Sprintf(lastKnown, t.Sequence.OID)`}},
		tests: in("./plugin", "^TestDoNothingBesideAnOpenImport$"),
	},
	{
		name:  "rows that a trigger locks are not counted",
		edits: []edit{{"internal/heal/preflight.go", "if f.keepOpen && s.countsStored() {", "if f.keepOpen && s.countsStored() && s.blind {"}},
		tests: in("./plugin", "^TestUpsertOfRowsThatATriggerLocksBesideAnOpenImport$"),
	},
	{
		name:  "another column's draw is taken for the key's",
		edits: []edit{{"internal/catalog/judge.go", "r.table.draws(fed.sequence)", "min(1, r.table.draws(fed.sequence))"}},
		tests: in("./plugin", "^TestDoNothingWhereAnotherColumnDrawsToo$"),
	},
	{
		name:  "rows that GORM cannot read are rolled back",
		edits: []edit{{"internal/heal/insert.go", "!errors.Is(failure, in.unread))", "!errors.Is(failure, in.unread) || true)"}},
		tests: in("./plugin", "^TestUpsertWhoseRowsGORMCannotRead$"),
	},
	{
		name:  "only the first of two keys is asked about after the statement",
		edits: []edit{{"internal/heal/preflight.go", "	for _, t := range s.lookedAt() {\n		if s.drawsFrom(t) &&", "	for _, t := range s.lookedAt()[:1] {\n		if s.drawsFrom(t) &&"}},
		tests: in("./plugin", "^TestDoNothingBesideAnOpenImportByASecondKey$"),
	},
	{
		name:  "the statement_timeout of a look binds the ROLLBACK",
		edits: []edit{{"internal/conn/second.go", "return c.InLimitedSavepoint(ctx, settings, fn)", "return errors.Join(c.Exec(ctx, settings), fn(c))"}},
		tests: in("./internal/conn", "^TestAsideUndoesItsSettingsBeforeTheTransaction$"),
	},
	{
		name:  "a savepoint that was not sent is undone",
		edits: []edit{{"internal/conn/conn.go", "if _, answered := pgerr.From(failure); !answered {", "if _, answered := pgerr.From(failure); !answered && failure == nil {"}},
		tests: in("./internal/conn", "^TestUndoAfterAStatementThatWasNotSent$"),
	},
	{
		name:  "questions are prepared without a limit",
		edits: []edit{{"internal/pipeline/session.go", "questions: newCache(maxQuestions)", "questions: newCache(capacity)"}},
		tests: in("./internal/pipeline", "^TestSending_preparesWhatIsAskedAgain$"),
	},
	{
		name:  "ROLLBACK TO without RELEASE",
		edits: []edit{{"internal/conn/savepoint.go", `"ROLLBACK TO SAVEPOINT seqheal; RELEASE SAVEPOINT seqheal"`, `"ROLLBACK TO SAVEPOINT seqheal"`}},
		tests: in("./internal/conn", "^TestRowsAfterTheGuardBelongToTheTransactionItself$"),
	},
	{
		name:  "the heal's savepoint kept: its lock stays",
		edits: []edit{{"internal/conn/savepoint.go", `"ROLLBACK TO SAVEPOINT seqheal; RELEASE SAVEPOINT seqheal"`, `"RELEASE SAVEPOINT seqheal"`}},
		tests: in("./internal/conn", "^TestUndoGivesBackWhatWasBorrowedAndKeepsTheSequence$"),
	},
	{
		name:  "a second connection's BEGIN waited for without end",
		edits: []edit{{"internal/conn/second.go", "\twaiting.Reset(secondWait)", "\twaiting.Reset(24 * time.Hour)"}},
		tests: in("./plugin", "^TestGuardOffWhereNoServerConnectionIsLeft$"),
	},
	{
		name: "retry without savepoint",
		edits: []edit{{"internal/heal/savepoint.go", `	r := s.sendFenced(ctx, s.text, fence{})
`, `	r := fenced{err: s.sendOn(s.pool(), s.text)}
`}},
		tests: in("./plugin", "^TestTransactionsAroundAHeal$/^guard_1$"),
	},
	{
		name: "a genuine failure undone: the transaction goes on",
		edits: []edit{{"internal/heal/savepoint.go", `	hit := s.collidedOrTripped(ctx, s, r.err, s.wired)
	if hit != nil {`, `	hit := s.collidedOrTripped(ctx, s, r.err, s.wired)
	if hit == nil {
		_ = s.conn().RollBack(ctx)
	} else {`}},
		tests: in("./plugin", "^TestTransactionsAroundAHeal$/^guard_1$/genuine"),
	},
	{
		name: "an older savepoint rolled back to where none could be opened",
		edits: []edit{
			{"internal/heal/preflight.go", "\tif r.unopened || r.unsent &&", "\tif r.unopened && s.conn().RollBack(ctx) != nil || r.unsent &&"},
			{"internal/pipeline/rewriter.go", "TxStatus() == 'E'", "TxStatus() == 'X'"},
		},
		tests: in("./plugin", "^TestUpsertsInAnAbortedTransaction$"),
	},
	{
		name: "hooks run twice",
		edits: []edit{{"internal/statement/statement.go", `	s.reset()
	if t.SQL`, `	s.reset()
	if before := db.Callback().Create().Get("gorm:before_create"); before != nil {
		before(db)
	}
	if t.SQL`}},
		tests: in("./plugin", "^TestTransactionsAroundAHeal$/^guard_1$/earlier"),
	},
	{
		name: "guard clause left in stmt.Clauses",
		edits: []edit{{"internal/statement/statement.go", `		s.restoreClauses()
	}()`, `		s.restoreClauses()
		if t.guard != "" {
			stmt.AddClause(clause.OnConflict{DoNothing: true})
		}
	}()`}},
		tests: in("./plugin", "^TestHealthyTableIsAsWithoutThePlugin$/^default,_guard_0,_caller's_transaction_true$"),
	},
	{
		name:  "the error of the first run kept",
		edits: []edit{{"internal/statement/statement.go", "\ts.DB.Error, s.DB.RowsAffected = nil, s.before.rowsAffected", "\ts.DB.RowsAffected = s.before.rowsAffected"}},
		tests: in("./plugin", "^TestTransactionsAroundAHeal$/^guard_1$/earlier"),
	},
	{
		name:  "TranslateError not restored",
		edits: []edit{{"internal/statement/statement.go", "\tif err := s.DB.Error; err != nil && s.config.TranslateError {", "\tif err := s.DB.Error; err != nil && s.config.TranslateError && s.Ended() {"}},
		tests: in("./plugin", "^TestHealthyTableIsAsWithoutThePlugin$/^prepared_and_translated,_guard_0,_caller's_transaction_true$"),
	},
	{
		name:  "conflict guard on a table with a trigger",
		edits: []edit{{"internal/catalog/guardable.go", "\tcase t.Triggers.BeforeInsertRow || t.Triggers.InsertStatement:", "\tcase t.Triggers.BeforeInsertRow && t.Sequence.Cycle:"}},
		tests: in("./internal/catalog", "^TestReadSaysWhyTheConflictGuardMustNotBeUsed$"),
	},
	{
		name:  "conflict guard without a target",
		edits: []edit{{"internal/statement/text.go", `return " ON CONFLICT (" + strings.Join(key, ",") + ") DO NOTHING"`, `return strings.Join(key[:0], ",") + " ON CONFLICT DO NOTHING"`}},
		tests: in("./internal/statement", "^TestConflictClauseGoesBetweenValuesAndTheRest$"),
	},
	{
		name:  "conflict guard though the statement has an expression",
		edits: []edit{{"internal/heal/strategy.go", "\t\t!stmt.Insert.HasExpression() && !stmt.FillsSliceFromScratch() {", "\t\t!stmt.FillsSliceFromScratch() {"}},
		tests: in("./plugin", "^TestSideEffectsOfAnExpressionHappenOnce$"),
	},
	{
		name:  "an ambiguous name keeps its guard",
		edits: []edit{{"internal/facts/tables.go", `table.NotGuardable == "" && !n.ambiguous && !table`, `table.NotGuardable == "" && !table`}},
		tests: in("./internal/facts", "^TestTables_takeTheGuardFromAnAmbiguousName$"),
	},
	{
		name:  "another table under a name not noticed",
		edits: []edit{{"internal/facts/tables.go", `was.Named != id.Named || `, ``}},
		tests: in("./internal/facts", "^TestTables_takeTheGuardFromAnAmbiguousName$"),
	},
	{
		name:  "an entry kept that serves one statement only",
		edits: []edit{{"internal/facts/tables.go", `	if table.Provisional() && n.entry != nil && !n.ambiguous && !n.entry.Table.Provisional() {`, `	if table.Uncommitted && table.Snapshot && n.entry != nil {`}},
		tests: in("./internal/facts", "^TestTables_keepFactsFromProvisionalOnes$"),
	},
	{
		name:  "a guard from facts that serve one statement only",
		edits: []edit{{"internal/facts/tables.go", ` && !n.ambiguous && !table.Provisional() {`, ` && !n.ambiguous {`}},
		tests: in("./internal/facts", "^TestTables_keepFactsFromProvisionalOnes$"),
	},
	{
		name: "a preflighted upsert's failure to serialize heals nothing",
		edits: []edit{{"internal/heal/examine.go", `		s.healForRetry(ctx, s, r.err, s.table, s.draws(s.table))
`, ``}},
		tests: in("./internal/hostile", "^TestTenants_theRetryOfATenantUnderASnapshot$"),
	},
	{
		name:  "the 23505 of the last value stays suppressed",
		edits: []edit{{"internal/heal/conflict.go", "	case a.failure.Has(sequence.Exhausted) && s.failTaken(ctx, a):\n", "	case a.failure.Has(sequence.Exhausted) && s.text.Vars == nil:\n"}},
		tests: in("./internal/hostile", "^TestTrouble_endOfTheRange$"),
	},
	{
		name:  "a tripwire that knows no named ids of a composite key",
		edits: []edit{{"internal/heal/strategy.go", "(!readable || !t.IntegerKey())", "!readable"}},
		tests: in("./internal/heal", "^TestWithTripwire$"),
	},
	{
		name:  "a tripwire whose WHERE takes the place of the caller's",
		edits: []edit{{"internal/statement/text.go", "	case !has:\n", "	case !has || own != \"-\":\n"}},
		tests: in("./internal/heal", "^TestWithTripwire$"),
	},
	{
		name:  "a row that was met taken for one that was stored",
		edits: []edit{{"internal/sequence/afterwards.go", `"t.xmin" + asXID + " = 'in progress' END)"`, `"t.xmin" + asXID + " = 'committed' END)"`}},
		tests: in("./internal/hostile", "^TestOthers_lockTheRowThatIsMet$"),
	},
	{
		name:  "a row that was left as it was not looked for",
		edits: []edit{{"internal/sequence/afterwards.go", "	case a.Updates && a.Fewer:\n", "	case a.Fewer && !a.Updates:\n"}},
		tests: in("./internal/hostile", "^TestOthers_keepARowOut$"),
	},
	{
		name: "a sequence that was renamed leaves an upsert unprotected",
		edits: []edit{{"internal/heal/fence.go", "		case i < len(asked):\n			r.failed = asked[i]\n", "		case i < len(asked):\n			r.failed = asked[i]\n		default:\n			r.answer = sequence.Unknown\n"},
			{"internal/heal/fence.go", "unsent: true, answer: sequence.AnswerOf(err)}\n		}\n		before", "unsent: true, answer: sequence.Unknown}\n		}\n		before"}},
		tests: in("./internal/hostile", "^TestDoNothing_afterTheSequenceWasRenamed$"),
	},
	{
		name:  "rows that name their ids counted among those that drew",
		edits: []edit{{"internal/heal/suspect.go", "return all - named, all, err", "return all - 0*named, all, err"}},
		tests: in("./internal/hostile", "^TestOthers_ownRowsAreMet$"),
	},
	{
		name:  "a row that was locked once taken for one that was left as it was",
		edits: []edit{{"internal/sequence/afterwards.go", `"t.xmax" + asXID + " = 'in progress' END))"`, `"t.xmax" + asXID + " IS NULL OR true END))"`}},
		tests: in("./internal/hostile", "^TestOthers_storeAndLockRowsInBetween$"),
	},
	{
		name:  "defaults planned that the statement does not take",
		edits: []edit{{"internal/statement/statement.go", "	if len(columns) == 0 {\n", "	if len(columns) >= 0 {\n"}, {"internal/heal/preflight.go", "	case !r.unlocked:\n", "	case !r.unlocked || true:\n"}},
		tests: in("./internal/hostile", "^TestOthers_defaultsThatFail$"),
	},
	{
		name:  "own rows that triggers lock taken for rows that were met",
		edits: []edit{{"internal/heal/suspect.go", " || t.Triggers.BeforeInsertRow || ", " || "}},
		tests: in("./internal/hostile", "^TestOthers_ownRowsAreLocked$"),
	},
	{
		name:  "own rows that foreign keys lock taken for rows that were met",
		edits: []edit{{"internal/heal/suspect.go", " || t.Triggers.References)", ")"}},
		tests: in("./internal/hostile", "^TestOthers_ownRowsAreLocked$"),
	},
	{
		name:  "a default of currval taken for a draw",
		edits: []edit{{"internal/catalog/feed.go", `strings.Contains(fed.text, "nextval")`, `strings.Contains(fed.text, "val")`}},
		tests: in("./internal/hostile", "^TestOthers_ownRowsAreLocked$"),
	},
	{
		name:  "draws of rows that name their ids not counted",
		edits: []edit{{"internal/heal/insert.go", "int64(in.stmt.Insert.Rows())*further", "int64(in.omitted(t))*further"}},
		tests: in("./internal/hostile", "^TestOthers_columnsDrawFromTheSequence$"),
	},
	{
		name:  "what another connection has cached asked for",
		edits: []edit{{"internal/sequence/preflight.go", "seq.Cache <= 1 || a.FromSecond:", "seq.Cache <= 1:"}},
		tests: in("./internal/hostile", "^TestOthers_cacheValuesThatAreTaken$"),
	},
	{
		name:  "the sequence locked before its table",
		edits: []edit{{"internal/heal/preflight.go", "		f.lock = s.stmt.Lock()\n", ""}},
		tests: in("./internal/hostile", "^TestLocks_theTableBeforeItsSequence$"),
	},
	{
		name:  "the sequence locked before its table, by steps",
		edits: []edit{{"internal/heal/steps.go", "	sequence.TakeLock(ctx, s.conn(), s.stmt.Lock())\n", ""}},
		tests: in("./internal/hostile", "^TestLocks_theTableBeforeItsSequence$"),
	},
	{
		name:  "what a snapshot hides taken for the table",
		edits: []edit{{"internal/catalog/identity.go", "	case !same:\n", "	case !same && false:\n"}},
		tests: in("./internal/hostile", "^TestRepeatableRead_aDefaultIsReplaced$"),
	},
	{
		name:  "what a snapshot hides not read from a second connection",
		edits: []edit{{"internal/heal/lookup.go", "errors.Is(err, catalog.ErrOutdated) && gone == nil {", "errors.Is(err, catalog.ErrOutdated) && gone != nil {"}},
		tests: in("./internal/hostile", "^TestRepeatableRead_aDefaultIsReplaced$"),
	},
	{
		name:  "sent although a second connection has seen the rows",
		edits: []edit{{"internal/heal/unsent.go", "ahead.Exactly, ahead.NotHere = true, true", "ahead.Exactly, ahead.NotHere = true, false"}},
		tests: in("./internal/hostile", "^TestRepeatableRead_aDefaultIsReplaced$"),
	},
	{
		name:  "dropped rows of a table that a snapshot hides not looked for",
		edits: []edit{{"internal/heal/dropped_rows.go", "errors.Is(err, catalog.ErrOutdated) || err == nil", "err == nil"}, {"internal/heal/dropped_rows.go", "\t\"errors\"\n", ""}},
		tests: in("./internal/hostile", "^TestRepeatableRead_aDefaultIsReplaced$"),
	},
	{
		name:  "the catalog read for each upsert under a snapshot",
		edits: []edit{{"internal/facts/tables.go", "(!e.Table.Snapshot || time.Now().Before(e.until))", "(!e.Table.Snapshot || time.Now().After(e.until))"}},
		tests: in("./internal/hostile", "^TestRepeatableRead_readsTheCatalogOnce$"),
	},
	{
		name:  "no pool behind a borrowed connection",
		edits: []edit{{"internal/heal/second.go", "	pool := conn.PoolOf(in.stmt.DB)\n", "	pool, _ := in.stmt.DB.DB()\n"}},
		tests: in("./internal/hostile", "^TestSerializable_onABorrowedConnection$"),
	},
	{
		name:  "an insert waits for the proof of the one round trip",
		edits: []edit{{"internal/pipeline/support.go", "if conn.Exhausted(db) && db.Stats()", "if conn.Exhausted(db) && false && db.Stats()"}},
		tests: in("./internal/pipeline", "^TestSupport_isProvenBesideABusyPool$"),
	},
	{
		name:  "a logger that panics takes the insert with it",
		edits: []edit{{"plugin/report.go", "	r.plugin.safely(ctx, gormLogger, func() {\n", "	func(f func()) { f() }(func() {\n"}},
		tests: in("./plugin", "^TestLoggers_useTheDatabase$"),
	},
	{
		name:  "GuardOff waits for the caller's own lock",
		edits: []edit{{"internal/heal/second.go", "conn.Budget{Until: a.deadline(ctx), Lock: secondLock}, fn)", "conn.Budget{Until: a.deadline(ctx)}, fn)"}},
		tests: in("./plugin", "^TestGuardOffBehindTheCallersLock$"),
	},
	{
		name:  "errors of a statement with a tripwire are translated",
		edits: []edit{{"internal/pipeline/rewriter.go", "r.answer.Err = unparsed{r.answer.Err}", "_ = unparsed{r.answer.Err}"}},
		tests: in("./internal/hostile", "^TestHealthy_errorsOfTheCallersClause$"),
	},
	{
		name:  "named ids parsed for each row",
		edits: []edit{{"internal/statement/text.go", "($%d::pg_catalog.int8[])", "($%d::pg_catalog.text::pg_catalog.int8[])"}},
		tests: in("./internal/hostile", "^TestUpsertsByKey_ofThousandsOfRows$"),
	},
	{
		name:  "no tripwire",
		edits: []edit{{"internal/heal/strategy.go", "	if !ok {\n		return in.chooseLook(t)", "	if !ok || true {\n		return in.chooseLook(t)"}},
		tests: in("./internal/hostile", "^TestTrips_ofUpsertsWithoutIDs$"),
	},
	{
		name:  "ids that another row names pass a tripwire",
		edits: []edit{{"internal/heal/preflight.go", "	if s.blind || s.looked {\n", "	if s.blind || s.looked || s.wired {\n"}},
		tests: in("./internal/hostile", "^TestUpsertsByKey_thatNameWhatIsDrawn$"),
	},
	{
		name:  "rows of the own transaction not seen under DO NOTHING",
		edits: []edit{{"internal/sequence/afterwards.go", "	case a.AllDrawn && CountsAfter(t):\n", "	case a.AllDrawn && CountsAfter(t) && a.Stored < 0:\n"}},
		tests: in("./internal/hostile", "^TestDoNothing_besideRowsOfItsOwnTransaction$"),
	},
	{
		name:  "rows that triggers store counted under DO NOTHING",
		edits: []edit{{"internal/heal/preflight.go", "!s.names(t) && sequence.CountsAfter(t))", "!s.names(t))"}},
		tests: in("./internal/hostile", "^TestDoNothing_besideRowsOfItsOwnTransaction$"),
	},
	{
		name:  "the ids that rows name in the text",
		edits: []edit{{"internal/statement/text.go", "	if len(t.Vars) >= maxParameters {\n", "	if len(t.Vars) >= 0 {\n"}},
		tests: in("./internal/hostile", "^TestUpsertsByKey_areOneStatement$"),
	},
	{
		name:  "21000 of a subquery taken for the statement's",
		edits: []edit{{"internal/heal/tripwire.go", ` && (server.Routine == "" || strings.Contains(server.Routine, "OnConflict"))`, ` && (server.Routine != "" || strings.Contains(server.Routine, "OnConflict"))`}},
		tests: in("./internal/hostile", "^TestUpsertsByKey_whoseSubqueryFails$"),
	},
	{
		name:  "the caller's WHERE loses its type",
		edits: []edit{{"internal/statement/text.go", `+ own + " ELSE false END"`, `+ own + " END"`}},
		tests: in("./internal/hostile", "^TestUpsertsByKey_ofEveryClause$"),
	},
	{
		name:  "a comment at the end of the caller's WHERE",
		edits: []edit{{"internal/statement/text.go", `"(" + own + "\n)"`, `"(" + strings.TrimSpace(own) + ")"`}},
		tests: in("./internal/hostile", "^TestUpsertsByKey_ofEveryClause$"),
	},
	{
		name:  "a tripwire that a row may pass",
		edits: []edit{{"internal/statement/text.go", `" ELSE " + wire + " END"`, `" END"`}},
		tests: in("./plugin", "^TestMixedUpsert_failsWhenTheRoundsAreSpent$"),
	},
	{
		name:  "a statement with a false alarm is not sent again",
		edits: []edit{{"internal/heal/heal.go", "		if again == nil && a.isFalseAlarm() {\n", "		if again == nil && a.isFalseAlarm() && a.earlier > 0 {\n"}},
		tests: in("./internal/hostile", "^TestUpsertsByKey_thatMeetRowsOnPurpose$"),
	},
	{
		name:  "a row met on purpose taken for drift",
		edits: []edit{{"internal/heal/tripwire.go", "	if a.skips(a.table) || !predictable(a.table) {\n", "	if false {\n"}},
		tests: in("./internal/hostile", "^TestUpsertsByKey_thatMeetRowsOnPurpose$"),
	},
	{
		name:  "a tripwire under a trigger that gives ids",
		edits: []edit{{"internal/heal/strategy.go", "	if column == \"\" || in.skips(t) || !text", "	if !text"}},
		tests: in("./internal/heal", "^TestWithTripwire$"),
	},
	{
		name:  "a tripwire by a column that the clause does not name",
		edits: []edit{{"internal/heal/strategy.go", ` || len(onConflict.Columns) == 0 || onConflict.OnConstraint != ""`, ` || len(onConflict.Columns) > 9`}},
		tests: in("./internal/hostile", "^TestUpsertsByKey_needNothingMore$/^by_the_constraint"),
	},
	{
		name:  "a tripwire on a table named excluded",
		edits: []edit{{"internal/heal/strategy.go", ` || in.stmt.Target.Table == "excluded"`, ""}},
		tests: in("./internal/hostile", "^TestUpsertsByKey_needNothingMore$/^a_table_named"),
	},
	{
		name:  "a tripwire's error reaches the caller",
		edits: []edit{{"internal/heal/tripwire.go", "	if a.collision.evidence != metRow || ", "	if "}, {"internal/heal/tripwire.go", "!a.collision.key.Found || a.table == nil", "a.table != nil"}},
		tests: in("./internal/hostile", "^TestUpsertsByKey_whoseSequenceCannotBeMoved$"),
	},
	{
		name:  "ids that an upsert names itself not looked at",
		edits: []edit{{"internal/heal/preflight.go", " Named: in.namedBeside(t, beside),", ""}},
		tests: in("./plugin", "^TestMixedUpsertThatDrawsItsOwnNamedID$"),
	},
	{
		name:  "an upsert sent although its heal failed",
		edits: []edit{{"internal/heal/unsent.go", "\tif !a.mayBeRetried() || !a.hitRows() && !in.wouldCollide(ctx, t) {", "\tif a != nil {"}},
		tests: in("./plugin", "^TestAnUpsertWhoseHealFailsIsNotSent$"),
	},
	{
		name: "an upsert's failure to serialize heals nothing",
		edits: []edit{{"internal/heal/tripwire.go", `		in.healForRetry(ctx, by, err, wired, in.draws(wired))
`, ``}},
		tests: in("./plugin", "^TestAnUpsertThatFailsUnderASnapshotIsHealedAtOnce$"),
	},
	{
		name:  "dropped rows compared by the id alone",
		edits: []edit{{"internal/heal/dropped.go", "in.conn(), t, in.beside(0, t), false)", "in.conn(), t, nil, false)"}},
		tests: in("./plugin", "^TestDroppedRowBesideAnotherTenantsID$"),
	},
	{
		name: "decision by struct instead of VALUES",
		edits: []edit{
			{"internal/heal/insert.go", "func (in *insert) omitted(t *catalog.Table) int { return in.stmt", `func (in *insert) omitted(t *catalog.Table) int {
	if stmt := in.stmt.DB.Statement; stmt.Schema != nil && stmt.ReflectValue.Kind() == reflect.Struct {
		if _, zero := stmt.Schema.PrioritizedPrimaryField.ValueOf(stmt.Context, stmt.ReflectValue); !zero {
			return 0
		}
	}
	return in.stmt`},
			{"internal/heal/insert.go", "import (\n", "import (\n\t\"reflect\"\n"},
		},
		tests: in("./plugin", "^TestHealsEveryShapeOfInsert$/leaves_the_id_out"),
	},
	{
		name:  "no look in SERIALIZABLE",
		edits: []edit{{"internal/sequence/preflight.go", "	case last && a.NotHere:\n", "	case last && a.Exactly:\n"}, {"internal/sequence/preflight.go", "	case a.NotHere:\n", "	case a.Exactly:\n"}},
		tests: in("./plugin", "^TestUpsertsInSerializable$"),
	},
	{
		name:  "one key of a table with two",
		edits: []edit{{"internal/heal/classify.go", "func (c collision) by(t *catalog.Table) *catalog.Table {\n", "func (c collision) by(t *catalog.Table) *catalog.Table {\n\tif len(t.Keys) > 0 {\n\t\treturn t.Keys[0]\n\t}\n"}},
		tests: in("./plugin", "^TestTwoSequencesInOneTable$/^nothing$/^Create$"),
	},
	{
		name:  "two keys healed as one",
		edits: []edit{{"internal/heal/attempt.go", "	return key == nil || key.FedColumn() == a.table.FedColumn()", "	return true || key == nil"}},
		tests: in("./plugin", "^TestTwoSequencesInOneTable$/^nothing$/^Create$"),
	},
	{
		name:  "the conflict guard on one of two keys",
		edits: []edit{{"internal/catalog/judge.go", "		if key.NotGuardable == \"\" {", "		if key.NotGuardable == \"none\" {"}},
		tests: in("./plugin", "^TestTwoSequencesInOneTable$/^nothing$/^Create$"),
	},
	{
		name:  "DO NOTHING asks for one key of two",
		edits: []edit{{"internal/heal/preflight.go", "	if keys := s.drawnKeys(s.table); len(keys) > 0 {", "	if keys := s.drawnKeys(s.table); len(keys) > 9 {"}},
		tests: in("./plugin", "^TestTwoSequencesInOneTable$/^nothing$/^DO_NOTHING$"),
	},
	{
		name:  "a dropped row compared by one key of two",
		edits: []edit{{"internal/heal/dropped.go", "	for _, t = range s.drawnKeys(s.table) {", "	for _, t = range s.drawnKeys(s.table)[:1] {"}},
		tests: in("./plugin", "^TestTwoSequencesInOneTable$/^nothing$/^DO_NOTHING$"),
	},
	{
		name:  "an upsert's collision on its other key",
		edits: []edit{{"internal/heal/examine.go", "		hit = s.collided(r.err)\n", "		hit = s.collided(nil)\n"}},
		tests: in("./plugin", "^TestTwoSequencesInOneTable$/^a_trigger$/^by_the_id$"),
	},
	{
		name: "a 23505 of another index taken for drift",
		edits: []edit{
			{"internal/heal/classify.go", "\t\tif in.stmt.Insert.Omitted(column) > 0 {", "\t\tif in.stmt.Insert.Omitted(column) >= 0 {"},
			{"internal/heal/classify.go", "if known && key.HasKey(columns) ||", "if known ||"},
		},
		tests: in("./plugin", "^TestTransactionsAroundAHeal$/^guard_1$/genuine"),
	},
	{
		name: "a 23505 known by the remembered constraint instead of its DETAIL",
		edits: []edit{{"internal/heal/classify.go", `	for _, column := range columns {
`, `	if entry != nil && entry.Table.Constraint != e.Constraint {
		return nil
	}
	for _, column := range columns {
`}},
		tests: in("./internal/hostile", "^TestCreate_followsAnotherConstraint$/^renamed"),
	},
	{
		name:  "values beside encoded without the server's description",
		edits: []edit{{"internal/conn/conn.go", "	return pgx.QueryExecModeDescribeExec\n", "	return pgx.QueryExecModeExec\n"}},
		tests: in("./internal/sequence", "^TestLookBesideWhateverTheDriverEncodes$"),
	},
	{
		name:  "no other way where pgx puts no parameters into the text",
		edits: []edit{{"internal/conn/conn.go", "	case errors.Is(err, errNotInText):", "	case errors.Is(err, sql.ErrNoRows):"}},
		tests: in("./internal/conn", "^TestValuesArriveAsTheyAre$"),
	},
	{
		name:  "a tripwire that another error comes before",
		edits: []edit{{"internal/statement/text.go", "')::pg_catalog.bool IS NULL", "')::pg_catalog.int4 IS NULL"}},
		tests: in("./internal/hostile", "^TestTripwire_beyondInt4$"),
	},
	{
		name:  "GORM's count of rows under DO NOTHING",
		edits: []edit{{"internal/heal/insert.go", "	if !in.stmt.FillsSlice() {", "	if in.stmt.Readable {"}},
		tests: in("./internal/hostile", "^TestReturning_underDoNothing$"),
	},
	{
		name:  "pointers in the caller's slice not put back",
		edits: []edit{{"internal/statement/values.go", "			if at.Kind() == reflect.Pointer && at.CanSet() {", "			if at.Kind() == reflect.Map {"}},
		tests: in("./internal/hostile", "^TestReturning_afterAFailedHeal$"),
	},
	{
		name:  "the sequence's own value asked beyond the sequence's schema",
		edits: []edit{{"internal/catalog/sequence.go", "pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND ", ""}},
		tests: in("./internal/hostile", "^TestRights_thatAnInsertDoesWithout$"),
	},
	{
		name:  "system columns read with rights on columns",
		edits: []edit{{"internal/sequence/afterwards.go", "Askable(t) && t.Readable && ", "Askable(t) && "}},
		tests: in("./internal/hostile", "^TestRights_thatAnInsertDoesWithout$"),
	},
	{
		name:  "UPDATE taken for the right to ask a sequence",
		edits: []edit{{"internal/catalog/sequence.go", "  pg_catalog.has_sequence_privilege(s.oid, 'USAGE,SELECT'),\n", "  pg_catalog.has_sequence_privilege(s.oid, 'USAGE,SELECT,UPDATE'),\n"}},
		tests: in("./internal/hostile", "^TestRights_thatAnInsertDoesWithout$"),
	},
	{
		name:  "a dropped row's question that waits for every partition",
		edits: []edit{{"internal/sequence/afterwards.go", "	if t.Partitions.Count > 0 {", "	if t.Partitions.Count < 0 {"}},
		tests: in("./internal/hostile", "^TestPartitions_thatOthersHaveLocked$"),
	},
	{
		name: "rows stored in partitions counted with their locks",
		edits: []edit{{"internal/sequence/afterwards.go", "UNION ALL SELECT i.inhrelid FROM below b JOIN pg_catalog.pg_inherits i ON i.inhparent = b.oid)",
			"UNION ALL SELECT p.relid FROM below b, pg_catalog.pg_partition_tree(b.oid::pg_catalog.regclass) p WHERE p.parentrelid = b.oid)"}},
		tests: in("./internal/hostile", "^TestPartitions_thatOthersHaveLocked$"),
	},
	{
		name:  "a composite key whose values beside are unknown not complained of",
		edits: []edit{{"internal/heal/steps.go", "!t.Indexed && s.leading(t) == nil:", "t.Elsewhere && !t.Indexed:"}},
		tests: in("./internal/hostile", "^TestCompositeKeys_besideADefault$"),
	},
	{
		name:  "rows of inheriting tables looked at",
		edits: []edit{{"internal/sequence/look.go", "	return \"ONLY \" + t.QuotedName()", "	return t.QuotedName()"}},
		tests: in("./internal/sequence", "^TestInheritingTables$"),
	},
	{
		name:  "draws not counted in SERIALIZABLE",
		edits: []edit{{"internal/sequence/afterwards.go", "const metStranger = `SELECT 1 / CASE", "const metStranger = `SELECT 1 / CASE WHEN pg_catalog.current_setting('transaction_isolation') = 'serializable' THEN 1"}},
		tests: in("./plugin", "^TestUpsertsInSerializable_behindASetval$/before_INSERT$"),
	},
	{
		name:  "a sequence set back after the second connection's look",
		edits: []edit{{"internal/heal/preflight.go", "r.before[i] = r.before[i].With(t.Sequence, before[t.Sequence.OID])", "_ = before[t.Sequence.OID]"}},
		tests: in("./plugin", "^TestUpsertsInSerializable_behindASetval$/NO"),
	},
	{
		name:  "triggers of a replica session not counted",
		edits: []edit{{"internal/catalog/trigger.go", `g.Enabled != "D" {`, `g.Enabled != "D" && g.Enabled != "R" {`}},
		tests: in("./internal/hostile", "^TestTrouble_whoseSessionsChangeTheirReplicationRole$/^a_REPLICA_trigger,"),
	},
	{
		name:  "a mixed upsert that meets its own row not healed",
		edits: []edit{{"internal/heal/tripwire.go", `"OnConflict")) && in.`, `"OnConflict")) && !in.`}},
		tests: in("./plugin", "^TestMixedUpsertThatMeetsItsOwnRow$/^drawn_first$"),
	},
	{
		name:  "the caller's own 21000 taken for drift",
		edits: []edit{{"internal/heal/tripwire.go", "return driftIf(last.Found && a.namesOneOfTheLast(last.Value)), err", "return driftIf(last.Found), err"}},
		tests: in("./plugin", "^TestMixedUpsertThatMeetsItsOwnRow$/^a_trigger's_own"),
	},
	{
		name:  "numbers that begin anew taken for drift",
		edits: []edit{{"internal/heal/preflight.go", "	if r.answer == sequence.Taken {\n", "	if r.answer == sequence.Taken && s.blind {\n"}},
		tests: in("./internal/hostile", "^TestCompositeKeys_whoseNumbersBeginAnew$/^the_number_first$"),
	},
	{
		name:  "one instant in two zones taken for one value",
		edits: []edit{{"internal/heal/beside.go", "			value = at.Truncate(time.Microsecond).Format(time.RFC3339Nano)\n", "			value = at.UnixMicro()\n"}},
		tests: in("./internal/hostile", "^TestCompositeKeys_besideTimesOfTwoZones$"),
	},
	{
		name:  "a view's default draws beside a trigger INSTEAD OF",
		edits: []edit{{"internal/catalog/view.go", "	if v := p.view(table); v.InsteadOf || v.Rule {\n", "	if v := p.view(table); v.Rule {\n"}},
		tests: in("./internal/hostile", "^TestViews_withADefault$/^beside_a_trigger"),
	},
	{
		name:  "a look prepared as the check is",
		edits: []edit{{"internal/heal/fence.go", "Prepare: n == 0}", "Prepare: n >= 0}"}},
		tests: in("./plugin", "^TestUpsertsIntoATableThatGrows$"),
	},
	{
		name:  "a view's own default not seen",
		edits: []edit{{"internal/catalog/read.go", "		way.shadow(base)\n", ""}},
		tests: in("./internal/hostile", "^TestViews_withADefault$/^of_the_view$"),
	},
	{
		name:  "a view's default taken for unchanged",
		edits: []edit{{"internal/catalog/identity.go", "w.rulename = '_RETURN') = %s AND %s\"", "w.rulename = '_RETURN') = %s AND (true OR %s)\""}},
		tests: in("./internal/hostile", "^TestViews_withADefault$/^that_came_later$"),
	},
	{
		name:  "a heal that read nothing goes by what is remembered of the table alone",
		edits: []edit{{"internal/heal/unsent.go", "	if a.collision.from != nil {\n", "	if a.collision.from != nil && a.tables.Get(a.stmt.Target) == nil {\n"}},
		tests: in("./internal/hostile", "^TestTenants_theHealCannotReadTheTable$"),
	},
	{
		name:  "another index taken for the key",
		edits: []edit{{"internal/heal/classify.go", "	if c.evidence != uniqueViolation {\n", "	if c.from == nil {\n"}},
		tests: in("./plugin", "^TestAnotherIndexOverAColumnThatIsLeftOut$"),
	},
	{
		name: "an explicit id that exists taken for drift",
		edits: []edit{{"internal/heal/classify.go", `	return driftIf(!taken), err
}`, `	return driftIf(!taken || t.Own), err
}`}},
		tests: in("./plugin", "^TestUpsertByEmailWhoseNamedIDExists$"),
	},
	{
		name:  "no margin in later rounds",
		edits: []edit{{"internal/heal/advance.go", "goal.Margin = min(mostMargin, max(least, 2*min(appeared, mostMargin)))", "goal.Margin = 0 * max(least, appeared)"}},
		tests: in("./plugin", "^TestARunningImportIsOvertaken$"),
	},
	{
		name:  "no guess at rows outside a snapshot",
		edits: []edit{{"internal/heal/advance.go", "conn.Serializable || a.second != nil", "conn.Serializable"}},
		tests: in("./plugin", "^TestRowsOutsideTheSnapshotWithoutASecondConnection$"),
	},
	{
		name:  "a trigger outside the snapshot overlooked",
		edits: []edit{{"internal/heal/second.go", "(now.Triggers.BeforeInsertRow || now.Triggers.InsertStatement || now.Detour)", "now.Detour"}},
		tests: in("./plugin", "^TestATriggerThatTheSnapshotDoesNotShow$"),
	},
	{
		name:  "a named id outside the snapshot taken for drift",
		edits: []edit{{"internal/heal/second.go", "taken || a.session.Isolation == conn.ReadCommitted {", "taken || a.session.Isolation != conn.Serializable {"}},
		tests: in("./plugin", "^TestABatchThatNamesAnIDOutsideTheSnapshot$"),
	},
	{
		name: "a trigger on a partition overlooked",
		edits: []edit{{"internal/catalog/judge.go", `		t.Triggers = t.Triggers.or(triggersOf(r.tree.triggers, false))
`, ""}},
		tests: in("./internal/catalog", "^TestReadLooksAtTheWholeTree$"),
	},
	{
		name:  "names quoted without doubling their quotes",
		edits: []edit{{"internal/catalog/name.go", "strings.ReplaceAll(part, `\"`, `\"\"`)", "strings.ReplaceAll(part, `\"`, `\"`)"}},
		tests: in("./internal/catalog", "^TestQuoteWritesEachPartQuoted$"),
	},
	{
		name:  "prepared statements without a limit",
		edits: []edit{{"internal/pipeline/session.go", "\tif c.order.Len() > c.capacity {", "\tif c.order.Len() < 0 {"}},
		tests: in("./internal/pipeline", "^TestSending_boundsPreparedStatements$"),
	},
	{
		name: "a statement that failed is not closed",
		edits: []edit{{"internal/pipeline/session.go", `	s.close(s.prepared.remove(text))
`, `	_ = s.prepared.remove(text)
`}},
		tests: in("./internal/pipeline", "^TestSending_closesStatementsThatFailed$"),
	},
	{
		name: "a statement that failed is kept",
		edits: []edit{{"internal/pipeline/session.go", `	case "23", "25", "40":
`, `	case "23", "25", "40", "22":
`}},
		tests: in("./internal/pipeline", "^TestSending_takesOneTrip$"),
	},
	{
		name:  "the INSERT's text as the outer query",
		edits: []edit{{"internal/pipeline/sending.go", `target.ExecContext(ctx, notSentText, append`, `target.(gorm.ConnPool).QueryContext(ctx, query, append`}},
		tests: in("./internal/pipeline", "^TestSending_takesOneTrip$"),
	},
	{
		name: "result formats left to pgx",
		edits: []edit{{"internal/pipeline/wire.go", `	m.formats = m.statement.formats()
	return m.encoded.Build(w.conn.TypeMap(), m.statement.sd, m.args)
`, `	err := m.encoded.Build(w.conn.TypeMap(), m.statement.sd, m.args)
	m.formats = m.encoded.ResultFormats
	return err
`}},
		tests: in("./internal/pipeline", "^TestPool_handsOverTheValuesOfPgx$/^cache_statement$"),
	},
	{
		name:  "RELEASE left out of the pipeline",
		edits: []edit{{"internal/pipeline/rewriter.go", ".describe && !r.plan.KeepOpen {", ".describe && r.plan.KeepOpen {"}},
		tests: in("./internal/pipeline", "^(TestSending_keepsTheSavepointOpenWhenAskedTo|TestSending_asksBeforeTheINSERT)$"),
	},
	{
		name: "RELEASE outside the pipeline",
		edits: []edit{{"internal/pipeline/rewriter.go", `.describe && !r.plan.KeepOpen {`, `.describe && !r.plan.KeepOpen && opening == "none" {`}, {"internal/pipeline/rewriter.go", `	failed, err := t.run(last)
`, `	failed, err := t.run(last)
	if err == nil && r.answer.SavepointOpen && !r.plan.KeepOpen && messages[len(messages)-1].read != nil {
		if _, err = w.conn.PgConn().Exec(ctx, release).ReadAll(); err == nil {
			r.answer.SavepointOpen = false
		}
	}
`}},
		tests: in("./internal/pipeline", "^TestSending_takesOneTrip$"),
	},
	{
		name:  "a rewritten text parsed before its savepoint",
		edits: []edit{{"internal/pipeline/rewriter.go", "\tr.attempt(ctx, w, args, opening, r.plan.Rewritten)", "\tr.attempt(ctx, w, args, opening, false)"}},
		tests: in("./internal/pipeline", "^TestSending_parsesARewrittenTextInsideTheSavepoint$"),
	},
	{
		name:  "cause: rows are looked at in SERIALIZABLE",
		edits: []edit{{"internal/heal/cause.go", "case a.session.Isolation == conn.Serializable:", "case false:"}},
		tests: in("./plugin", "^TestCause_notLookedAt$"),
	},
	{
		name:  "cause: what is remembered of a name counts under another search_path",
		edits: []edit{{"internal/cause/cause.go", `same := q.Path == "" || q.Path == seen.path`, "same := true"}},
		tests: in("./plugin", "^TestCause_namesThatMove$"),
	},
	{
		name:  "cause: a context that ends stops the look",
		edits: []edit{{"internal/heal/cause.go", "context.WithTimeout(context.WithoutCancel(ctx), wait)", "context.WithTimeout(ctx, wait)"}},
		tests: in("./plugin", "^TestCause_lookThatFails$"),
	},
	{
		name:  "cause: the id of an upsert counts as drawn",
		edits: []edit{{"internal/statement/drawn.go", "!s.Readable || s.Insert.OnConflict != nil ||", "!s.Readable ||"}},
		tests: in("./plugin", "^TestCause_upsertsAreNoEvidence$"),
	},
	{
		name:  "cause: a value that the sequence still has counts as given before",
		edits: []edit{{"internal/cause/cause.go", "!t.Triggers.BeforeInsertRow && q.Given > q.At", "!t.Triggers.BeforeInsertRow && q.Given > 0"}},
		tests: in("./plugin", "^TestCause_drawnBeforeAnImport$"),
	},
	{
		name:  "draws of a sequence that was set back are not suspected",
		edits: []edit{{"internal/sequence/afterwards.go", "pg_catalog.regclass) - '%[4]d'::pg_catalog.int8) / (%[5]d) < %[6]d THEN %[7]d", "pg_catalog.regclass) - '%[4]d'::pg_catalog.int8) / (%[5]d) < -1000000000 - %[6]d THEN %[7]d"}},
		tests: in("./internal/hostile", "^TestUpserts_sequenceSetBackUnderTheStatement$"),
	},
	{
		name:  "a table replaced twice is sent unasked",
		edits: []edit{{"internal/heal/insert.go", "return in.readings <= mostReadings", "return in.readings <= 1"}},
		tests: in("./plugin", "^TestHeal_tableReplacedBetweenItsStatements$"),
	},
	{
		name:  "the key of a foreign table is not looked for",
		edits: []edit{{"internal/catalog/read.go", "		return r.keyElsewhere()\n", "		return nil\n"}},
		tests: in("./plugin", "^TestForeignTables_heal$"),
	},
	{
		name:  "a foreign table is read in the caller's transaction alone",
		edits: []edit{{"internal/heal/classify.go", "		a.session.Isolation = conn.RepeatableRead\n", ""}},
		tests: in("./plugin", "^TestForeignTables_rowsOfMeanwhile$"),
	},
	{
		name:  "a 23505 without names that a function raised, taken for a foreign server's",
		edits: []edit{{"internal/heal/classify.go", " || e.Raised()", ""}},
		tests: in("./internal/hostile", "^TestTrouble_onTheTable$"),
	},
	{
		name:  "an upsert that may not be looked at is sent without a word",
		edits: []edit{{"internal/heal/steps.go", "		s.complainUnprotected(sequence.NotAskable(t))\n", ""}},
		tests: in("./plugin", "^TestRoles_unprotectedUpsertIsLoggedOnce$"),
	},
	{
		name:  "cause: a rollback that the look's limit ends is not sent again",
		edits: []edit{{"internal/conn/savepoint.go", "if pgerr.Is(err, pgerr.QueryCanceled) {", "if pgerr.Is(err, pgerr.InternalError) {"}},
		tests: in("./plugin", "^TestCause_rollbackThatIsCanceled$"),
	},
	{
		name:  "an index that was not read taken for another than the key's",
		edits: []edit{{"internal/heal/strategy.go", "if !fresh && !in.knowsTarget(ctx, entry.Table) {", "if false {"}},
		tests: in("./internal/hostile", "^TestCreate_survivesAWidenedKey$"),
	},
	{
		name:  "a constraint's name is not asked for",
		edits: []edit{{"internal/heal/strategy.go", ` || catalog.StillNamed(ctx, in.conn(), x)`, " || true"}},
		tests: in("./internal/hostile", "^TestCreate_survivesAWidenedKey$"),
	},
	{
		name:  "a dropped row of a table made anew is taken for the caller's own",
		edits: []edit{{"internal/heal/dropped.go", "s.countReading() && s.follow(ctx)", "false"}},
		tests: in("./internal/hostile", "^TestDoNothing_reportsTheFirstRowOfATableMadeAnew$"),
	},
	{
		name:  "a look in several steps takes a sequence that is gone for no answer",
		edits: []edit{{"internal/sequence/preflight.go", "\tcase err != nil:\n\t\treturn answered(err)\n", "\tcase err != nil:\n\t\treturn Unknown, err\n"}},
		tests: in("./internal/hostile", "^TestSave_survivesAnotherSequenceOfACompositeKey$"),
	},
	{
		name:  "a second connection looks for the table under its own search_path",
		edits: []edit{{"internal/heal/attempt.go", `target.Schema == "" && violated.Table == target.Table`, "false"}},
		tests: in("./internal/hostile", "^TestTenants_theRetryOfATenantUnderASnapshot$"),
	},
	{
		name:  "a key that was added is not noticed by rows that any index may drop",
		edits: []edit{{"internal/catalog/identity.go", `return i.Check() + " AND " + listed("x.indexrelid", "pg_catalog.pg_index x WHERE x.indrelid = "+oid(i.OID)+" AND x.indisunique", i.Uniques)`, "return i.Check()"}},
		tests: in("./plugin", "^TestASecondKeyUnderTheProgramDropsNothing$"),
	},
	{
		name:  "a right that is missing ends the looks",
		edits: []edit{{"internal/sequence/question.go", "invalidArgument, pgerr.InsufficientPrivilege, ", "invalidArgument, "}},
		tests: in("./internal/hostile", "^TestRole_losesTheRightToReadTheSequence$"),
	},
}

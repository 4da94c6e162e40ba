package main

// ofSequence break looking at a sequence and moving it.
var ofSequence = []mutant{
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
		name:  "rows that DO UPDATE met looked for among those of other sessions",
		edits: []edit{{"internal/sequence/afterwards.go", "		met = fmt.Sprintf(updated, among)\n", "		met = fmt.Sprintf(stranger, among)\n"}},
		tests: in("./internal/hostile", "^TestOthers_lockTheRowThatIsMet$"),
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
		name:  "a row that was locked once taken for one that was left as it was",
		edits: []edit{{"internal/sequence/afterwards.go", `"t.xmax" + asXID + " = 'in progress' END))"`, `"t.xmax" + asXID + " IS NULL OR true END))"`}},
		tests: in("./internal/hostile", "^TestOthers_storeAndLockRowsInBetween$"),
	},
	{
		name:  "what another connection has cached asked for",
		edits: []edit{{"internal/sequence/preflight.go", "seq.Cache <= 1 || a.FromSecond:", "seq.Cache <= 1:"}},
		tests: in("./internal/hostile", "^TestOthers_cacheValuesThatAreTaken$"),
	},
	{
		name:  "rows of the own transaction not seen under DO NOTHING",
		edits: []edit{{"internal/sequence/afterwards.go", "	case a.AllDrawn && CountsAfter(t):\n", "	case a.AllDrawn && CountsAfter(t) && a.Stored < 0:\n"}},
		tests: in("./internal/hostile", "^TestDoNothing_besideRowsOfItsOwnTransaction$"),
	},
	{
		name:  "no look in SERIALIZABLE",
		edits: []edit{{"internal/sequence/preflight.go", "	case last && a.NotHere:\n", "	case last && a.Exactly:\n"}, {"internal/sequence/preflight.go", "	case a.NotHere:\n", "	case a.Exactly:\n"}},
		tests: in("./plugin", "^TestUpsertsInSerializable$"),
	},
	{
		name:  "system columns read with rights on columns",
		edits: []edit{{"internal/sequence/afterwards.go", "Askable(t) && t.Readable && ", "Askable(t) && "}},
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
		name:  "draws of a sequence that was set back are not suspected",
		edits: []edit{{"internal/sequence/afterwards.go", "pg_catalog.regclass) - '%[4]d'::pg_catalog.int8) / (%[5]d) < %[6]d THEN %[7]d", "pg_catalog.regclass) - '%[4]d'::pg_catalog.int8) / (%[5]d) < -1000000000 - %[6]d THEN %[7]d"}},
		tests: in("./internal/hostile", "^TestUpserts_sequenceSetBackUnderTheStatement$"),
	},
	{
		name:  "a look in several steps takes a sequence that is gone for no answer",
		edits: []edit{{"internal/sequence/preflight.go", "\tcase err != nil:\n\t\treturn answered(err)\n", "\tcase err != nil:\n\t\treturn Unknown, err\n"}},
		tests: in("./internal/hostile", "^TestSave_survivesAnotherSequenceOfACompositeKey$"),
	},
	{
		name:  "a right that is missing ends the looks",
		edits: []edit{{"internal/sequence/question.go", "invalidArgument, pgerr.InsufficientPrivilege, ", "invalidArgument, "}},
		tests: in("./internal/hostile", "^TestRole_losesTheRightToReadTheSequence$"),
	},
}

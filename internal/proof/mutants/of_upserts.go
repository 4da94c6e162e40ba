package main

// ofUpserts break upserts and DO NOTHING, before and after they are sent.
var ofUpserts = []mutant{
	{
		name:  "rows looked at before a statement after which one can ask",
		edits: []edit{{"internal/heal/preflight.go", "	ahead.Afterwards = s.counted || s.wired || (", "	ahead.Afterwards = s.blind && ("}},
		tests: in("./internal/hostile", "^TestTrips_ofRowsUnderDoNothing$"),
	},
	{
		name:  "rows that a trigger locks are not counted",
		edits: []edit{{"internal/heal/preflight.go", "if f.keepOpen && s.countsStored() {", "if f.keepOpen && s.countsStored() && s.blind {"}},
		tests: in("./plugin", "^TestUpsertOfRowsThatATriggerLocksBesideAnOpenImport$"),
	},
	{
		name:  "only the first of two keys is asked about after the statement",
		edits: []edit{{"internal/heal/preflight.go", "	for _, t := range s.lookedAt() {\n		if s.drawsFrom(t) &&", "	for _, t := range s.lookedAt()[:1] {\n		if s.drawsFrom(t) &&"}},
		tests: in("./plugin", "^TestDoNothingBesideAnOpenImportByASecondKey$"),
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
		name: "a preflighted upsert's failure to serialize heals nothing",
		edits: []edit{{"internal/heal/examine.go", `		s.healForRetry(ctx, s, r.err, s.table, s.draws(s.table))
`, ``}},
		tests: in("./internal/hostile", "^TestTenants_theRetryOfATenantUnderASnapshot$"),
	},
	{
		name:  "rows that name their ids counted among those that drew",
		edits: []edit{{"internal/heal/suspect.go", "return all - named, all, err", "return all - 0*named, all, err"}},
		tests: in("./internal/hostile", "^TestOthers_ownRowsAreMet$"),
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
		name:  "no pool behind a borrowed connection",
		edits: []edit{{"internal/heal/second.go", "	pool := conn.PoolOf(in.stmt.DB)\n", "	pool, _ := in.stmt.DB.DB()\n"}},
		tests: in("./internal/hostile", "^TestSerializable_onABorrowedConnection$"),
	},
	{
		name:  "GuardOff waits for the caller's own lock",
		edits: []edit{{"internal/heal/second.go", "conn.Budget{Until: a.deadline(ctx), Lock: secondLock}, fn)", "conn.Budget{Until: a.deadline(ctx)}, fn)"}},
		tests: in("./plugin", "^TestGuardOffBehindTheCallersLock$"),
	},
	{
		name:  "ids that another row names pass a tripwire",
		edits: []edit{{"internal/heal/preflight.go", "	if s.blind || s.looked {\n", "	if s.blind || s.looked || s.wired {\n"}},
		tests: in("./internal/hostile", "^TestUpsertsByKey_thatNameWhatIsDrawn$"),
	},
	{
		name:  "rows that triggers store counted under DO NOTHING",
		edits: []edit{{"internal/heal/preflight.go", "!s.names(t) && sequence.CountsAfter(t))", "!s.names(t))"}},
		tests: in("./internal/hostile", "^TestDoNothing_besideRowsOfItsOwnTransaction$"),
	},
	{
		name:  "21000 of a subquery taken for the statement's",
		edits: []edit{{"internal/heal/tripwire.go", ` && (server.Routine == "" || strings.Contains(server.Routine, "OnConflict"))`, ` && (server.Routine != "" || strings.Contains(server.Routine, "OnConflict"))`}},
		tests: in("./internal/hostile", "^TestUpsertsByKey_whoseSubqueryFails$"),
	},
	{
		name:  "a row met on purpose taken for drift",
		edits: []edit{{"internal/heal/tripwire.go", "	if a.skips(a.table) || !predictable(a.table) {\n", "	if false {\n"}},
		tests: in("./internal/hostile", "^TestUpsertsByKey_thatMeetRowsOnPurpose$"),
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
		name:  "a composite key whose values beside are unknown not complained of",
		edits: []edit{{"internal/heal/steps.go", "!t.Indexed && s.leading(t) == nil:", "t.Elsewhere && !t.Indexed:"}},
		tests: in("./internal/hostile", "^TestCompositeKeys_besideADefault$"),
	},
	{
		name:  "a sequence set back after the second connection's look",
		edits: []edit{{"internal/heal/preflight.go", "r.before[i] = r.before[i].With(t.Sequence, before[t.Sequence.OID])", "_ = before[t.Sequence.OID]"}},
		tests: in("./plugin", "^TestUpsertsInSerializable_behindASetval$/NO"),
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
		name:  "a heal that read nothing goes by what is remembered of the table alone",
		edits: []edit{{"internal/heal/unsent.go", "	if a.collision.from != nil {\n", "	if a.collision.from != nil && a.tables.Get(a.stmt.Target) == nil {\n"}},
		tests: in("./internal/hostile", "^TestTenants_theHealCannotReadTheTable$"),
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
		name:  "an upsert that may not be looked at is sent without a word",
		edits: []edit{{"internal/heal/steps.go", "		s.complainUnprotected(sequence.NotAskable(t))\n", ""}},
		tests: in("./plugin", "^TestRoles_unprotectedUpsertIsLoggedOnce$"),
	},
	{
		name:  "a dropped row of a table made anew is taken for the caller's own",
		edits: []edit{{"internal/heal/dropped.go", "s.countReading() && s.follow(ctx)", "false"}},
		tests: in("./internal/hostile", "^TestDoNothing_reportsTheFirstRowOfATableMadeAnew$"),
	},
}

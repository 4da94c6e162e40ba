package main

// ofHeal break one insert, its strategies and the verdict on a collision.
var ofHeal = []mutant{
	{
		name:  "rows that GORM cannot read are rolled back",
		edits: []edit{{"internal/heal/insert.go", "!errors.Is(failure, in.unread))", "!errors.Is(failure, in.unread) || true)"}},
		tests: in("./plugin", "^TestUpsertWhoseRowsGORMCannotRead$"),
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
		name:  "conflict guard though the statement has an expression",
		edits: []edit{{"internal/heal/strategy.go", "\t\t!stmt.Insert.HasExpression() && !stmt.FillsSliceFromScratch() {", "\t\t!stmt.FillsSliceFromScratch() {"}},
		tests: in("./plugin", "^TestSideEffectsOfAnExpressionHappenOnce$"),
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
		name: "a sequence that was renamed leaves an upsert unprotected",
		edits: []edit{{"internal/heal/fence.go", "		case i < len(asked):\n			r.failed = asked[i]\n", "		case i < len(asked):\n			r.failed = asked[i]\n		default:\n			r.answer = sequence.Unknown\n"},
			{"internal/heal/fence.go", "unsent: true, answer: sequence.AnswerOf(err)}\n		}\n		before", "unsent: true, answer: sequence.Unknown}\n		}\n		before"}},
		tests: in("./internal/hostile", "^TestDoNothing_afterTheSequenceWasRenamed$"),
	},
	{
		name:  "draws of rows that name their ids not counted",
		edits: []edit{{"internal/heal/insert.go", "int64(in.stmt.Insert.Rows())*further", "int64(in.omitted(t))*further"}},
		tests: in("./internal/hostile", "^TestOthers_columnsDrawFromTheSequence$"),
	},
	{
		name:  "what a snapshot hides not read from a second connection",
		edits: []edit{{"internal/heal/lookup.go", "errors.Is(err, catalog.ErrOutdated) && gone == nil {", "errors.Is(err, catalog.ErrOutdated) && gone != nil {"}},
		tests: in("./internal/hostile", "^TestRepeatableRead_aDefaultIsReplaced$"),
	},
	{
		name:  "no tripwire",
		edits: []edit{{"internal/heal/strategy.go", "	if !ok {\n		return in.chooseLook(t)", "	if !ok || true {\n		return in.chooseLook(t)"}},
		tests: in("./internal/hostile", "^TestTrips_ofUpsertsWithoutIDs$"),
	},
	{
		name:  "a statement with a false alarm is not sent again",
		edits: []edit{{"internal/heal/heal.go", "		if again == nil && a.isFalseAlarm() {\n", "		if again == nil && a.isFalseAlarm() && a.earlier > 0 {\n"}},
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
		name:  "GORM's count of rows under DO NOTHING",
		edits: []edit{{"internal/heal/insert.go", "	if !in.stmt.FillsSlice() {", "	if in.stmt.Readable {"}},
		tests: in("./internal/hostile", "^TestReturning_underDoNothing$"),
	},
	{
		name:  "a look prepared as the check is",
		edits: []edit{{"internal/heal/fence.go", "Prepare: n == 0}", "Prepare: n >= 0}"}},
		tests: in("./plugin", "^TestUpsertsIntoATableThatGrows$"),
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
		name:  "cause: rows are looked at in SERIALIZABLE",
		edits: []edit{{"internal/heal/cause.go", "case a.session.Isolation == conn.Serializable:", "case false:"}},
		tests: in("./plugin", "^TestCause_notLookedAt$"),
	},
	{
		name:  "cause: a context that ends stops the look",
		edits: []edit{{"internal/heal/cause.go", "context.WithTimeout(context.WithoutCancel(ctx), wait)", "context.WithTimeout(ctx, wait)"}},
		tests: in("./plugin", "^TestCause_lookThatFails$"),
	},
	{
		name:  "a table replaced twice is sent unasked",
		edits: []edit{{"internal/heal/insert.go", "return in.readings <= mostReadings", "return in.readings <= 1"}},
		tests: in("./plugin", "^TestHeal_tableReplacedBetweenItsStatements$"),
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
		name:  "a second connection looks for the table under its own search_path",
		edits: []edit{{"internal/heal/attempt.go", `target.Schema == "" && violated.Table == target.Table`, "false"}},
		tests: in("./internal/hostile", "^TestTenants_theRetryOfATenantUnderASnapshot$"),
	},
	{
		name:  "a logger that panics takes the insert with it",
		edits: []edit{{"plugin/report.go", "	r.plugin.safely(ctx, gormLogger, func() {\n", "	func(f func()) { f() }(func() {\n"}},
		tests: in("./plugin", "^TestLoggers_useTheDatabase$"),
	},
}

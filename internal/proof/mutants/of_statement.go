package main

// ofStatement break the INSERT as GORM built it.
var ofStatement = []mutant{
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
		name:  "conflict guard without a target",
		edits: []edit{{"internal/statement/text.go", `return " ON CONFLICT (" + strings.Join(key, ",") + ") DO NOTHING"`, `return strings.Join(key[:0], ",") + " ON CONFLICT DO NOTHING"`}},
		tests: in("./internal/statement", "^TestConflictClauseGoesBetweenValuesAndTheRest$"),
	},
	{
		name:  "a tripwire whose WHERE takes the place of the caller's",
		edits: []edit{{"internal/statement/text.go", "	case !has:\n", "	case !has || own != \"-\":\n"}},
		tests: in("./internal/heal", "^TestWithTripwire$"),
	},
	{
		name:  "defaults planned that the statement does not take",
		edits: []edit{{"internal/statement/statement.go", "	if len(columns) == 0 {\n", "	if len(columns) >= 0 {\n"}, {"internal/heal/preflight.go", "	case !r.unlocked:\n", "	case !r.unlocked || true:\n"}},
		tests: in("./internal/hostile", "^TestOthers_defaultsThatFail$"),
	},
	{
		name:  "named ids parsed for each row",
		edits: []edit{{"internal/statement/text.go", "($%d::pg_catalog.int8[])", "($%d::pg_catalog.text::pg_catalog.int8[])"}},
		tests: in("./internal/hostile", "^TestUpsertsByKey_ofThousandsOfRows$"),
	},
	{
		name:  "the ids that rows name in the text",
		edits: []edit{{"internal/statement/text.go", "	if len(t.Vars) >= maxParameters {\n", "	if len(t.Vars) >= 0 {\n"}},
		tests: in("./internal/hostile", "^TestUpsertsByKey_areOneStatement$"),
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
		name:  "a tripwire that another error comes before",
		edits: []edit{{"internal/statement/text.go", "')::pg_catalog.bool IS NULL", "')::pg_catalog.int4 IS NULL"}},
		tests: in("./internal/hostile", "^TestTripwire_beyondInt4$"),
	},
	{
		name:  "pointers in the caller's slice not put back",
		edits: []edit{{"internal/statement/values.go", "			if at.Kind() == reflect.Pointer && at.CanSet() {", "			if at.Kind() == reflect.Map {"}},
		tests: in("./internal/hostile", "^TestReturning_afterAFailedHeal$"),
	},
	{
		name:  "cause: the id of an upsert counts as drawn",
		edits: []edit{{"internal/statement/drawn.go", "!s.Readable || s.Insert.OnConflict != nil ||", "!s.Readable ||"}},
		tests: in("./plugin", "^TestCause_upsertsAreNoEvidence$"),
	},
	{
		name:  "an id that pgx encodes as another one is read",
		edits: []edit{{"internal/statement/rows.go", "; encodes || isComputed(value) {", "; encodes && isComputed(value) {"}},
		tests: in("./internal/hostile", "^TestKeys_sentAsAnotherValue$"),
	},
	{
		name:  "the whole numbers of a JSON object are no ids",
		edits: []edit{{"internal/statement/rows.go", "	case v.CanFloat() && ", "	case false && v.CanFloat() && "}},
		tests: in("./internal/hostile", "^TestPrevention_ofNumbersFromJSON$"),
	},
}

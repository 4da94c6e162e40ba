package main

// ofConn break connections, the savepoint in one round trip, the look for the cause.
var ofConn = []mutant{
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
		name:  "cause: a rollback that the look's limit ends is not sent again",
		edits: []edit{{"internal/conn/savepoint.go", "if pgerr.Is(err, pgerr.QueryCanceled) {", "if pgerr.Is(err, pgerr.InternalError) {"}},
		tests: in("./plugin", "^TestCause_rollbackThatIsCanceled$"),
	},
	{
		name:  "questions are prepared without a limit",
		edits: []edit{{"internal/pipeline/session.go", "questions: newCache(maxQuestions)", "questions: newCache(capacity)"}},
		tests: in("./internal/pipeline", "^TestSending_preparesWhatIsAskedAgain$"),
	},
	{
		name:  "an insert waits for the proof of the one round trip",
		edits: []edit{{"internal/pipeline/support.go", "if conn.Exhausted(db) && db.Stats()", "if conn.Exhausted(db) && false && db.Stats()"}},
		tests: in("./internal/pipeline", "^TestSupport_isProvenBesideABusyPool$"),
	},
	{
		name:  "errors of a statement with a tripwire are translated",
		edits: []edit{{"internal/pipeline/rewriter.go", "r.answer.Err = unparsed{r.answer.Err}", "_ = unparsed{r.answer.Err}"}},
		tests: in("./internal/hostile", "^TestHealthy_errorsOfTheCallersClause$"),
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
		name:  "cause: what is remembered of a name counts under another search_path",
		edits: []edit{{"internal/cause/cause.go", `same := q.Path == "" || q.Path == seen.path`, "same := true"}},
		tests: in("./plugin", "^TestCause_namesThatMove$"),
	},
	{
		name:  "cause: a value that the sequence still has counts as given before",
		edits: []edit{{"internal/cause/cause.go", "!t.Triggers.BeforeInsertRow && q.Given > q.At", "!t.Triggers.BeforeInsertRow && q.Given > 0"}},
		tests: in("./plugin", "^TestCause_drawnBeforeAnImport$"),
	},
}

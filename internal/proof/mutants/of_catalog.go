package main

// ofCatalog break what the server says of a table, and what is remembered of it.
var ofCatalog = []mutant{
	{
		name: "the maximum of a descending sequence",
		edits: []edit{{"internal/catalog/sequence.go", `		return "min"
`, `		return "max"
`}},
		tests: in("./internal/sequence", "^TestLookFindsTheFurthestRowInTheSequencesOwnRange$"),
	},
	{
		name:  "a foreign key that is deferred taken for the key's",
		edits: []edit{{"internal/catalog/facts.go", "AND o.contype IN ('p', 'u', 'x') ", ""}},
		tests: in("./internal/catalog", "^TestReadFindsTheSequenceThatFeedsTheKey$"),
	},
	{
		name:  "another column's draw is taken for the key's",
		edits: []edit{{"internal/catalog/judge.go", "r.table.draws(fed.sequence)", "min(1, r.table.draws(fed.sequence))"}},
		tests: in("./plugin", "^TestDoNothingWhereAnotherColumnDrawsToo$"),
	},
	{
		name:  "conflict guard on a table with a trigger",
		edits: []edit{{"internal/catalog/guardable.go", "\tcase t.Triggers.BeforeInsertRow || t.Triggers.InsertStatement:", "\tcase t.Triggers.BeforeInsertRow && t.Sequence.Cycle:"}},
		tests: in("./internal/catalog", "^TestReadSaysWhyTheConflictGuardMustNotBeUsed$"),
	},
	{
		name:  "a default of currval taken for a draw",
		edits: []edit{{"internal/catalog/feed.go", `strings.Contains(fed.text, "nextval")`, `strings.Contains(fed.text, "val")`}},
		tests: in("./internal/hostile", "^TestOthers_ownRowsAreLocked$"),
	},
	{
		name:  "what a snapshot hides taken for the table",
		edits: []edit{{"internal/catalog/identity.go", "	case !same:\n", "	case !same && false:\n"}},
		tests: in("./internal/hostile", "^TestRepeatableRead_aDefaultIsReplaced$"),
	},
	{
		name:  "the conflict guard on one of two keys",
		edits: []edit{{"internal/catalog/judge.go", "		if key.NotGuardable == \"\" {", "		if key.NotGuardable == \"none\" {"}},
		tests: in("./plugin", "^TestTwoSequencesInOneTable$/^nothing$/^Create$"),
	},
	{
		name:  "the sequence's own value asked beyond the sequence's schema",
		edits: []edit{{"internal/catalog/sequence.go", "pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND ", ""}},
		tests: in("./internal/hostile", "^TestRights_thatAnInsertDoesWithout$"),
	},
	{
		name:  "UPDATE taken for the right to ask a sequence",
		edits: []edit{{"internal/catalog/sequence.go", "  pg_catalog.has_sequence_privilege(s.oid, 'USAGE,SELECT'),\n", "  pg_catalog.has_sequence_privilege(s.oid, 'USAGE,SELECT,UPDATE'),\n"}},
		tests: in("./internal/hostile", "^TestRights_thatAnInsertDoesWithout$"),
	},
	{
		name:  "triggers of a replica session not counted",
		edits: []edit{{"internal/catalog/trigger.go", `g.Enabled != "D" {`, `g.Enabled != "D" && g.Enabled != "R" {`}},
		tests: in("./internal/hostile", "^TestTrouble_whoseSessionsChangeTheirReplicationRole$/^a_REPLICA_trigger,"),
	},
	{
		name:  "a view's default draws beside a trigger INSTEAD OF",
		edits: []edit{{"internal/catalog/view.go", "	if v := p.view(table); v.InsteadOf || v.Rule {\n", "	if v := p.view(table); v.Rule {\n"}},
		tests: in("./internal/hostile", "^TestViews_withADefault$/^beside_a_trigger"),
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
		name:  "the key of a foreign table is not looked for",
		edits: []edit{{"internal/catalog/read.go", "		return r.keyElsewhere()\n", "		return nil\n"}},
		tests: in("./plugin", "^TestForeignTables_heal$"),
	},
	{
		name:  "a key that was added is not noticed by rows that any index may drop",
		edits: []edit{{"internal/catalog/identity.go", `return i.Check() + " AND " + listed("x.indexrelid", "pg_catalog.pg_index x WHERE x.indrelid = "+oid(i.OID)+" AND x.indisunique", i.Uniques)`, "return i.Check()"}},
		tests: in("./plugin", "^TestASecondKeyUnderTheProgramDropsNothing$"),
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
		name:  "the catalog read for each upsert under a snapshot",
		edits: []edit{{"internal/facts/tables.go", "(!e.Table.Snapshot || time.Now().Before(e.until))", "(!e.Table.Snapshot || time.Now().After(e.until))"}},
		tests: in("./internal/hostile", "^TestRepeatableRead_readsTheCatalogOnce$"),
	},
}

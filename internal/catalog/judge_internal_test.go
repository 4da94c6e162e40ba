package catalog

import (
	"slices"
	"testing"
)

func TestTriggersByWhatTheyCanDo(t *testing.T) {
	t.Parallel()
	const instead = insteadOf | forEachRow
	for _, test := range []struct {
		name    string
		trigger trigger
		below   bool // on a partition
		want    Triggers
	}{
		{name: "before insert, each row", trigger: trigger{Type: forEachRow | before | onInsert}, want: Triggers{BeforeInsertRow: true}},
		{name: "before insert or update, each row", trigger: trigger{Type: forEachRow | before | onInsert | onUpdate}, want: Triggers{BeforeInsertRow: true}},
		{name: "before delete, each row", trigger: trigger{Type: forEachRow | before | onDelete}},
		{name: "after insert, each row", trigger: trigger{Type: forEachRow | onInsert}, want: Triggers{AfterRow: true}},
		{name: "after delete, each row", trigger: trigger{Type: forEachRow | onDelete}},
		{name: "before insert, each statement", trigger: trigger{Type: before | onInsert}, want: Triggers{InsertStatement: true}},
		{name: "after insert, each statement", trigger: trigger{Type: onInsert}, want: Triggers{InsertStatement: true}},
		{name: "after update, each statement", trigger: trigger{Type: onUpdate}},
		{name: "truncate", trigger: trigger{Type: onTruncate}},
		{name: "instead of insert", trigger: trigger{Type: instead | onInsert}, want: Triggers{InsteadOf: true}},
		{name: "instead of update", trigger: trigger{Type: instead | onUpdate}},
		{name: "a partition's row trigger", trigger: trigger{Type: forEachRow | before | onInsert}, below: true, want: Triggers{BeforeInsertRow: true}},
		{name: "a partition's statement trigger", trigger: trigger{Type: before | onInsert | onUpdate}, below: true},
		{name: "disabled", trigger: trigger{Type: forEachRow | before | onInsert, Enabled: "D"}},
		{name: "replica", trigger: trigger{Type: forEachRow | before | onInsert, Enabled: "R"}, want: Triggers{BeforeInsertRow: true}},
		{name: "always", trigger: trigger{Type: forEachRow | before | onInsert, Enabled: "A"}, want: Triggers{BeforeInsertRow: true}},
		{name: "of a foreign key", trigger: trigger{Type: forEachRow | onInsert, Internal: true, Constraint: true}},
		{name: "a clone on a partition, 12 to 14", trigger: trigger{Type: forEachRow | before | onInsert, Internal: true}, below: true, want: Triggers{BeforeInsertRow: true}},
	} {
		if test.trigger.Enabled == "" {
			test.trigger.Enabled = "O"
		}
		if got := triggersOf([]trigger{test.trigger}, !test.below); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}

// healthy is the reading of a table that qualifies for the conflict guard.
func healthy() *reading {
	table := &relation{
		oid: 1, schema: "public", name: "users", kind: "r", insertable: true,
		session:  session{isolation: "read committed"},
		columns:  []attribute{{Number: 1, Name: "id", Type: "int8", TypeOID: 20, Modifier: -1, HasDefault: true, Selectable: true}, {Number: 2, Name: "lang", Type: "text", Selectable: true}},
		defaults: []dependency{{Column: 1, Default: 7, Object: 9, Kind: "S", Text: "nextval('users_id_seq'::regclass)"}},
		indexes:  []index{{OID: 5, Table: 1, Name: "users_pkey", Primary: true, Unique: true, Immediate: true, Valid: true, Btree: true, Keys: 1, Columns: []int64{1}, Names: []string{"id"}}},
	}
	return &reading{
		target: Name{Table: "users"}, named: table, table: table, hit: table, reached: true,
		sequences: map[int64]Sequence{9: {OID: 9, Schema: "public", Name: "users_id_seq", Increment: 1, Cache: 1, CanUse: true}},
	}
}

// twin is another unique constraint over the key's column.
func twin() index {
	return index{OID: 6, Table: 1, Name: "twin", Unique: true, Immediate: true, Valid: true, Btree: true, Keys: 1, Columns: []int64{1}, Names: []string{"id"}}
}

func TestGuardable(t *testing.T) {
	t.Parallel()
	const key = "a key that cannot decide a conflict"
	for _, test := range []struct {
		name   string
		change func(*reading)
		want   string
	}{
		{"healthy", func(*reading) {}, ""},
		{"foreign table", func(r *reading) { r.table.kind = "f" }, "not an ordinary table"},
		{"partitioned", func(r *reading) { r.table.kind = "p" }, "not an ordinary table"},
		{"behind a view", func(r *reading) { r.named = &relation{kind: "v"} }, "a view in front of it"},
		{"partition", func(r *reading) { r.table.partition = true }, "a partition"},
		{"rule on UPDATE", func(r *reading) { r.table.rules = []rule{{Event: "2"}} }, "a rule"},
		{"rule on DELETE", func(r *reading) { r.table.rules = []rule{{Event: "4"}} }, ""},
		{"default calls a function", func(r *reading) { r.table.defaults = append(r.table.defaults, dependency{Column: 2, Calls: true}) }, "a default that calls a user-defined function"},
		{"domain with a default", func(r *reading) { r.table.columns[1].DomainDefault = true }, "a domain with a default"},
		{"domain with a default, column too", func(r *reading) { r.table.columns[1].DomainDefault, r.table.columns[1].HasDefault = true, true }, ""},
		{"no right to insert", func(r *reading) { r.table.insertable = false }, "no right to insert"},
		{"user catalog", func(r *reading) { r.table.options = []string{"fillfactor=70", "user_catalog_table=TRUE"} }, "a user catalog table"},
		{"user catalog, off", func(r *reading) { r.table.options = []string{"user_catalog_table=false"} }, ""},
		{"no key", func(r *reading) { r.table.indexes = nil }, key},
		{"deferrable key", func(r *reading) { r.table.indexes[0].Immediate = false }, key},
		{"invalid key", func(r *reading) { r.table.indexes[0].Valid = false }, key},
		{"key WITHOUT OVERLAPS", func(r *reading) { r.table.indexes[0].Exclusion = true }, key},
		{"another unique constraint over the key", func(r *reading) { r.table.indexes = append(r.table.indexes, twin()) }, ""},
		{"… that is deferrable", func(r *reading) {
			x := twin()
			x.Immediate = false
			r.table.indexes = append(r.table.indexes, x)
		}, "a deferrable constraint over the key's columns"},
		{"deferrable over more columns", func(r *reading) {
			x := twin()
			x.Immediate, x.Keys, x.Columns, x.Names = false, 2, []int64{1, 2}, []string{"id", "lang"}
			r.table.indexes = append(r.table.indexes, x)
		}, ""},
		{"no right to the sequence", func(r *reading) { r.sequences[9] = Sequence{OID: 9} }, "no right to draw from the sequence"},
		{"not fed", func(r *reading) { r.table.defaults = nil }, "no sequence feeds the key"},
		{"disabled trigger", func(r *reading) { r.table.triggers = []trigger{{Type: onInsert, Enabled: "D"}} }, ""},
		{"trigger after each row", func(r *reading) { r.table.triggers = []trigger{{Type: forEachRow | onInsert, Enabled: "O"}} }, ""},
		{"trigger before each row", func(r *reading) { r.table.triggers = []trigger{{Type: forEachRow | before | onInsert, Enabled: "O"}} }, "a trigger on INSERT"},
		{"trigger for each statement", func(r *reading) { r.table.triggers = []trigger{{Type: onInsert, Enabled: "O"}} }, "a trigger on INSERT"},
		{"CYCLE", func(r *reading) { r.sequences[9] = Sequence{OID: 9, CanUse: true, Cycle: true} }, "the sequence cycles"},
		{"no SELECT", func(r *reading) { r.table.columns[0].Selectable = false }, "no SELECT on the key"},
		{"row-level security", func(r *reading) { r.table.rowSecurity = true }, "row-level security"},
		{"text key", func(r *reading) { r.table.columns[0].Type = "text" }, `column "id" has type text, not an integer`},
		{"arithmetic", func(r *reading) { r.table.defaults[0].Text = "(nextval('s'::regclass) * 2)" },
			`the default of column "id" is (nextval('s'::regclass) * 2), more than nextval of its sequence`},
	} {
		r := healthy()
		test.change(r)
		if got := r.judge().NotGuardable; got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestFeed(t *testing.T) {
	t.Parallel()
	finder := trigger{Type: forEachRow | before | onInsert, Enabled: "O"}
	owned := []ownership{{Column: 1, Sequence: 4, Type: "a"}, {Column: 2, Sequence: 3, Type: "i"}}
	for _, test := range []struct {
		name     string
		relation relation
		column   attribute
		want     feed
	}{
		{"default", relation{defaults: []dependency{{Column: 1, Default: 7, Object: 9, Kind: "S", Text: "x"}}}, attribute{Number: 1}, feed{9, 7, "x"}},
		{"default wins over owned", relation{owned: owned, defaults: []dependency{{Column: 1, Default: 7, Object: 9, Kind: "S"}}}, attribute{Number: 1}, feed{9, 7, ""}},
		{"default of another kind", relation{owned: owned, triggers: []trigger{finder}, defaults: []dependency{{Column: 1, Default: 7}}}, attribute{Number: 1}, feed{def: 7}},
		{"another column's default", relation{defaults: []dependency{{Column: 2, Default: 7, Object: 9, Kind: "S"}}}, attribute{Number: 1}, feed{}},
		{"owned", relation{owned: owned}, attribute{Number: 1}, feed{}},
		{"owned, and a trigger", relation{owned: owned, triggers: []trigger{finder}}, attribute{Number: 1}, feed{sequence: 4}},
		{"identity", relation{owned: owned}, attribute{Number: 2, Identity: true}, feed{sequence: 3}},
	} {
		if got := test.relation.feed(test.column); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}

func TestUncommitted(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*reading)
		want   bool
	}{
		{"committed", func(*reading) {}, false},
		{"pg_class", func(r *reading) { r.table.own = true }, true},
		{"a column", func(r *reading) { r.table.columns[1].Own = true }, true},
		{"a default", func(r *reading) { r.table.defaults[0].Own = true }, true},
		{"an index", func(r *reading) { r.table.indexes[0].Own = true }, true},
		{"a constraint", func(r *reading) { r.table.deferred = []deferral{{Own: true}} }, true},
		{"a trigger", func(r *reading) { r.table.triggers = []trigger{{Own: true}} }, true},
		{"a rule", func(r *reading) { r.table.rules = []rule{{Own: true}} }, true},
		{"a lock", func(r *reading) { r.locked = true }, true},
		{"the partition of the error", func(r *reading) { r.hit = &relation{own: true} }, true},
		{"a partition", func(r *reading) { r.tree = &tree{own: true} }, true},
		{"a partition's trigger", func(r *reading) { r.tree = &tree{triggers: []trigger{{Own: true}}} }, true},
		{"a view", func(r *reading) {
			r.way = &path{views: []*relation{{own: true}}, steps: []step{{}}, queries: []string{""}}
		}, true},
	} {
		r := healthy()
		test.change(r)
		table := r.judge()
		if table.Uncommitted != test.want || table.Provisional() != test.want {
			t.Errorf("%s: uncommitted %v, serves once %v; want %v", test.name, table.Uncommitted, table.Provisional(), test.want)
		}
	}
	for _, isolation := range []string{"repeatable read", "serializable"} {
		r := healthy()
		r.table.session.isolation = isolation
		if table := r.judge(); !table.Snapshot || !table.Provisional() {
			t.Errorf("%s is no snapshot", isolation)
		}
	}
}

func TestReadStep(t *testing.T) {
	t.Parallel()
	entry := func(number, relation, column string) string {
		return `{TARGETENTRY :expr {VAR :varno 1 :varattno 9} :resno ` + number + ` :resname The\ \{Id :ressortgroupref 0 :resorigtbl ` + relation + ` :resorigcol ` + column + ` :resjunk false}`
	}
	query := func(from string, entries ...string) string {
		text := `({QUERY :commandType 1 :rtable ({RTE :eref {ALIAS :aliasname t :colnames ("The\ \}Id" "n")}}) :jointree {FROMEXPR :fromlist (` + from + `) :quals <>} :targetList (`
		for _, e := range entries {
			text += e + " "
		}
		return text + `) :returningList <>})`
	}
	const one = `{RANGETBLREF :rtindex 1}`
	nested := `{TARGETENTRY :expr {SUBLINK :subselect {QUERY :jointree {FROMEXPR :fromlist ({RANGETBLREF :rtindex 1}) :quals <>} :targetList (` +
		entry("1", "77", "3") + `)}} :resno 2 :resname x :ressortgroupref 0 :resorigtbl 0 :resorigcol 0 :resjunk false}`
	for _, test := range []struct {
		name, text string
		relation   int64
		columns    []int64 // of numbers 1, 2, …
		ok         bool
	}{
		{"two columns", query(one, entry("1", "42", "2"), entry("2", "42", "1")), 42, []int64{2, 1}, true},
		{"an expression", query(one, entry("1", "42", "2"), entry("2", "0", "0")), 42, []int64{2, 0}, true},
		{"a subquery among the columns", query(one, entry("1", "42", "2"), nested), 42, []int64{2, 0}, true},
		{"two relations", query(one+" "+one, entry("1", "42", "2")), 42, []int64{2}, false},
		{"a join", query(`{JOINEXPR :larg `+one+`}`, entry("1", "42", "2")), 42, []int64{2}, false},
		{"columns of two relations", query(one, entry("1", "42", "2"), entry("2", "43", "1")), 43, nil, false},
		{"expressions only", query(one, entry("1", "0", "0")), 0, nil, false},
		{"empty", "", 0, nil, false},
		{"broken off", query(one, entry("1", "42", "2"))[:60], 0, nil, false},
		{"too many ends", "}}}{", 0, nil, false},
	} {
		got, ok := readStep(test.text)
		if ok != test.ok {
			t.Errorf("%s: %+v, %v", test.name, got, ok)
			continue
		}
		if !ok {
			continue
		}
		columns := make([]int64, len(test.columns))
		for i := range columns {
			columns[i] = got.columns[int64(i+1)]
		}
		if got.relation != test.relation || !slices.Equal(columns, test.columns) {
			t.Errorf("%s: %+v", test.name, got)
		}
	}
}

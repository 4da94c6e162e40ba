package catalog

import (
	"regexp"
	"slices"
)

// judge describes the table by the key that decides, and in Keys by each key that a
// sequence feeds, where there are several.
func (r *reading) judge() *Table {
	t := r.judgeBy()
	if !t.Fed() {
		return t
	}
	keys, deciding := []*Table{t}, r.keyIndex()
	for i := range r.table.indexes {
		x := &r.table.indexes[i]
		if x != deciding && r.isSequenceKey(*x) && !slices.ContainsFunc(r.table.indexes, func(y index) bool { return r.implies(y, *x, deciding) }) {
			other := *r
			other.by = x
			keys = append(keys, other.judgeBy())
		}
	}
	if len(keys) == 1 {
		return t
	}
	for _, key := range keys {
		key.Keys = keys
		if key.NotGuardable == "" {
			key.NotGuardable = "another key that a sequence feeds"
		}
	}
	return t
}

// isSequenceKey reports whether the index keeps duplicates out and a sequence feeds one of
// its columns.
func (r *reading) isSequenceKey(x index) bool { return x.decides() && r.table.feeds(x) == 1 }

// implies reports whether a row that violates x violates y too: y is a sequence key over
// fewer of its columns, or over the same the one that decides or the first.
func (r *reading) implies(y, x index, deciding *index) bool {
	if y.OID == x.OID || !r.isSequenceKey(y) {
		return false
	}
	for _, column := range y.Columns {
		if !slices.Contains(x.Columns, column) {
			return false
		}
	}
	return len(y.Columns) < len(x.Columns) || deciding != nil && y.OID == deciding.OID || y.OID < x.OID
}

// judgeBy describes the table by one key.
func (r *reading) judgeBy() *Table {
	f := r.table
	t := &Table{
		OID: f.oid, Schema: f.schema, Name: f.name, Column: -1,
		Uncommitted: r.uncommitted(), Snapshot: f.session.isolation == "repeatable read" || f.session.isolation == "serializable",
		RowSecurity: f.rowSecurity, CanInsert: f.insertable, Readable: f.readable, Temporary: f.temporary, Foreign: f.kind == "f",
		Partitioned: f.kind == "p" || f.partition, UserCatalog: userCatalog(f.options),
	}
	if r.way != nil && r.reached {
		t.View = r.way.view(f)
	}
	r.judgeColumns(t)
	r.judgeKey(t)
	r.judgeIndexes(t)
	r.judgeTriggers(t)
	t.Own, t.Elsewhere, t.Unlinked = r.isOwn(t), r.isElsewhere(), f.unlinked()
	t.Violated = r.hit.violated()
	t.Identity = r.identity(t)
	t.NotGuardable = r.notGuardable(t)
	t.internTexts()
	return t
}

// uncommitted reports whether the transaction that reads may have changed what was read.
func (r *reading) uncommitted() bool {
	own := r.locked || r.table.uncommitted() || r.hit.uncommitted()
	if r.way != nil {
		for _, view := range r.way.views {
			own = own || view.uncommitted()
		}
	}
	return own || r.tree != nil && (r.tree.own || anyOwn(r.tree.rules, r.tree.triggers, r.tree.indexes))
}

func (r *relation) uncommitted() bool {
	return r.own || anyOwn(r.rules, r.triggers, r.indexes) ||
		slices.ContainsFunc(r.deferred, func(d deferral) bool { return d.Own }) ||
		slices.ContainsFunc(r.columns, func(a attribute) bool { return a.Own }) ||
		slices.ContainsFunc(r.defaults, func(d dependency) bool { return d.Own })
}

func anyOwn(rules []rule, triggers []trigger, indexes []index) bool {
	return slices.ContainsFunc(rules, func(r rule) bool { return r.Own }) ||
		slices.ContainsFunc(triggers, func(g trigger) bool { return g.Own }) ||
		slices.ContainsFunc(indexes, func(x index) bool { return x.Own })
}

var userCatalogOn = regexp.MustCompile(`(?i)^user_catalog_table=(t|true|on|yes|1)$`)

func userCatalog(options []string) bool {
	return slices.ContainsFunc(options, userCatalogOn.MatchString)
}

// judgeColumns looks for defaults that may run the application's own code.
func (r *reading) judgeColumns(t *Table) {
	for _, a := range r.table.columns {
		t.DomainDefault = t.DomainDefault || a.DomainDefault && !a.HasDefault
	}
	calls := func(d dependency) bool { return d.Calls }
	t.DefaultCalls = slices.ContainsFunc(r.table.defaults, calls)
	for _, of := range r.table.shadowed {
		t.DefaultCalls = t.DefaultCalls || slices.ContainsFunc(of.parts, calls)
	}
}

// judgeKey describes the key and the sequence that feeds it.
func (r *reading) judgeKey(t *Table) {
	key := r.keyIndex()
	if key != nil {
		t.Constraint, t.InitiallyDeferred = key.Name, r.table.isDeferred(key)
	}
	t.Selectable = true
	for i, number := range r.key() {
		a := r.table.number(number)
		column, _ := r.columnOf(a)
		t.Key = append(t.Key, column)
		t.Selectable = t.Selectable && a.Selectable
		if fed := r.table.feed(a); fed.sequence != 0 && t.Column < 0 {
			t.Column, t.Sequence, t.Draws = i, r.sequences[fed.sequence], r.table.draws(fed.sequence)
			t.Indexed = r.table.hasIndexOn(number) || key == nil && r.indexedElsewhere(a.Name)
			t.KeysBelow = key == nil && r.tree.primary() != nil
			t.Unsupported = r.unsupported(a)
		}
	}
	t.Selectable = t.Selectable && len(t.Key) > 0
}

// columnOf describes a column, and says what modifies its base type.
func (r *reading) columnOf(a attribute) (column Column, modifier int64) {
	column = Column{Name: a.Name, Type: a.Type, Declared: a.Declared, Domain: a.Domain}
	if base, ok := r.bases[a.TypeOID]; ok && a.Domain {
		column.Type = base.name
		return column, base.modifier
	}
	return column, a.Modifier
}

// unsupported says why the sequence that feeds a column must not be moved, empty when it
// may be.
func (r *reading) unsupported(a attribute) string {
	column, modifier := r.columnOf(a)
	if why := unsupportedType(column, modifier); why != "" {
		return why
	}
	return unsupportedDefault(column, r.table.feed(a).text)
}

// judgeIndexes lists what is unique.
func (r *reading) judgeIndexes(t *Table) {
	for _, x := range r.table.indexes {
		if !x.Unique && !x.Exclusion {
			continue
		}
		unique := x.describe()
		t.Uniques = append(t.Uniques, unique)
		t.DeferrableTwin = t.DeferrableTwin || !unique.Primary && !unique.Immediate && !unique.Exclusion && t.HasKey(unique.Columns)
	}
	if r.tree != nil {
		t.Partitions = r.tree.Partitions
		for _, x := range r.tree.indexes {
			t.Uniques = append(t.Uniques, x.describe())
		}
	}
}

func (x index) describe() UniqueIndex {
	return UniqueIndex{
		OID: x.OID, Table: x.Table, Name: x.Name, Columns: x.Names, Primary: x.Primary, Immediate: x.Immediate, Valid: x.Valid,
		Exclusion: x.Exclusion, Partial: x.Partial, Expression: !x.plain(),
	}
}

// judgeTriggers says what triggers, rules and policies stand on the whole tree.
func (r *reading) judgeTriggers(t *Table) {
	t.Triggers = triggersOf(r.table.triggers, true)
	t.Rules, t.TreeRowSecurity = writes(r.table.rules), t.RowSecurity
	t.Detour = len(r.table.rules) > 0
	if r.tree != nil {
		t.Triggers = t.Triggers.or(triggersOf(r.tree.triggers, false))
		t.Rules = t.Rules || writes(r.tree.rules)
		t.TreeRowSecurity = t.TreeRowSecurity || r.tree.rowSecurity
	}
	if t.View == nil {
		return
	}
	t.Rules, t.Detour = t.Rules || t.View.Rule, t.Detour || t.View.Rule
	for _, view := range r.way.views {
		t.Triggers = t.Triggers.or(triggersOf(view.triggers, true))
	}
}

// isOwn reports whether the statement names the table, or a view that shows the key's
// columns under their own names. Through a trigger INSTEAD OF or a rule a view may lead to
// any table.
func (r *reading) isOwn(t *Table) bool {
	switch {
	case r.reached && t.View == nil:
		return true
	case r.reached:
		return !slices.ContainsFunc(t.Key, func(column Column) bool { return !t.View.shows(column.Name) })
	case r.named == nil || r.named.kind != "v" || len(t.Key) == 0:
		return false
	case r.way != nil:
		if v := r.way.view(r.table); !v.InsteadOf && !v.Rule {
			return false
		}
	}
	return !slices.ContainsFunc(t.Key, func(column Column) bool { _, ok := r.named.column(column.Name); return !ok })
}

// violated names the table of the error and its primary key.
func (r *relation) violated() Violated {
	v := Violated{Schema: r.schema, Name: r.name}
	if x := r.primary(); x != nil {
		v.Constraint = x.Name
	}
	return v
}

// internTexts lets equal texts share their memory: a table is remembered as long as the
// program runs.
func (t *Table) internTexts() {
	for _, text := range []*string{&t.Violated.Schema, &t.Sequence.Schema, &t.Identity.Schema} {
		alike(text, t.Schema)
	}
	alike(&t.Violated.Name, t.Name)
	alike(&t.Identity.Name, t.Name)
	alike(&t.Violated.Constraint, t.Constraint)
}

func alike(text *string, other string) {
	if *text == other {
		*text = other
	}
}

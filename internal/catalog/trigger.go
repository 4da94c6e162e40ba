package catalog

// Triggers is what the triggers of a table can do to a statement. Those count that are not
// disabled, with a WHEN clause or without: which of them fire depends on
// session_replication_role, and that is another one in the next transaction. On the table that
// the statement names all kinds fire, on its partitions row triggers alone.
type Triggers struct {
	// BeforeInsertRow may skip a row, change its key or store it elsewhere.
	BeforeInsertRow bool
	// InsertStatement fires once for each INSERT that is sent, before or after.
	InsertStatement bool
	// InsteadOf takes the place of an INSERT into a view.
	InsteadOf bool
	// AfterRow fires for rows that were stored or updated, and for no others.
	AfterRow bool
	// References is true where foreign keys lead from the table and to it, perhaps its own.
	References bool
}

// The bits of pg_trigger.tgtype.
const (
	forEachRow = 1 << iota
	before
	onInsert
	onDelete
	onUpdate
	onTruncate
	insteadOf
)

// has reports whether all bits of want are set, and none of without.
func (g trigger) has(want, without int) bool {
	return g.Type&want == want && g.Type&without == 0
}

// triggersOf judges triggers, those for each statement only where the statement names
// their table. Internal triggers belong to foreign keys and deferrable constraints. Older
// servers also mark the clones on partitions as internal, without a constraint.
func triggersOf(triggers []trigger, named bool) Triggers {
	var can Triggers
	from, to := false, false
	for _, g := range triggers {
		if g.Internal && g.Constraint {
			from, to = from || g.has(onInsert, 0), to || g.has(onDelete, 0)
			continue
		}
		if g.Enabled != "D" {
			can = can.or(g.can(named))
		}
	}
	can.References = from && to
	return can
}

func (g trigger) can(named bool) Triggers {
	return Triggers{
		BeforeInsertRow: g.has(forEachRow|before|onInsert, 0),
		InsertStatement: named && g.has(onInsert, forEachRow|insteadOf),
		InsteadOf:       g.has(insteadOf|onInsert, 0),
		AfterRow:        g.has(forEachRow, before|insteadOf) && g.Type&(onInsert|onUpdate) != 0,
	}
}

func (t Triggers) or(u Triggers) Triggers {
	return Triggers{
		BeforeInsertRow: t.BeforeInsertRow || u.BeforeInsertRow,
		InsertStatement: t.InsertStatement || u.InsertStatement,
		InsteadOf:       t.InsteadOf || u.InsteadOf,
		AfterRow:        t.AfterRow || u.AfterRow,
		References:      t.References || u.References,
	}
}

// writes reports whether one of the rules is on INSERT or UPDATE.
func writes(rules []rule) bool {
	for _, r := range rules {
		if r.Event == "2" || r.Event == "3" {
			return true
		}
	}
	return false
}

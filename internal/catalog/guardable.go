package catalog

// notGuardable says why the conflict guard must not be used, empty when it may be.
func (r *reading) notGuardable(t *Table) string {
	if why := r.standsInTheWay(t); why != "" {
		return why
	}
	if why := t.keyCannotDecide(r.table.primary()); why != "" {
		return why
	}
	switch {
	case !r.drawable(t):
		// The insert itself fails with 42501, which must not look like a guard
		// that the server rejects.
		return "no right to draw from the sequence"
	case !t.Fed():
		return "no sequence feeds the key"
	case t.Unsupported != "":
		return t.Unsupported
	case t.Triggers.BeforeInsertRow || t.Triggers.InsertStatement:
		return "a trigger on INSERT"
	case t.Sequence.Cycle:
		return "the sequence cycles"
	case !t.Selectable:
		return "no SELECT on the key"
	case t.RowSecurity:
		return "row-level security"
	}
	return ""
}

// standsInTheWay looks at what stands on the table.
func (r *reading) standsInTheWay(t *Table) string {
	switch {
	case r.table.kind != "r":
		return "not an ordinary table"
	case r.named != nil && r.named.kind == "v":
		return "a view in front of it"
	case t.Partitioned:
		return "a partition"
	case writes(r.table.rules):
		return "a rule"
	case t.DefaultCalls:
		return "a default that calls a user-defined function"
	case t.DomainDefault:
		return "a domain with a default"
	case !t.CanInsert:
		return "no right to insert"
	case t.UserCatalog:
		return "a user catalog table"
	}
	return ""
}

// keyCannotDecide looks at the primary key's index.
func (t *Table) keyCannotDecide(primary *index) string {
	switch {
	case primary == nil || !primary.Immediate || !primary.Valid || primary.Exclusion || !primary.Btree:
		return "a key that cannot decide a conflict"
	case primary.Name != t.Constraint:
		return "a key that is not the primary key"
	case t.DeferrableTwin:
		return "a deferrable constraint over the key's columns"
	}
	return ""
}

// drawable reports whether the role may draw from the sequence. An identity column
// needs no right.
func (r *reading) drawable(t *Table) bool {
	if !t.Fed() || t.Sequence.CanUse {
		return true
	}
	a, _ := r.table.column(t.FedColumn())
	return a.Identity
}

// unsupportedType says why a column of this type has no sequence that may be moved,
// empty when it may have one.
func unsupportedType(column Column, typmod int64) string {
	if integral(column.Type, typmod) {
		return ""
	}
	return "column " + Quote(column.Name) + " has type " + column.Type + ", not an integer"
}

// unsupportedDefault says why the sequence in this default must never be moved, empty
// when it may be.
func unsupportedDefault(column Column, text string) string {
	if text == "" || nextvalOnly.MatchString(text) {
		return ""
	}
	return "the default of column " + Quote(column.Name) + " is " + text + ", more than nextval of its sequence"
}

// integral reports whether every value of the type is a whole number. The scale
// of numeric stands in the low eleven bits of its modifier (measured on 12 to
// 18); without a modifier fractions are allowed.
func integral(typname string, typmod int64) bool {
	switch typname {
	case "int2", "int4", "int8":
		return true
	case "numeric":
		return typmod >= 4 && (typmod-4)&0x7ff == 0
	}
	return false
}

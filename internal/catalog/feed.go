package catalog

import (
	"regexp"
	"strings"
)

// feed is what fills a column that a statement leaves out, as far as a sequence is
// in it.
type feed struct {
	sequence int64  // 0 without one
	def      int64  // the default's oid in pg_attrdef, 0 without one
	text     string // of that default
}

// feed finds the sequence that feeds a column: the one in the default of a view in front of
// the table, the identity's own, or the one in the default.
// A column without either may be fed by a row trigger BEFORE INSERT, which then draws from
// the sequence that the column owns. Beside a default the owned sequence feeds nothing.
func (r *relation) feed(a attribute) feed {
	if of, ok := r.shadowed[a.Number]; ok {
		return feedBy(of.parts)
	}
	if a.Identity {
		return feed{sequence: r.ownedBy(a.Number, "i")}
	}
	found := feedBy(r.defaultOf(a.Number))
	if found.def == 0 && triggersOf(r.triggers, true).BeforeInsertRow {
		found.sequence = r.ownedBy(a.Number, "a")
	}
	return found
}

// feedBy is what a default draws from.
func feedBy(parts []dependency) (found feed) {
	for _, d := range parts {
		found.def = d.Default
		if d.Kind == "S" && found.sequence == 0 {
			found.sequence, found.text = d.Object, d.Text
		}
	}
	return found
}

// defaultOf is the default of a column, with all that it refers to.
func (r *relation) defaultOf(number int64) (parts []dependency) {
	for _, d := range r.defaults {
		if d.Column == number {
			parts = append(parts, d)
		}
	}
	return parts
}

// draws is how many columns draw from a sequence. A default of currval refers to one and draws
// nothing.
func (r *relation) draws(sequence int64) (count int64) {
	for _, a := range r.columns {
		if fed := r.feed(a); fed.sequence == sequence && (fed.text == "" || strings.Contains(fed.text, "nextval")) {
			count++
		}
	}
	return count
}

// unlinked reports whether a default or an identity column depends on nothing: a default
// depends on its own column at least. A partition's identity may be its root's.
func (r *relation) unlinked() bool {
	for _, d := range r.defaults {
		if d.Object == 0 {
			return true
		}
	}
	for _, a := range r.columns {
		if a.Identity && !r.partition && r.ownedBy(a.Number, "i") == 0 {
			return true
		}
	}
	return false
}

// ownedBy is the sequence that belongs to a column, 0 without one.
func (r *relation) ownedBy(column int64, dependency string) int64 {
	for _, o := range r.owned {
		if o.Column == column && o.Type == dependency {
			return o.Sequence
		}
	}
	return 0
}

// number finds a column by its number.
func (r *relation) number(number int64) attribute {
	for _, a := range r.columns {
		if a.Number == number {
			return a
		}
	}
	return attribute{}
}

// isDeferred reports whether the index belongs to a constraint that is INITIALLY DEFERRED.
func (r *relation) isDeferred(x *index) bool {
	for _, d := range r.deferred {
		if d.Index == x.OID && d.Deferred {
			return true
		}
	}
	return false
}

// hasIndexOn reports whether a valid btree over the whole table begins with the column.
func (r *relation) hasIndexOn(column int64) bool {
	for _, x := range r.indexes {
		if x.Btree && x.Valid && !x.Partial && len(x.Columns) > 0 && x.Columns[0] == column {
			return true
		}
	}
	return false
}

// nextvalOnly matches a default, as pg_get_expr writes it, that is nextval of
// one sequence and nothing else. An integer cast around it changes no value.
// nextval('s')*1000+7 or 'ORD-'||nextval('s') depend on their sequence in the
// same way in pg_depend, and moving it to max(id) would ruin them (measured). With
// quote_all_identifiers names have quotes.
var nextvalOnly = regexp.MustCompile(
	`^\(*(?:"?pg_catalog"?\.)?"?nextval"?\('(?:[^']|'')+'::"?regclass"?\)\)*(?:::"?(?:integer|bigint|smallint|numeric(?:\(\d+,0\))?)"?)?\)*$`)

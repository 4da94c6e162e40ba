package heal

import (
	"slices"

	"github.com/seqheal/seqheal/internal/catalog"
)

// The statement's own names for what a table's key is called: a view may show a column
// under another name, or not at all.

// owns reports whether the statement's rows go into the table, directly or through a
// view, and not where a trigger or a rule sends them.
func owns(t *catalog.Table) bool {
	return t.Own || t.View != nil && !t.View.InsteadOf && !t.View.Rule
}

// shown is the statement's name for a column of the table, "" for one that a view does
// not show.
func shown(t *catalog.Table, column string) string {
	if t.View == nil {
		return column
	}
	name, _ := t.View.Shown(column)
	return name
}

// fedColumn is the statement's name for the column that the sequence feeds, "" for a table
// whose key none does.
func fedColumn(t *catalog.Table) string {
	if !t.Fed() {
		return ""
	}
	return shown(t, t.FedColumn())
}

// omitted is how many rows leave their key to the table's sequence.
func (in *insert) omitted(t *catalog.Table) int { return in.stmt.Insert.Omitted(fedColumn(t)) }

// draws is how many values the statement draws of the key's sequence, at most.
func (in *insert) draws(t *catalog.Table) int64 { return int64(in.omitted(t)) * max(1, t.Draws) }

// names reports whether a row names the value that the sequence gives to others.
func (in *insert) names(t *catalog.Table) bool { return in.stmt.Insert.Names(fedColumn(t)) }

// explicit are the ids that rows name; false when some are no integers here.
func (in *insert) explicit(t *catalog.Table) ([]int64, bool) {
	return in.stmt.Insert.Explicit(fedColumn(t))
}

// drawsFrom reports whether a row of the statement leaves its key to the table's
// sequence.
func (in *insert) drawsFrom(t *catalog.Table) bool { return t.Fed() && in.omitted(t) > 0 }

// drawnKeys is the table by each key that a row of the statement leaves to a sequence whose
// values can be told.
func (in *insert) drawnKeys(t *catalog.Table) (keys []*catalog.Table) {
	for _, key := range t.ByKeys() {
		if in.drawsFrom(key) && predictable(key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// mayDraw reports whether a row leaves an integer key out: one that a sequence feeds,
// or may feed by now.
func (in *insert) mayDraw(t *catalog.Table) bool {
	if slices.ContainsFunc(t.ByKeys(), in.drawsFrom) {
		return true
	}
	for _, column := range t.Key {
		switch column.Type {
		case "int2", "int4", "int8", "numeric":
			if in.stmt.Insert.Omitted(shown(t, column.Name)) > 0 {
				return true
			}
		}
	}
	return in.stmt.OmitsIntegerModelKey()
}

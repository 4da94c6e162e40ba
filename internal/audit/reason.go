package audit

import (
	"fmt"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/sequence"
)

// unreadable is why nothing can be said of the column, nil when it can be read.
func unreadable(f *catalog.Fed, role string) error {
	column := catalog.Quote(f.FedColumn())
	switch {
	case f.Unsupported != "":
		return unsupported(f)
	case f.RowSecurity:
		return sequence.Refuse(sequence.RowSecurity, "table %s: row-level security hides rows from role %s; audit as a role that has BYPASSRLS",
			f.QuotedName(), catalog.Quote(role))
	case !f.Reachable:
		return sequence.Refuse(sequence.Permission, "table %s: role %[3]s may not use its schema; GRANT USAGE ON SCHEMA %[2]s TO %[3]s",
			f.QuotedName(), catalog.Quote(f.Schema), catalog.Quote(role))
	case !f.Selectable:
		return sequence.Refuse(sequence.Permission, "table %[1]s: role %[3]s may not read column %[2]s; GRANT SELECT (%[2]s) ON %[1]s TO %[3]s",
			f.QuotedName(), column, catalog.Quote(role))
	case !f.Sequence.CanAsk:
		return sequence.Refuse(sequence.Permission, "table %s: role %[3]s may not read sequence %[2]s; GRANT SELECT ON SEQUENCE %[2]s TO %[3]s",
			f.QuotedName(), f.Sequence.QuotedName(), catalog.Quote(role))
	}
	return nil
}

func unsupported(f *catalog.Fed) error {
	return sequence.Refuse(sequence.Unsupported, "table %s: %s, so its values cannot be compared with the sequence's", f.QuotedName(), f.Unsupported)
}

func textual(t catalog.Textual) error {
	table, column := catalog.Quote(t.Schema, t.Table), catalog.Quote(t.Column)
	return sequence.Refuse(sequence.Unsupported, "table %[1]s: the default of column %[2]s names its sequence by a text, so the server does not tell which one it is; "+
		"ALTER TABLE %[1]s ALTER COLUMN %[2]s SET DEFAULT nextval('...'::regclass)", table, column)
}

func noIndex(f *catalog.Fed, consequence string) error {
	column := catalog.Quote(f.FedColumn())
	return sequence.Refuse(sequence.NoIndex, "table %s: no index begins with column %s, %s; CREATE INDEX ON %[1]s (%[2]s)",
		f.QuotedName(), column, consequence)
}

func notFound(name catalog.Name) error {
	return sequence.Refuse(sequence.NotFound, "table %s: not found; names are taken as GORM writes them, letter case included", written(name))
}

func elsewhere(r catalog.Relation) error {
	return sequence.Refuse(sequence.NotFound, "table %s is in schema %s, which is none of those that were asked for", written(r.Name), catalog.Quote(r.Schema))
}

func isView(name catalog.Name) error {
	return sequence.Refuse(sequence.Unsupported, "table %s is a view; name the table below it", written(name))
}

func written(name catalog.Name) string {
	if name.Schema == "" {
		return catalog.Quote(name.Table)
	}
	return catalog.Quote(name.Schema, name.Table)
}

// trouble is a server's error about one table, with its reason.
func (r *Report) trouble(c *Column, err error) error {
	known := sequence.Explain(err)
	return &sequence.Refusal{Reason: known.Reason, Refused: known.Refused, Err: fmt.Errorf("table %s: %w%s", c.QuotedName(), err, advice(known.Reason))}
}

// advice is the next step after a server's error.
func advice(reason sequence.Reason) string {
	switch reason {
	case sequence.Timeout:
		return "; a lock was held or the time for one table was up: try again later, or with a longer plugin.WithTableTimeout"
	case sequence.NotFound:
		return "; it was dropped or renamed during the audit"
	}
	return ""
}

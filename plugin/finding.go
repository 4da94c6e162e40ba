package plugin

import (
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/seqheal/seqheal/internal/audit"
	"github.com/seqheal/seqheal/internal/catalog"
)

// State is what an audit says of one column.
type State string

const (
	// StateInSync: no row lies in front of the sequence.
	StateInSync State = State(audit.InSync)
	// StateBehind: a row lies in front of the sequence, so that an insert will meet it.
	StateBehind State = State(audit.Behind)
	// StateNearlyExhausted: in sync, and nine tenths of the range are used up.
	StateNearlyExhausted State = State(audit.NearlyExhausted)
	// StateExhausted: the sequence has no value left that the column can hold.
	StateExhausted State = State(audit.Exhausted)
	// StateUnreadable: nothing can be said; Reason and Err tell why.
	StateUnreadable State = State(audit.Unreadable)
)

// Finding is one column that a sequence feeds, as Audit found it.
type Finding struct {
	// Schema, Table and Column are names as the server keeps them, unquoted. A
	// partitioned table stands for its partitions.
	Schema, Table, Column string
	// Type is the column's type as PostgreSQL writes it, "integer" say.
	Type string
	// Sequence is quoted as SQL, with its schema.
	Sequence         string
	Increment, Cache int64
	Cycle            bool
	// Last is the last value that the sequence gave; before its first, the one
	// before that. Sessions may hold up to Cache values of their own.
	Last int64
	// Furthest is the furthest value in the table within the sequence's range, in
	// the sequence's own direction. FurthestKnown is false for a table without one.
	Furthest      int64
	FurthestKnown bool
	// Estimated is true where Furthest comes from the planner's statistics: the
	// table is large, and only a sequential scan of it could tell.
	Estimated bool
	// Left is a value near the end of the range that Furthest leaves out, because
	// moving past it would use up the sequence; 0 without one.
	Left int64
	// Behind is how many values the sequence has to give until it is past Furthest.
	Behind int64
	// Used is the share of its range that the sequence has used up, 0 to 1; the
	// range ends where the sequence's bounds or the column's type do.
	Used  float64
	State State
	// Reason and Err say why the column is unreadable, or why Resync did not move
	// its sequence. Err names the table and the next step.
	Reason Reason
	Err    error
	// Moved is true when Resync moved the sequence: From and To are its last value
	// before and after.
	Moved    bool
	From, To int64
}

// QuotedTable is the table's schema-qualified name, ready for SQL text and for
// Resync.
func (f Finding) QuotedTable() string { return catalog.Quote(f.Schema, f.Table) }

// String is a line for a log: what, where, how far.
func (f Finding) String() string {
	if f.Column == "" {
		return fmt.Sprintf("%s: %v", f.State, f.Err)
	}
	text := fmt.Sprintf("%s: table %s, column %s, sequence %s", f.State, f.QuotedTable(), catalog.Quote(f.Column), f.Sequence)
	switch {
	case f.State == StateUnreadable:
	case f.Moved:
		text += fmt.Sprintf(", moved %d → %d", f.From, f.To)
	case f.Behind > 0:
		text += fmt.Sprintf(", last value %d, furthest id %d, %d behind", f.Last, f.Furthest, f.Behind)
	default:
		text += fmt.Sprintf(", last value %d, %.1f %% of its range used up", f.Last, 100*f.Used)
	}
	if f.Err != nil {
		text += fmt.Sprintf("; %v", f.Err)
	}
	return text
}

// longSteps is the distance from which on SQL sets the sequence instead of drawing
// the values between.
const longSteps = 500_000

// Statements that SQL writes. Each draws what one session caches and compares the last
// of it; where that is short of the furthest value it goes the whole steps that are
// left. A second run, or one for another column of the same sequence, only draws.
//
//	%[1]s sequence, as a literal   %[2]d its cache   %[3]s min or max   %[4]d furthest value
//	%[5]s the comparison "short of"   %[6]d increment
const (
	sqlNear  = sqlCase + `(SELECT pg_catalog.%[3]s(pg_catalog.nextval(%[1]s::pg_catalog.regclass)) FROM pg_catalog.generate_series(1, ` + sqlSteps + `::pg_catalog.int8))` + sqlDraw
	sqlFar   = sqlCase + `pg_catalog.setval(%[1]s::pg_catalog.regclass, (d.v + ` + sqlSteps + ` * '%[6]d'::pg_catalog.int8)::pg_catalog.int8)` + sqlDraw
	sqlCase  = `SELECT CASE WHEN d.v %[5]s '%[4]d'::pg_catalog.int8 THEN `
	sqlSteps = `pg_catalog.ceil(('%[4]d'::pg_catalog.numeric - d.v) / '%[6]d'::pg_catalog.int8)`
	sqlDraw  = ` ELSE d.v END
FROM (SELECT pg_catalog.%[3]s(pg_catalog.nextval(%[1]s::pg_catalog.regclass)) AS v FROM pg_catalog.generate_series(1, %[2]d) OFFSET 0) d;`
)

// SQL is a statement, ready to paste into psql, that does for this sequence what
// Resync would: it draws the values up to the furthest one, or draws, compares and sets
// at once, so that it never moves the sequence backwards and may be run again. It is
// empty when there is nothing to move.
func (f Finding) SQL() string {
	if f.State != StateBehind || f.Estimated {
		return ""
	}
	aggregate, short, text := "max", "<", sqlNear
	if f.Increment < 0 {
		aggregate, short = "min", ">"
	}
	if f.Behind > longSteps {
		text = sqlFar
	}
	return fmt.Sprintf(text, catalog.Literal(f.Sequence), max(1, f.Cache), aggregate, f.Furthest, short, f.Increment)
}

// record is the one list of a finding's field names.
func (f Finding) record() []slog.Attr {
	attrs := []slog.Attr{
		slog.String("schema", f.Schema),
		slog.String("table", f.Table),
		slog.String("column", f.Column),
		slog.String("type", f.Type),
		slog.String("sequence", f.Sequence),
		slog.Int64("increment", f.Increment),
		slog.Int64("cache", f.Cache),
		slog.Bool("cycle", f.Cycle),
		slog.Int64("last", f.Last),
		slog.Int64("behind", f.Behind),
		slog.Float64("used", f.Used),
		slog.Bool("estimated", f.Estimated),
		slog.String("state", string(f.State)),
		slog.Bool("moved", f.Moved),
	}
	if f.FurthestKnown {
		attrs = append(attrs, slog.Int64("furthest", f.Furthest))
	}
	if f.Left != 0 {
		attrs = append(attrs, slog.Int64("left", f.Left))
	}
	if f.Moved {
		attrs = append(attrs, slog.Int64("from", f.From), slog.Int64("to", f.To))
	}
	if f.Reason != "" {
		attrs = append(attrs, slog.String("reason", string(f.Reason)))
	}
	if f.Err != nil {
		attrs = append(attrs, slog.String("error", f.Err.Error()))
	}
	return attrs
}

// LogValue groups the finding's fields under their snake_case names.
func (f Finding) LogValue() slog.Value { return slog.GroupValue(f.record()...) }

// MarshalJSON writes the same fields under the same names.
func (f Finding) MarshalJSON() ([]byte, error) {
	fields := map[string]any{}
	for _, attr := range f.record() {
		fields[attr.Key] = attr.Value.Any()
	}
	return json.Marshal(fields)
}

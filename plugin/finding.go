package plugin

import (
	"fmt"
	"math"
	"time"

	"github.com/seqheal/seqheal/internal/catalog"
)

// State is how a sequence compares with the rows of the column that it feeds. The codes
// are stable.
type State string

const (
	// StateInSync: no row lies in front of the sequence. A sequence that cycles is in
	// sync, too; [Finding].CycleAhead tells how far the next row in front of it is.
	StateInSync State = "in_sync"
	// StateBehind: a row lies in front of the sequence, so an insert will collide with it.
	StateBehind State = "behind"
	// StateNearlyExhausted: in sync, and nine tenths of the range are used up, or the
	// share that [WithNearlyExhausted] sets: of the column's range, or of that of a narrower
	// foreign key that points to it.
	StateNearlyExhausted State = "nearly_exhausted"
	// StateExhausted: the sequence has no value left that the column can hold.
	StateExhausted State = "exhausted"
	// StateUnreadable: the column or its sequence could not be read; Reason and Err say why.
	StateUnreadable State = "unreadable"
	// StateUnused: nothing in the catalog draws from the sequence. Only Schema, Sequence,
	// Increment and what owns it, Table and Column, are filled in. See [WithUnusedSequences].
	StateUnused State = "unused"
)

// Finding is one column that a sequence feeds, as [Audit] found it. It implements
// [slog.LogValuer], [json.Marshaler] and [json.Unmarshaler].
type Finding struct {
	// Schema, Table and Column are names as the server keeps them, unquoted. A
	// partitioned table stands for its partitions.
	Schema, Table, Column string
	// Type is the column's type as PostgreSQL writes it, for example "integer".
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
	// range ends at Limit.
	Used float64
	// Limit is the last value that the sequence can give and the column can hold,
	// whichever comes first; LimitedByColumn is true where the column's type does.
	// Remaining is how many values the sequence has left until then.
	Limit           int64
	LimitedByColumn bool
	Remaining       int64
	// Narrow are the foreign keys that point to the column and end before it does.
	Narrow []NarrowKey
	// CycleAhead is, for a sequence that cycles, how many values it gives until it gives
	// that of a row in front of it; 0 when there is none.
	CycleAhead int64
	// Subscribed is true when a subscription writes into the table too. Unless the
	// sequences on both sides give different values, a row of this side's takes an id that
	// the publisher sends next, and the subscription stops.
	Subscribed bool
	// PerDay is how many values a day the sequence gives, and Ends the day on which
	// Remaining is used up at that rate, zero when that is more than a century away.
	// Forecast says where the rate comes from, empty when it is not known. See
	// [WithForecast].
	PerDay   float64
	Ends     time.Time
	Forecast Forecast
	// Time is when the audit began, on this machine's clock.
	Time  time.Time
	State State
	// Reason and Err say why the column is unreadable, or why Resync did not move
	// its sequence. Err names the table and the next step.
	Reason Reason
	Err    error
	// Moved is true when Resync moved the sequence: From and To are its last value
	// before and after.
	Moved    bool
	From, To int64
	// Cause is what made the sequence drift, as far as that is proved, and Front are the
	// rows in front of it, both before Resync moved it. Filled in by [WithCauses] where the
	// sequence is behind.
	Cause Cause
	Front Front

	causes causes
}

// Causes are all causes that are proved, the strongest first; none without [WithCauses].
func (f Finding) Causes() []Cause { return causesWith(f.Cause, f.causes) }

// NarrowKey is a foreign key whose type ends before the column that it points to: once
// the sequence is past Limit, no row can refer to the new ones.
type NarrowKey struct {
	Constraint string `json:"constraint"`
	Schema     string `json:"schema"`
	Table      string `json:"table"`
	Column     string `json:"column"`
	// Type is the column's type as PostgreSQL writes it.
	Type  string `json:"type"`
	Limit int64  `json:"limit"`
	// Used is the share of the key's range that the sequence has gone through, 0 to 1;
	// Remaining is how many values it gives until the key can hold none.
	Used      float64 `json:"used"`
	Remaining int64   `json:"remaining"`
}

// QuotedTable is the table's schema-qualified name, ready for SQL text and for
// Resync.
func (f Finding) QuotedTable() string { return catalog.Quote(f.Schema, f.Table) }

// String is a line for a log: what, where, how far.
func (f Finding) String() string {
	if f.State == StateUnused {
		return fmt.Sprintf("%s: sequence %s", f.State, f.Sequence)
	}
	if f.Column == "" {
		return fmt.Sprintf("%s: %v", f.State, f.Err)
	}
	text := fmt.Sprintf("%s: table %s, column %s", f.State, f.QuotedTable(), catalog.Quote(f.Column))
	if f.Sequence != "" {
		text += ", sequence " + f.Sequence
	}
	switch {
	case f.State == StateUnreadable:
	case f.Moved:
		text += fmt.Sprintf(", moved %d → %d", f.From, f.To)
	case f.Behind > 0:
		text += fmt.Sprintf(", last value %d, furthest id %d, %d behind", f.Last, f.Furthest, f.Behind)
	default:
		text += fmt.Sprintf(", last value %d, %.2f %% of its range used up, %d values left", f.Last, percent(f.Used), f.Remaining)
	}
	if f.CycleAhead > 0 {
		text += fmt.Sprintf("; it cycles, and a row lies %d values ahead", f.CycleAhead)
	}
	if f.Cause.Kind != "" {
		text += fmt.Sprintf("; cause %s", f.Cause)
	}
	for _, key := range f.Narrow {
		text += fmt.Sprintf("; foreign key %s.%s ends at %d", catalog.Quote(key.Schema, key.Table), catalog.Quote(key.Column), key.Limit)
	}
	if f.sharesIDs() {
		text += "; " + f.subscriptionAdvice()
	}
	if f.Err != nil {
		text += fmt.Sprintf("; %v", f.Err)
	}
	return text
}

// sharesIDs reports whether a subscription writes into the table while its sequence gives
// every value, so that rows of this side's take the publisher's ids.
func (f Finding) sharesIDs() bool {
	return f.Subscribed && (f.Increment == 1 || f.Increment == -1)
}

// subscriptionAdvice says how to keep the ids of both sides apart.
func (f Finding) subscriptionAdvice() string {
	return fmt.Sprintf("a subscription writes into it: an insert on this side takes an id that the publisher sends next, and the subscription stops; "+
		"if both sides insert, let one give odd and the other even ids: ALTER SEQUENCE %s INCREMENT BY 2", f.Sequence)
}

// percent is a share in percent, cut off so that nothing short of the end shows as 100.
func percent(share float64) float64 { return math.Floor(share*10_000) / 100 }

package sequence

import (
	"context"
	"errors"
	"fmt"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgerr"
)

// Reason is why a sequence was not moved. The codes are stable: monitoring is written
// against them.
type Reason string

const (
	Permission  Reason = "permission"   // a right is missing; the message names the GRANT
	RowSecurity Reason = "row_security" // policies hide the rows that collide
	NoSight     Reason = "no_sight"     // no connection from which the rows may be looked at
	NoIndex     Reason = "no_index"     // only a sequential scan would find the furthest value
	Unsupported Reason = "unsupported"  // the column's default is more than nextval
	Exhausted   Reason = "exhausted"    // no value is left in the sequence or the column's type
	Cycle       Reason = "cycle"        // the sequence starts again at its end
	ReadOnly    Reason = "read_only"    // read-only transaction or standby
	Timeout     Reason = "timeout"      // the time budget is spent
	Connection  Reason = "connection"   // the connection failed or none was free
	Canceled    Reason = "canceled"     // the caller's context ended
	Database    Reason = "database"     // the server refused a statement of the plugin's
	NotFound    Reason = "not_found"    // there is no such table
)

// Refusal is an error with its reason. Refused is true when the plugin decided
// not to move the sequence, false when it tried and failed.
type Refusal struct {
	Reason  Reason
	Refused bool
	Err     error
}

func (r *Refusal) Error() string { return r.Err.Error() }
func (r *Refusal) Unwrap() error { return r.Err }

// Has reports whether the refusal has this reason. It is false for nil.
func (r *Refusal) Has(reason Reason) bool { return r != nil && r.Reason == reason }

// Refuse is a refusal by decision.
func Refuse(reason Reason, format string, args ...any) error {
	return &Refusal{Reason: reason, Refused: true, Err: fmt.Errorf(format, args...)}
}

// Explain finds the reason in err, or names one by the kind of error. It is nil
// for nil.
func Explain(err error) *Refusal {
	if err == nil {
		return nil
	}
	var known *Refusal
	if errors.As(err, &known) {
		return known
	}
	server, _ := pgerr.From(err)
	switch {
	case errors.Is(err, conn.ErrTimeSpent):
		return &Refusal{Reason: Timeout, Err: err}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &Refusal{Reason: Canceled, Err: err}
	case pgerr.Lost(err):
		return &Refusal{Reason: Connection, Err: err}
	}
	switch server.Code {
	case pgerr.QueryCanceled, pgerr.LockNotAvailable:
		return &Refusal{Reason: Timeout, Err: err}
	case pgerr.InsufficientPrivilege:
		return &Refusal{Reason: Permission, Refused: true, Err: err}
	case pgerr.ReadOnlyTransaction:
		return &Refusal{Reason: ReadOnly, Refused: true, Err: err}
	case pgerr.UndefinedTable:
		return &Refusal{Reason: NotFound, Err: err}
	case pgerr.SequenceLimitReached:
		return &Refusal{Reason: Exhausted, Refused: true, Err: err}
	}
	return &Refusal{Reason: Database, Err: err}
}

// Permitted returns why this sequence must not be moved on a connection whatever
// the rows say, or nil.
func Permitted(t *catalog.Table, s conn.Session) error {
	seq := t.Sequence
	switch {
	case t.Unsupported != "":
		return Refuse(Unsupported, "table %s: %s; seqheal moves only sequences that a plain nextval or an identity column draws from: "+
			"correct the sequence by hand", t.QuotedName(), t.Unsupported)
	case t.KeysBelow && !t.Elsewhere:
		return Refuse(Unsupported, "table %s has no primary key, only its partitions have, so that a collision in one of them is not healed: "+
			"move sequence %s with plugin.Resync", t.QuotedName(), seq.QuotedName())
	case seq.Cycle:
		return Refuse(Cycle, "table %s: sequence %s is declared CYCLE and starts again over its own rows; "+
			"ALTER SEQUENCE %[2]s NO CYCLE if that is not meant", t.QuotedName(), seq.QuotedName())
	case s.ReadOnly:
		return Refuse(ReadOnly, "table %s: sequence %s cannot be moved on a read-only connection; "+
			"send inserts to the primary", t.QuotedName(), seq.QuotedName())
	}
	return nil
}

// NoIndexOf refuses because no index tells the furthest value.
func NoIndexOf(t *catalog.Table) error {
	table, column := t.QuotedName(), catalog.Quote(t.FedColumn())
	if t.Elsewhere {
		return Refuse(NoIndex, "table %s: a partition on this server has no primary key that begins with column %[2]s, so only a sequential scan "+
			"would find its furthest value; ALTER TABLE ... ADD PRIMARY KEY (%[2]s) to each such partition", table, column)
	}
	return Refuse(NoIndex, "table %s: no index begins with column %s, so only a sequential scan would find its furthest value; CREATE INDEX ON %[1]s (%[2]s)",
		table, column)
}

func exhausted(t *catalog.Table, limit int64) error {
	return Refuse(Exhausted, "table %s: sequence %s has no value left before %d for column %s (type %s); "+
		"widen the column with ALTER TABLE %[1]s ALTER COLUMN %[4]s TYPE bigint and the sequence with ALTER SEQUENCE %[2]s AS bigint, "+
		"or remove the row at the end of the range", t.QuotedName(), t.Sequence.QuotedName(), limit,
		catalog.Quote(t.FedColumn()), t.Key[t.Column].Type)
}

// NoValueLeft refuses because the sequence is at its end.
func NoValueLeft(t *catalog.Table) error { return exhausted(t, t.Limit()) }

// NoUsage refuses because the role may not draw from the sequence.
func NoUsage(t *catalog.Table, role string) error {
	return Refuse(Permission, "table %s: role %[3]s may not draw from sequence %[2]s; "+
		"GRANT USAGE ON SEQUENCE %[2]s TO %[3]s, or give plugin.WithResyncDB a connection that may",
		t.QuotedName(), t.Sequence.QuotedName(), catalog.Quote(role))
}

func noUpdate(t *catalog.Table, role string, steps int64) error {
	return Refuse(Permission, "table %s: sequence %[2]s is %[4]d steps behind, too far to walk, and role %[3]s may not set it; "+
		"GRANT UPDATE ON SEQUENCE %[2]s TO %[3]s, or give plugin.WithResyncDB a connection that may",
		t.QuotedName(), t.Sequence.QuotedName(), catalog.Quote(role), steps)
}

// NoSelect refuses because the role may not read the column.
func NoSelect(t *catalog.Table, role string) error {
	column := catalog.Quote(t.FedColumn())
	return Refuse(Permission, "table %[1]s: role %[3]s may not read column %[2]s, so the furthest id is unknown; "+
		"GRANT SELECT (%[2]s) ON %[1]s TO %[3]s, or give plugin.WithResyncDB a connection that may",
		t.QuotedName(), column, catalog.Quote(role))
}

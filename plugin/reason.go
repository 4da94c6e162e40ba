package plugin

import (
	"cmp"

	"github.com/seqheal/seqheal/internal/pgerr"
)

// Reason is why an incident was [Refused] or [Failed], or why a [Finding] could not be read
// or moved. The codes are stable.
type Reason string

const (
	ReasonPermission    Reason = "permission"     // a right is missing; Err names the GRANT
	ReasonRowSecurity   Reason = "row_security"   // policies hide the rows that collide
	ReasonNoSight       Reason = "no_sight"       // no connection from which the rows may be looked at
	ReasonNoIndex       Reason = "no_index"       // only a sequential scan would find the furthest id
	ReasonUnsupported   Reason = "unsupported"    // the column's default is more than nextval
	ReasonExhausted     Reason = "exhausted"      // no value is left
	ReasonCycle         Reason = "cycle"          // the sequence is declared CYCLE
	ReasonReadOnly      Reason = "read_only"      // read-only transaction or standby
	ReasonTimeout       Reason = "timeout"        // the time budget is spent
	ReasonConnection    Reason = "connection"     // the connection failed or none was free
	ReasonCanceled      Reason = "canceled"       // the caller's context ended
	ReasonDatabase      Reason = "database"       // the server refused a statement of the plugin's
	ReasonRounds        Reason = "rounds"         // rows kept appearing in front of the sequence
	ReasonGuardRejected Reason = "guard_rejected" // the server rejected the conflict guard
	ReasonNotFound      Reason = "not_found"      // no table has that name, or it was dropped
)

// The next step for each outcome and reason. An error of the plugin's own names it
// with the very GRANT, option or statement.
const (
	adviceHealed = "something inserts explicit ids into this table without moving its sequence: " +
		"find it (an import, a restore, a seed script, replication) and let it end with plugin.Resync"
	adviceAlreadyHealed = "the sequence was past the rows when it was looked at: another insert moved it, here or in another process " +
		"whose log tells how far, or this collision used up the last taken value; the cause is that of a heal, explicit ids"
)

var adviceByReason = map[Reason]string{
	ReasonPermission:    "grant the right, or give plugin.WithResyncDB a connection that has it",
	ReasonRowSecurity:   "give plugin.WithResyncDB a connection whose role has BYPASSRLS",
	ReasonNoSight:       "raise SetMaxOpenConns, so that there is a second connection to look from",
	ReasonNoIndex:       "create an index that begins with the column",
	ReasonUnsupported:   "move the sequence by hand: what the table does with its values is not known",
	ReasonExhausted:     "widen the column and the sequence to bigint, or remove the row at the end of the range",
	ReasonCycle:         "ALTER SEQUENCE ... NO CYCLE, if it is not meant to start again over its own rows",
	ReasonReadOnly:      "send inserts to the primary",
	ReasonTimeout:       "find what locks or slows the table, or raise plugin.WithResyncTimeout; the next insert tries again",
	ReasonConnection:    "see to the connection; the next insert tries again",
	ReasonCanceled:      "the insert's context ended first; the next insert tries again",
	ReasonDatabase:      "see what the server says; the next insert tries again",
	ReasonRounds:        "let the import of explicit ids end first, or raise plugin.WithMaxRounds",
	ReasonNotFound:      "see whether the table was renamed or dropped",
	ReasonGuardRejected: "roll back and try again: the table is fenced by savepoints from now on",
}

// Advice is what to do about it, in one sentence.
func (i Incident) Advice() string {
	switch i.Outcome {
	case Healed:
		return cmp.Or(adviceByCause[i.Cause.Kind], adviceHealed)
	case AlreadyHealed:
		return adviceAlreadyHealed
	}
	return adviceByReason[i.Reason]
}

// errNamesTheNextStep reports whether Err is an error of the plugin's own
// that says what Advice says, with names.
func (i Incident) errNamesTheNextStep() bool {
	switch {
	case i.Err == nil:
		return false
	case i.Reason == ReasonRounds, i.Reason == ReasonNoSight:
		return true
	}
	_, server := pgerr.From(i.Err)
	return i.Outcome == Refused && !server
}

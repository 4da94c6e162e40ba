package heal

import (
	"time"

	"github.com/seqheal/seqheal/internal/caller"
	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/cause"
	"github.com/seqheal/seqheal/internal/sequence"
)

// Guard is how a collision was found.
type Guard string

const (
	None      Guard = "none"      // the insert failed outside a transaction, or its row was dropped
	Conflict  Guard = "conflict"  // the conflict guard returned no row
	Savepoint Guard = "savepoint" // the insert failed in a savepoint
	Off       Guard = "off"       // the insert failed, and nothing kept its transaction alive
	Preflight Guard = "preflight" // a question before or after the insert found it, or rows did not come back
)

// Effect is what drift would have done without an error.
type Effect string

const (
	WouldOverwrite Effect = "would have overwritten a row"
	WouldDrop      Effect = "would have dropped a row"
)

// Reasons of this package, beside those of package sequence.
const (
	OutOfRounds   sequence.Reason = "rounds"         // rows kept appearing in front of the sequence
	GuardRejected sequence.Reason = "guard_rejected" // the server rejected the conflict guard
)

// Outcome is how a heal ended.
type Outcome int

const (
	AlreadyHealed Outcome = iota
	Healed
	Refused
	Failed
)

// Incident is what became of an insert that collided because of drift.
type Incident struct {
	Time                    time.Time
	Duration                time.Duration
	Outcome                 Outcome
	Reason                  sequence.Reason
	Table, Sequence, Column string // quoted
	Constraint              string
	Key, Left               sequence.Position
	From, To, Behind        int64
	OtherColumns            int64
	Rows, Rounds            int
	Guard                   Guard
	Effect                  Effect
	Err                     error
	// Sender is the application's line that sent the insert, Front what lay in front of the
	// sequence, and Causes what made it drift, the strongest first.
	Sender caller.Line
	Front  cause.Front
	Causes []cause.Cause
}

// incident is what the attempt came to.
func (a *attempt) incident() Incident {
	i := Incident{
		Time: a.started, Duration: time.Since(a.started),
		Constraint: a.collision.server.Constraint, Key: a.collision.key,
		Rows: a.stmt.Insert.Rows(), Rounds: max(1, a.rounds-a.earlier), Guard: a.guardedBy, Effect: a.effect, Err: a.stmt.DB.Error,
		Sender: a.sender, Front: a.origin.front, Causes: a.origin.causes,
	}
	if v := a.collision.server; v.Table != "" {
		i.Table = catalog.Quote(v.Schema, v.Table)
	}
	if t := a.table; t != nil {
		i.Table = t.QuotedName()
		if t.Constraint != "" {
			i.Constraint = t.Constraint
		}
		if t.Fed() {
			i.Sequence, i.Column = t.Sequence.QuotedName(), catalog.Quote(t.FedColumn())
			i.OtherColumns = max(0, t.Sequence.Feeders-1)
		}
	}
	if a.move != nil {
		i.From, i.To, i.Left = a.move.From, a.move.To, a.move.Outlier
		if a.target.Found && a.table.Fed() && !a.table.Sequence.Reached(i.From, a.target.Value) {
			i.Behind = sequence.Steps(i.From, a.target.Value, a.table.Sequence.Increment)
		}
	}
	switch {
	case a.failure != nil:
		i.Outcome, i.Reason, i.Err = Failed, a.failure.Reason, a.failure.Err
		if a.failure.Refused {
			i.Outcome = Refused
		}
	case a.move != nil && a.move.Moved:
		i.Outcome = Healed
	}
	return i
}

package plugin

import (
	"testing"

	"github.com/seqheal/seqheal/internal/audit"
	"github.com/seqheal/seqheal/internal/heal"
	"github.com/seqheal/seqheal/internal/sequence"
)

// The codes are stable, and those of the packages that give them.
func TestCodes_areThoseOfTheEngine(t *testing.T) {
	t.Parallel()
	for code, own := range map[Reason]sequence.Reason{
		ReasonPermission: sequence.Permission, ReasonRowSecurity: sequence.RowSecurity, ReasonNoSight: sequence.NoSight, ReasonNoIndex: sequence.NoIndex,
		ReasonUnsupported: sequence.Unsupported, ReasonExhausted: sequence.Exhausted, ReasonCycle: sequence.Cycle, ReasonReadOnly: sequence.ReadOnly,
		ReasonTimeout: sequence.Timeout, ReasonConnection: sequence.Connection, ReasonCanceled: sequence.Canceled, ReasonDatabase: sequence.Database,
		ReasonNotFound: sequence.NotFound, ReasonRounds: heal.OutOfRounds, ReasonGuardRejected: heal.GuardRejected,
	} {
		if string(code) != string(own) {
			t.Errorf("%s is %s in the engine", code, own)
		}
	}
	for code, own := range map[State]audit.State{
		StateInSync: audit.InSync, StateBehind: audit.Behind, StateNearlyExhausted: audit.NearlyExhausted,
		StateExhausted: audit.Exhausted, StateUnreadable: audit.Unreadable,
	} {
		if string(code) != string(own) {
			t.Errorf("%s is %s in the audit", code, own)
		}
	}
}

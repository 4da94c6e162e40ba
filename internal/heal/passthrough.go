package heal

import (
	"context"

	"github.com/seqheal/seqheal/internal/statement"
)

// passthrough sends the statement as it is: one that cannot collide, one whose shape
// is not known, or any in a transaction under GuardOff. There the sequence is moved
// from a second connection, so that the application's own retry succeeds.
type passthrough struct {
	*insert
	text statement.Text
	// resyncs is true under GuardOff.
	resyncs bool
}

func (passthrough) guard() Guard { return Off }

func (s passthrough) send(context.Context) *collision {
	err := s.insert.send(s.text)
	if !s.resyncs {
		return nil
	}
	return s.collided(err)
}

func (s passthrough) heal(ctx context.Context, a *attempt) strategy {
	a.healAside(ctx)
	return nil
}

func (passthrough) abandon(context.Context, *attempt) {}

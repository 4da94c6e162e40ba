package heal

import "context"

// passthrough sends the statement as it is: one that cannot collide, one whose shape
// is not known, or any in a transaction under GuardOff. There the sequence is moved
// from a second connection, so that the application's own retry succeeds.
type passthrough struct {
	*insert
	// resyncs is true under GuardOff.
	resyncs bool
}

func (passthrough) guard() Guard { return Off }

func (s passthrough) send(context.Context) *collision {
	err := s.sendAsWritten()
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

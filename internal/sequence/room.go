package sequence

import (
	"context"
	"math"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
)

// windowSteps is how many steps behind a candidate must be free of rows before
// it is believed to lie below an outlier and not inside dense rows.
const windowSteps = 1_000

// makeRoom lowers a target that would leave almost nothing of the range: less
// than a tenth of what was left before. Such a row is an outlier, a sentinel
// such as 2147483640; moving past it would end the table after a handful of
// inserts (measured: dead after 7). The new target is the furthest row of the
// nearer half, or of a nearer part of the rest where that half is dense. It
// returns the outlier left behind.
func (g *Goal) makeRoom(ctx context.Context, last int64) (Position, error) {
	seq, limit := g.Table.Sequence, g.Table.Limit()
	if g.Below == nil || !Cramped(g.Table, last, g.Target) {
		return Position{}, nil
	}
	outlier := Position{Value: g.Target, Found: true}
	near := last
	for range 8 {
		bound := towards(near, limit, Distance(near, limit)/2)
		if seq.Reached(bound, g.Target) {
			break
		}
		low, high := last, bound
		if seq.Descending() {
			low, high = bound, last
		}
		found, err := furthest(ctx, g.Below, g.Table, g.Beside, low, high)
		if err != nil {
			return Position{}, err
		}
		candidate := last
		if found.Found {
			candidate = seq.Further(candidate, found.Value)
		}
		free, err := g.freeBehind(ctx, candidate)
		if err != nil {
			return Position{}, err
		}
		if free {
			g.Target = candidate
			return outlier, nil
		}
		near = bound
	}
	return Position{}, nil
}

// freeBehind reports whether the next values behind a candidate are free of rows, and
// enough for the statement.
func (g *Goal) freeBehind(ctx context.Context, candidate int64) (bool, error) {
	steps := Steps(candidate, g.Table.Limit(), g.Table.Sequence.Increment)
	window := max(g.Rows, min(windowSteps, steps/2))
	if window >= steps {
		return false, nil
	}
	// The window ends before the limit.
	dense, err := TakenBetween(ctx, g.Below, g.Table, g.Beside, candidate, candidate+window*g.Table.Sequence.Increment)
	return !dense && err == nil, err
}

// Cramped reports whether a move from last to the furthest value would leave less than
// a tenth of what was left of the range.
func Cramped(t *catalog.Table, last, furthest int64) bool {
	seq, limit := t.Sequence, t.Limit()
	return !seq.Reached(last, limit) && (seq.Reached(furthest, limit) || Distance(furthest, limit) < Distance(last, limit)/10)
}

// Room is where a move from last to the furthest value would go: there, or below it
// when it is an outlier, which is then answered as well. It looks by an index, or from
// end to end in a small table; c must be in a transaction or savepoint that ends with an error.
func Room(ctx context.Context, c *conn.Conn, t *catalog.Table, last, furthest int64) (target int64, outlier Position, err error) {
	goal := Goal{Table: t, Target: furthest, Rows: 1, Below: c}
	outlier, err = goal.makeRoom(ctx, last)
	return goal.Target, outlier, err
}

// extend adds the margin, at most a hundredth of the room that is left, and
// refuses a goal behind which the statement's rows find no value.
func (g *Goal) extend() error {
	seq, limit := g.Table.Sequence, g.Table.Limit()
	if seq.Reached(g.Target, limit) {
		return exhausted(g.Table, limit)
	}
	room := Distance(g.Target, limit) / Magnitude(seq.Increment)
	if room < uint64(max(1, g.Rows)) {
		return exhausted(g.Table, limit)
	}
	if margin := min(uint64(max(0, g.Margin)), room/100); margin > 0 {
		g.Target = towards(g.Target, limit, margin*Magnitude(seq.Increment))
	}
	return nil
}

// Distance is the number of values between two, without overflow.
func Distance(a, b int64) uint64 {
	if a > b {
		a, b = b, a
	}
	return uint64(b) - uint64(a)
}

// towards goes from one value in the direction of another by a distance that is
// not longer than the way.
func towards(from, to int64, by uint64) int64 {
	if to < from {
		return int64(uint64(from) - by)
	}
	return int64(uint64(from) + by)
}

// Magnitude is the increment without its sign.
func Magnitude(increment int64) uint64 {
	if increment < 0 {
		return uint64(-(increment + 1)) + 1
	}
	return uint64(increment)
}

// Steps is how many values a sequence at last has to hand out until it
// reaches target, at most MaxInt64.
func Steps(last, target, increment int64) int64 {
	step, way := Magnitude(increment), Distance(last, target)
	steps := way / step
	if way%step != 0 {
		steps++
	}
	return int64(min(steps, math.MaxInt64))
}

// spread is count steps as a distance, at most MaxInt64.
func spread(count, increment int64) int64 {
	step := Magnitude(increment)
	if uint64(count) > math.MaxInt64/step {
		return math.MaxInt64
	}
	return int64(uint64(count) * step)
}

// beside is the value at a distance, the end of bigint where that is closer.
func beside(value, distance int64) int64 {
	switch sum := value + distance; {
	case distance > 0 && sum < value:
		return math.MaxInt64
	case distance < 0 && sum > value:
		return math.MinInt64
	default:
		return sum
	}
}

// back is the value one step before, or the value itself at the sequence's start.
func back(value int64, seq catalog.Sequence) int64 {
	if Distance(value, seq.First()) < Magnitude(seq.Increment) {
		return value
	}
	return value - seq.Increment
}

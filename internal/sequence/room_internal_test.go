package sequence

import (
	"math"
	"testing"

	"github.com/seqheal/seqheal/internal/catalog"
)

const least, most = math.MinInt64, math.MaxInt64

func TestDistanceDoesNotOverflow(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		a, b int64
		want uint64
	}{
		{5, 5, 0}, {1, 20, 19}, {20, 1, 19}, {-3, 4, 7}, {most, most, 0}, {least, least, 0},
		{0, most, most}, {least, 0, 1 << 63}, {least, most, math.MaxUint64}, {most, least, math.MaxUint64},
		{least, -1, most}, {most - 1, most, 1},
	} {
		if got := Distance(test.a, test.b); got != test.want {
			t.Errorf("Distance(%d, %d) = %d, want %d", test.a, test.b, got, test.want)
		}
	}
}

func TestTowardsGoesInTheDirectionOfTheOther(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		from, to int64
		by       uint64
		want     int64
	}{
		{1, 20, 5, 6}, {20, 1, 5, 15}, {-3, 4, 7, 4}, {4, -3, 7, -3}, {5, 5, 0, 5}, {5, 9, 0, 5},
		{least, most, math.MaxUint64, most}, {most, least, math.MaxUint64, least},
		{least, most, 1 << 63, 0}, {most, least, 1 << 63, -1}, {0, least, 1 << 63, least},
	} {
		if got := towards(test.from, test.to, test.by); got != test.want {
			t.Errorf("towards(%d, %d, %d) = %d, want %d", test.from, test.to, test.by, got, test.want)
		}
	}
}

func TestStepsCountsTheValuesUpToTheTarget(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ last, target, increment, want int64 }{
		{0, 20, 1, 20}, {20, 20, 1, 0}, {0, 20, 7, 3}, {0, 21, 7, 3}, {0, 22, 7, 4}, {0, 1, 7, 1},
		{0, -20, -1, 20}, {0, -20, -7, 3}, {-1, -22, -7, 3}, {10, -10, -20, 1},
		{0, most, 1, most}, {least, most, 1, most}, {least, most, 2, most}, {least, most, 3, 6148914691236517205},
		{most, least, -1, most}, {most, least, least, 2}, {0, least, least, 1}, {least, most, most, 3},
	} {
		if got := Steps(test.last, test.target, test.increment); got != test.want {
			t.Errorf("Steps(%d, %d, %d) = %d, want %d", test.last, test.target, test.increment, got, test.want)
		}
	}
}

func TestSpreadIsADistanceThatFits(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ count, increment, want int64 }{
		{0, 1, 0}, {0, least, 0}, {5, 1, 5}, {5, -3, 15}, {5, 7, 35}, {1, most, most}, {2, most, most}, {1, least, most},
		{most, 1, most}, {most, -1, most}, {most, 2, most}, {most / 2, 2, most - 1}, {most, least, most}, {1 << 62, 2, most},
	} {
		if got := spread(test.count, test.increment); got != test.want {
			t.Errorf("spread(%d, %d) = %d, want %d", test.count, test.increment, got, test.want)
		}
	}
}

func TestMagnitudeOfEveryIncrement(t *testing.T) {
	t.Parallel()
	for increment, want := range map[int64]uint64{1: 1, -1: 1, 7: 7, -7: 7, most: most, -most: most, least: 1 << 63} {
		if got := Magnitude(increment); got != want {
			t.Errorf("Magnitude(%d) = %d, want %d", increment, got, want)
		}
	}
}

func TestBackIsTheValueBeforeOrTheFirst(t *testing.T) {
	t.Parallel()
	up := catalog.Sequence{Min: 1, Max: 1000, Increment: 7}
	down := catalog.Sequence{Min: -1000, Max: -1, Increment: -7}
	whole := catalog.Sequence{Min: least, Max: most, Increment: 1}
	far := catalog.Sequence{Min: least, Max: most, Increment: least}
	for _, test := range []struct {
		name        string
		seq         catalog.Sequence
		value, want int64
	}{
		{"up", up, 50, 43}, {"up, first", up, 1, 1}, {"up, before the second", up, 7, 7}, {"up, second", up, 8, 1},
		{"down", down, -50, -43}, {"down, first", down, -1, -1}, {"down, before the second", down, -7, -7}, {"down, second", down, -8, -1},
		{"the least of all", whole, least, least}, {"the next to it", whole, least + 1, least}, {"the greatest of all", whole, most, most - 1},
		{"the longest step", far, -5, most - 4}, {"the longest step, first", far, most, most}, {"the longest step, half of it", far, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := back(test.value, test.seq); got != test.want {
				t.Errorf("back(%d) = %d, want %d", test.value, got, test.want)
			}
		})
	}
}

func TestExtendKeepsRoomForTheRows(t *testing.T) {
	t.Parallel()
	table := func(low, high, increment int64) *catalog.Table {
		return &catalog.Table{Key: []catalog.Column{{Name: "id", Type: "int8"}}, Sequence: catalog.Sequence{Min: low, Max: high, Increment: increment}}
	}
	for _, test := range []struct {
		name      string
		goal      Goal
		want      int64
		exhausted bool
	}{
		{"no margin", Goal{Table: table(1, 1000, 1), Target: 20, Rows: 1}, 20, false},
		{"margin", Goal{Table: table(1, 100_000, 1), Target: 20, Rows: 1, Margin: 64}, 84, false},
		{"margin in steps", Goal{Table: table(1, 1_000_000, 7), Target: 20, Rows: 1, Margin: 64}, 20 + 64*7, false},
		{"margin downwards", Goal{Table: table(-1_000_000, -1, -7), Target: -20, Rows: 1, Margin: 64}, -20 - 64*7, false},
		{"a hundredth of the room at most", Goal{Table: table(1, 1020, 1), Target: 20, Rows: 1, Margin: 64}, 30, false},
		{"no room for a margin", Goal{Table: table(1, 100, 1), Target: 20, Rows: 1, Margin: 64}, 20, false},
		{"the greatest margin", Goal{Table: table(1, most, 1), Target: 0, Rows: 1, Margin: most}, most / 100, false},
		{"a margin below nothing", Goal{Table: table(1, 1000, 1), Target: 20, Rows: 1, Margin: -5}, 20, false},
		{"over the whole range", Goal{Table: table(least, most, 1), Target: least, Rows: 1, Margin: 1}, least + 1, false},
		{"the last value for one row", Goal{Table: table(1, 1000, 1), Target: 999, Rows: 1}, 999, false},
		{"the last value for no rows", Goal{Table: table(1, 1000, 1), Target: 999}, 999, false},
		{"too few for two rows", Goal{Table: table(1, 1000, 1), Target: 999, Rows: 2}, 0, true},
		{"less than a step", Goal{Table: table(1, 1000, 7), Target: 994, Rows: 1}, 0, true},
		{"at the limit", Goal{Table: table(1, 1000, 1), Target: 1000, Rows: 1}, 0, true},
		{"beyond the limit", Goal{Table: table(1, 1000, 1), Target: 5000, Rows: 1}, 0, true},
		{"at the limit downwards", Goal{Table: table(-1000, -1, -1), Target: -1000, Rows: 1}, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := test.goal.extend()
			switch {
			case test.exhausted != Explain(err).Has(Exhausted):
				t.Errorf("extend = %v, want exhausted %v", err, test.exhausted)
			case err == nil && test.goal.Target != test.want:
				t.Errorf("target %d, want %d", test.goal.Target, test.want)
			}
		})
	}
}

func TestBesideStopsAtTheEndsOfBigint(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ value, distance, want int64 }{
		{5, 3, 8},
		{5, -8, -3},
		{math.MaxInt64 - 1, 3, math.MaxInt64},
		{math.MinInt64 + 1, -3, math.MinInt64},
		{math.MaxInt64, 0, math.MaxInt64},
	} {
		if got := beside(test.value, test.distance); got != test.want {
			t.Errorf("beside(%d, %d) = %d, want %d", test.value, test.distance, got, test.want)
		}
	}
}

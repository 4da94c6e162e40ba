package status

import (
	"math"

	"github.com/seqheal/seqheal/plugin"
)

// limits are what columns can hold, by the type as PostgreSQL writes it. Other types
// have bounds of their own, which the page does not guess.
var limits = map[string]bounds{
	"smallint": {math.MinInt16, math.MaxInt16},
	"integer":  {math.MinInt32, math.MaxInt32},
	"bigint":   {math.MinInt64, math.MaxInt64},
}

// valuesLeft returns how many values a sequence can give that no row has in front of it
// and that its column can hold. known is false for one that cycles, and where the end
// is not known.
func valuesLeft(f plugin.Finding, all map[string]bounds) (left uint64, known bool) {
	of, found := all[f.Sequence]
	limit, simple := limits[f.Type]
	if f.State == plugin.StateUnreadable || f.Cycle || f.Increment == 0 || !found || !simple {
		return 0, false
	}
	at := f.Last
	if f.Increment > 0 {
		end := min(of.most, limit.most)
		if f.FurthestKnown {
			at = max(at, f.Furthest)
		}
		if at >= end {
			return 0, true
		}
		return (uint64(end) - uint64(at)) / uint64(f.Increment), true
	}
	end := max(of.least, limit.least)
	if f.FurthestKnown {
		at = min(at, f.Furthest)
	}
	if at <= end {
		return 0, true
	}
	return (uint64(at) - uint64(end)) / (-uint64(f.Increment)), true
}

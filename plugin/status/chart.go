package status

import (
	"math"
	"time"

	"github.com/seqheal/seqheal/plugin"
)

// The chart's size in its own units, which stretch to the page's width.
const (
	chartWidth  = 600
	chartHeight = 100
)

// spans are what the chart may cover; it takes the shortest that holds all incidents
// that are counted by minute.
var spans = []struct {
	length, step time.Duration
	name         string
}{
	{time.Hour, time.Minute, "hour"}, {6 * time.Hour, 5 * time.Minute, "6 hours"}, {24 * time.Hour, 15 * time.Minute, "24 hours"},
}

// chart is incidents over time, one bar for each step of the span.
type chart struct {
	Span        string
	Since, Till time.Time
	// Most is the height of the scale.
	Most int64
	// Counts are those of the span, Earlier is the number of incidents before it.
	plugin.Counts
	Earlier int64
	Bars    []bar
}

// bar is one bar, from its foot to its top: healed, already healed, and neither.
type bar struct {
	Title string
	Parts []part
}

type part struct {
	Class      string
	X, Y, W, H float64
}

func chartOf(minutes []plugin.Minute, total int64, now time.Time) chart {
	now = now.UTC()
	span := spans[0]
	for _, longer := range spans[1:] {
		if len(minutes) == 0 || !minutes[0].Time.Before(start(span.length, span.step, now)) {
			break
		}
		span = longer
	}
	c := chart{Span: span.name, Since: start(span.length, span.step, now), Till: now, Most: 1}
	counts := make([]plugin.Counts, span.length/span.step)
	for _, m := range minutes {
		at := int(m.Time.Sub(c.Since) / span.step)
		if m.Time.Before(c.Since) || at >= len(counts) {
			continue
		}
		counts[at] = added(counts[at], m.Counts)
		c.Counts = added(c.Counts, m.Counts)
		c.Most = max(c.Most, counts[at].Total())
	}
	c.Earlier = max(0, total-c.Total())
	width := float64(chartWidth) / float64(len(counts))
	for n, count := range counts {
		if count.Total() > 0 {
			from := c.Since.Add(time.Duration(n) * span.step)
			title := clock(from) + " to " + clock(from.Add(span.step)) + ": " + tally(count)
			c.Bars = append(c.Bars, bar{title, parts(count, c.Most, float64(n)*width, width)})
		}
	}
	return c
}

// start is where a span begins: bars begin at round times, so that they stand still
// from look to look. The last one has only begun.
func start(length, step time.Duration, now time.Time) time.Time {
	return now.Truncate(step).Add(step - length)
}

func added(a, b plugin.Counts) plugin.Counts {
	return plugin.Counts{
		Healed: a.Healed + b.Healed, AlreadyHealed: a.AlreadyHealed + b.AlreadyHealed, Refused: a.Refused + b.Refused, Failed: a.Failed + b.Failed,
	}
}

// parts draws one bar, in a column of so much width.
func parts(count plugin.Counts, most int64, x, width float64) (all []part) {
	top := float64(chartHeight)
	for _, p := range []struct {
		class string
		n     int64
	}{{"healed", count.Healed}, {"already", count.AlreadyHealed}, {"lost", count.Refused + count.Failed}} {
		if p.n == 0 {
			continue
		}
		height := float64(p.n) / float64(most) * chartHeight
		top -= height
		all = append(all, part{p.class, rounded(x + width/10), rounded(top), rounded(width * 0.8), rounded(height)})
	}
	return all
}

func rounded(length float64) float64 { return math.Round(length*100) / 100 }

// Text says the same in words.
func (c chart) Text() string { return capital(tally(c.Counts)) }

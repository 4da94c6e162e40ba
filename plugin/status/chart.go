package status

import (
	"math"
	"strings"
	"time"

	"github.com/seqheal/seqheal/plugin"
)

// The chart's size in its own units, which stretch to the page's width.
const (
	chartBars   = 60
	chartHeight = 100
	barWidth    = 10
)

// spans are what the chart may cover; it takes the shortest that holds all
// incidents that are remembered.
var spans = []struct {
	length time.Duration
	name   string
}{
	{10 * time.Minute, "10 minutes"}, {time.Hour, "hour"}, {6 * time.Hour, "6 hours"}, {24 * time.Hour, "24 hours"},
	{7 * 24 * time.Hour, "7 days"}, {30 * 24 * time.Hour, "30 days"}, {365 * 24 * time.Hour, "year"},
}

// chart is incidents over time, one bar for each sixtieth of the span.
type chart struct {
	Span        string
	Since, Till time.Time
	// Most is the height of the scale.
	Most                  int
	Healed, Already, Lost int
	Bars                  []bar
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

func chartOf(incidents []plugin.Incident, now time.Time) chart {
	span := spans[0]
	for _, longer := range spans[1:] {
		// Its last bar has only begun.
		if len(incidents) == 0 || now.Sub(oldest(incidents)) < span.length-span.length/chartBars {
			break
		}
		span = longer
	}
	step := span.length / chartBars
	// The bars begin at round times, so that they do not flicker from look to look.
	till := now.Truncate(step).Add(step)
	c := chart{Span: span.name, Since: till.Add(-span.length), Till: now, Most: 1}
	var counts [chartBars][3]int
	for _, i := range incidents {
		at := int(i.Time.Sub(c.Since) / step)
		if i.Time.Before(c.Since) || at >= chartBars {
			continue
		}
		kind := 0
		switch i.Outcome {
		case plugin.Healed:
			c.Healed++
		case plugin.AlreadyHealed:
			c.Already++
			kind = 1
		default:
			c.Lost++
			kind = 2
		}
		counts[at][kind]++
		c.Most = max(c.Most, counts[at][0]+counts[at][1]+counts[at][2])
	}
	for n, count := range counts {
		if count == [3]int{} {
			continue
		}
		from := c.Since.Add(time.Duration(n) * step)
		b := bar{Title: clock(from) + " to " + clock(from.Add(step)) + ": " + tally(count[0], count[1], count[2])}
		top := float64(chartHeight)
		for kind, class := range []string{"healed", "already", "lost"} {
			if count[kind] == 0 {
				continue
			}
			height := float64(count[kind]) / float64(c.Most) * chartHeight
			top -= height
			b.Parts = append(b.Parts, part{class, float64(n*barWidth) + 1, rounded(top), barWidth - 2, rounded(height)})
		}
		c.Bars = append(c.Bars, b)
	}
	return c
}

func rounded(length float64) float64 { return math.Round(length*100) / 100 }

// Text says the same in words.
func (c chart) Text() string {
	return strings.ToUpper(tally(c.Healed, c.Already, c.Lost)[:1]) + tally(c.Healed, c.Already, c.Lost)[1:]
}

func oldest(incidents []plugin.Incident) time.Time {
	first := incidents[0].Time
	for _, i := range incidents {
		if i.Time.Before(first) {
			first = i.Time
		}
	}
	return first
}

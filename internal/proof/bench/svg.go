package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"strings"
)

// figures is everything that the plot shows.
type figures struct {
	bars  []bars
	lines []lines
}

// bars is a panel of horizontal bars.
type bars struct {
	title      string
	contenders []string
	groups     []barGroup
}

type barGroup struct {
	name string
	bars []ratio // by contender; the zero ratio is none
}

// lines is a panel of curves over labels at even distances.
type lines struct {
	title, x, y string
	labels      []string
	lines       []line
}

type line struct {
	name   string
	dashed bool
	points []float64
}

// The drawing has a background of its own, so that it reads on light and dark
// pages alike.
const (
	width  = 860
	left   = 300 // of the axis
	right  = 70  // for the figures behind the bars
	thick  = 11
	spaced = 14
	ink    = "#1f2328"
	faint  = "#d0d7de"
)

// colours tell the contenders apart, also for most who see few colours.
var colours = []string{"#0969da", "#bf8700", "#8250df", "#1a7f37"}

type drawing struct {
	bytes.Buffer
	y int
}

func (f figures) svg(caption string) []byte {
	var d drawing
	d.y = 20
	for _, panel := range f.bars {
		d.bars(panel)
	}
	for _, panel := range f.lines {
		d.lines(panel)
	}
	d.text(20, d.y, "start", 11, caption)
	d.y += 16
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d" font-family="system-ui, Helvetica, Arial, sans-serif">`+"\n", width, d.y)
	fmt.Fprintf(&out, `<rect width="100%%" height="100%%" rx="6" fill="#ffffff" stroke="%s"/>`+"\n", faint)
	out.Write(d.Bytes())
	out.WriteString("</svg>\n")
	return out.Bytes()
}

func (d *drawing) text(x, y int, anchor string, size int, text string) {
	fmt.Fprintf(d, `<text x="%d" y="%d" text-anchor="%s" font-size="%d" fill="%s">%s</text>`+"\n", x, y, anchor, size, ink, html.EscapeString(text))
}

func (d *drawing) title(text string) {
	d.y += 14
	fmt.Fprintf(d, `<text x="20" y="%d" font-size="15" font-weight="600" fill="%s">%s</text>`+"\n", d.y, ink, html.EscapeString(text))
	d.y += 12
}

func (d *drawing) rule(x1, y1, x2, y2 int, colour string) {
	fmt.Fprintf(d, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="%s"/>`+"\n", x1, y1, x2, y2, colour)
}

// legend stands above a panel's axis.
func (d *drawing) legend(names []string, mark func(i, x, y int)) {
	x := left
	d.y += 10
	for i, name := range names {
		mark(i, x, d.y)
		d.text(x+26, d.y, "start", 12, name)
		x += 40 + 7*len(name)
	}
	d.y += 10
}

// bars draws a panel; the axis begins at 0 and plain GORM is the line at 1.
func (d *drawing) bars(panel bars) {
	d.title(panel.title)
	d.legend(panel.contenders, func(i, x, y int) {
		fmt.Fprintf(d, `<rect x="%d" y="%d" width="20" height="10" fill="%s"/>`+"\n", x, y-9, colours[i])
	})
	furthest := 1.2
	for _, group := range panel.groups {
		for _, bar := range group.bars {
			furthest = max(furthest, bar.high)
		}
	}
	scale := float64(width-left-right) / furthest
	at := func(value float64) int { return left + int(value*scale) }
	top := d.y
	height := len(panel.groups) * (len(panel.contenders)*spaced + 10)
	step := niceStep(furthest)
	for value := 0.0; value <= furthest; value += step {
		d.rule(at(value), top, at(value), top+height, faint)
		d.text(at(value), top+height+14, "middle", 11, fmt.Sprintf("%.3g×", value))
	}
	for _, group := range panel.groups {
		d.y += 5
		d.text(left-10, d.y+len(panel.contenders)*spaced/2+3, "end", 12, group.name)
		for i, bar := range group.bars {
			if bar.middle == 0 {
				d.text(left+6, d.y+thick-1, "start", 11, "not applicable")
			} else {
				d.bar(at, bar, colours[i])
			}
			d.y += spaced
		}
		d.y += 5
	}
	d.rule(at(1), top, at(1), top+height, ink)
	d.y = top + height + 32
}

func (d *drawing) bar(at func(float64) int, bar ratio, colour string) {
	fmt.Fprintf(d, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`+"\n", left, d.y, at(bar.middle)-left, thick, colour)
	d.rule(at(bar.low), d.y+thick/2, at(bar.high), d.y+thick/2, ink)
	d.text(at(bar.high)+5, d.y+thick-1, "start", 11, fmt.Sprintf("%.2f", bar.middle))
}

// lines draws a panel of curves with a logarithmic y axis.
func (d *drawing) lines(panel lines) {
	const axis, high = 70, 190
	d.title(panel.title)
	least, furthest := math.Inf(1), 0.0
	for _, l := range panel.lines {
		for _, point := range l.points {
			least, furthest = min(least, point), max(furthest, point)
		}
	}
	bottom, decades := math.Floor(math.Log10(least)), math.Ceil(math.Log10(furthest))-math.Floor(math.Log10(least))
	d.curveLegend(panel, axis)
	top := d.y
	atY := func(value float64) int { return top + high - int((math.Log10(value)-bottom)/decades*high) }
	atX := func(i int) int { return axis + 20 + i*(width-axis-80)/max(1, len(panel.labels)-1) }
	for decade := 0.0; decade <= decades; decade++ {
		for _, digit := range []float64{1, 2, 5} {
			if value := digit * math.Pow(10, bottom+decade); value <= math.Pow(10, bottom+decades) {
				d.rule(axis, atY(value), width-40, atY(value), faint)
				d.text(axis-8, atY(value)+4, "end", 11, fmt.Sprintf("%g %s", value, panel.y))
			}
		}
	}
	for i, label := range panel.labels {
		d.text(atX(i), top+high+18, "middle", 12, label)
	}
	d.text((axis+width-40)/2, top+high+36, "middle", 12, panel.x)
	for i, l := range panel.lines {
		var path strings.Builder
		for j, point := range l.points {
			fmt.Fprintf(&path, "%s%d %d ", map[bool]string{true: "M", false: "L"}[j == 0], atX(j), atY(point))
		}
		fmt.Fprintf(d, `<path d="%s" %s/>`+"\n", strings.TrimSpace(path.String()), panel.style(i))
	}
	d.y = top + high + 60
}

// style gives two curves each a colour, one of them dashed.
func (panel lines) style(i int) string {
	dashed := ""
	if panel.lines[i].dashed {
		dashed = ` stroke-dasharray="5 4"`
	}
	return fmt.Sprintf(`stroke="%s" stroke-width="2" fill="none"%s`, colours[i/2%len(colours)], dashed)
}

func (d *drawing) curveLegend(panel lines, x int) {
	d.y += 10
	for i, l := range panel.lines {
		fmt.Fprintf(d, `<path d="M%d %d h20" %s/>`+"\n", x, d.y-4, panel.style(i))
		d.text(x+26, d.y, "start", 12, l.name)
		x += 46 + 7*len(l.name)
	}
	d.y += 16
}

// niceStep is 1, 2 or 5 times a power of ten, so that about six fit.
func niceStep(furthest float64) float64 {
	step := math.Pow(10, math.Floor(math.Log10(furthest/6)))
	for _, factor := range []float64{1, 2, 5, 10} {
		if furthest/(step*factor) <= 6 {
			return step * factor
		}
	}
	return step * 10
}

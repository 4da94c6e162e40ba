package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ANSI colours of the levels.
var colours = map[level]string{
	exhausted: "\x1b[31;1m", behind: "\x1b[31m", critical: "\x1b[31m", cycles: "\x1b[33m", warning: "\x1b[33m", unreadable: "\x1b[35m", inSync: "\x1b[32m",
}

const plain = "\x1b[0m"

// column is one of the table's: its title, whether it is of numbers, and its cells.
type column struct {
	title  string
	number bool
	cell   func(graded) string
}

var tableColumns = []column{
	{"LEVEL", false, func(f graded) string { return f.level.spelled() }},
	{"TABLE", false, tableCell},
	{"COLUMN", false, func(f graded) string { return shown(f.Column) }},
	{"TYPE", false, func(f graded) string { return shown(f.Type) }},
	{"LAST VALUE", true, ifRead(func(f graded) string { return strconv.FormatInt(f.Last, 10) })},
	{"FURTHEST ROW", true, ifRead(func(f graded) string {
		if !f.FurthestKnown {
			return ""
		}
		return strconv.FormatInt(f.Furthest, 10)
	})},
	{"BEHIND", true, ifRead(func(f graded) string {
		if f.Behind == 0 {
			return ""
		}
		return count(f.Behind)
	})},
	{"USED", true, ifRead(func(f graded) string { return unlessCycle(f, percent(f.Used)) })},
	{"LEFT", true, ifRead(func(f graded) string { return unlessCycle(f, count(f.Remaining)) })},
	{"A DAY", true, ifRead(func(f graded) string {
		if f.Forecast == "" {
			return ""
		}
		return rate(f.PerDay)
	})},
	{"ENDS", false, ifRead(func(f graded) string {
		if f.Ends.IsZero() {
			return ""
		}
		return f.Ends.UTC().Format("2006-01-02")
	})},
	{"", false, func(f graded) string { return note(f) }},
}

func tableCell(f graded) string {
	table := f.Table
	if f.level == unused && table == "" {
		return ""
	}
	if f.Schema == "" {
		return shown(table)
	}
	return shown(f.Schema) + "." + shown(table)
}

// ifRead leaves a cell empty where nothing was read.
func ifRead(cell func(graded) string) func(graded) string {
	return func(f graded) string {
		if f.level == unreadable || f.level == skipped || f.level == unused {
			return ""
		}
		return cell(f)
	}
}

// unlessCycle leaves a cell empty for a sequence that starts again at its end.
func unlessCycle(f graded, cell string) string {
	if f.Cycle {
		return ""
	}
	return cell
}

// table writes the findings as aligned columns; those that would be empty are left out.
func (s *session) table(findings []graded) string {
	if len(findings) == 0 {
		return ""
	}
	var lines [][]string
	lines = append(lines, nil)
	for _, c := range tableColumns {
		lines[0] = append(lines[0], c.title)
	}
	for _, f := range findings {
		cells := make([]string, len(tableColumns))
		for i, c := range tableColumns {
			cells[i] = c.cell(f)
		}
		lines = append(lines, cells)
	}
	widths := widthsOf(lines)
	var b strings.Builder
	for i, cells := range lines {
		line := align(cells, widths)
		if s.out.lively && i > 0 {
			line = colours[findings[i-1].level] + cells[0] + plain + strings.TrimPrefix(line, cells[0])
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// widthsOf is how wide each column is, 0 for one without a cell; the last is not padded.
func widthsOf(lines [][]string) []int {
	widths := make([]int, len(tableColumns))
	for i := range widths {
		for n, cells := range lines {
			if n > 0 && cells[i] != "" {
				widths[i] = max(widths[i], utf8.RuneCountInString(cells[i]), utf8.RuneCountInString(lines[0][i]))
			}
		}
	}
	return widths
}

// align pads the cells, numbers to the right.
func align(cells []string, widths []int) string {
	var b strings.Builder
	for i, cell := range cells {
		if widths[i] == 0 {
			continue
		}
		padding := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
		if tableColumns[i].number {
			cell = padding + cell
		} else {
			cell += padding
		}
		b.WriteString(cell + "  ")
	}
	return strings.TrimRight(b.String(), " ")
}

// count writes a number of values with commas, and from ten to the fifteenth on its size.
func count(n int64) string {
	if n >= 1e15 {
		return fmt.Sprintf("%.1fe18", math.Floor(float64(n)/1e17)/10)
	}
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// rate writes values a day.
func rate(perDay float64) string {
	if perDay < 10 {
		return strconv.FormatFloat(math.Round(perDay*10)/10, 'f', -1, 64)
	}
	return count(int64(math.Min(perDay, 1e18)))
}

// percent writes a share, cut off so that only a range that is used up shows 100.
func percent(share float64) string {
	return strconv.FormatFloat(math.Floor(share*10_000)/100, 'f', 2, 64) + "%"
}

// columns writes how many columns.
func columns(n int) string { return plural(n, "column", "columns") }

// values writes how many values.
func values(n int64) string {
	if n == 1 {
		return "1 value"
	}
	return count(n) + " values"
}

func plural(n int, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(int64(n)) + " " + several
}

// shown keeps what a name holds of control characters off the terminal.
func shown(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

func isTerminal(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

// colourful follows no-color.org.
func colourful(file *os.File) bool { return os.Getenv("NO_COLOR") == "" && isTerminal(file) }

// print writes the findings in the form that was asked for.
func (s *session) print(all []graded) error {
	findings := s.visible(all)
	if len(all) == 0 && (s.json || s.csv || s.quiet) { // or it would look like a database in sync
		_, _ = fmt.Fprintf(s.diagnostics, "seqheal: nothing to check in %s\n", s.server)
	}
	switch {
	case s.json:
		return s.printJSON(findings)
	case s.csv:
		return s.printCSV(findings)
	}
	rows := slices.DeleteFunc(slices.Clone(findings), func(f graded) bool {
		return withoutRight(f) && !slices.Contains(s.only, unreadable) // the summary counts them
	})
	text := s.table(rows)
	if s.quiet {
		text += s.rights(all)
	} else {
		text = s.server.String() + "\n" + text + s.summary(all, findings)
	}
	_, err := io.WriteString(s.out, text)
	return err
}

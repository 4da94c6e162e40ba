package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/seqheal/seqheal/plugin"
)

// rank orders states, the worst first.
var rank = map[plugin.State]int{
	plugin.StateExhausted: 0, plugin.StateBehind: 1, plugin.StateUnreadable: 2, plugin.StateNearlyExhausted: 3, plugin.StateInSync: 4,
}

func worstFirst(findings []plugin.Finding) []plugin.Finding {
	sorted := slices.Clone(findings)
	slices.SortStableFunc(sorted, func(a, b plugin.Finding) int {
		return cmp.Or(cmp.Compare(rank[a.State], rank[b.State]), cmp.Compare(b.Behind, a.Behind))
	})
	if sorted == nil {
		sorted = []plugin.Finding{} // a JSON array all the same
	}
	return sorted
}

// ANSI colours of the states.
var colours = map[plugin.State]string{
	plugin.StateExhausted: "\x1b[31;1m", plugin.StateBehind: "\x1b[31m", plugin.StateUnreadable: "\x1b[35m",
	plugin.StateNearlyExhausted: "\x1b[33m", plugin.StateInSync: "\x1b[32m",
}

const plain = "\x1b[0m"

// printTable writes the findings as an aligned table and a line that counts them.
func printTable(out screen, findings []plugin.Finding) error {
	rows := [][]string{{"STATE", "TABLE", "COLUMN", "TYPE", "LAST", "FURTHEST", "BEHIND", "USED", ""}}
	for _, f := range findings {
		rows = append(rows, row(f))
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for i, row := range rows {
		line := align(row, widths)
		if out.lively && i > 0 {
			state := findings[i-1].State
			line = strings.Replace(line, row[0], colours[state]+row[0]+plain, 1)
		}
		b.WriteString(line + "\n")
	}
	b.WriteString(summary(findings) + "\n")
	_, err := io.WriteString(out, b.String())
	return err
}

// align pads the cells, numbers to the right.
func align(row []string, widths []int) string {
	const firstNumber, lastNumber = 4, 7
	var b strings.Builder
	for i, cell := range row {
		padding := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
		if i >= firstNumber && i <= lastNumber {
			cell = padding + cell
		} else {
			cell += padding
		}
		b.WriteString(cell + "  ")
	}
	return strings.TrimRight(b.String(), " ")
}

func row(f plugin.Finding) []string {
	table := shown(f.Table)
	if f.Schema != "" {
		table = shown(f.Schema) + "." + table
	}
	cells := []string{strings.ReplaceAll(string(f.State), "_", " "), table, shown(f.Column), shown(f.Type), "", "", "", "", note(f)}
	if f.State == plugin.StateUnreadable {
		return cells
	}
	cells[4] = strconv.FormatInt(f.Last, 10)
	if f.FurthestKnown {
		cells[5] = strconv.FormatInt(f.Furthest, 10)
	}
	if f.Behind > 0 {
		cells[6] = strconv.FormatInt(f.Behind, 10)
	}
	cells[7] = fmt.Sprintf("%.1f%%", 100*f.Used)
	return cells
}

// note is what the numbers do not say.
func note(f plugin.Finding) string {
	var notes []string
	if f.Moved {
		notes = append(notes, fmt.Sprintf("moved %d → %d", f.From, f.To))
	}
	if f.Estimated {
		notes = append(notes, "estimated: no index begins with the column")
	}
	if f.Left != 0 {
		notes = append(notes, fmt.Sprintf("a row at %d near the end of the range is left out", f.Left))
	}
	if f.Cycle {
		notes = append(notes, "cycles")
	}
	if f.Err != nil {
		notes = append(notes, shown(f.Err.Error()))
	}
	return strings.Join(notes, "; ")
}

// shown keeps what a name holds of control characters off the terminal.
func shown(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

func summary(findings []plugin.Finding) string {
	counts := map[plugin.State]int{}
	moved := 0
	for _, f := range findings {
		counts[f.State]++
		if f.Moved {
			moved++
		}
	}
	text := fmt.Sprintf("%d columns fed by sequences", len(findings))
	for _, state := range []plugin.State{plugin.StateExhausted, plugin.StateBehind, plugin.StateUnreadable, plugin.StateNearlyExhausted, plugin.StateInSync} {
		if counts[state] > 0 {
			text += fmt.Sprintf(", %d %s", counts[state], strings.ReplaceAll(string(state), "_", " "))
		}
	}
	if moved > 0 {
		text += fmt.Sprintf("; moved %d", moved)
	}
	return text
}

// printSQL writes the statements that would move what is behind, ready for psql.
func printSQL(out io.Writer, findings []plugin.Finding) error {
	var b strings.Builder
	for _, f := range findings {
		if sql := f.SQL(); sql != "" {
			fmt.Fprintf(&b, "-- %s, column %s: the furthest value is %d, the sequence gave %d\n%s\n", shown(f.QuotedTable()), shown(f.Column), f.Furthest, f.Last, sql)
		} else if f.State != plugin.StateInSync {
			fmt.Fprintf(&b, "-- %s\n", shown(f.String()))
		}
	}
	if b.Len() == 0 {
		b.WriteString("-- nothing to move\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// bar is a progress bar on a terminal.
type bar struct {
	out   io.Writer
	drawn time.Time
}

func (b *bar) show(done, total int) {
	const cells, often = 40, 50 * time.Millisecond
	if total == 0 || done < total && time.Since(b.drawn) < often {
		return
	}
	b.drawn = time.Now()
	full := cells * done / total
	_, _ = fmt.Fprintf(b.out, "\r%s%s %d/%d ", strings.Repeat("█", full), strings.Repeat("░", cells-full), done, total)
}

func (b *bar) clear() { _, _ = io.WriteString(b.out, "\r\x1b[K") }

func isTerminal(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

// colourful follows no-color.org.
func colourful(file *os.File) bool { return os.Getenv("NO_COLOR") == "" && isTerminal(file) }

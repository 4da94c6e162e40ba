package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// quantile sorts a copy; 0.5 is the median.
func quantile[T cmp.Ordered](values []T, q float64) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// ratio is a median with the quarters around it.
type ratio struct{ low, middle, high float64 }

// ratioTo is over the rounds' own ratios.
func ratioTo(times, plain []time.Duration) ratio {
	ratios := make([]float64, len(times))
	for i := range times {
		ratios[i] = float64(times[i]) / float64(plain[i])
	}
	return ratio{quantile(ratios, 0.25), quantile(ratios, 0.5), quantile(ratios, 0.75)}
}

func (r ratio) String() string { return fmt.Sprintf("%.2f (%.2f to %.2f)", r.middle, r.low, r.high) }

// table is printed as Markdown.
type table struct {
	title string
	lines [][]string
}

func newTable(title string, columns ...string) *table {
	return &table{title, [][]string{columns}}
}

func (t *table) add(cells ...string) { t.lines = append(t.lines, cells) }

func (t *table) print() {
	fmt.Printf("\n%s\n\n", t.title)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	for i, line := range t.lines {
		fmt.Fprintln(w, "| "+strings.Join(line, "\t| ")+"\t|")
		if i == 0 {
			fmt.Fprintln(w, strings.Repeat("|---\t", len(line))+"|")
		}
	}
	_ = w.Flush()
}

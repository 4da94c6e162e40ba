package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/seqheal/seqheal/plugin"
)

// level is how urgent a finding is.
type level int

// The levels, the most urgent first.
const (
	exhausted level = iota
	behind
	critical
	cycles
	warning
	unreadable
	skipped
	inSync
	unused
)

// levelNames are the levels' names, in their order.
var levelNames = []string{"exhausted", "behind", "critical", "cycles", "warning", "unreadable", "skipped", "in_sync", "unused"}

func (l level) String() string { return levelNames[l] }

// spelled is the name for people.
func (l level) spelled() string { return strings.ReplaceAll(l.String(), "_", " ") }

// needsAttention reports whether the level makes the exit code 1.
func (l level) needsAttention() bool { return l <= warning }

// levels is a list of levels as a flag.
type levels []level

func (l *levels) String() string {
	names := make([]string, len(*l))
	for i, one := range *l {
		names[i] = one.String()
	}
	return strings.Join(names, ",")
}

func (l *levels) Set(text string) error {
	for _, name := range strings.Split(text, ",") {
		name = strings.NewReplacer(" ", "_", "-", "_").Replace(strings.ToLower(strings.TrimSpace(name)))
		if name == "attention" {
			*l = append(*l, exhausted, behind, critical, cycles, warning)
			continue
		}
		i := slices.Index(levelNames, name)
		if i < 0 {
			return fmt.Errorf("%q is none of %s, attention", name, strings.Join(levelNames, ", "))
		}
		*l = append(*l, level(i))
	}
	return nil
}

// graded is a finding and its level.
type graded struct {
	plugin.Finding
	level level
}

// grade gives the findings their levels, the most urgent first.
func (o *options) grade(findings []plugin.Finding) []graded {
	all := make([]graded, len(findings))
	for i, f := range findings {
		all[i] = graded{f, o.levelOf(f)}
	}
	slices.SortStableFunc(all, func(a, b graded) int {
		return cmp.Or(cmp.Compare(a.level, b.level), notMoved(a)-notMoved(b), cmp.Compare(b.Behind, a.Behind), cmp.Compare(share(b.Finding), share(a.Finding)))
	})
	return all
}

// notMoved is 0 for what was moved, which comes first.
func notMoved(f graded) int {
	if f.Moved {
		return 0
	}
	return 1
}

func (o *options) levelOf(f plugin.Finding) level {
	switch f.State {
	case plugin.StateUnused:
		return unused
	case plugin.StateExhausted:
		return exhausted
	case plugin.StateBehind:
		return behind
	case plugin.StateUnreadable:
		if f.Reason == plugin.ReasonUnsupported {
			return skipped
		}
		return unreadable
	}
	switch percent := 100 * share(f); {
	case f.CycleAhead > 0:
		return cycles
	case percent >= float64(o.critical):
		return critical
	case percent >= float64(o.warn):
		return warning
	}
	return inSync
}

// share is how much of the column's range is used up, or of the range of a foreign key
// that ends before it. A sequence that cycles uses up nothing.
func share(f plugin.Finding) float64 {
	if f.Cycle {
		return 0
	}
	most := f.Used
	for _, key := range f.Narrow {
		most = max(most, key.Used)
	}
	return most
}

// code is the exit code that the findings deserve.
func (o *options) code(all []graded) int {
	code := allInSync
	for _, f := range all {
		switch {
		case f.level.needsAttention():
			return attention
		case f.level == unreadable, f.level == skipped && o.selection.named(f.Schema, f.Table):
			code = notAll
		}
	}
	return code
}

// visible are the findings that the flags let through.
func (o *options) visible(all []graded) []graded {
	only := o.only
	if only == nil && o.quiet {
		only = levels{exhausted, behind, critical, cycles, warning, unreadable}
	}
	if only == nil {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(f graded) bool { return !slices.Contains(only, f.level) })
}

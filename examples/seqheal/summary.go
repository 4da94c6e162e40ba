package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/plugin"
)

// summary counts the findings and says what to do next.
func (s *session) summary(all, visible []graded) string {
	checked, moved := 0, 0
	counts := map[level]int{}
	for _, f := range all {
		counts[f.level]++
		if f.level != unused {
			checked++
		}
		if f.Moved {
			moved++
		}
	}
	if len(all) == 0 {
		return "nothing to check: no column draws its values from a sequence\n"
	}
	var parts []string
	for l := exhausted; l <= unused; l++ {
		if counts[l] > 0 {
			parts = append(parts, count(int64(counts[l]))+" "+l.spelled())
		}
	}
	text := columns(checked) + " checked: " + strings.Join(parts, ", ")
	if moved > 0 {
		text += fmt.Sprintf("; moved %s", plural(sequencesMoved(all), "sequence", "sequences"))
	}
	if len(visible) < len(all) {
		text += fmt.Sprintf("; %s listed", count(int64(len(visible))))
	}
	text += "\n" + s.rights(all) + why(visible) + next(visible)
	if s.command == commandAudit && counts[behind] > 0 {
		text += "seqheal fix moves what is behind; seqheal sql prints the statements\n"
	}
	return text
}

// mostAdvised is of how many findings the next step is written.
const mostAdvised = 20

// next lists what to do about the findings that are shown, where fix cannot do it.
func next(visible []graded) string {
	var steps []string
	for _, f := range visible {
		for _, step := range advice(f) {
			steps = append(steps, "  "+shown(step)+"\n")
		}
	}
	switch {
	case len(steps) == 0:
		return ""
	case len(steps) > mostAdvised:
		more := len(steps) - mostAdvised
		steps = append(steps[:mostAdvised:mostAdvised], fmt.Sprintf("  and %s\n", plural(more, "more", "more")))
	}
	return "Next steps that fix does not take (changing a column's type rewrites and locks its table):\n" + strings.Join(steps, "")
}

// why lists what made the sequences drift, with a statement that shows the rows.
func why(visible []graded) string {
	text, told := "", 0
	for _, f := range visible {
		if f.Cause.Kind == "" || told == mostAdvised {
			continue
		}
		told++
		for _, cause := range f.Causes() {
			text += fmt.Sprintf("  %s.%s: %s\n", tableCell(f), shown(f.Column), shown(cause.String()))
		}
		text += "    " + shown(f.Front.Select) + ";\n"
	}
	if text == "" {
		return ""
	}
	return "Causes, as far as they are proved, and the rows in front:\n" + text
}

func sequencesMoved(all []graded) int {
	moved := map[string]bool{}
	for _, f := range all {
		if f.Moved {
			moved[f.Sequence] = true
		}
	}
	return len(moved)
}

// withoutRight reports whether a column could not be read for want of a right.
func withoutRight(f graded) bool {
	return f.level == unreadable && (f.Reason == plugin.ReasonPermission || f.Reason == plugin.ReasonRowSecurity)
}

// readAllRole is the server's version from which on it has the role pg_read_all_data.
const readAllRole = 14_00_00

// rights is one summary of the rights that are missing: the two or three statements
// that give all of them.
func (s *session) rights(all []graded) string {
	var unread, unmoved, hidden, schemas, moving []string
	for _, f := range all {
		schema := catalog.Quote(f.Schema)
		switch {
		case f.Reason == plugin.ReasonRowSecurity:
			hidden = append(hidden, schema)
		case f.Reason != plugin.ReasonPermission:
		case f.level == unreadable:
			unread, schemas = append(unread, schema), append(schemas, schema)
		default:
			unmoved, moving = append(unmoved, schema), append(moving, schema)
		}
	}
	role := catalog.Quote(s.server.Role)
	text := ""
	if len(unread) > 0 {
		text += fmt.Sprintf("role %s may not read %s, in %s. This gives what is missing:\n%s",
			shown(s.server.Role), columns(len(unread)), inSchemas(schemas), s.grantReading(unique(schemas), role))
	}
	if len(unmoved) > 0 {
		text += fmt.Sprintf("role %s may not move the sequences of %s. This gives what is missing:\n  GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA %s TO %s;\n",
			shown(s.server.Role), columns(len(unmoved)), unique(moving), role)
	}
	if len(hidden) > 0 {
		text += fmt.Sprintf("row-level security hides rows of %s from role %s. This shows them:\n  ALTER ROLE %s BYPASSRLS;\n",
			columns(len(hidden)), shown(s.server.Role), role)
	}
	return shownLines(text)
}

// grantReading gives all that an audit needs.
func (s *session) grantReading(schemas, role string) string {
	if s.server.VersionNumber >= readAllRole {
		return fmt.Sprintf("  GRANT pg_read_all_data TO %s;\n", role)
	}
	return fmt.Sprintf("  GRANT USAGE ON SCHEMA %[1]s TO %[2]s;\n  GRANT SELECT ON ALL TABLES IN SCHEMA %[1]s TO %[2]s;\n"+
		"  GRANT SELECT ON ALL SEQUENCES IN SCHEMA %[1]s TO %[2]s;\n", schemas, role)
}

// distinct are the names once each, in order.
func distinct(names []string) []string {
	sorted := slices.Clone(names)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}

// unique lists names once each.
func unique(names []string) string { return strings.Join(distinct(names), ", ") }

// inSchemas names schemas, or counts them when they are many.
func inSchemas(names []string) string {
	const named = 5
	switch all := distinct(names); {
	case len(all) == 1:
		return "schema " + all[0]
	case len(all) > named:
		return plural(len(all), "schema", "schemas")
	default:
		return "schemas " + strings.Join(all, ", ")
	}
}

// shownLines is shown for a text of several lines of the command's own.
func shownLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = shown(lines[i])
	}
	return strings.Join(lines, "\n")
}

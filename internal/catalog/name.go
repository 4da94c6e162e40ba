package catalog

import "strings"

// Quote writes an identifier, each part quoted, for use in SQL text. It is the
// only way in which a name enters a statement of the plugin's.
func Quote(parts ...string) string {
	var b strings.Builder
	for i, part := range parts {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteByte('"')
		b.WriteString(strings.ReplaceAll(part, `"`, `""`))
		b.WriteByte('"')
	}
	return b.String()
}

// Literal writes a string constant for use in SQL text, the same under every
// setting of standard_conforming_strings (PostgreSQL manual 4.1.2).
func Literal(text string) string {
	literal := "'" + strings.ReplaceAll(text, "'", "''") + "'"
	if strings.Contains(text, `\`) {
		return " E" + strings.ReplaceAll(literal, `\`, `\\`)
	}
	return literal
}

package catalog

import (
	"fmt"
	"strings"
	"unicode"
)

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
// setting of standard_conforming_strings (PostgreSQL manual 4.1.2). Control characters
// are escaped, so that the text can be shown on a terminal.
func Literal(text string) string {
	if !strings.ContainsFunc(text, escaped) {
		return "'" + strings.ReplaceAll(text, "'", "''") + "'"
	}
	var b strings.Builder
	b.WriteString(" E'")
	for _, r := range text {
		switch {
		case r == '\'':
			b.WriteString("''")
		case escaped(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('\'')
	return b.String()
}

func escaped(r rune) bool { return r == '\\' || unicode.IsControl(r) }

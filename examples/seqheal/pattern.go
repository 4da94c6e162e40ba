package main

import (
	"errors"
	"regexp"
	"strings"
)

// pattern is a name as it is written in a flag: schema and table, or one of both, in which
// * and ? match unless they are quoted.
type pattern struct {
	text string
	// parts match the schema and the table, or the one that was given.
	parts []*regexp.Regexp
	// exact is true when there is no * and no ?.
	exact bool
	// name is the last part without its quotes, for one that is exact.
	name    string
	matched bool
}

// matches reports whether the pattern is that of a table.
func (p *pattern) matches(schema, table string) bool {
	last := len(p.parts) - 1
	return p.parts[last].MatchString(table) && (last == 0 || p.parts[0].MatchString(schema))
}

// schemaPatterns and tablePatterns are flags that may be given more than once, or with
// commas. A schema has one part, a table at most two.
type (
	schemaPatterns []*pattern
	tablePatterns  []*pattern
)

func (l *schemaPatterns) String() string { return "" }
func (l *schemaPatterns) Set(text string) error {
	parsed, err := parsePatterns(text, 1)
	*l = append(*l, parsed...)
	return err
}

func (l *tablePatterns) String() string { return "" }
func (l *tablePatterns) Set(text string) error {
	parsed, err := parsePatterns(text, 2)
	*l = append(*l, parsed...)
	return err
}

// parsePatterns reads patterns that commas divide.
func parsePatterns(text string, most int) ([]*pattern, error) {
	var patterns []*pattern
	for rest, more := text, true; more; rest, more = strings.CutPrefix(rest, ",") {
		p := &pattern{exact: true}
		after, err := p.read(rest, most)
		if err != nil {
			return nil, err
		}
		p.text = rest[:len(rest)-len(after)]
		patterns = append(patterns, p)
		rest = after
	}
	return patterns, nil
}

// read reads one pattern of so many parts at the most and returns what follows it. Quotes
// and what is in them are read as SQL reads them.
func (p *pattern) read(text string, most int) (rest string, err error) {
	for rest = text; ; rest = rest[1:] {
		part, end := p.readPart(rest)
		switch {
		case end < 0:
			return "", errors.New("a quote is not closed")
		case part == "^$":
			return "", errors.New("an empty name")
		}
		p.parts = append(p.parts, regexp.MustCompile("(?s)"+part))
		if rest = rest[end:]; rest == "" || rest[0] == ',' {
			return rest, nil
		}
		if len(p.parts) == most {
			return "", errors.New("a name with too many dots; one that contains a dot is written in quotes: '\"a.b\"'")
		}
	}
}

// readPart reads one part of a name, up to a dot or comma, and returns its expression and
// where it ends, -1 when a quote is not closed.
func (p *pattern) readPart(text string) (expression string, end int) {
	var name strings.Builder
	var b strings.Builder
	quoted := false
	b.WriteByte('^')
	for i, r := range text {
		switch {
		case r == '"':
			if quoted = !quoted; quoted && i > 0 && text[i-1] == '"' { // a doubled one
				name.WriteByte('"')
				b.WriteByte('"')
			}
			continue
		case !quoted && (r == ',' || r == '.'):
			p.name = name.String()
			return b.String() + "$", i
		case !quoted && r == '*':
			b.WriteString(".*")
			p.exact = false
		case !quoted && r == '?':
			b.WriteByte('.')
			p.exact = false
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
		name.WriteRune(r)
	}
	if quoted {
		return "", -1
	}
	p.name = name.String()
	return b.String() + "$", len(text)
}

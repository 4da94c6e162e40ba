package catalog

import (
	"slices"
	"strconv"
	"strings"
)

// readStep reads a view's query. It reports false when the view does not select from
// exactly one relation.
//
// The server writes the tree as {TAG :field value …}, lists in parentheses, and a
// backslash before each special character of a name. Each entry of the outermost target
// list says which relation and column it comes from (resorigtbl and resorigcol, 0 for an
// expression), on 12 to 18 alike (measured).
func readStep(text string) (step, bool) {
	r := queryReader{step: step{columns: map[int64]int64{}}}
	for text != "" {
		var token string
		token, text = nextToken(text)
		r.read(token)
	}
	return r.step, r.from == 1 && !r.several && r.step.relation != 0
}

// queryReader walks through a query's tree.
type queryReader struct {
	step    step
	from    int  // relations in the outermost FROM
	several bool // a join, or columns of several relations

	tags           []string // of the nodes that are open
	field          string   // of the innermost node
	number, origin int64    // resno and resorigtbl of the target entry
}

// read takes in one token.
func (r *queryReader) read(token string) {
	switch {
	case strings.HasPrefix(token, "{"):
		r.open(token[1:])
	case token == "}":
		r.tags, r.field = r.tags[:max(0, len(r.tags)-1)], ""
	case strings.HasPrefix(token, ":"):
		r.field = token[1:]
	case len(r.tags) == 2 && r.tags[1] == "TARGETENTRY":
		r.entry(token)
	}
}

func (r *queryReader) open(tag string) {
	r.tags, r.field = append(r.tags, tag), ""
	if len(r.tags) == 3 && slices.Equal(r.tags[:2], []string{"QUERY", "FROMEXPR"}) {
		r.from += count(tag == "RANGETBLREF")
		r.several = r.several || tag == "JOINEXPR"
	}
}

func count(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// entry takes in the value of a target entry's field.
func (r *queryReader) entry(value string) {
	number, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return // a name, a bool
	}
	switch r.field {
	case "resno":
		r.number = number
	case "resorigtbl":
		r.origin = number
	case "resorigcol":
		if r.origin == 0 {
			return
		}
		r.several = r.several || r.step.relation != 0 && r.step.relation != r.origin
		r.step.relation, r.step.columns[r.number] = r.origin, number
	}
}

// nextToken cuts the first token off: a node's beginning with its tag, a bracket, or a
// word, whose escapes stay as they are.
func nextToken(text string) (token, rest string) {
	text = strings.TrimLeft(text, " \n\t")
	if text == "" {
		return "", ""
	}
	end := 1
	if strings.ContainsRune("}()", rune(text[0])) {
		return text[:end], text[end:]
	}
	if text[0] == '\\' {
		end = min(2, len(text))
	}
	for end < len(text) && !strings.ContainsRune("{}() \n\t", rune(text[end])) {
		if text[end] == '\\' {
			end++
		}
		end = min(end+1, len(text))
	}
	return text[:end], text[end:]
}

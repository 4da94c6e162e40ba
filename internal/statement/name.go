package statement

import (
	"strings"

	"github.com/seqheal/seqheal/internal/catalog"
)

// TargetOf reads the name that follows INSERT INTO in a rendered statement, past
// comments. The rendered text is the truth: with TableName() "s.bills" GORM's
// Statement.Table has lost the schema. It reports false for anything but one or two
// identifiers.
func TargetOf(sql string) (catalog.Name, bool) {
	rest, ok := keyword(sql, "INSERT")
	if ok {
		rest, ok = keyword(rest, "INTO")
	}
	if !ok {
		return catalog.Name{}, false
	}
	first, rest, ok := identifier(skipBlank(rest))
	if !ok {
		return catalog.Name{}, false
	}
	if !strings.HasPrefix(rest, ".") {
		return catalog.Name{Table: first}, true
	}
	second, rest, ok := identifier(rest[1:])
	if !ok || strings.HasPrefix(rest, ".") {
		return catalog.Name{}, false
	}
	return catalog.Name{Schema: first, Table: second}, true
}

// keyword reads a keyword after blanks and comments, and returns what follows it.
func keyword(sql, word string) (rest string, ok bool) {
	sql = skipBlank(sql)
	if len(sql) < len(word) || !strings.EqualFold(sql[:len(word)], word) {
		return sql, false
	}
	rest = sql[len(word):]
	return rest, skipBlank(rest) != rest
}

// skipBlank skips white space and comments (PostgreSQL manual 4.1.5). Comments between
// the signs /* and */ nest.
func skipBlank(sql string) string {
	for {
		sql = strings.TrimLeft(sql, " \t\r\n\f\v")
		switch {
		case strings.HasPrefix(sql, "--"):
			_, sql, _ = strings.Cut(sql, "\n")
		case strings.HasPrefix(sql, "/*"):
			sql = skipComment(sql)
		default:
			return sql
		}
	}
}

func skipComment(sql string) string {
	depth := 0
	for i := 0; i+1 < len(sql); i++ {
		switch sql[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
		}
		if depth == 0 {
			return sql[i+1:]
		}
	}
	return ""
}

// identifier reads one identifier, quoted or not, from the start of text
// (PostgreSQL manual 4.1.1) and returns what follows it.
func identifier(text string) (name, rest string, ok bool) {
	if strings.HasPrefix(text, `"`) {
		return quoted(text[1:])
	}
	end := strings.IndexFunc(text, func(r rune) bool {
		return r != '_' && r != '$' && r < 0x80 &&
			(r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
	if end < 0 {
		end = len(text)
	}
	if end == 0 || text[0] == '$' || (text[0] >= '0' && text[0] <= '9') {
		return "", text, false
	}
	return foldASCII(text[:end]), text[end:], true
}

// quoted reads up to the closing quote; a doubled quote stands for one.
func quoted(text string) (name, rest string, ok bool) {
	if end := strings.IndexByte(text, '"'); end > 0 && !strings.HasPrefix(text[end+1:], `"`) {
		return text[:end], text[end+1:], true // no doubled quote: no copy
	}
	var b strings.Builder
	for {
		end := strings.IndexByte(text, '"')
		if end < 0 {
			return "", text, false
		}
		b.WriteString(text[:end])
		text = text[end+1:]
		if !strings.HasPrefix(text, `"`) {
			return b.String(), text, b.Len() > 0
		}
		b.WriteByte('"')
		text = text[1:]
	}
}

// foldASCII lowers A to Z only, as the server does in multibyte encodings.
func foldASCII(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + ('a' - 'A')
		}
		return r
	}, text)
}

// columnName is the name that a clause's column renders to. GORM quotes each
// part between dots; the last one is the column.
func columnName(written string) string {
	if !strings.ContainsAny(written, `."`) {
		return written
	}
	if i := strings.LastIndexByte(written, '.'); i >= 0 {
		written = written[i+1:]
	}
	return strings.Trim(written, `"`)
}

package plugin

import (
	"fmt"
	"strings"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/catalog"
)

// tableOf is the table of a model, as GORM names it.
func tableOf(db *gorm.DB, model any) (catalog.Name, error) {
	stmt := &gorm.Statement{DB: db}
	if err := stmt.Parse(model); err != nil {
		return catalog.Name{}, fmt.Errorf("seqheal: audit the table of %T: %w", model, err)
	}
	if stmt.TableExpr != nil { // TableName() gave a schema, which Table has lost
		return tableName(stmt.Schema.Table), nil
	}
	return tableName(stmt.Table), nil
}

// tableName reads a name, quoted as SQL or as GORM writes it. What is neither becomes
// the name of a table that does not exist.
func tableName(text string) catalog.Name {
	first, rest, ok := namePart(text)
	switch {
	case !ok:
		return catalog.Name{Table: text}
	case rest == "":
		return catalog.Name{Table: first}
	}
	second, rest, ok := namePart(rest[1:])
	if !ok || rest != "" {
		return catalog.Name{Table: text}
	}
	return catalog.Name{Schema: first, Table: second}
}

// namePart reads the first part of a name; rest is empty or begins with the dot after it.
func namePart(text string) (part, rest string, ok bool) {
	quoted, isQuoted := strings.CutPrefix(text, `"`)
	if !isQuoted {
		end := strings.IndexByte(text, '.')
		if end < 0 {
			end = len(text)
		}
		return text[:end], text[end:], true
	}
	end := closingQuote(quoted)
	if end < 0 {
		return "", "", false
	}
	rest = quoted[end+1:]
	return strings.ReplaceAll(quoted[:end], `""`, `"`), rest, rest == "" || rest[0] == '.'
}

// closingQuote is where a quoted identifier ends, -1 when it does not.
func closingQuote(text string) int {
	for i := 0; i < len(text); i++ {
		if text[i] != '"' {
			continue
		}
		if i+1 == len(text) || text[i+1] != '"' {
			return i
		}
		i++
	}
	return -1
}

package heal

import (
	"slices"
	"strings"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/sequence"
)

// maxPrefixes is how many prefixes of one statement's rows are read each by itself.
const maxPrefixes = 16

// prefixes fixes the key columns in front of the sequence's, when no index begins
// with that one: once for each set of values among the rows that leave their id
// out. It is nil when they cannot be known, or are too many.
func (in *insert) prefixes(t *catalog.Table) []*sequence.Prefix {
	if t.Indexed || t.Column <= 0 || !owns(t) {
		return nil
	}
	var all []*sequence.Prefix
	seen := map[string]bool{}
	for row := range in.stmt.Insert.Rows() {
		if in.stmt.Insert.NamesIn(row, fedColumn(t)) {
			continue
		}
		prefix := in.prefixOf(row, t)
		if prefix == nil {
			return nil
		}
		if key := joined(prefix); !seen[key] {
			seen[key] = true
			all = append(all, prefix)
		}
	}
	if len(all) > maxPrefixes {
		return nil
	}
	return all
}

// prefixOf is the prefix of one row, nil when it cannot be known.
func (in *insert) prefixOf(row int, t *catalog.Table) *sequence.Prefix {
	return in.fixed(t, row, t.Key[:t.Column])
}

// beside fixes all the key's columns but the sequence's to what one row gives
// them, nil when there are none or they cannot be known.
func (in *insert) beside(row int, t *catalog.Table) *sequence.Prefix {
	return in.fixed(t, row, slices.Delete(slices.Clone(t.Key), t.Column, t.Column+1))
}

func (in *insert) fixed(t *catalog.Table, row int, columns []catalog.Column) *sequence.Prefix {
	prefix := &sequence.Prefix{Columns: columns}
	for _, column := range columns {
		value, known := in.stmt.Insert.Value(row, shown(t, column.Name))
		text, writable := sequence.Text(value)
		if !known || !writable {
			return nil
		}
		prefix.Values = append(prefix.Values, text)
	}
	return prefix
}

func joined(prefix *sequence.Prefix) string { return strings.Join(prefix.Values, "\x00") }

// namedBeside returns the ids that rows of the statement name and that rows which
// leave theirs out can collide with; behind a prefix only rows that share it.
func (in *insert) namedBeside(t *catalog.Table) []int64 {
	ids, _ := in.explicit(t)
	prefixes := in.prefixes(t)
	if len(ids) == 0 || len(prefixes) == 0 {
		return ids
	}
	drawing := map[string]bool{}
	for _, prefix := range prefixes {
		drawing[joined(prefix)] = true
	}
	var beside []int64
	for row := range in.stmt.Insert.Rows() {
		if !in.stmt.Insert.NamesIn(row, fedColumn(t)) {
			continue
		}
		if prefix := in.prefixOf(row, t); prefix == nil || drawing[joined(prefix)] {
			beside = append(beside, ids[0])
		}
		ids = ids[1:]
	}
	return beside
}

// drawsBefore reports whether a row that leaves its id out comes before the one that
// names this id.
func (in *insert) drawsBefore(t *catalog.Table, id int64) bool {
	ids, _ := in.explicit(t)
	for row := range in.stmt.Insert.Rows() {
		if !in.stmt.Insert.NamesIn(row, fedColumn(t)) {
			return true
		}
		if len(ids) == 0 || ids[0] == id {
			break
		}
		ids = ids[1:]
	}
	return false
}

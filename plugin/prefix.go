package plugin

import (
	"slices"
	"strings"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/resync"
)

// maxPrefixes is how many prefixes one statement's rows may have to be looked at
// each by itself.
const maxPrefixes = 16

// prefixes fixes the key columns in front of the sequence's, when no index begins
// with that one: once for each set of values among the rows that leave their id
// out. It is nil when they cannot be told, or are too many.
func (s *statement) prefixes(t *catalog.Table) []*resync.Prefix {
	if t.Indexed || t.Column == 0 || !t.Own {
		return nil
	}
	var all []*resync.Prefix
	seen := map[string]bool{}
	for row := range s.insert.Rows() {
		if s.insert.NamesIn(row, t.FedColumn()) {
			continue
		}
		prefix := s.prefixOf(row, t)
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

// prefixOf is the prefix of one row, nil when it cannot be told.
func (s *statement) prefixOf(row int, t *catalog.Table) *resync.Prefix {
	return s.fixed(row, t.Key[:t.Column])
}

// beside fixes all the key's columns but the sequence's to what one row gives
// them, nil when there are none or they cannot be told.
func (s *statement) beside(row int, t *catalog.Table) *resync.Prefix {
	return s.fixed(row, slices.Delete(slices.Clone(t.Key), t.Column, t.Column+1))
}

func (s *statement) fixed(row int, columns []catalog.Column) *resync.Prefix {
	prefix := &resync.Prefix{Columns: columns}
	for _, column := range columns {
		value, known := s.insert.Value(row, column.Name)
		text, writable := resync.Text(value)
		if !known || !writable {
			return nil
		}
		prefix.Values = append(prefix.Values, text)
	}
	return prefix
}

func joined(prefix *resync.Prefix) string { return strings.Join(prefix.Values, "\x00") }

// namedBeside returns the ids that rows of the statement name, which those that
// leave theirs out can meet; behind a prefix only rows that share it.
func (s *statement) namedBeside(t *catalog.Table) []int64 {
	ids, _ := s.insert.Explicit(t.FedColumn())
	prefixes := s.prefixes(t)
	if len(ids) == 0 || len(prefixes) == 0 {
		return ids
	}
	drawing := map[string]bool{}
	for _, prefix := range prefixes {
		drawing[joined(prefix)] = true
	}
	var beside []int64
	for row := range s.insert.Rows() {
		if !s.insert.NamesIn(row, t.FedColumn()) {
			continue
		}
		if prefix := s.prefixOf(row, t); prefix == nil || drawing[joined(prefix)] {
			beside = append(beside, ids[0])
		}
		ids = ids[1:]
	}
	return beside
}

// drawsBefore reports whether a row that leaves its id out comes before the one that
// names this id.
func (s *statement) drawsBefore(t *catalog.Table, id int64) bool {
	ids, _ := s.insert.Explicit(t.FedColumn())
	for row := range s.insert.Rows() {
		if !s.insert.NamesIn(row, t.FedColumn()) {
			return true
		}
		if len(ids) == 0 || ids[0] == id {
			break
		}
		ids = ids[1:]
	}
	return false
}

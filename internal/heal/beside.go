package heal

import (
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/sequence"
)

// leading are the values of the key columns before the sequence's among the rows that leave
// their id out: where no index begins with that column, only rows that have them can be
// found. It is nil where one does, and where the values cannot be known.
func (in *insert) leading(t *catalog.Table) *sequence.Beside {
	if t.Indexed || t.Column <= 0 || !t.IsTarget() {
		return nil
	}
	return in.drawing(t, t.Key[:t.Column])
}

// exactly is leading for a look by the whole key, where what the rows have in all its other
// columns is known.
func (in *insert) exactly(t *catalog.Table) *sequence.Beside {
	if len(t.Key) > 1 && t.IsTarget() {
		if all := in.drawing(t, others(t)); all != nil {
			return all
		}
	}
	return in.leading(t)
}

// drawing are the values that the rows which leave their id out give these columns, each set
// once, nil where there are none or they cannot be known.
func (in *insert) drawing(t *catalog.Table, columns []catalog.Column) *sequence.Beside {
	found := &sequence.Beside{Columns: columns}
	seen := map[string]bool{}
	for row := range in.stmt.Insert.Rows() {
		if in.stmt.Insert.NamesIn(row, t.ShownFed()) {
			continue
		}
		set := in.valuesOf(row, t, columns)
		if set == nil {
			return nil
		}
		if key := alike(set); !seen[key] {
			seen[key] = true
			found.Sets = append(found.Sets, set)
		}
	}
	if len(found.Sets) == 0 {
		return nil
	}
	return found
}

// others are the key's columns but the sequence's.
func others(t *catalog.Table) []catalog.Column {
	return slices.Delete(slices.Clone(t.Key), t.Column, t.Column+1)
}

// beside are the values that one row gives all the key's columns but the sequence's, nil
// where there are none or they cannot be known.
func (in *insert) beside(row int, t *catalog.Table) *sequence.Beside {
	set := in.valuesOf(row, t, others(t))
	if set == nil {
		return nil
	}
	return &sequence.Beside{Columns: others(t), Sets: [][]any{set}}
}

// valuesOf are the values that a row gives these columns, nil where there are none and where
// the server computes one.
func (in *insert) valuesOf(row int, t *catalog.Table, columns []catalog.Column) (set []any) {
	for _, column := range columns {
		value, known := in.stmt.Insert.Value(row, t.Shown(column.Name))
		if !known {
			return nil
		}
		set = append(set, value)
	}
	return set
}

// alike is equal for sets of equal values.
func alike(set []any) string {
	texts := make([]string, len(set))
	for i, value := range set {
		if sent, err := driver.DefaultParameterConverter.ConvertValue(value); err == nil {
			value = sent
		}
		if at, ok := value.(time.Time); ok {
			// A column without a zone keeps what the clock shows there.
			value = at.Truncate(time.Microsecond).Format(time.RFC3339Nano)
		}
		texts[i] = fmt.Sprint(value)
	}
	return strings.Join(texts, "\x00")
}

// namedBeside returns the ids that rows of the statement name and that rows which
// leave theirs out can collide with: only rows that have the same values beside, where those
// matter.
func (in *insert) namedBeside(t *catalog.Table, among *sequence.Beside) []int64 {
	if among == nil {
		ids, _ := in.explicit(t)
		return ids
	}
	drawing := map[string]bool{}
	for _, set := range among.Sets {
		drawing[alike(set)] = true
	}
	var beside []int64
	for row := range in.stmt.Insert.Rows() {
		id, named := in.stmt.Insert.ID(row, t.ShownFed())
		if set := in.valuesOf(row, t, among.Columns); named && (set == nil || drawing[alike(set)]) {
			beside = append(beside, id)
		}
	}
	return beside
}

// drawsBefore reports whether a row that leaves its id out comes before the one that
// names this id.
func (in *insert) drawsBefore(t *catalog.Table, id int64) bool {
	for row := range in.stmt.Insert.Rows() {
		if !in.stmt.Insert.NamesIn(row, t.ShownFed()) {
			return true
		}
		if named, ok := in.stmt.Insert.ID(row, t.ShownFed()); ok && named == id {
			break
		}
	}
	return false
}

package statement

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// Text is the rendered statement in one of the forms in which it can be sent. The
// caller's own form comes from [Statement.Text]; the other methods return a new Text
// and leave the old one as it is.
type Text struct {
	SQL  string
	Vars []any
	// guard is text that is sent after the VALUES part.
	guard string
	// values is where the VALUES part ends, in bytes. action is where ON CONFLICT ends
	// but for its WHERE, and where is the end of that WHERE; both are values without
	// an ON CONFLICT.
	values, action, where int
	// valuesVars and whereVars count the parameters up to there.
	valuesVars, whereVars int
}

// HasConflict reports whether ON CONFLICT was found in the text.
func (t Text) HasConflict() bool { return t.where > t.values }

// GuardAllowed reports whether ON CONFLICT can be added after the VALUES part.
func (t Text) GuardAllowed() bool { return t.where == t.values }

// Guarded carries a conflict guard: INSERT … VALUES … ON CONFLICT (key) DO NOTHING.
// key are the quoted columns of the primary key.
func (t Text) Guarded(key string) Text {
	t.guard = key
	return t
}

// ConflictGuard is the text of a conflict guard on these quoted columns.
func ConflictGuard(key []string) string {
	return " ON CONFLICT (" + strings.Join(key, ",") + ") DO NOTHING"
}

// WithoutConflict leaves ON CONFLICT out. It reports false when parameters follow
// the clause, because they would be numbered anew.
func (t Text) WithoutConflict() (Text, bool) {
	if t.whereVars != len(t.Vars) {
		return t, false
	}
	t.SQL = t.SQL[:t.values] + t.SQL[t.where:]
	t.Vars = t.Vars[:t.valuesVars:t.valuesVars]
	t.where, t.action, t.whereVars = t.values, t.values, t.valuesVars
	return t, true
}

// tripped ends the text that a tripwire fails with.
const tripped = " exists (seqheal)"

// WithTripwire has DO UPDATE fail where it meets a row, unless the row that is inserted has
// one of these ids. column is the statement's quoted name for the key's column. The error
// names the id ([Tripped]); nothing of it is evaluated while no row is met. The caller's own
// WHERE still applies. The ids are one parameter more, so that the text is the same for all.
func (t Text) WithTripwire(column string, ids []int64) Text {
	wire := "(excluded." + column + "::pg_catalog.text OPERATOR(pg_catalog.||) '" + tripped + "')::pg_catalog.bool IS NULL"
	own, has := strings.CutPrefix(t.SQL[t.action:t.where], " WHERE ")
	switch {
	case !has:
		own = "true"
	case strings.TrimSpace(own) == "":
		return t // an empty WHERE is an error of the caller's own
	}
	own = "(" + own + "\n)" // it may end in a comment
	if len(ids) == 0 {
		wire = "CASE WHEN " + wire + " THEN " + own + " ELSE false END"
	} else {
		wire = "CASE WHEN excluded." + column + t.among(ids) + " THEN " + own + " ELSE " + wire + " END"
	}
	sql := t.SQL[:t.action] + " WHERE " + wire + " "
	t.SQL, t.where = sql+t.SQL[t.where:], len(sql)
	return t
}

// maxParameters is how many the protocol allows.
const maxParameters = math.MaxUint16

// among is a condition that a value is one of ids, and adds them to the parameters where there
// is room for one more.
func (t *Text) among(ids []int64) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = strconv.FormatInt(id, 10)
	}
	list := strings.Join(texts, ",")
	if len(t.Vars) >= maxParameters {
		return " IN (" + list + ")"
	}
	t.Vars = append(slices.Clip(t.Vars), "{"+list+"}")
	return fmt.Sprintf(" = ANY ($%d::pg_catalog.int8[])", len(t.Vars))
}

// Tripped reads a tripwire's error: the id that is taken, empty when the error is another
// one.
func Tripped(message string) (id string) {
	before, _, found := strings.Cut(message, tripped)
	if !found {
		return ""
	}
	return before[len(strings.TrimRight(before, "-0123456789")):] // any quotation mark stands before it
}

// render writes the same text as Statement.Build(BuildClauses...), each clause
// once, and notes where the parts end.
func render(stmt *gorm.Statement) Text {
	var t Text
	for _, name := range stmt.BuildClauses {
		c, ok := stmt.Clauses[name]
		if !ok {
			continue
		}
		if stmt.SQL.Len() > 0 {
			_ = stmt.WriteByte(' ')
		}
		onConflict, plain := c.Expression.(clause.OnConflict)
		if plain && c.Builder == nil && c.AfterExpression == nil && stmt.DB.ClauseBuilders[name] == nil {
			t.renderConflict(stmt, c, onConflict)
		} else {
			stmt.Build(name)
		}
		if name == "VALUES" {
			t.values, t.valuesVars = stmt.SQL.Len(), len(stmt.Vars)
			t.action, t.where, t.whereVars = t.values, t.values, t.valuesVars
		}
	}
	t.SQL, t.Vars = stmt.SQL.String(), stmt.Vars
	return t
}

// renderConflict writes ON CONFLICT as clause.OnConflict does, its WHERE apart.
func (t *Text) renderConflict(stmt *gorm.Statement, c clause.Clause, onConflict clause.OnConflict) {
	where := onConflict.Where
	onConflict.Where = clause.Where{}
	c.Expression = onConflict
	c.Build(stmt)
	t.action = stmt.SQL.Len()
	if len(where.Exprs) > 0 {
		_, _ = stmt.WriteString(" WHERE ")
		where.Build(stmt)
		_ = stmt.WriteByte(' ')
	}
	t.where, t.whereVars = stmt.SQL.Len(), len(stmt.Vars)
}

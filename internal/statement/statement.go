package statement

import (
	"reflect"
	"runtime"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/callbacks"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/schema"

	"github.com/seqheal/seqheal/internal/catalog"
)

// Statement is one INSERT of GORM's, rendered once and sent as often as needed. It
// is not safe for concurrent use.
type Statement struct {
	DB *gorm.DB
	// Insert and Target describe the statement. Readable is false for a shape that
	// is not known here; it is sent as it is.
	Insert   Insert
	Target   catalog.Name
	Readable bool
	// Sent is when the statement was last sent.
	Sent time.Time

	original func(*gorm.DB)
	text     Text
	// unrendered is true until GORM has rendered the statement at its first sending.
	unrendered bool
	config     *gorm.Config // the caller's
	inner      gorm.Config  // the caller's without TranslateError
	// clauses are the statement's clauses as GORM put them together; usual has room
	// for those of nearly every statement.
	clauses []namedClause
	usual   [5]namedClause
	before  result
	// undo puts back what GORM fills, nil until it is kept.
	undo []func()
}

type namedClause struct {
	name   string
	clause clause.Clause
}

// result is what GORM keeps of a statement's end. The result that a caller hands
// over with gorm.WithResult may still hold an earlier statement's.
type result struct {
	rowsAffected       int64
	withResultErr      error
	withResultAffected int64
}

// Prepare puts the statement's clauses and values together as GORM's create callback
// does, renders them once, and sends nothing. It returns nil when GORM ended the
// statement with an error on the way.
//
// Rendering under DryRun instead would store wrong data, because a GormValue that queries
// its db gets nothing there, and rendering twice would run it twice (measured). A
// callback of the application that wraps GORM's own may add clauses: a plain insert is
// then left to be rendered by GORM when it is sent.
func Prepare(db *gorm.DB, original func(*gorm.DB)) *Statement {
	s := &Statement{DB: db, original: original, config: db.Config, inner: *db.Config}
	s.inner.TranslateError = false
	s.assemble()
	if db.Error != nil {
		return nil
	}
	_, upsert := db.Statement.Clauses["ON CONFLICT"]
	if s.unrendered = !upsert && !isGorms(original); !s.unrendered {
		s.text = render(db.Statement)
	}
	if db.Error != nil {
		return nil
	}
	s.remember()
	s.clauses = s.usual[:0]
	for name, c := range db.Statement.Clauses {
		s.clauses = append(s.clauses, namedClause{name, c})
	}
	s.Insert, s.Readable = Read(db.Statement.Clauses)
	if s.unrendered || db.ClauseBuilders["INSERT"] != nil || db.ClauseBuilders["VALUES"] != nil {
		// What the application's own builder or callback writes cannot be added to.
		s.Insert.Plain = false
		s.Readable = s.Readable && s.Insert.OnConflict == nil
	}
	if s.Readable = s.Readable && (s.Insert.OnConflict == nil || s.text.HasConflict()); s.Readable {
		s.Target, s.Readable = TargetOf(s.targetText())
	}
	return s
}

// targetText is the rendered statement, or as much of it as names the table.
func (s *Statement) targetText() string {
	if !s.unrendered {
		return s.text.SQL
	}
	return "INSERT INTO " + s.DB.Statement.Quote(clause.Table{Name: clause.CurrentTable})
}

// isGorms reports whether a create callback is GORM's own.
func isGorms(callback func(*gorm.DB)) bool {
	f := runtime.FuncForPC(reflect.ValueOf(callback).Pointer())
	return f != nil && strings.HasPrefix(f.Name(), "gorm.io/gorm/callbacks.")
}

// assemble adds the clauses that GORM's create callback adds.
func (s *Statement) assemble() {
	stmt := s.DB.Statement
	if stmt.Schema != nil && !stmt.Unscoped {
		for _, c := range stmt.Schema.CreateClauses {
			stmt.AddClause(c)
		}
	}
	if columns := s.returned(); len(columns) > 0 {
		stmt.AddClause(clause.Returning{Columns: columns})
	}
	stmt.AddClauseIfNotExists(clause.Insert{})
	stmt.AddClause(callbacks.ConvertToCreateValues(stmt))
}

// returned are the columns that GORM asks back, none where the statement has a RETURNING
// of its own.
func (s *Statement) returned() (columns []clause.Column) {
	stmt := s.DB.Statement
	if _, own := stmt.Clauses["RETURNING"]; own || stmt.Schema == nil || !slices.Contains(stmt.BuildClauses, "RETURNING") {
		return nil
	}
	for _, field := range stmt.Schema.FieldsWithDefaultDBValue {
		if field.Readable {
			columns = append(columns, clause.Column{Name: field.DBName})
		}
	}
	return columns
}

// Lock is a statement that locks the table as this INSERT is about to, with the rights that it
// needs, and runs nothing: it has the same columns, so that no default is planned but those that
// the INSERT takes itself. Whoever asks a sequence for its last value locks it, and with the
// sequence locked before its table a statement deadlocks with a migration that alters both in the
// usual order (measured). LOCK TABLE needs rights that an INSERT does not.
func (s *Statement) Lock() string {
	target := catalog.Quote(s.Target.Table)
	if s.Target.Schema != "" {
		target = catalog.Quote(s.Target.Schema, s.Target.Table)
	}
	columns := s.Insert.Values.Columns
	if len(columns) == 0 {
		return "EXPLAIN INSERT INTO " + target + " DEFAULT VALUES"
	}
	names, nulls := make([]string, len(columns)), make([]string, len(columns))
	for i, column := range columns {
		names[i], nulls[i] = s.DB.Statement.Quote(column), "NULL"
	}
	return "EXPLAIN INSERT INTO " + target + " (" + strings.Join(names, ",") + ") VALUES (" + strings.Join(nulls, ",") + ")"
}

// Text is the statement as the caller wrote it.
func (s *Statement) Text() Text { return s.text }

// Send sends the statement in this form through the original callback, which fills
// the caller's values, and returns the driver's own error. The result of an earlier
// sending is cleared first. Afterwards the statement's text and clauses are the
// caller's again.
func (s *Statement) Send(t Text) error {
	db, stmt := s.DB, s.DB.Statement
	s.reset()
	if t.SQL == "" {
		t = s.text // GORM has rendered it by now, or will
	}
	written, vars := stmt.SQL, stmt.Vars // a copy of the builder, which is not written to
	other := t.guard != "" || t.SQL != s.text.SQL
	if other {
		stmt.SQL = strings.Builder{}
		stmt.SQL.Grow(len(t.SQL) + len(t.guard))
		_, _ = stmt.SQL.WriteString(t.SQL[:t.values])
		_, _ = stmt.SQL.WriteString(t.guard)
		_, _ = stmt.SQL.WriteString(t.SQL[t.values:])
		stmt.Vars = t.Vars
	}
	unscoped, notFound := stmt.Unscoped, stmt.RaiseErrorOnNotFound
	defer func() {
		db.Config, stmt.Unscoped, stmt.RaiseErrorOnNotFound = s.config, unscoped, notFound
		switch {
		case other:
			stmt.SQL, stmt.Vars = written, vars
		case s.unrendered:
			s.unrendered = false
			s.text = Text{SQL: stmt.SQL.String(), Vars: stmt.Vars}
		}
		s.restoreClauses()
	}()
	if s.config.TranslateError {
		db.Config = &s.inner
	}
	// The schema's create clauses were applied in Prepare; Unscoped keeps the
	// callback from applying them again.
	if stmt.Schema != nil && len(stmt.Schema.CreateClauses) > 0 {
		stmt.Unscoped = true
	}
	stmt.RaiseErrorOnNotFound = notFound && t.guard == ""
	s.Sent = time.Now()
	s.original(db)
	return db.Error
}

// restoreClauses puts the clauses back after a sending: the callback reads ON CONFLICT
// and RETURNING from them to choose how Scan fills the caller's values, and a
// reused chain goes on from them. A plugin beneath this one may have added its own.
func (s *Statement) restoreClauses() {
	clauses := s.DB.Statement.Clauses
	if len(clauses) != len(s.clauses) {
		clear(clauses)
	}
	for _, saved := range s.clauses {
		clauses[saved.name] = saved.clause
	}
}

// remember keeps the result as it is before anything is sent.
func (s *Statement) remember() {
	s.before.rowsAffected = s.DB.RowsAffected
	if result := s.DB.Statement.Result; result != nil {
		s.before.withResultErr, s.before.withResultAffected = result.Error, result.RowsAffected
	}
}

// reset clears the result of an earlier sending: AddError would join a second
// error to the first.
func (s *Statement) reset() {
	s.DB.Error, s.DB.RowsAffected = nil, s.before.rowsAffected
	if result := s.DB.Statement.Result; result != nil {
		result.Error, result.RowsAffected = s.before.withResultErr, s.before.withResultAffected
	}
}

// Fail makes err the statement's result.
func (s *Statement) Fail(err error) {
	s.reset()
	s.DB.Error = err
	if result := s.DB.Statement.Result; result != nil {
		result.Error = err
	}
}

// Empty makes an empty result the statement's: no row, no error.
func (s *Statement) Empty() { s.reset() }

// Translate gives the final error to GORM's TranslateError, which Send keeps away
// from the errors that the plugin has to read: older drivers lose the constraint
// in it.
func (s *Statement) Translate() {
	if err := s.DB.Error; err != nil && s.config.TranslateError {
		s.DB.Error = nil
		_ = s.DB.AddError(err)
	}
}

// Ended reports whether the caller's context has ended.
func (s *Statement) Ended() bool { return s.DB.Statement.Context.Err() != nil }

// FillsSlice reports whether GORM's Scan fills the elements of a slice.
func (s *Statement) FillsSlice() bool {
	kind := s.DB.Statement.ReflectValue.Kind()
	return kind == reflect.Slice || kind == reflect.Array
}

// FillsSliceFromScratch reports whether GORM's Scan empties the caller's slice before
// the first row.
func (s *Statement) FillsSliceFromScratch() bool { return s.Insert.BareReturning && s.FillsSlice() }

// OmitsModelKey reports whether a row leaves the model's own key to the database.
func (s *Statement) OmitsModelKey() bool {
	model := s.DB.Statement.Schema
	if model == nil || model.PrioritizedPrimaryField == nil {
		return false
	}
	return s.Insert.Omitted(model.PrioritizedPrimaryField.DBName) > 0
}

// OmitsIntegerModelKey reports whether a row leaves the model's key to the database and
// the key is an integer.
func (s *Statement) OmitsIntegerModelKey() bool {
	if !s.OmitsModelKey() {
		return false
	}
	switch s.DB.Statement.Schema.PrioritizedPrimaryField.DataType {
	case schema.Int, schema.Uint:
		return true
	}
	return false
}

// PrimaryColumn is the column that clause.PrimaryKey stands for, "" for none.
func (s *Statement) PrimaryColumn() string {
	model := s.DB.Statement.Schema
	switch {
	case model == nil:
		return ""
	case model.PrioritizedPrimaryField != nil:
		return model.PrioritizedPrimaryField.DBName
	case len(model.PrimaryFieldDBNames) > 0:
		return model.PrimaryFieldDBNames[0]
	}
	return ""
}

package statement

import (
	"reflect"
	"strings"
	"time"

	"gorm.io/gorm"
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
	config   *gorm.Config // the caller's
	inner    gorm.Config  // the caller's without TranslateError, and DryRun to assemble
	// clauses are the statement's clauses as GORM put them together; usual has room
	// for those of nearly every statement.
	clauses []namedClause
	usual   [5]namedClause
	before  result
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

// Prepare lets the original create callback put the statement's clauses and values
// together, renders them once, and sends nothing. It returns nil when GORM ended the
// statement with an error on the way.
//
// The original runs under DryRun with no clauses to build, so that it renders
// nothing: rendering under DryRun stores wrong data, because a GormValue that
// queries its db gets nothing there, and rendering twice runs it twice (measured).
// The schema's own create clauses are applied before, with the caller's
// configuration, because they may query the database as well.
func Prepare(db *gorm.DB, original func(*gorm.DB)) *Statement {
	s := &Statement{DB: db, original: original, config: db.Config, inner: *db.Config}
	s.inner.TranslateError = false
	s.assemble()
	if db.Error == nil {
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
	if db.ClauseBuilders["INSERT"] != nil || db.ClauseBuilders["VALUES"] != nil {
		// What the application's own builder writes cannot be read or added to.
		s.Insert.Plain = false
		s.Readable = s.Readable && s.Insert.OnConflict == nil
	}
	if s.Readable = s.Readable && (s.Insert.OnConflict == nil || s.text.HasConflict()); s.Readable {
		s.Target, s.Readable = TargetOf(s.text.SQL)
	}
	return s
}

func (s *Statement) assemble() {
	stmt, clauses, unscoped := s.DB.Statement, s.DB.Statement.BuildClauses, s.DB.Statement.Unscoped
	if stmt.Schema != nil && len(stmt.Schema.CreateClauses) > 0 && !unscoped {
		for _, c := range stmt.Schema.CreateClauses {
			stmt.AddClause(c)
		}
		stmt.Unscoped = true // keeps the callback from applying them again
	}
	s.inner.DryRun = true
	defer func() {
		s.DB.Config, stmt.BuildClauses, stmt.Unscoped = s.config, clauses, unscoped
		s.inner.DryRun = s.config.DryRun
	}()
	s.DB.Config, stmt.BuildClauses = &s.inner, nil
	s.original(s.DB)
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
		if other {
			stmt.SQL, stmt.Vars = written, vars
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

// FillsSliceFromScratch reports whether GORM's Scan empties the caller's slice before
// the first row.
func (s *Statement) FillsSliceFromScratch() bool {
	kind := s.DB.Statement.ReflectValue.Kind()
	return s.Insert.BareReturning && (kind == reflect.Slice || kind == reflect.Array)
}

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

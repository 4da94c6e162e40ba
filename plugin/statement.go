package plugin

import (
	"maps"
	"reflect"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/insert"
)

// statement is one INSERT, rendered once and sent as often as needed.
type statement struct {
	db       *gorm.DB
	original func(*gorm.DB)
	config   *gorm.Config // the caller's
	quiet    *gorm.Config // the same without TranslateError, nil where it is off
	clauses  map[string]clause.Clause
	// sql is the statement as GORM rendered it; values is where its VALUES part
	// ends, the place for a guard.
	sql    string
	values int
	// insert and target describe it; readable is false for a shape that the
	// plugin does not know and leaves alone.
	insert   insert.Insert
	target   insert.Name
	readable bool
	// before is the result as it was before the first sending.
	before result
}

// result is what GORM keeps of a statement's end. The result that a caller hands
// over with gorm.WithResult may still hold an earlier statement's.
type result struct {
	rowsAffected       int64
	withResultErr      error
	withResultAffected int64
}

// prepare lets the original callback put the statement's clauses and values
// together, renders them once, and sends nothing. It returns nil when GORM ended
// the statement with an error on the way.
//
// The original runs under DryRun with no clauses to build, so that it renders
// nothing: rendering under DryRun stores wrong data, because a GormValue that
// queries its db gets nothing there, and rendering twice runs it twice
// (measured).
func (h *healer) prepare(db *gorm.DB) *statement {
	s := &statement{db: db, original: h.original, config: db.Config}
	dry := *db.Config
	dry.DryRun, dry.TranslateError = true, false
	s.assemble(&dry)
	if db.Config.TranslateError {
		dry.DryRun = false
		s.quiet = &dry
	}
	s.render()
	if db.Error != nil {
		return nil
	}
	s.remember()
	s.clauses = maps.Clone(db.Statement.Clauses)
	s.insert, s.readable = insert.Read(s.clauses)
	if s.readable {
		s.target, s.readable = insert.TargetOf(s.sql)
	}
	return s
}

func (s *statement) assemble(dry *gorm.Config) {
	stmt, clauses := s.db.Statement, s.db.Statement.BuildClauses
	defer func() { s.db.Config, stmt.BuildClauses = s.config, clauses }()
	s.db.Config, stmt.BuildClauses = dry, nil
	s.original(s.db)
}

// render writes the same text as Statement.Build(BuildClauses...), in two parts
// to learn where VALUES ends.
func (s *statement) render() {
	stmt := s.db.Statement
	names := stmt.BuildClauses
	cut := slices.Index(names, "VALUES") + 1
	stmt.Build(names[:cut]...)
	s.values = stmt.SQL.Len()
	rest := names[cut:]
	if s.values > 0 && slices.ContainsFunc(rest, func(name string) bool { _, ok := stmt.Clauses[name]; return ok }) {
		_ = stmt.WriteByte(' ')
	}
	stmt.Build(rest...)
	s.sql = stmt.SQL.String()
}

// run sends sql in place of the rendered statement through the original
// callback, which fills the caller's values, and returns the driver's own error.
// Whatever an earlier run left in the result is cleared first.
func (s *statement) run(sql string) error {
	db, stmt := s.db, s.db.Statement
	s.restoreClauses()
	s.clear()
	if stmt.SQL.Len() != len(sql) || stmt.SQL.String() != sql {
		stmt.SQL.Reset()
		stmt.SQL.WriteString(sql)
	}
	unscoped, notFound := stmt.Unscoped, stmt.RaiseErrorOnNotFound
	defer func() {
		db.Config, stmt.Unscoped, stmt.RaiseErrorOnNotFound = s.config, unscoped, notFound
		s.restoreClauses()
	}()
	if s.quiet != nil {
		db.Config = s.quiet
	}
	// The schema's create clauses were applied in prepare; Unscoped keeps the
	// callback from applying them again.
	if stmt.Schema != nil && len(stmt.Schema.CreateClauses) > 0 {
		stmt.Unscoped = true
	}
	stmt.RaiseErrorOnNotFound = notFound && sql == s.sql
	s.original(db)
	return db.Error
}

// restoreClauses puts the clauses back: the callback reads ON CONFLICT and
// RETURNING from them to choose how Scan fills the caller's values, and a reused
// chain goes on from them.
func (s *statement) restoreClauses() {
	clauses := s.db.Statement.Clauses
	for name := range clauses {
		if _, ok := s.clauses[name]; !ok {
			delete(clauses, name)
		}
	}
	maps.Copy(clauses, s.clauses)
}

// remember keeps the result as it is before anything is sent.
func (s *statement) remember() {
	s.before.rowsAffected = s.db.RowsAffected
	if result := s.db.Statement.Result; result != nil {
		s.before.withResultErr, s.before.withResultAffected = result.Error, result.RowsAffected
	}
}

// clear takes back the result of an earlier run: AddError would join a second
// error to the first.
func (s *statement) clear() {
	s.db.Error, s.db.RowsAffected = nil, s.before.rowsAffected
	if result := s.db.Statement.Result; result != nil {
		result.Error, result.RowsAffected = s.before.withResultErr, s.before.withResultAffected
	}
}

// fail makes err the statement's result.
func (s *statement) fail(err error) {
	s.clear()
	s.db.Error = err
	if result := s.db.Statement.Result; result != nil {
		result.Error = err
	}
}

// translate gives the final error to GORM's translation, which run keeps away
// from the errors that the plugin has to read: older drivers lose the constraint
// in it.
func (s *statement) translate() {
	if err := s.db.Error; err != nil && s.quiet != nil {
		s.db.Error = nil
		_ = s.db.AddError(err)
	}
}

// inTransaction reports whether the INSERT runs inside a transaction, GORM's own
// or the caller's.
func (s *statement) inTransaction() bool {
	_, ok := s.db.Statement.ConnPool.(gorm.TxCommitter)
	return ok
}

// fillsSliceFromScratch tells of a statement under which GORM's Scan empties the
// caller's slice before the first row.
func (s *statement) fillsSliceFromScratch() bool {
	kind := s.db.Statement.ReflectValue.Kind()
	return s.insert.BareReturning && (kind == reflect.Slice || kind == reflect.Array)
}

// contextEnded reports whether the caller has given up.
func (s *statement) contextEnded() bool { return s.db.Statement.Context.Err() != nil }

// modelOmitsKey reports whether the model leaves its own key to the database,
// for statements whose collision is in another table.
func (s *statement) modelOmitsKey() bool {
	schema := s.db.Statement.Schema
	if schema == nil || schema.PrioritizedPrimaryField == nil {
		return false
	}
	return s.insert.Omitted(schema.PrioritizedPrimaryField.DBName) > 0
}

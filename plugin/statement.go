package plugin

import (
	"reflect"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/insert"
)

// statement is one INSERT, rendered once and sent as often as needed.
type statement struct {
	db       *gorm.DB
	original func(*gorm.DB)
	config   *gorm.Config // the caller's
	dry      gorm.Config  // the caller's, under DryRun
	quiet    *gorm.Config // the caller's without TranslateError, nil where it is off
	// clauses is the statement's clauses as GORM put them together; usual has room
	// for those of nearly every statement.
	clauses []namedClause
	usual   [5]namedClause
	// connection is the plugin's own use of the statement's, made when needed.
	connection *conn.Conn
	// sql and vars are the statement as it is sent; rendered holds the places in
	// it at which it can be changed.
	sql  string
	vars []any
	rendered
	// insert and target describe it; readable is false for a shape that the
	// plugin does not know and leaves alone.
	insert   insert.Insert
	target   insert.Name
	readable bool
	// tables is what is known of the tables of its database.
	tables *tables
	// healsBefore is how many episodes were over when the statement was prepared.
	healsBefore int64
	// sent is when the statement was last sent.
	sent time.Time
	// effect is what drift would have done to the statement without an error.
	effect string
	// closed holds the episodes that wait to be reported.
	closed []*episode
	// before is the result as it was before the first sending.
	before result
}

type namedClause struct {
	name   string
	clause clause.Clause
}

// rendered is where the parts of the rendered statement end, in bytes of its text.
type rendered struct {
	// values is where the VALUES part ends, the place for a conflict guard.
	values int
	// action is where ON CONFLICT ends but for its WHERE, and where ends the
	// WHERE; both are values without an ON CONFLICT.
	action, where int
	// valuesVars and whereVars count the parameters up to there.
	valuesVars, whereVars int
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
	s.dry = *db.Config
	s.dry.DryRun, s.dry.TranslateError = true, false
	s.assemble(&s.dry)
	if db.Config.TranslateError {
		s.dry.DryRun = false
		s.quiet = &s.dry
	}
	s.render()
	if db.Error != nil {
		return nil
	}
	s.tables = h.tablesOf(db)
	s.healsBefore = s.tables.closed.Load()
	s.remember()
	s.clauses = s.usual[:0]
	for name, c := range db.Statement.Clauses {
		s.clauses = append(s.clauses, namedClause{name, c})
	}
	s.insert, s.readable = insert.Read(db.Statement.Clauses)
	if db.ClauseBuilders["INSERT"] != nil || db.ClauseBuilders["VALUES"] != nil {
		// What the application's own builder writes cannot be read or added to.
		s.insert.Plain = false
		s.readable = s.readable && s.insert.OnConflict == nil
	}
	if s.readable = s.readable && (s.insert.OnConflict == nil || s.where > s.values); s.readable {
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

// render writes the same text as Statement.Build(BuildClauses...), each clause
// once, and notes where the parts end.
func (s *statement) render() {
	stmt := s.db.Statement
	for _, name := range stmt.BuildClauses {
		c, ok := stmt.Clauses[name]
		if !ok {
			continue
		}
		if stmt.SQL.Len() > 0 {
			_ = stmt.WriteByte(' ')
		}
		onConflict, plain := c.Expression.(clause.OnConflict)
		if plain = plain && c.Builder == nil && c.AfterExpression == nil && stmt.DB.ClauseBuilders[name] == nil; plain {
			s.renderOnConflict(c, onConflict)
		} else {
			stmt.Build(name)
		}
		if name == "VALUES" {
			s.values, s.valuesVars = stmt.SQL.Len(), len(stmt.Vars)
			s.action, s.where, s.whereVars = s.values, s.values, s.valuesVars
		}
	}
	s.sql, s.vars = stmt.SQL.String(), stmt.Vars
}

// renderOnConflict writes ON CONFLICT as clause.OnConflict does, its WHERE apart.
func (s *statement) renderOnConflict(c clause.Clause, onConflict clause.OnConflict) {
	stmt, where := s.db.Statement, onConflict.Where
	onConflict.Where = clause.Where{}
	c.Expression = onConflict
	c.Build(stmt)
	s.action = stmt.SQL.Len()
	if len(where.Exprs) > 0 {
		_, _ = stmt.WriteString(" WHERE ")
		where.Build(stmt)
		_ = stmt.WriteByte(' ')
	}
	s.where, s.whereVars = stmt.SQL.Len(), len(stmt.Vars)
}

// leaveOutOnConflict removes the clause from the statement that is sent. It
// reports false, and changes nothing, when parameters follow the clause, for
// those would be numbered anew.
func (s *statement) leaveOutOnConflict() bool {
	if s.whereVars != len(s.vars) {
		return false
	}
	s.sql = s.sql[:s.values] + s.sql[s.where:]
	s.vars = s.vars[:s.valuesVars:s.valuesVars]
	s.where, s.action, s.whereVars = s.values, s.values, s.valuesVars
	return true
}

// maxNamedKeys is how many keys a WHERE may name: PostgreSQL's protocol ends at
// 65,535 parameters, and its planner at a few thousand compared tuples (measured).
const maxNamedKeys = 1_000

// updateOnly lets DO UPDATE touch the rows that the statement names and no others.
// The caller's own WHERE goes on to hold. It reports false, and changes nothing,
// when the named keys are computed by the server, too many, or cannot be added.
func (s *statement) updateOnly(t *catalog.Table) bool {
	tuples, readable := s.insert.Tuples(t.FedColumn(), columnNames(t.Key))
	if !readable || s.where != len(s.sql) && s.whereVars != len(s.vars) {
		return false
	}
	ids, integers := s.insert.Explicit(t.FedColumn())
	integers = integers && len(t.Key) == 1
	if !integers && len(tuples) > maxNamedKeys {
		return false
	}
	stmt := s.db.Statement
	stmt.Vars = s.vars
	var b strings.Builder
	b.WriteString(s.sql[:s.action])
	b.WriteString(" WHERE (excluded." + strings.Join(t.QuotedKey(), ",excluded.") + ") IN (")
	for i, tuple := range tuples {
		if i > 0 {
			b.WriteByte(',')
		}
		if integers {
			b.WriteString(strconv.FormatInt(ids[i], 10))
			continue
		}
		b.WriteByte('(')
		stmt.AddVar(&b, tuple...)
		b.WriteByte(')')
	}
	b.WriteByte(')')
	if own := strings.TrimPrefix(s.sql[s.action:s.where], " WHERE "); own != "" {
		b.WriteString(" AND (" + strings.TrimSpace(own) + ") ")
	}
	b.WriteString(s.sql[s.where:])
	s.sql, s.vars = b.String(), stmt.Vars
	return true
}

// run sends the rendered statement through the original callback, which fills the
// caller's values, and returns the driver's own error. Whatever an earlier run
// left in the result is cleared first.
func (s *statement) run() error { return s.runWith("") }

// runWith is run with a guard's text after the VALUES part.
func (s *statement) runWith(guard string) error {
	db, stmt := s.db, s.db.Statement
	s.reset()
	if guard != "" || stmt.SQL.String() != s.sql {
		stmt.SQL.Reset()
		stmt.SQL.Grow(len(s.sql) + len(guard))
		_, _ = stmt.SQL.WriteString(s.sql[:s.values])
		_, _ = stmt.SQL.WriteString(guard)
		_, _ = stmt.SQL.WriteString(s.sql[s.values:])
	}
	stmt.Vars = s.vars
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
	stmt.RaiseErrorOnNotFound = notFound && guard == ""
	s.sent = time.Now()
	s.original(db)
	return db.Error
}

// restoreClauses puts the clauses back after a run: the callback reads ON CONFLICT
// and RETURNING from them to choose how Scan fills the caller's values, and a
// reused chain goes on from them. A plugin beneath this one may have added its own.
func (s *statement) restoreClauses() {
	clauses := s.db.Statement.Clauses
	if len(clauses) != len(s.clauses) {
		clear(clauses)
	}
	for _, saved := range s.clauses {
		clauses[saved.name] = saved.clause
	}
}

// conn is the connection of the statement's transaction, for the plugin's own
// statements; outside one, the pool.
func (s *statement) conn() *conn.Conn {
	if s.connection == nil {
		s.connection = conn.In(s.db, s.db.Statement.ConnPool)
	}
	return s.connection
}

// remember keeps the result as it is before anything is sent.
func (s *statement) remember() {
	s.before.rowsAffected = s.db.RowsAffected
	if result := s.db.Statement.Result; result != nil {
		s.before.withResultErr, s.before.withResultAffected = result.Error, result.RowsAffected
	}
}

// reset takes back the result of an earlier run: AddError would join a second
// error to the first.
func (s *statement) reset() {
	s.db.Error, s.db.RowsAffected = nil, s.before.rowsAffected
	if result := s.db.Statement.Result; result != nil {
		result.Error, result.RowsAffected = s.before.withResultErr, s.before.withResultAffected
	}
}

// fail makes err the statement's result.
func (s *statement) fail(err error) {
	s.reset()
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

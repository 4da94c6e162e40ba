package hostile_test

import (
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log"
	"strings"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"
	"gorm.io/gorm/schema"
)

// counted is a field whose CreateClauses asks the database while GORM puts the
// statement together.
type counted string

func (counted) CreateClauses(f *schema.Field) []clause.Interface {
	return []clause.Interface{counting{f}}
}

type counting struct{ field *schema.Field }

func (counting) Name() string               { return "" }
func (counting) Build(clause.Builder)       {}
func (counting) MergeClause(*clause.Clause) {}
func (c counting) ModifyStatement(stmt *gorm.Statement) {
	var n int64
	if err := stmt.DB.Session(&gorm.Session{NewDB: true}).Table("users").Count(&n).Error; err != nil {
		_ = stmt.AddError(err)
	}
	stmt.SetColumn(c.field.DBName, counted(fmt.Sprintf("row after %d", n)), true)
}

type countedUser struct {
	ID   int64
	Name counted
}

func (countedUser) TableName() string { return "users" }

// A field type that asks the database while the statement is put together.
func TestHealthy_createClausesThatAskTheDatabase(t *testing.T) {
	t.Parallel()
	beside(t, program{name: "counting", run: func(w *world) {
		for i := range 2 {
			w.drift(rewind)
			u := countedUser{}
			_ = w.step(fmt.Sprint("one ", i), func(db *gorm.DB) *gorm.DB { return db.Create(&u) })
			w.drift(rewind)
			us := []countedUser{{}, {}}
			_ = w.step(fmt.Sprint("two ", i), func(db *gorm.DB) *gorm.DB { return db.Create(&us) })
			w.drift(rewind)
			_ = w.step(fmt.Sprint("saved ", i), func(db *gorm.DB) *gorm.DB { return db.Save(&[]countedUser{{}, {}}) })
			w.value([]any{u, us})
		}
	}})
}

// Errors of an upsert's own clause reach the caller as PostgreSQL gives them.
func TestHealthy_errorsOfTheCallersClause(t *testing.T) {
	t.Parallel()
	column := func(names ...string) (columns []clause.Column) {
		for _, name := range names {
			columns = append(columns, clause.Column{Name: name})
		}
		return columns
	}
	for name, c := range map[string]clause.OnConflict{
		"unknown column in DoUpdates":           {Columns: byID, DoUpdates: clause.AssignmentColumns([]string{"nonsense"})},
		"unknown column in DoUpdates' value":    {Columns: byID, DoUpdates: clause.Assignments(map[string]any{"name": gorm.Expr("nonsense")})},
		"wrong type in DoUpdates' value":        {Columns: byID, DoUpdates: clause.Assignments(map[string]any{"name": gorm.Expr("ARRAY[1]")})},
		"unknown column as target":              {Columns: column("nonsense"), DoNothing: true},
		"a target without a constraint":         {Columns: column("name"), DoNothing: true},
		"a wider target than the key":           {Columns: column("id", "name"), UpdateAll: true},
		"no such constraint":                    {OnConstraint: "nonsense", UpdateAll: true},
		"a WHERE that fails to parse":           {Columns: byID, DoUpdates: clause.AssignmentColumns([]string{"name"}), Where: clause.Where{Exprs: []clause.Expression{clause.Expr{SQL: "nonsense > 1"}}}},
		"a target's WHERE that fits no index":   {Columns: column("name"), TargetWhere: clause.Where{Exprs: []clause.Expression{clause.Expr{SQL: "name > ''"}}}, DoNothing: true},
		"an empty WHERE":                        {Columns: byID, DoUpdates: clause.AssignmentColumns([]string{"name"}), Where: clause.Where{Exprs: []clause.Expression{clause.AndConditions{}}}},
		"a WHERE that divides by zero, unasked": {Columns: byID, DoUpdates: clause.AssignmentColumns([]string{"name"}), Where: clause.Where{Exprs: []clause.Expression{clause.Expr{SQL: "1/0 > 1"}}}},
	} {
		for rows := 1; rows <= 2; rows++ {
			beside(t, program{name: fmt.Sprintf("%s, %d rows", name, rows), calm: true, settings: perStep, config: gorm.Config{TranslateError: rows == 2}, run: func(w *world) {
				for i := range 2 {
					err := w.step(fmt.Sprint("wrong ", i), func(db *gorm.DB) *gorm.DB { return db.Clauses(c).Create(&user{Name: "a"}) })
					w.add("translated: %v", errors.Is(err, gorm.ErrInvalidField))
					us := []user{{Name: "c"}, {ID: 4, Name: "d"}}[:rows]
					_ = w.step(fmt.Sprint("wrong batch ", i), func(db *gorm.DB) *gorm.DB { return db.Clauses(c).Create(&us) })
					w.value(us)
				}
			}})
		}
	}
	for name, grants := range map[string]string{
		"no UPDATE right":            "GRANT INSERT, SELECT ON users TO $R; GRANT ALL ON users_id_seq TO $R",
		"no UPDATE right on a name":  "GRANT INSERT, SELECT, UPDATE (id) ON users TO $R; GRANT ALL ON users_id_seq TO $R",
		"no right on the sequence":   "GRANT ALL ON users TO $R",
		"no SELECT right on the key": "GRANT INSERT, UPDATE, SELECT (name) ON users TO $R; GRANT ALL ON users_id_seq TO $R",
	} {
		beside(t, program{name: name, calm: true, settings: tenantSettings[:4], run: func(w *world) {
			r := w.place.Role()
			w.place.Exec(strings.ReplaceAll(grants, "$R", r))
			w.become(r)
			for _, u := range uses {
				w.use(u, "as the role", "users")
			}
			w.become("NONE")
			w.useAll("as the owner", "users", "")
		}})
	}
}

// A callback that wraps gorm:create and stands there before the plugin is called once
// for each create, and later callbacks see the caller's statement.
func TestHealthy_callbacksOfTheApplication(t *testing.T) {
	t.Parallel()
	wraps := func(w *world) {
		create := w.db.Callback().Create()
		inner := create.Get("gorm:create")
		err := errors.Join(
			create.Replace("gorm:create", func(db *gorm.DB) {
				w.addExact("wrapped")
				inner(db)
			}),
			create.Before("gorm:create").Register("test:before", func(db *gorm.DB) {
				w.addExact("before: %d bytes of SQL, dry %v", db.Statement.SQL.Len(), db.DryRun)
			}),
			create.After("gorm:create").Register("test:after", func(db *gorm.DB) {
				w.add("after: %s %v, %d rows, clauses %d, dry %v, pool %T", db.Statement.SQL.String(), db.Statement.Vars, db.RowsAffected, len(db.Statement.Clauses), db.DryRun, db.Statement.ConnPool)
			}),
		)
		if err != nil {
			w.t.Fatal(err)
		}
	}
	beside(t, program{name: "wrapping and reading", before: wraps, run: func(w *world) {
		w.useAll("wrapped", "users", rewind)
	}})
	beside(t, program{name: "GORM's logger at Info", calm: true, before: func(w *world) {
		w.db.Logger = logger.New(lineOf{w}, logger.Config{LogLevel: logger.Info})
	}, run: func(w *world) { w.useAll("logged", "users", "") }})
}

// lineOf records the statements that GORM logs, without their times.
type lineOf struct{ w *world }

func (l lineOf) Printf(_ string, values ...any) {
	if sql, ok := values[len(values)-1].(string); ok && len(values) >= 4 {
		l.w.addExact("logged %s", sql)
	}
}

// bothPools looks like a transaction, and is none: sharding's ConnPool.
type bothPools struct{ *sql.DB }

func (bothPools) Commit() error   { return nil }
func (bothPools) Rollback() error { return nil }

// A ConnPool that always has Commit and Rollback, with GORM's logger at Info.
func TestHealthy_poolThatLooksLikeATransaction(t *testing.T) {
	t.Parallel()
	for _, level := range []logger.LogLevel{logger.Silent, logger.Info} {
		beside(t, program{name: fmt.Sprint("log level ", level), settings: []setting{noTx, gormTx},
			config: gorm.Config{Logger: logger.New(log.New(io.Discard, "", 0), logger.Config{LogLevel: level})},
			wrap:   func(db *sql.DB) gorm.ConnPool { return bothPools{db} },
			run: func(w *world) {
				w.useAll("first", "users", "")
				w.useAll("drifted", "users", rewind)
			}})
	}
}

// A comment or a modifier between INSERT and INTO, or before.
func TestHints_areProtected(t *testing.T) {
	t.Parallel()
	for name, hint := range map[string]clause.Interface{
		"a modifier":          clause.Insert{Modifier: "/* modifier */"},
		"a table":             clause.Insert{Table: clause.Table{Name: "users"}},
		"a comment before":    comment{before: true},
		"a comment in INSERT": comment{},
	} {
		beside(t, program{name: name, run: func(w *world) {
			for _, u := range uses {
				w.drift(rewind)
				w.use(use{name: u.name, rows: u.rows, named: u.named, run: func(db *gorm.DB, us []user) *gorm.DB {
					return u.run(db.Clauses(hint).Session(&gorm.Session{}), us)
				}}, name, "users")
			}
		}})
	}
}

// comment puts a comment before INSERT or after it, as gorm.io/hints does.
type comment struct{ before bool }

func (comment) Name() string               { return "" }
func (comment) Build(clause.Builder)       {}
func (comment) MergeClause(*clause.Clause) {}
func (c comment) ModifyStatement(stmt *gorm.Statement) {
	insert := stmt.Clauses["INSERT"]
	if c.before {
		insert.BeforeExpression = clause.Expr{SQL: "/* from a test */"}
	} else {
		insert.AfterNameExpression = clause.Expr{SQL: "/* from a test */"}
	}
	stmt.Clauses["INSERT"] = insert
}

// db.Connection with BEGIN by hand: the pool is a *sql.Conn, in a transaction or not.
func TestConnection_withBeginByHand(t *testing.T) {
	t.Parallel()
	skips := []setting{{name: "SkipDefaultTransaction", skip: true, connections: 3}, {name: "one connection", skip: true, connections: 1}, {name: "GORM's transaction", connections: 3}}
	for _, end := range []string{"COMMIT", "ROLLBACK", ""} {
		beside(t, program{name: "BEGIN and " + end, settings: skips, calm: end == "ROLLBACK", run: func(w *world) {
			pool := w.db
			w.add("%v", pool.Connection(func(tx *gorm.DB) error {
				w.db = tx.Session(&gorm.Session{})
				w.useAll("first", "users", "")
				if end != "" {
					w.add("%v", w.db.Exec("BEGIN").Error)
				}
				w.useAll("by hand", "users", rewind)
				if end != "" {
					w.add("%v", w.db.Exec(end).Error)
				}
				w.useAll("again outside", "users", rewind)
				return nil
			}))
			w.db = pool
		}})
	}
}

package pipeline_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/internal/pipeline"
)

var inSavepoint = pipeline.Plan{Savepoint: true}

// open opens a pool of the place with one connection, so that statements meet what
// earlier ones left there.
func open(t testing.TB, p *pgtest.Place, parameters map[string]string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", p.DSNFor(parameters))
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// sender sends statements in a transaction, plainly or in a pipeline.
type sender struct {
	t        testing.TB
	tx       gorm.ConnPool
	pipeline bool
	plan     pipeline.Plan
	outcome  pipeline.Outcome
}

func (s *sender) pool() (gorm.ConnPool, *pipeline.Sending) {
	if !s.pipeline {
		return s.tx, nil
	}
	sending := pipeline.New(s.tx, s.plan)
	return sending.ConnPool(), sending
}

// query returns everything that can be seen of a result.
func (s *sender) query(text string, args ...any) string {
	s.t.Helper()
	pool, sending := s.pool()
	rows, err := pool.QueryContext(context.Background(), text, args...)
	seen := see(s.t, rows, err)
	s.saw(sending)
	return seen
}

func (s *sender) saw(sending *pipeline.Sending) {
	s.t.Helper()
	if sending == nil {
		return
	}
	if s.outcome = sending.Outcome(); s.outcome.NotSent.Cause != pipeline.CauseNone {
		s.t.Errorf("not sent: %s", s.outcome.NotSent)
	}
}

func (s *sender) exec(text string, args ...any) string {
	s.t.Helper()
	pool, sending := s.pool()
	result, err := pool.ExecContext(context.Background(), text, args...)
	s.saw(sending)
	if err != nil {
		return seeError(err)
	}
	n, err1 := result.RowsAffected()
	id, err2 := result.LastInsertId()
	return fmt.Sprint(n, err1, id, err2)
}

// beside is a transaction in which statements are sent plainly and in a pipeline.
type beside struct {
	t            testing.TB
	tx           *sql.Tx
	plain, piped *sender
}

// begin begins a transaction that is rolled back after the test.
func begin(t testing.TB, db *sql.DB) *beside {
	t.Helper()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() })
	return &beside{t, tx, &sender{t: t, tx: tx}, &sender{t: t, tx: tx, pipeline: true, plan: inSavepoint}}
}

func (b *beside) sql(statements string) {
	b.t.Helper()
	if _, err := b.tx.Exec(statements); err != nil {
		b.t.Fatalf("%s: %v", statements, err)
	}
}

// both sends the statement in both ways, each time undone, compares what came back and
// returns plain's.
func (b *beside) both(what, text string, args ...any) string {
	b.t.Helper()
	send := (*sender).exec
	if strings.Contains(text, "RETURNING") {
		send = (*sender).query
	}
	b.sql("SAVEPOINT test")
	want := send(b.plain, text, args...)
	b.sql("ROLLBACK TO test")
	got := send(b.piped, text, args...)
	b.sql("ROLLBACK TO test; RELEASE test")
	same(b.t, what, want, got)
	return want
}

// seeError is an error with the types of its chain.
func seeError(err error) string {
	text := fmt.Sprint("error ", err)
	for ; err != nil; err = errors.Unwrap(err) {
		text += fmt.Sprintf(" %T", err)
		if e, ok := err.(*pgconn.PgError); ok {
			text += fmt.Sprintf(" %s|%s|%s|%s|%s|%s|%s|%d", e.Code, e.Detail, e.Hint, e.Where, e.TableName, e.ColumnName, e.ConstraintName, e.Position)
		}
	}
	return text
}

// see reads rows to the end: names, types and values with their Go types.
func see(t testing.TB, rows *sql.Rows, err error) string {
	t.Helper()
	if err != nil {
		return seeError(err)
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	types, err := rows.ColumnTypes()
	if err != nil {
		t.Fatal(err)
	}
	seen := fmt.Sprintln(columns)
	for _, c := range types {
		length, hasLength := c.Length()
		precision, scale, hasScale := c.DecimalSize()
		nullable, knows := c.Nullable()
		seen += fmt.Sprintln(c.Name(), c.DatabaseTypeName(), c.ScanType(), length, hasLength, precision, scale, hasScale, nullable, knows)
	}
	for rows.Next() {
		values := make([]any, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return seen + seeError(err)
		}
		for _, value := range values {
			seen += fmt.Sprintf("%T %#v (%v)\n", value, value, value)
		}
	}
	seen += fmt.Sprintln("next set", rows.NextResultSet())
	if err := rows.Err(); err != nil {
		seen += seeError(err)
	}
	return seen
}

func same(t testing.TB, what string, plain, piped any) {
	t.Helper()
	if !reflect.DeepEqual(plain, piped) {
		t.Errorf("%s:\nplain    %v\npipeline %v", what, plain, piped)
	}
}

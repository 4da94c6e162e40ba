package pgerr_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	pgconn5 "github.com/jackc/pgx/v5/pgconn"

	"github.com/seqheal/seqheal/internal/pgerr"
)

// pqError has the methods of *pq.Error by which lib/pq is recognised.
type pqError map[byte]string

func (e pqError) Error() string         { return "pq: " + e['M'] }
func (e pqError) SQLState() string      { return e['C'] }
func (e pqError) Get(field byte) string { return e[field] }

// pgconn4Error has the fields of *pgconn.PgError of github.com/jackc/pgconn. The real type
// is in TestP1_ErrorsOfPgconnV1AreRecognised: imported here, an application would download it
// for the tests of its dependencies.
type pgconn4Error struct {
	Severity, Code, Message, Detail, Hint string

	Position int32

	SchemaName, TableName, ConstraintName, File string

	Line    int32
	Routine string
}

func (e *pgconn4Error) Error() string    { return e.Message }
func (e *pgconn4Error) SQLState() string { return e.Code }

// embedding has the fields through a pointer that may be nil, and its own SQLState.
type embedding struct{ *pgconn4Error }

func (embedding) SQLState() string { return pgerr.UniqueViolation }

// numbered has a field of another type.
type numbered struct {
	Code                                                            int
	Message, Detail, SchemaName, TableName, ConstraintName, Routine string
}

func (*numbered) Error() string    { return "23505" }
func (*numbered) SQLState() string { return pgerr.UniqueViolation }

// stateless has the fields alone.
type stateless struct {
	Code, Message, Detail, SchemaName, TableName, ConstraintName, Routine string
}

func (*stateless) Error() string { return "23505" }

// described adds SQLState to an error, as an application's own wrapper may.
type described struct{ error }

func (described) SQLState() string { return pgerr.UniqueViolation }
func (d described) Unwrap() error  { return d.error }

// stateOnly is a server error of a driver that tells nothing but the code.
type stateOnly struct{}

func (stateOnly) Error() string    { return "23505" }
func (stateOnly) SQLState() string { return pgerr.UniqueViolation }

var want = pgerr.Error{
	Code: pgerr.UniqueViolation, Message: "duplicate key", Detail: "Key (id)=(5) already exists.",
	Schema: "public", Table: "users", Constraint: "users_pkey", Routine: "_bt_check_unique",
}

var (
	v5 = &pgconn5.PgError{
		Code: want.Code, Message: want.Message, Detail: want.Detail, SchemaName: want.Schema,
		TableName: want.Table, ConstraintName: want.Constraint, Routine: want.Routine,
	}
	v4 = &pgconn4Error{
		Code: want.Code, Message: want.Message, Detail: want.Detail, SchemaName: want.Schema,
		TableName: want.Table, ConstraintName: want.Constraint, Routine: want.Routine,
	}
	pq = pqError{
		'C': want.Code, 'M': want.Message, 'D': want.Detail, 's': want.Schema,
		't': want.Table, 'n': want.Constraint, 'R': want.Routine,
	}
)

func TestFromReadsTheServersErrorOfEveryDriver(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"pgx v5":               v5,
		"pgx v4":               v4,
		"lib/pq":               pq,
		"v5 wrapped":           fmt.Errorf("create: %w", v5),
		"v4 wrapped twice":     fmt.Errorf("outer: %w", fmt.Errorf("create: %w", v4)),
		"lib/pq wrapped":       fmt.Errorf("create: %w", pq),
		"v5 joined":            errors.Join(io.EOF, v5),
		"v4 joined":            errors.Join(v4, io.EOF),
		"lib/pq joined":        errors.Join(io.EOF, fmt.Errorf("create: %w", pq)),
		"v4 joined last":       errors.Join(io.EOF, stateOnly{}, fmt.Errorf("create: %w", v4)),
		"v4 in a wrapper":      described{fmt.Errorf("create: %w", v4)},
		"as GORM adds a cause": fmt.Errorf("%v; %w", io.EOF, v5),
		"v4 as GORM adds one":  fmt.Errorf("%v; %w", io.EOF, v4),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, ok := pgerr.From(err); !ok || got != want {
				t.Errorf("From = %+v, %v; want %+v", got, ok, want)
			}
		})
	}
}

func TestFromReportsFalseWhenTheServerDidNotSpeak(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"nil":                nil,
		"broken connection":  io.ErrUnexpectedEOF,
		"cancelled context":  context.Canceled,
		"text of an error":   errors.New(v5.Error()),
		"printed, not kept":  fmt.Errorf("create: %v", v5),
		"code without field": stateOnly{},
		"nothing in v4":      (*pgconn4Error)(nil),
		"embedded fields":    &embedding{},
		"another type":       &numbered{Code: 23505},
		"fields alone":       &stateless{Code: want.Code},
		"a wrapper alone":    described{io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, ok := pgerr.From(err); ok || got != (pgerr.Error{}) {
				t.Errorf("From = %+v, %v; want nothing", got, ok)
			}
		})
	}
}

func TestIsComparesCodes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		err   error
		codes []string
		want  bool
	}{
		{"the code", v5, []string{pgerr.UniqueViolation}, true},
		{"one of several", pq, []string{pgerr.QueryCanceled, pgerr.UniqueViolation}, true},
		{"another code", v4, []string{pgerr.QueryCanceled}, false},
		{"no codes", v5, nil, false},
		{"no server error", io.EOF, []string{pgerr.UniqueViolation, ""}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := pgerr.Is(test.err, test.codes...); got != test.want {
				t.Errorf("Is = %v, want %v", got, test.want)
			}
		})
	}
}

func TestLostTellsTheConnectionFromTheStatement(t *testing.T) {
	t.Parallel()
	code := func(code string) error { return fmt.Errorf("insert: %w", &pgconn5.PgError{Code: code}) }
	for _, test := range []struct {
		name string
		err  error
		want bool
	}{
		{"no error", nil, false},
		{"the network", io.ErrUnexpectedEOF, true},
		{"a context that ended", context.Canceled, true},
		{"the server shuts down", code("57P01"), true},
		{"the server starts", code("57P03"), true},
		{"a connection exception", code("08006"), true},
		{"a cancelled statement", code(pgerr.QueryCanceled), false},
		{"a unique violation", pq, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := pgerr.Lost(test.err); got != test.want {
				t.Errorf("Lost = %v, want %v", got, test.want)
			}
		})
	}
}

// FuzzFrom gives the same fields to the errors of every driver, plain, wrapped and
// joined, and finds the same in each.
func FuzzFrom(f *testing.F) {
	f.Add(want.Code, want.Message, want.Detail, want.Schema, want.Table, want.Constraint, want.Routine)
	f.Add("", "", "", "", "", "", "")
	f.Add("23505", "\xff", "%!s(MISSING) %w", "s.t", `"`, "\x00", "23505")
	f.Fuzz(func(t *testing.T, code, message, detail, schema, table, constraint, routine string) {
		same := pgerr.Error{Code: code, Message: message, Detail: detail, Schema: schema, Table: table, Constraint: constraint, Routine: routine}
		drivers := []error{
			&pgconn5.PgError{Code: code, Message: message, Detail: detail, SchemaName: schema, TableName: table, ConstraintName: constraint, Routine: routine},
			&pgconn4Error{Code: code, Message: message, Detail: detail, SchemaName: schema, TableName: table, ConstraintName: constraint, Routine: routine},
			pqError{'C': code, 'M': message, 'D': detail, 's': schema, 't': table, 'n': constraint, 'R': routine},
		}
		for _, err := range drivers {
			for _, wrapped := range []error{err, fmt.Errorf("%s: %w", message, err), errors.Join(errors.New(message), err), fmt.Errorf("%v; %w", io.EOF, err)} {
				if got, ok := pgerr.From(wrapped); !ok || got != same {
					t.Errorf("From(%T) = %+v, %v; want %+v", err, got, ok, same)
				}
				if !pgerr.Is(wrapped, code) || pgerr.Is(wrapped, code+"x") {
					t.Errorf("Is(%T) does not compare code %q", err, code)
				}
			}
			if got, ok := pgerr.From(errors.New(err.Error())); ok {
				t.Errorf("From of the text of %T = %+v", err, got)
			}
		}
	})
}

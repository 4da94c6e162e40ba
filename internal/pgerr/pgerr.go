// Package pgerr gives one view of a server error, whichever driver delivered it.
//
// GORM applications meet PostgreSQL's errors as *pgconn.PgError of pgx v5, as
// *pgconn.PgError of github.com/jackc/pgconn (pgx v4) or as *pq.Error of
// lib/pq. The older two are not imported: pgx v4's error is recognised by its fields and
// lib/pq's by its methods, so that an application compiles only the driver that it uses.
package pgerr

import (
	"errors"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// SQLSTATE codes that decide something in this project. PostgreSQL manual,
// appendix A.
const (
	UniqueViolation           = "23505"
	CardinalityViolation      = "21000"
	InvalidTextRepresentation = "22P02"
	SequenceLimitReached      = "2200H"
	ReadOnlyTransaction       = "25006"
	NoActiveTransaction       = "25P01"
	InFailedTransaction       = "25P02"
	SerializationFailure      = "40001"
	InsufficientPrivilege     = "42501"
	UndefinedTable            = "42P01"
	UndefinedColumn           = "42703"
	InvalidColumnReference    = "42P10"
	ObjectNotReady            = "55000"
	FeatureNotSupported       = "0A000"
	LockNotAvailable          = "55P03"
	QueryCanceled             = "57014"
	InternalError             = "XX000"

	// The beginnings of codes that end a connection: class 08, and what a server
	// says as it shuts down, starts, recovers or drops the database.
	connectionException = "08"
	serverEnds          = "57P"
)

// Error is what the server said. A field that it did not send is empty: the
// names of table and constraint are sent since 9.3, the detail is withheld from
// roles that may not read the key's columns.
type Error struct {
	Code       string
	Message    string
	Detail     string
	Schema     string
	Table      string
	Constraint string
	// Routine is the server's source routine, the same in every language.
	Routine string
}

// Raised reports whether a function in a procedural language raised the error, so that its
// code is the function's choice.
func (e Error) Raised() bool {
	return e.Routine == "exec_stmt_raise" || strings.HasPrefix(e.Routine, "PLy_") ||
		strings.HasPrefix(e.Routine, "plperl_") || strings.HasPrefix(e.Routine, "pltcl_")
}

// fielder is what *pq.Error of lib/pq can do. The letters are the error fields
// of the protocol (PostgreSQL manual 55.8).
type fielder interface {
	error
	SQLState() string
	Get(field byte) string
}

// From finds the server's error in err's chain. It reports false when there is
// none: a broken connection or a cancelled context is not the server speaking.
func From(err error) (Error, bool) {
	var v5 *pgconn.PgError
	if errors.As(err, &v5) {
		return Error{v5.Code, v5.Message, v5.Detail, v5.SchemaName, v5.TableName, v5.ConstraintName, v5.Routine}, true
	}
	var pq fielder
	if errors.As(err, &pq) {
		return Error{pq.SQLState(), pq.Get('M'), pq.Get('D'), pq.Get('s'), pq.Get('t'), pq.Get('n'), pq.Get('R')}, true
	}
	return fromFields(err)
}

// Lost reports whether err is about the connection and not about a statement: the
// server said nothing, or only that it ends the connection. A statement that met
// it may have run or not.
func Lost(err error) bool {
	e, spoke := From(err)
	return err != nil && (!spoke || strings.HasPrefix(e.Code, connectionException) || strings.HasPrefix(e.Code, serverEnds))
}

// Is reports whether err carries a server error with one of the codes.
func Is(err error, codes ...string) bool {
	e, ok := From(err)
	if !ok {
		return false
	}
	for _, code := range codes {
		if e.Code == code {
			return true
		}
	}
	return false
}

// Key reads the value of one column of the colliding key out of the detail,
// "Key (tenant_id, id)=(7, 42) already exists." in any language: only the two
// parentheses are read, never the words. count is the number of the key's
// columns and index the position of the wanted one. Text that contains the
// separator makes the parts ambiguous; then only the first and the last column
// can be told, and anything else reports false.
func (e Error) Key(index, count int) (int64, bool) {
	_, rest, found := around(e.Detail)
	if !found {
		return 0, false
	}
	end := strings.LastIndexByte(rest, ')')
	if end < 0 {
		return 0, false
	}
	parts := strings.Split(rest[:end], ", ")
	switch {
	case index < 0 || len(parts) < count:
		return 0, false
	case len(parts) == count && index < count:
		return integer(parts[index])
	case index == 0:
		return integer(parts[0])
	case index == count-1:
		return integer(parts[len(parts)-1])
	}
	return 0, false
}

// Names reports whether the detail tells that the colliding key has these columns and
// no others. The server quotes names that are not plain.
func (e Error) Names(columns []string) bool {
	names, _, found := around(e.Detail)
	for i, column := range columns {
		if i > 0 && found {
			names, found = strings.CutPrefix(names, ", ")
		}
		quoted := `"` + strings.ReplaceAll(column, `"`, `""`) + `"`
		if rest, ok := strings.CutPrefix(names, quoted); ok {
			names = rest
		} else if names, ok = strings.CutPrefix(names, column); !ok {
			return false
		}
	}
	return found && names == ""
}

// Columns are the names of the colliding key's columns as the detail gives them, those of
// plain columns without quotes. It reports false when the detail was withheld, and
// plain is false for a key with an expression.
func (e Error) Columns() (columns []string, plain, known bool) {
	names, _, plain := around(e.Detail)
	known = e.Detail != ""
	for names != "" {
		var name string
		if quoted, ok := strings.CutPrefix(names, `"`); ok {
			name, names = unquote(quoted)
			names = strings.TrimPrefix(names, ", ")
		} else {
			name, names, _ = strings.Cut(names, ", ")
			plain = plain && !strings.ContainsAny(name, "()")
		}
		columns = append(columns, name)
	}
	return columns, plain, known
}

// unquote reads a quoted name up to its closing quote, and returns what follows.
func unquote(text string) (name, rest string) {
	var b strings.Builder
	for {
		end := strings.IndexByte(text, '"')
		if end < 0 {
			return b.String() + text, ""
		}
		b.WriteString(text[:end])
		text = text[end+1:]
		if !strings.HasPrefix(text, `"`) {
			return b.String(), text
		}
		b.WriteByte('"')
		text = text[1:]
	}
}

// around is what stands before and behind the ")=(" that follows the column names. The
// server quotes names that are not plain, so that one which contains the mark does not
// end the list.
func around(detail string) (names, rest string, found bool) {
	start := strings.IndexByte(detail, '(')
	if start < 0 {
		return "", "", false
	}
	quoted := false
	for i := start; i < len(detail); i++ {
		switch {
		case detail[i] == '"':
			quoted = !quoted
		case detail[i] == ')' && !quoted:
			rest, found = strings.CutPrefix(detail[i:], ")=(")
			return detail[start+1 : i], rest, found
		}
	}
	return "", "", false
}

func integer(text string) (int64, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, false // ParseInt gives the nearest number for one out of range
	}
	return n, true
}

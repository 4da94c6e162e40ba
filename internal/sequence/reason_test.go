package sequence_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/sequence"
)

func TestExplainNamesTheReasonOfEveryError(t *testing.T) {
	t.Parallel()
	server := func(code string) error { return fmt.Errorf("look: %w", &pgconn.PgError{Code: code}) }
	for _, test := range []struct {
		name    string
		err     error
		reason  sequence.Reason
		refused bool
	}{
		{"statement timeout", server(pgerr.QueryCanceled), sequence.Timeout, false},
		{"lock timeout", server(pgerr.LockNotAvailable), sequence.Timeout, false},
		{"time spent", fmt.Errorf("draw: %w", conn.ErrTimeSpent), sequence.Timeout, false},
		{"right missing", server(pgerr.InsufficientPrivilege), sequence.Permission, true},
		{"read-only", server(pgerr.ReadOnlyTransaction), sequence.ReadOnly, true},
		{"end of the sequence", server(pgerr.SequenceLimitReached), sequence.Exhausted, true},
		{"anything else the server says", server("XX000"), sequence.Database, false},
		{"a server that shuts down", server("57P01"), sequence.Connection, false},
		{"broken connection", io.ErrUnexpectedEOF, sequence.Connection, false},
		{"cancelled context", context.Canceled, sequence.Canceled, false},
		{"context past its deadline", fmt.Errorf("look: %w", context.DeadlineExceeded), sequence.Canceled, false},
		{"table gone", server(pgerr.UndefinedTable), sequence.NotFound, false},
		{"closed connection", sql.ErrConnDone, sequence.Connection, false},
		{"a refusal, wrapped", fmt.Errorf("heal: %w", &sequence.Refusal{Reason: sequence.NoSight, Err: io.EOF}), sequence.NoSight, false},
		{"a refusal that wraps a server error", &sequence.Refusal{Reason: sequence.Cycle, Refused: true, Err: server(pgerr.QueryCanceled)}, sequence.Cycle, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := sequence.Explain(test.err)
			if !got.Has(test.reason) || got.Refused != test.refused || got.Error() == "" {
				t.Errorf("Explain(%v) = %+v, want %s, refused %v", test.err, got, test.reason, test.refused)
			}
			if cause := errors.Unwrap(test.err); cause != nil && !errors.Is(got, cause) {
				t.Errorf("%v has lost its cause %v", got, cause)
			}
		})
	}
	if got := sequence.Explain(nil); got != nil || got.Has(sequence.Timeout) || got.Has("") {
		t.Errorf("Explain(nil) = %+v", got)
	}
}

func TestPermittedRefusesWhatMustNotBeMoved(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		table   catalog.Table
		session conn.Session
		reason  sequence.Reason
		text    string
	}{
		{"a default that is more than nextval", catalog.Table{Unsupported: "the default is odd"}, conn.Session{}, sequence.Unsupported, "the default is odd"},
		{"CYCLE", catalog.Table{Sequence: catalog.Sequence{Schema: "s", Name: "q", Cycle: true}}, conn.Session{}, sequence.Cycle, `ALTER SEQUENCE "s"."q" NO CYCLE`},
		{"read-only", catalog.Table{}, conn.Session{ReadOnly: true}, sequence.ReadOnly, "send inserts to the primary"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.table.Schema, test.table.Name = "s", "t"
			wantRefusal(t, sequence.Permitted(&test.table, test.session), test.reason, test.text, `table "s"."t"`)
		})
	}
	if err := sequence.Permitted(&catalog.Table{}, conn.Session{}); err != nil {
		t.Errorf("a plain table is refused: %v", err)
	}
}

func TestMissingRightsAreNamedAsAGrant(t *testing.T) {
	t.Parallel()
	table := &catalog.Table{Schema: "s", Name: "T 1", Key: []catalog.Column{{Name: "The Id"}}, Sequence: catalog.Sequence{Schema: "s", Name: "q"}}
	wantRefusal(t, sequence.NoUsage(table, "app user"), sequence.Permission, `GRANT USAGE ON SEQUENCE "s"."q" TO "app user"`, `table "s"."T 1"`)
	wantRefusal(t, sequence.NoSelect(table, "app user"), sequence.Permission, `GRANT SELECT ("The Id") ON "s"."T 1" TO "app user"`)
}

package resync_test

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
	"github.com/seqheal/seqheal/internal/resync"
)

func TestExplainNamesTheReasonOfEveryError(t *testing.T) {
	t.Parallel()
	server := func(code string) error { return fmt.Errorf("look: %w", &pgconn.PgError{Code: code}) }
	for _, test := range []struct {
		name    string
		err     error
		reason  string
		refused bool
	}{
		{"statement timeout", server(pgerr.QueryCanceled), resync.Timeout, false},
		{"lock timeout", server(pgerr.LockNotAvailable), resync.Timeout, false},
		{"time spent", fmt.Errorf("draw: %w", conn.ErrTimeSpent), resync.Timeout, false},
		{"right missing", server(pgerr.InsufficientPrivilege), resync.Permission, true},
		{"read-only", server(pgerr.ReadOnlyTransaction), resync.ReadOnly, true},
		{"end of the sequence", server(pgerr.SequenceLimitReached), resync.Exhausted, true},
		{"anything else the server says", server("XX000"), resync.Database, false},
		{"a server that shuts down", server("57P01"), resync.Connection, false},
		{"broken connection", io.ErrUnexpectedEOF, resync.Connection, false},
		{"cancelled context", context.Canceled, resync.Canceled, false},
		{"context past its deadline", fmt.Errorf("look: %w", context.DeadlineExceeded), resync.Canceled, false},
		{"table gone", server(pgerr.UndefinedTable), resync.NotFound, false},
		{"closed connection", sql.ErrConnDone, resync.Connection, false},
		{"a refusal, wrapped", fmt.Errorf("heal: %w", &resync.Refusal{Reason: resync.NoSight, Err: io.EOF}), resync.NoSight, false},
		{"a refusal that wraps a server error", &resync.Refusal{Reason: resync.Cycle, Refused: true, Err: server(pgerr.QueryCanceled)}, resync.Cycle, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := resync.Explain(test.err)
			if !got.Has(test.reason) || got.Refused != test.refused || got.Error() == "" {
				t.Errorf("Explain(%v) = %+v, want %s, refused %v", test.err, got, test.reason, test.refused)
			}
			if cause := errors.Unwrap(test.err); cause != nil && !errors.Is(got, cause) {
				t.Errorf("%v has lost its cause %v", got, cause)
			}
		})
	}
	if got := resync.Explain(nil); got != nil || got.Has(resync.Timeout) || got.Has("") {
		t.Errorf("Explain(nil) = %+v", got)
	}
}

func TestPermittedRefusesWhatMustNotBeMoved(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		table   catalog.Table
		session conn.Session
		reason  string
		text    string
	}{
		{"a default that is more than nextval", catalog.Table{Unsupported: "the default is odd"}, conn.Session{}, resync.Unsupported, "the default is odd"},
		{"CYCLE", catalog.Table{Sequence: catalog.Sequence{Schema: "s", Name: "q", Cycle: true}}, conn.Session{}, resync.Cycle, `ALTER SEQUENCE "s"."q" NO CYCLE`},
		{"read-only", catalog.Table{}, conn.Session{ReadOnly: true}, resync.ReadOnly, "send inserts to the primary"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.table.Schema, test.table.Name = "s", "t"
			wantRefusal(t, resync.Permitted(&test.table, test.session), test.reason, test.text, `table "s"."t"`)
		})
	}
	if err := resync.Permitted(&catalog.Table{}, conn.Session{}); err != nil {
		t.Errorf("a plain table is refused: %v", err)
	}
}

func TestMissingRightsAreNamedAsAGrant(t *testing.T) {
	t.Parallel()
	table := &catalog.Table{Schema: "s", Name: "T 1", Key: []catalog.Column{{Name: "The Id"}}, Sequence: catalog.Sequence{Schema: "s", Name: "q"}}
	wantRefusal(t, resync.NoUsage(table, "app user"), resync.Permission, `GRANT USAGE ON SEQUENCE "s"."q" TO "app user"`, `table "s"."T 1"`)
	wantRefusal(t, resync.NoSelect(table, "app user"), resync.Permission, `GRANT SELECT ("The Id") ON "s"."T 1" TO "app user"`)
}

package model

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/seqheal/seqheal/plugin"
)

func (r *run) compareUnlessFailed() {
	if !r.failed {
		r.compare(r.now)
	}
}

// compare checks every column of every row.
func (r *run) compare(want state) {
	r.Helper()
	got := r.read()
	for at, one := range want.rows {
		if got.rows[at] != one {
			r.Fatalf("%s\nrow %+v is %+v, want %+v", r.doing, at, got.rows[at], one)
		}
	}
	for at, one := range got.rows {
		if _, expected := want.rows[at]; !expected {
			r.Fatalf("%s\na row that nobody inserted: %+v", r.doing, one)
		}
	}
	if got.log != want.log {
		r.Fatalf("%s\nthe trigger saw %d rows, want %d", r.doing, got.log, want.log)
	}
}

// read reads everything, as the application sees it at the moment.
func (r *run) read() state {
	r.Helper()
	r.snapped = r.snapped || r.inTransaction()
	s := state{rows: map[key]row{}}
	query := func(text string) (*sql.Rows, error) { return r.place.SQL.Query(text) }
	if r.inTransaction() {
		query = func(text string) (*sql.Rows, error) { return r.db(step{}).Raw(text).Rows() }
	}
	rows, err := query(r.kind.read())
	if err != nil {
		r.Fatalf("%s\nreading the rows: %v", r.doing, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var one row
		var log int64
		if err := rows.Scan(&one.tenant, &one.id, &one.name, &one.email, &one.qty, &one.deleted, &log); err != nil {
			r.Fatal(err)
		}
		if one.id == 0 {
			s.log = log
			continue
		}
		s.rows[r.kind.keyOf(one)] = one
	}
	if err := rows.Err(); err != nil {
		r.Fatal(err)
	}
	return s
}

// position is where a sequence stands.
type position struct {
	last   int64
	called bool
}

func (p position) next(k *kind) int64 {
	if p.called {
		return p.last + k.increment
	}
	return p.last
}

// readSequence reads where the sequence stands, and checks that nobody holds an
// advisory lock on it.
func (r *run) readSequence() (p position) {
	r.Helper()
	var locks int
	query := fmt.Sprintf(`SELECT last_value, is_called, (SELECT count(*) FROM pg_locks
		WHERE locktype = 'advisory' AND objid = '%[1]s'::regclass::oid) FROM %[1]s`, r.kind.sequence())
	if r.temporary {
		if r.db(step{}).Raw(query).Row().Scan(&p.last, &p.called, &locks) != nil {
			return r.sequence // the transaction is aborted
		}
		return p
	}
	err := r.place.SQL.QueryRow(query).Scan(&p.last, &p.called, &locks)
	if err != nil {
		r.Fatal(err)
	}
	if locks != 0 {
		r.Fatalf("%s\n%d advisory locks are left", r.doing, locks)
	}
	return p
}

func (r *run) exec(statements string) {
	r.Helper()
	if r.temporary {
		if err := r.db(step{}).Exec(statements).Error; err != nil {
			r.Fatalf("%s: %v", statements, err)
		}
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if _, err := r.place.SQL.ExecContext(ctx, strings.ReplaceAll(statements, "$S", r.place.Schema)); err != nil {
		r.Fatalf("%s: %v", statements, err)
	}
}

// classify names what the server said.
func classify(k *kind, err error) failure {
	if err == nil {
		return success
	}
	if errors.Is(err, plugin.ErrRowsMissing) {
		return rowsMissing
	}
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		return failure(err.Error())
	}
	switch {
	case server.Code == "23505" && (strings.HasSuffix(server.ConstraintName, "_pkey") || server.ConstraintName == k.constraintName()):
		return keyTaken
	case server.Code == "23505" && server.ConstraintName == k.stored()+"_email_key":
		return mailTaken
	}
	return failure(server.Code)
}

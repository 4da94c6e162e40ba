package pipeline

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgerr"
)

// probe returns values whose Go types depend on the versions of pgx and Go, and on the
// application's own type maps. The parameter makes it a prepared statement.
const probe = `SELECT $1::pg_catalog.int8, 7::pg_catalog.int2, true, 'a'::pg_catalog.text, '{"a":1}'::pg_catalog.json, '[1]'::pg_catalog.jsonb,
	'\x00ff'::pg_catalog.bytea, 1.50::pg_catalog.numeric, 1.5::pg_catalog.float4, 2.5::pg_catalog.float8, '2024-02-29'::pg_catalog.date,
	'2024-02-29 12:00:00'::pg_catalog.timestamp, '2024-02-29 12:00:00+00'::pg_catalog.timestamptz, 'infinity'::pg_catalog.timestamptz,
	'[1,2)'::pg_catalog.int4range, '{1,NULL}'::pg_catalog.int4[], '10.0.0.1'::pg_catalog.inet, '1 day'::pg_catalog.interval,
	'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::pg_catalog.uuid, 'pg_class'::pg_catalog.regclass, 9::pg_catalog.oid, NULL::pg_catalog.text,
	'{1,2}'::pg_catalog.int4[]`

// prove asks on a connection of its own: BEGIN; SAVEPOINT, the probe and RELEASE as a
// pipeline; the probe plainly; ROLLBACK. Nothing of it stays on the connection. Where a
// pipeline is not possible it asks whether the server has savepoints.
func prove(ctx context.Context, db *sql.DB) Support {
	second, err := conn.BeginSecond(ctx, db, nil)
	if err != nil {
		return Support{Reason: Reason{Cause: CauseNoConnection}, again: true}
	}
	defer second.End()
	defer time.AfterFunc(proofLimit, second.Cancel).Stop()
	support, err := proveOn(second.Context, second.Conn, second.Tx, examine(second.Conn))
	if err != nil {
		return Support{Reason: Reason{CauseProof, err.Error()}, again: pgerr.Lost(err)}
	}
	return support
}

// examine is why the connection takes no pipeline. Nothing is sent, so that a tracer sees
// nothing.
func examine(conn *sql.Conn) (reason Reason) {
	_ = conn.Raw(func(driverConn any) error {
		c, ok := driverConn.(*stdlib.Conn)
		if !ok {
			reason = Reason{CauseDriver, fmt.Sprintf("%T", driverConn)}
			return nil
		}
		s := sessionOf(c.Conn())
		if reason = s.tracer; reason.Cause == CauseNone {
			reason = s.unfit
		}
		return nil
	})
	return reason
}

// proveOn returns the support, or the error of a proof that failed.
func proveOn(ctx context.Context, conn *sql.Conn, tx *sql.Tx, reason Reason) (Support, error) {
	if reason.Cause != CauseNone {
		return savepoints(ctx, tx, reason)
	}
	sending := New(tx, Plan{Savepoint: true, Rewritten: true}) // SAVEPOINT is answered before the probe is parsed
	piped, err := probed(ctx, sending.ConnPool())
	defer forget(conn, tx)
	outcome := sending.Outcome()
	switch {
	case outcome.NotSent.Cause != CauseNone:
		return savepoints(ctx, tx, outcome.NotSent)
	case outcome.Failed == StepSavepoint && unknown(err):
		return Support{Way: NoSavepoints, Reason: Reason{CauseProof, err.Error()}}, nil
	case err != nil:
		return Support{}, err
	}
	plain, err := probed(ctx, tx, plainly(conn)...)
	if err != nil {
		return Support{}, err
	}
	for i := range plain {
		if !reflect.DeepEqual(plain[i], piped[i]) {
			return Support{Reason: Reason{CauseValues, fmt.Sprintf("column %d of the probe is %v, not %v", i+1, piped[i], plain[i])}}, nil
		}
	}
	return Support{Way: OneTrip}, nil
}

// savepoints proves the way of three trips, in one text as the plugin sends statements of its own.
func savepoints(ctx context.Context, tx *sql.Tx, reason Reason) (Support, error) {
	_, err := tx.ExecContext(ctx, setSavepoint+"; "+release)
	switch {
	case unknown(err):
		return Support{Way: NoSavepoints, Reason: Reason{CauseProof, err.Error()}}, nil
	case err != nil:
		return Support{}, err
	}
	return Support{Reason: reason}, nil
}

// unknown reports whether the server does not know SAVEPOINT, or the driver prepares what it sends,
// so that it takes one statement at a time.
func unknown(err error) bool {
	return pgerr.Is(err, pgerr.FeatureNotSupported, syntaxError)
}

const syntaxError = "42601"

// probed sends the probe and returns its values, and what becomes of an array that is
// scanned into a slice: since Go 1.27 pgx's rows can do that.
func probed(ctx context.Context, pool gorm.ConnPool, options ...any) ([]any, error) {
	rows, err := pool.QueryContext(ctx, probe, append(options, int64(1))...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	if !rows.Next() {
		return nil, errors.Join(sql.ErrNoRows, rows.Err())
	}
	values := make([]any, len(columns), len(columns)+2)
	into := make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	if err := rows.Scan(into...); err != nil {
		return nil, err
	}
	var slice []int32
	into[len(into)-1] = &slice
	return append(values, slice, rows.Scan(into...) == nil), nil
}

// plainly is how the probe is sent without an entry in pgx's statement cache.
func plainly(conn *sql.Conn) (options []any) {
	_ = conn.Raw(func(driverConn any) error {
		if c, ok := driverConn.(*stdlib.Conn); ok && sessionOf(c.Conn()).mode != pgx.QueryExecModeExec {
			options = []any{pgx.QueryExecModeDescribeExec}
		}
		return nil
	})
	return options
}

// forget ends the proof's transaction and deallocates its prepared statement.
func forget(conn *sql.Conn, tx *sql.Tx) {
	_ = tx.Rollback()
	ctx, cancel := context.WithTimeout(context.Background(), forgetLimit)
	defer cancel()
	_ = conn.Raw(func(driverConn any) error {
		c, ok := driverConn.(*stdlib.Conn)
		if !ok || c.Conn().IsClosed() {
			return nil
		}
		s := sessionOf(c.Conn())
		s.described.remove(probe)
		if name := s.prepared.remove(probe); name != "" {
			return c.Conn().PgConn().Deallocate(ctx, name)
		}
		return nil
	})
}

package pipeline_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/internal/pipeline"
)

func TestSupport_isProvenOnASecondConnection(t *testing.T) {
	for mode, want := range map[string]string{
		"cache_statement": "one trip",
		"cache_describe":  "one trip",
		"describe_exec":   "one trip",
		"exec":            "one trip",
		"simple_protocol": "three trips: the exec mode is simple protocol",
	} {
		t.Run(mode, func(t *testing.T) {
			db := open(t, pgtest.New(t), map[string]string{"default_query_exec_mode": mode})
			db.SetMaxOpenConns(2)
			b := begin(t, db)
			var pools pipeline.Pools
			support := proven(t, &pools, db)
			same(t, "support", want, support.String())
			same(t, "asked again", support, pools.Support(t.Context(), db))
			second, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = second.Close() }()
			for _, row := range []*sql.Row{b.tx.QueryRow(preparedStatements), second.QueryRowContext(t.Context(), preparedStatements)} {
				var names sql.NullString
				if err := row.Scan(&names); err != nil || names.Valid {
					t.Errorf("prepared: %v %v", names, err)
				}
			}
		})
	}
}

const preparedStatements = "SELECT string_agg(name || ' ' || statement, ', ') FROM pg_prepared_statements WHERE statement !~ 'pg_prepared_statements'"

func TestPools_dropsThePipelineWhereATracerWasSeen(t *testing.T) {
	db := open(t, pgtest.New(t), nil)
	var pools pipeline.Pools
	same(t, "proven", "one trip", proven(t, &pools, db).String())
	pools.NotSent(db, pipeline.Reason{Cause: pipeline.CauseOutside})
	same(t, "one statement's reason", "one trip", pools.Support(t.Context(), db).String())
	pools.NotSent(db, pipeline.Reason{Cause: pipeline.CauseTracer})
	same(t, "a tracer", "three trips: a tracer is set", pools.Support(t.Context(), db).String())
}

func TestSupport_namesWhatPreventsIt(t *testing.T) {
	p := pgtest.New(t)
	config, err := pgx.ParseConfig(p.DSN)
	if err != nil {
		t.Fatal(err)
	}
	traced, tracer := config.Copy(), &countingTracer{}
	traced.Tracer = tracer
	off := config.Copy()
	off.StatementCacheCapacity = 0
	for want, db := range map[string]*sql.DB{
		"three trips: a tracer is set":                         stdlib.OpenDB(*traced),
		"three trips: the statement cache is off":              stdlib.OpenDB(*off),
		"three trips: the driver is pipeline_test.wrappedConn": sql.OpenDB(wrapped{stdlib.GetConnector(*config)}),
		"one trip": stdlib.OpenDB(*config),
	} {
		var pools pipeline.Pools
		if got := proven(t, &pools, db).String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		_ = db.Close()
	}
	for _, query := range tracer.seen {
		if strings.Contains(query, "-- seqheal") {
			t.Errorf("the tracer saw %q", query)
		}
	}
}

// proven is the pool's answer once the proof got a connection in time.
func proven(t *testing.T, pools *pipeline.Pools, db *sql.DB) (support pipeline.Support) {
	t.Helper()
	pgtest.Eventually(t, "a connection for the proof", func() bool {
		support = pools.Support(context.Background(), db)
		return support.Reason.Cause != pipeline.CauseNoConnection && support.Reason.Cause != pipeline.CauseUnproven
	})
	return support
}

// holdAll holds both connections of a pool of two, and returns one.
func holdAll(t *testing.T, db *sql.DB) (tx *sql.Tx) {
	t.Helper()
	db.SetMaxOpenConns(2)
	for range 2 {
		var err error
		if tx, err = db.Begin(); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = db.Close() })
	return tx
}

// An insert does not wait while all connections are busy: the proof waits for one, and is tried
// again.
func TestSupport_isProvenBesideABusyPool(t *testing.T) {
	p := pgtest.New(t)
	db := open(t, p, nil)
	tx := holdAll(t, db)
	var pools pipeline.Pools
	start := time.Now()
	same(t, "busy", "three trips: it is being proven", pools.Support(context.Background(), db).String())
	if took := time.Since(start); took > 100*time.Millisecond {
		t.Errorf("waited %v", took)
	}
	pgtest.Eventually(t, "the proof to give up", func() bool {
		return pools.Support(context.Background(), db).String() == "three trips: no connection was free"
	})
	_ = tx.Rollback()
	pgtest.Eventually(t, "the next proof", func() bool { return pools.Support(context.Background(), db).String() == "one trip" })
}

func TestSupport_doesNotWaitForAnotherProof(t *testing.T) {
	p := pgtest.New(t)
	db := open(t, p, nil)
	defer func(tx *sql.Tx) { _ = tx.Rollback() }(holdAll(t, db))
	var pools pipeline.Pools
	done := make(chan struct{})
	go func() { defer close(done); pools.Support(context.Background(), db) }()
	pgtest.Eventually(t, "the proof to wait for a connection", func() bool { return db.Stats().WaitCount > 0 })
	start := time.Now()
	support := pools.Support(context.Background(), db)
	if took := time.Since(start); took > 100*time.Millisecond || support.Way != pipeline.ThreeTrips {
		t.Errorf("%v after %v", support, took)
	}
	<-done
}

func TestSupport_ofAServerWithoutSavepoints(t *testing.T) {
	p := pgtest.New(t)
	for _, mode := range []string{"cache_statement", "simple_protocol"} {
		link := newLink(t, p)
		link.replace = map[string]string{"SAVEPOINT seqheal": "SAVEPAINT seqheal"}
		db := link.open(t, map[string]string{"default_query_exec_mode": mode})
		var pools pipeline.Pools
		if got := proven(t, &pools, db); got.Way != pipeline.NoSavepoints || !strings.Contains(got.String(), "42601") {
			t.Errorf("%s: %v", mode, got)
		}
	}
}

// A server that lacks one of the probe's types keeps three trips.
func TestSupport_ofAServerThatCannotAnswerTheProbe(t *testing.T) {
	l := newLink(t, pgtest.New(t))
	l.replace = map[string]string{"pg_catalog.int4range": "pg_catalog.int4rungs"}
	var pools pipeline.Pools
	if got := proven(t, &pools, l.open(t, nil)); got.Way != pipeline.ThreeTrips || !strings.Contains(got.String(), "the proof failed") {
		t.Error(got)
	}
}

type countingTracer struct{ seen []string }

func (c *countingTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	c.seen = append(c.seen, data.SQL)
	return ctx
}
func (c *countingTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

type wrapped struct{ driver.Connector }

type pgxConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
}
type wrappedConn struct{ pgxConn }

func (c wrapped) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return wrappedConn{conn.(pgxConn)}, nil
}

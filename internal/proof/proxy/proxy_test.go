package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/internal/proof/proxy"
)

// theServers are the goroutines of the server that all tests share.
var (
	theServers goleak.Option
	atServer   sync.Once
)

func TestMain(m *testing.M) {
	code := m.Run()
	if theServers != nil {
		pgtest.CloseSpare()
		if err := goleak.Find(theServers); err != nil {
			fmt.Fprintln(os.Stderr, "left behind by the tests:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// start stands a proxy before the server and opens one connection through it, in
// a schema of the test's own.
func start(t *testing.T) (*proxy.Proxy, *pgtest.Place, *pgx.Conn) {
	t.Helper()
	atServer.Do(func() {
		pgtest.Server(t)
		theServers = goleak.IgnoreCurrent()
	})
	place := pgtest.New(t)
	p, dsn, err := proxy.StartFor(place.DSN)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return p, place, conn
}

// Everything that makes the server run something is one statement with its text,
// however it is sent.
func TestStatements(t *testing.T) {
	t.Parallel()
	p, place, conn := start(t)
	ctx := t.Context()
	place.Exec("CREATE TABLE numbers (n int8)")
	p.Fail(proxy.Fault{})
	do := func(mode pgx.QueryExecMode, text string, args ...any) {
		t.Helper()
		if _, err := conn.Exec(ctx, text, append([]any{mode}, args...)...); err != nil {
			t.Fatal(err)
		}
	}
	do(pgx.QueryExecModeSimpleProtocol, "SELECT 1; SELECT 2")
	do(pgx.QueryExecModeExec, "SELECT $1::int8", int64(3))
	do(pgx.QueryExecModeCacheStatement, "SELECT $1::int8 + 4", int64(4))
	do(pgx.QueryExecModeCacheStatement, "SELECT $1::int8 + 4", int64(5))
	if _, err := conn.Exec(ctx, "SELEKT", pgx.QueryExecModeSimpleProtocol); err == nil {
		t.Error("SELEKT was accepted")
	}
	batch := &pgx.Batch{}
	batch.Queue("SELECT 6")
	batch.Queue("SELECT 7")
	if err := conn.SendBatch(ctx, batch).Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.CopyFrom(ctx, pgx.Identifier{"numbers"}, []string{"n"}, pgx.CopyFromRows([][]any{{int64(8)}, {int64(9)}})); err != nil || n != 2 {
		t.Fatalf("COPY %d, %v", n, err)
	}
	var got []string
	for _, s := range p.Statements() {
		if s.Runs {
			got = append(got, s.Text)
		} else {
			got = append(got, "prepare "+s.Text)
		}
	}
	want := []string{
		"SELECT 1; SELECT 2", "SELECT $1::int8",
		"prepare SELECT $1::int8 + 4", "SELECT $1::int8 + 4", "SELECT $1::int8 + 4", "SELEKT",
		"prepare SELECT 6; SELECT 7", "SELECT 6; SELECT 7", `prepare select "n" from "numbers"`, `copy "numbers" ( "n" ) from stdin binary;`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if rows := place.Text("SELECT n FROM numbers ORDER BY n"); rows != "8\n9" {
		t.Errorf("COPY stored %q", rows)
	}
}

// A cut before a statement keeps it from the server, one after it only the answer
// from the client; every other statement is unharmed.
func TestCut(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		moment proxy.Moment
		stored string
	}{{proxy.Before, "1"}, {proxy.After, "1\n2"}} {
		t.Run(string(test.moment), func(t *testing.T) {
			t.Parallel()
			p, place, conn := start(t)
			place.Exec("CREATE TABLE numbers (n int8)")
			hit := p.Fail(proxy.Fault{Statement: 2, Moment: test.moment, Effect: proxy.Cut})
			for n := 1; n <= 3; n++ {
				_, err := conn.Exec(t.Context(), fmt.Sprintf("INSERT INTO numbers VALUES (%d)", n), pgx.QueryExecModeSimpleProtocol)
				if (err == nil) != (n == 1) {
					t.Errorf("statement %d: %v", n, err)
				}
			}
			<-hit
			if got := place.Text("SELECT n FROM numbers ORDER BY n"); got != test.stored {
				t.Errorf("stored %q, want %q", got, test.stored)
			}
			// The server has noticed as well.
			pgtest.Eventually(t, "the session to end", func() bool {
				return place.Int("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", conn.PgConn().PID()) == 0
			})
			again, err := pgx.Connect(t.Context(), throughProxy(place, p))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = again.Close(context.Background()) }()
			if _, err := again.Exec(t.Context(), "SELECT 1"); err != nil {
				t.Errorf("the next connection: %v", err)
			}
		})
	}
}

func throughProxy(place *pgtest.Place, p *proxy.Proxy) string {
	target, _ := proxy.Target(place.DSN)
	return strings.Replace(place.DSN, target, p.Addr(), 1)
}

// A stall holds a statement, or its answer, until it is released.
func TestStallAndRelease(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		moment proxy.Moment
		stored int64
	}{{proxy.Before, 0}, {proxy.After, 1}} {
		t.Run(string(test.moment), func(t *testing.T) {
			t.Parallel()
			p, place, conn := start(t)
			place.Exec("CREATE TABLE numbers (n int8)")
			hit := p.Fail(proxy.Fault{Statement: 1, Moment: test.moment, Effect: proxy.Stall})
			done := make(chan error, 1)
			go func() {
				_, err := conn.Exec(context.Background(), "INSERT INTO numbers VALUES (1)", pgx.QueryExecModeSimpleProtocol)
				done <- err
			}()
			<-hit
			if n := place.Int("SELECT count(*) FROM numbers"); n != test.stored {
				t.Errorf("%d rows stored while it stalls, want %d", n, test.stored)
			}
			select {
			case err := <-done:
				t.Fatalf("the client was answered: %v", err)
			default:
			}
			p.Release()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if n := place.Int("SELECT count(*) FROM numbers"); n != 1 {
				t.Errorf("%d rows stored, want 1", n)
			}
		})
	}
}

// A client that gives up ends its session at the server too, and what was held
// for it never arrives.
func TestTheClientLeavesAStall(t *testing.T) {
	t.Parallel()
	p, place, conn := start(t)
	place.Exec("CREATE TABLE numbers (n int8)")
	hit := p.Fail(proxy.Fault{Statement: 1, Moment: proxy.Before, Effect: proxy.Stall})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-hit
		cancel()
	}()
	if _, err := conn.Exec(ctx, "INSERT INTO numbers VALUES (1)"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	pgtest.Eventually(t, "the session to end", func() bool {
		return place.Int("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", conn.PgConn().PID()) == 0
	})
	p.Release()
	if n := place.Int("SELECT count(*) FROM numbers"); n != 0 {
		t.Errorf("%d rows stored", n)
	}
}

// A round trip takes twice the delay longer, and what is sent at once does not
// wait for each other.
func TestDelay(t *testing.T) {
	t.Parallel()
	p, _, conn := start(t)
	const delay = 40 * time.Millisecond
	p.SetDelay(delay)
	began := time.Now()
	if _, err := conn.Exec(t.Context(), "SELECT 1", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 2*delay {
		t.Errorf("a round trip took %s", took)
	}
	const count = 100
	began = time.Now()
	pipeline := conn.PgConn().StartPipeline(t.Context())
	for range count {
		pipeline.SendQueryParams("SELECT 1", nil, nil, nil, nil)
		if err := pipeline.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	answers := 0
	for answers < count {
		results, err := pipeline.GetResults()
		if err != nil {
			t.Fatal(err)
		}
		switch results := results.(type) {
		case *pgconn.ResultReader:
			if _, err := results.Close(); err != nil {
				t.Fatal(err)
			}
		case *pgconn.PipelineSync:
			answers++
		}
	}
	if err := pipeline.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > count*delay {
		t.Errorf("%d statements in one go took %s: each waited for the one before", count, took)
	}
}

// The effect Delay delays one statement.
func TestOneStatementIsDelayed(t *testing.T) {
	t.Parallel()
	p, _, conn := start(t)
	const delay = 40 * time.Millisecond
	hit := p.Fail(proxy.Fault{Statement: 1, Moment: proxy.After, Effect: proxy.Delay, For: delay})
	began := time.Now()
	if _, err := conn.Exec(t.Context(), "SELECT 1", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	<-hit
	if took := time.Since(began); took < delay {
		t.Errorf("it took %s", took)
	}
}

// A server that is not there looks like one to the client.
func TestNoServer(t *testing.T) {
	t.Parallel()
	p, place, conn := start(t)
	p.SetTarget("127.0.0.1:1")
	if other, err := pgx.Connect(t.Context(), throughProxy(place, p)); err == nil {
		_ = other.Close(t.Context())
		t.Error("a connection to nowhere succeeded")
	}
	if _, err := conn.Exec(t.Context(), "SELECT 1"); err != nil {
		t.Errorf("the connection from before: %v", err)
	}
	p.CutAll()
	if _, err := conn.Exec(t.Context(), "SELECT 1"); err == nil {
		t.Error("CutAll left the connection")
	}
}

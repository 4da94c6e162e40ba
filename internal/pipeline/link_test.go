package pipeline_test

import (
	"bytes"
	"context"
	"database/sql"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/seqheal/seqheal/internal/pgtest"
)

// link stands between a pool and the server. It counts round trips, can cut the
// connection after a number of bytes, and can replace texts by others of equal length.
type link struct {
	config  *pgx.ConnConfig
	replace map[string]string
	// writes counts what the client wrote at once: one flush is one trip.
	writes atomic.Int64
	// sent and received are bytes since the last arm; cutAfter closes the connection
	// once so many were passed on to the side.
	mu                   sync.Mutex
	sent, received       int
	cutSent, cutReceived int // 0 for never
}

func newLink(t testing.TB, p *pgtest.Place) *link {
	t.Helper()
	config, err := pgx.ParseConfig(p.DSN)
	if err != nil {
		t.Fatal(err)
	}
	config.TLSConfig = nil
	config.Fallbacks = nil
	return &link{config: config}
}

// open opens a pool of one connection through the link.
func (l *link) open(t testing.TB, parameters map[string]string) *sql.DB {
	t.Helper()
	config := l.config.Copy()
	if mode := parameters["default_query_exec_mode"]; mode == "simple_protocol" {
		config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	}
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &linkConn{Conn: conn, link: l}, nil
	}
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// arm counts from now on, and cuts after so many bytes; 0 for never.
func (l *link) arm(sent, received int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent, l.received, l.cutSent, l.cutReceived = 0, 0, sent, received
}

func (l *link) passed() (sent, received int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent, l.received
}

type linkConn struct {
	net.Conn
	link *link
	cut  atomic.Bool
}

// allow returns how many of n bytes may pass, and whether the connection ends then.
func allow(passed *int, limit, n int) (int, bool) {
	if limit == 0 || *passed+n < limit {
		*passed += n
		return n, false
	}
	n = limit - *passed
	*passed = limit
	return n, true
}

func (c *linkConn) Write(b []byte) (int, error) {
	c.link.writes.Add(1)
	for from, to := range c.link.replace {
		b = bytes.ReplaceAll(b, []byte(from), []byte(to))
	}
	c.link.mu.Lock()
	n, cut := allow(&c.link.sent, c.link.cutSent, len(b))
	c.link.mu.Unlock()
	if !cut {
		return c.Conn.Write(b)
	}
	_, err := c.Conn.Write(b[:n])
	c.cut.Store(true)
	_ = c.Conn.Close()
	return len(b), err // as a kernel's buffer would take it
}

// Read ends as when the other side has closed the connection.
func (c *linkConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	n, cut := allow(&c.link.received, c.link.cutReceived, n)
	if cut {
		c.cut.Store(true)
		_ = c.Conn.Close()
	}
	if n == 0 && c.cut.Load() {
		return 0, io.EOF
	}
	return n, err
}

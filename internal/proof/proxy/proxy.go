// Package proxy stands between a client and PostgreSQL on loopback and lets
// tests delay, cut and stall the connection before or after any one statement.
//
// A statement here is what the client sends until it waits for the server: one
// simple query, or everything up to a Sync. The server answers each with exactly
// one ReadyForQuery (PostgreSQL manual 55.2). Messages of the start of a
// connection and its Terminate are not statements.
package proxy

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Moment is when a fault happens.
type Moment string

const (
	// Before is when the client has sent the statement and the server has not
	// received any of it.
	Before Moment = "before"
	// After is when the server has answered the statement to its end and the
	// client has not received any of the answer.
	After Moment = "after"
)

// Effect is what a fault does.
type Effect string

const (
	// Cut closes the client's and the server's connection.
	Cut Effect = "cut"
	// Stall delivers nothing more on the connection's way until Release. When the
	// client leaves first, what was held never arrives.
	Stall Effect = "stall"
	// Delay delivers it later, by Fault.For.
	Delay Effect = "delay"
)

// Fault is what happens once, to one statement.
type Fault struct {
	// Statement counts from 1, over all connections.
	Statement int
	Moment    Moment
	Effect    Effect
	// For is the length of a Delay.
	For time.Duration
}

// Statement is one that passed.
type Statement struct {
	// Text is its SQL, that of a prepared statement too; several statements sent
	// before one Sync are joined with semicolons.
	Text string
	// Runs is false when it only prepares, describes or forgets statements.
	Runs bool
}

// Proxy is a running proxy. Its methods may be called from any goroutine.
type Proxy struct {
	listener net.Listener
	work     sync.WaitGroup

	mutex      sync.Mutex
	target     string
	delay      time.Duration
	sessions   map[*session]struct{}
	statements []Statement
	fault      Fault // Statement is 0 without one
	hit        chan struct{}
	released   chan struct{}
	closed     bool
}

// Start listens on a free loopback port and connects every client to target, a
// host and a port.
func Start(target string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start a proxy for %s: %w", target, err)
	}
	p := &Proxy{listener: listener, target: target, sessions: map[*session]struct{}{}}
	p.Fail(Fault{})
	p.work.Go(p.accept)
	return p, nil
}

// StartFor starts a proxy before the server of a connection string, and returns
// the connection string that leads through it.
func StartFor(dsn string) (p *Proxy, through string, err error) {
	target, err := Target(dsn)
	if err != nil {
		return nil, "", err
	}
	if p, err = Start(target); err != nil {
		return nil, "", err
	}
	u, err := url.Parse(dsn)
	if err == nil && u.Scheme != "" {
		u.Host = p.Addr()
		return p, u.String(), nil
	}
	host, port, _ := net.SplitHostPort(p.Addr())
	return p, dsn + " host=" + host + " port=" + port, nil
}

// Target is the host and port of a connection string.
func Target(dsn string) (string, error) {
	config, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return "", err
	}
	if strings.HasPrefix(config.Host, "/") {
		return "", fmt.Errorf("the server listens at %s, and the proxy connects to TCP only", config.Host)
	}
	return net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))), nil
}

// Addr is the host and port for clients.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// SetDelay delivers everything that comes from now on d later, each way: a round
// trip takes 2d longer. What is sent in one go arrives in one go.
func (p *Proxy) SetDelay(d time.Duration) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.delay = d
}

// SetTarget connects clients that come from now on to another server.
func (p *Proxy) SetTarget(target string) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.target = target
}

// Fail forgets the statements so far, counts from 1 again and makes f happen. It
// takes the place of the fault before; the zero Fault is none. The channel is
// closed as f begins, before the client sees anything of it.
func (p *Proxy) Fail(f Fault) (hit <-chan struct{}) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.statements, p.fault, p.hit, p.released = nil, f, make(chan struct{}), make(chan struct{})
	return p.hit
}

// Statements are those that the proxy has received since Fail was last called, in
// the order in which they came.
func (p *Proxy) Statements() []Statement {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return slices.Clone(p.statements)
}

// Release ends a Stall.
func (p *Proxy) Release() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	select {
	case <-p.released:
	default:
		close(p.released)
	}
}

// CutAll closes all connections.
func (p *Proxy) CutAll() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for s := range p.sessions {
		s.end()
	}
}

// Close stops listening, closes all connections and waits until nothing of the
// proxy runs any more.
func (p *Proxy) Close() error {
	err := p.listener.Close()
	p.mutex.Lock()
	p.closed = true
	p.mutex.Unlock()
	p.CutAll()
	p.work.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.work.Go(func() { p.serve(client) })
	}
}

// serve carries one connection until either side ends it.
func (p *Proxy) serve(client net.Conn) {
	p.mutex.Lock()
	target := p.target
	p.mutex.Unlock()
	server, err := net.Dial("tcp", target)
	if err != nil {
		_ = client.Close() // as if nobody listened
		return
	}
	s := newSession(p, client, server)
	p.mutex.Lock()
	if p.closed {
		s.end()
	}
	p.sessions[s] = struct{}{}
	p.mutex.Unlock()
	s.carry()
	p.mutex.Lock()
	delete(p.sessions, s)
	p.mutex.Unlock()
}

// count takes in a statement and returns its number and its run of counting,
// which Fail begins anew: an answer that is late must not meet the next fault.
func (p *Proxy) count(statement Statement) numbered {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.statements = append(p.statements, statement)
	return numbered{number: len(p.statements), run: p.hit}
}

// numbered is a statement's place; number 0 is the start of a connection.
type numbered struct {
	number int
	run    chan struct{}
}

// strike is a fault on its way to happen.
type strike struct {
	Fault
	hit      chan struct{}
	released <-chan struct{}
}

// take hands out the fault if it is to happen to this statement at this moment.
func (p *Proxy) take(n numbered, moment Moment) *strike {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if n.number == 0 || n.run != p.hit || p.fault.Statement != n.number || p.fault.Moment != moment {
		return nil
	}
	taken := &strike{p.fault, p.hit, p.released}
	p.fault = Fault{}
	return taken
}

// due is when something that has just come is delivered.
func (p *Proxy) due() time.Time {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.delay == 0 {
		return time.Time{}
	}
	return time.Now().Add(p.delay)
}

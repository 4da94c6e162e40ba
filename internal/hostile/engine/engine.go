// Package engine plays engines that speak PostgreSQL's protocol and lack a part of it: a
// proxy before a real server that rewrites statements and errors by the rules of a [Profile].
// What it plays is an engine's documentation, not the engine.
package engine

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Profile is how an engine differs from the server behind the proxy.
type Profile struct {
	Name string
	// Source is the documentation.
	Source string
	// Setup is SQL that makes the table as the engine would.
	Setup string
	// Statements are rewritten before the server sees them, in this order.
	Statements []Rewrite
	// Violation changes a 23505, nil for none.
	Violation func(*pgproto3.ErrorResponse)
	// CommitFails answers every so many COMMITs with 40001 and rolls the transaction back;
	// 0 for none.
	CommitFails int64
}

// Rewrite replaces what a pattern matches in a statement.
type Rewrite struct {
	Pattern *regexp.Regexp
	With    string
}

// mark begins a word that the server does not know. The syntax error that it gives becomes
// the engine's: the code follows, and the message is the rest of the profile's words.
const mark = "seqheal_engine_"

// Lacks rejects every statement in which the pattern occurs, with a code.
func Lacks(pattern, code string) Rewrite {
	return Rewrite{regexp.MustCompile(`(?is)^.*(` + pattern + `).*$`), mark + code}
}

// Becomes replaces a pattern, for example by a function that does not exist.
func Becomes(pattern, with string) Rewrite {
	return Rewrite{regexp.MustCompile("(?i)" + pattern), with}
}

// Proxy is a running engine.
type Proxy struct {
	profile  Profile
	target   string
	listener net.Listener
	work     sync.WaitGroup
	commits  atomic.Int64

	mutex sync.Mutex
	open  map[net.Conn]struct{}
	done  bool
}

// Start plays the profile before the server of a URL, and returns the URL that leads
// through it.
func Start(dsn string, profile Profile) (p *Proxy, through string, err error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return nil, "", err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", fmt.Errorf("play %s: %w", profile.Name, err)
	}
	p = &Proxy{profile: profile, target: u.Host, listener: listener, open: map[net.Conn]struct{}{}}
	u.Host = listener.Addr().String()
	p.work.Go(p.accept)
	return p, u.String(), nil
}

// Close ends the proxy and every connection.
func (p *Proxy) Close() {
	_ = p.listener.Close()
	p.mutex.Lock()
	p.done = true
	for conn := range p.open {
		_ = conn.Close()
	}
	p.mutex.Unlock()
	p.work.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.work.Go(func() {
			server, err := net.Dial("tcp", p.target)
			if err != nil {
				_ = client.Close()
				return
			}
			if p.keep(client, server) {
				p.serve(client, server)
			}
			p.drop(client, server)
		})
	}
}

func (p *Proxy) keep(conns ...net.Conn) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, conn := range conns {
		p.open[conn] = struct{}{}
	}
	return !p.done
}

func (p *Proxy) drop(conns ...net.Conn) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, conn := range conns {
		_ = conn.Close()
		delete(p.open, conn)
	}
}

// serve carries one connection until either side ends it.
func (p *Proxy) serve(client, server net.Conn) {
	backend, frontend := pgproto3.NewBackend(client, client), pgproto3.NewFrontend(server, server)
	if err := start(backend, client, server); err != nil {
		return
	}
	failing := &atomic.Bool{} // the COMMIT under way
	var way sync.WaitGroup
	way.Go(func() {
		defer func() { _ = client.Close() }()
		p.toClient(frontend, client, failing)
	})
	p.toServer(backend, server, failing)
	_ = server.Close()
	way.Wait()
}

// start passes the startup message on. Encryption is declined.
func start(backend *pgproto3.Backend, client, server net.Conn) error {
	for {
		message, err := backend.ReceiveStartupMessage()
		if err != nil {
			return err
		}
		switch message.(type) {
		case *pgproto3.SSLRequest, *pgproto3.GSSEncRequest:
			if _, err := client.Write([]byte{'N'}); err != nil {
				return err
			}
			continue
		}
		return write(server, message)
	}
}

func write(to io.Writer, message pgproto3.Message) error {
	bytes, err := message.Encode(nil)
	if err == nil {
		_, err = to.Write(bytes)
	}
	return err
}

// toServer rewrites what the client says.
func (p *Proxy) toServer(from *pgproto3.Backend, server net.Conn, failing *atomic.Bool) {
	for {
		message, err := from.Receive()
		if err != nil {
			return
		}
		switch m := message.(type) {
		case *pgproto3.Query:
			m.String = p.rewrite(m.String, failing)
		case *pgproto3.Parse:
			m.Query = p.rewrite(m.Query, failing)
		}
		if write(server, message) != nil {
			return
		}
	}
}

func (p *Proxy) rewrite(text string, failing *atomic.Bool) string {
	if p.profile.CommitFails > 0 && strings.EqualFold(strings.TrimSpace(text), "commit") && p.commits.Add(1)%p.profile.CommitFails == 0 {
		failing.Store(true)
		return "ROLLBACK"
	}
	for _, r := range p.profile.Statements {
		text = r.Pattern.ReplaceAllString(text, r.With)
	}
	return text
}

// toClient rewrites what the server says.
func (p *Proxy) toClient(from *pgproto3.Frontend, client net.Conn, failing *atomic.Bool) {
	for {
		message, err := from.Receive()
		if err != nil {
			return
		}
		switch m := message.(type) {
		case *pgproto3.ErrorResponse:
			p.changeError(m)
		case *pgproto3.CommandComplete:
			if failing.CompareAndSwap(true, false) {
				message = &pgproto3.ErrorResponse{Severity: "ERROR", Code: "40001", Message: "change conflicts with another transaction, please retry"}
			}
		}
		if err := write(client, message); err != nil && !errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

func (p *Proxy) changeError(e *pgproto3.ErrorResponse) {
	if _, rest, found := strings.Cut(e.Message, mark); found && len(rest) >= 5 {
		*e = pgproto3.ErrorResponse{Severity: "ERROR", Code: rest[:5], Message: "unsupported statement"}
	}
	if e.Code == "23505" && p.profile.Violation != nil {
		p.profile.Violation(e)
	}
}

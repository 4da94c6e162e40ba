package status

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// proxy stands between the application and its database until it is cut: then it
// takes connections and says nothing, as a network that loses all packets does.
type proxy struct {
	net.Listener
	cut   atomic.Bool
	mutex sync.Mutex
	conns []net.Conn
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: listener}
	t.Cleanup(func() {
		_ = listener.Close()
		p.mutex.Lock()
		defer p.mutex.Unlock()
		for _, c := range p.conns {
			_ = c.Close()
		}
	})
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				_ = client.Close()
				continue
			}
			p.mutex.Lock()
			p.conns = append(p.conns, client, server)
			p.mutex.Unlock()
			for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
				go func() {
					buffer := make([]byte, 32<<10)
					for {
						n, err := way[0].Read(buffer)
						if err != nil {
							_ = way[1].Close()
							return
						}
						if !p.cut.Load() {
							_, _ = way[1].Write(buffer[:n])
						}
					}
				}()
			}
		}
	}()
	return p
}

// A database that goes away while the page is open: the page still comes, with what
// was read before and why there is nothing newer, and without the password. When the
// database is back, so is the page.
func TestTheDatabaseGoesAway(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(`CREATE TABLE users (id bigserial PRIMARY KEY); INSERT INTO users VALUES (7)`)
	at, _, _ := strings.Cut(strings.TrimPrefix(place.DSN, "postgres://postgres@"), "/")
	p := newProxy(t, at)
	_, port, _ := net.SplitHostPort(p.Addr().String())
	dsn := "host=127.0.0.1 port=" + port + " user=postgres password='hunter2 secret' dbname=postgres sslmode=disable search_path=" + place.Schema
	db, err := gorm.Open(postgres.Open(dsn), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		t.Fatal(err)
	}
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	clock := &manualClock{at: time.Now()}
	h := Handler(plugin.New(), db, WithAuditTimeout(500*time.Millisecond), WithAudit(plugin.InSchemas(place.Schema))).(*handler)
	h.now, h.auditor.now = clock.now, clock.now
	ask := func(query string) string {
		t.Helper()
		recorder := httptest.NewRecorder()
		h.ServeHTTP(recorder, httptest.NewRequest("GET", "/"+query, nil))
		if recorder.Code != http.StatusOK {
			t.Errorf("%d %s", recorder.Code, recorder.Body)
		}
		if strings.Contains(recorder.Body.String(), "hunter2") {
			t.Error("the page tells the password")
		}
		return recorder.Body.String()
	}
	if text := ask(""); !strings.Contains(text, "<h1>1 sequence is behind</h1>") {
		t.Fatal("the page does not tell of the drift")
	}
	p.cut.Store(true)
	clock.advance(keep * 20)
	for _, part := range []string{"<h1>1 sequence is behind</h1>", "There is nothing newer", "not all could be read within 500ms", "<b>users</b>"} {
		if text := ask(""); !strings.Contains(text, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	if text := ask("?format=json"); !strings.Contains(text, `"error": "not all could be read within 500ms`) {
		t.Errorf("the JSON tells no error: %s", text)
	}
	// A page that is opened only now.
	fresh := Handler(plugin.New(), db, WithAuditTimeout(300*time.Millisecond))
	recorder := httptest.NewRecorder()
	fresh.ServeHTTP(recorder, httptest.NewRequest("GET", "/", nil))
	for _, part := range []string{"<h1>The sequences could not be read</h1>", "Nothing could be read:", "not all could be read within 300ms"} {
		if text := recorder.Body.String(); !strings.Contains(text, part) || strings.Contains(text, "hunter2") {
			t.Errorf("the page lacks %q: %s", part, text)
		}
	}
	p.cut.Store(false)
	clock.advance(keep * 20)
	pgtest.Eventually(t, "the page to be well again", func() bool {
		clock.advance(keep * 20)
		return !strings.Contains(ask(""), "There is nothing newer")
	})
	_ = pool.Close()
	clock.advance(keep * 20)
	if text := ask(""); !strings.Contains(text, "There is nothing newer") || !strings.Contains(text, "closed") {
		t.Error("the page does not tell that the pool is closed")
	}
}

package browser

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
	"github.com/seqheal/seqheal/plugin/status"
)

// chromium is the one browser of this program; each test has a tab with cookies of
// its own in it.
var chromium context.Context

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			program = path
			break
		}
	}
	if program == "" {
		fmt.Fprintln(os.Stderr, "these tests need a browser: apt-get install chromium")
		return 1
	}
	profile, err := os.MkdirTemp("", "seqheal-chromium-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(profile) }()
	allocator, stop := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(program), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.UserDataDir(profile),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("hide-scrollbars", true), chromedp.Flag("lang", "en-US"),
		// Names that are no localhost: browsers treat plain HTTP to them otherwise.
		chromedp.Flag("host-resolver-rules", "MAP *.test 127.0.0.1"),
	)
	defer stop()
	browser, quit := chromedp.NewContext(allocator)
	defer quit()
	if err := chromedp.Do(browser); err != nil {
		fmt.Fprintln(os.Stderr, "start", program+":", err)
		return 1
	}
	chromium = browser
	return m.Run()
}

// site is an application with the page.
type site struct {
	t      *testing.T
	place  *pgtest.Place
	db     *gorm.DB
	server *httptest.Server
}

const path = "/debug/seqheal/"

// drifted is a table behind, one with a long name, and some whose names are markup.
const drifted = `CREATE TABLE users (id bigserial PRIMARY KEY, name text); INSERT INTO users SELECT g, 'old' FROM generate_series(1, 20) g;
	CREATE TABLE "<script>window.hacked = 1</script>" (id serial PRIMARY KEY, name text);
	INSERT INTO "<script>window.hacked = 1</script>" SELECT g, 'old' FROM generate_series(1, 5) g;
	CREATE TABLE "<img src=x onerror=hacked=1>" (id serial PRIMARY KEY, name text);
	INSERT INTO "<img src=x onerror=hacked=1>" SELECT g, 'old' FROM generate_series(1, 5) g;
	CREATE TABLE a_name_that_is_as_long_as_postgresql_lets_one_be_in_its_catalogs (an_equally_long_column bigserial PRIMARY KEY, name text);
	CREATE TABLE small (id smallserial PRIMARY KEY, name text); SELECT setval('small_id_seq', 32000)`

func serve(t *testing.T, tables string, options ...status.Option) *site {
	t.Helper()
	place := pgtest.New(t)
	place.Exec(tables)
	return serveAs(t, place, place.DSN, options...)
}

// serveAs is serve with a place that is ready and a connection string.
func serveAs(t *testing.T, place *pgtest.Place, dsn string, options ...status.Option) *site {
	t.Helper()
	s := &site{t: t, place: place}
	healing := plugin.New()
	s.db = s.place.OpenDSN(dsn, nil, healing)
	mux := http.NewServeMux()
	mux.Handle(path, status.Handler(healing, s.db, append(options, status.WithAudit(plugin.InSchemas(s.place.Schema)))...))
	s.server = httptest.NewServer(mux)
	t.Cleanup(s.server.Close)
	return s
}

// at is the page's address under a name.
func (s *site) at(host string) string {
	_, port, _ := net.SplitHostPort(s.server.Listener.Addr().String())
	return "http://" + net.JoinHostPort(host, port) + path
}

func (s *site) insert(table string) {
	s.t.Helper()
	// A name with a space is an expression to GORM, which quotes nothing in it.
	if err := s.db.Table(strconv.Quote(table) + " ").Create(map[string]any{"name": "new"}).Error; err != nil {
		s.t.Fatal(err)
	}
}

// tab is one page that is open, and what the browser complained of.
type tab struct {
	context.Context
	t          *testing.T
	mutex      sync.Mutex
	complaints []string
	hosts      map[string]bool
	loads      int
}

// open opens a tab. When the test is over there must have been no complaint and no
// request to a host that the test does not name.
func open(t *testing.T, hosts ...string) *tab {
	t.Helper()
	ctx, closeTab := chromedp.NewContext(chromium, chromedp.WithNewBrowserContext())
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	b := &tab{Context: ctx, t: t, hosts: map[string]bool{}}
	for _, host := range hosts {
		b.hosts[host] = true
	}
	if err := chromedp.Listen(ctx, b.hear); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.mutex.Lock()
		for _, complaint := range b.complaints {
			t.Error("the browser complains: " + complaint)
		}
		b.mutex.Unlock()
		cancel()
		closeTab()
	})
	command(b, network.Enable, network.EnableParams{})
	command(b, log.Enable, cdp.Empty{})
	return b
}

func (b *tab) hear(event any) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, (&chromedp.ExceptionError{ExceptionDetails: e.ExceptionDetails}).Error())
	case *runtime.EventConsoleAPICalled:
		b.complaints = append(b.complaints, fmt.Sprintf("console.%s", e.Type))
	case *log.EventEntryAdded:
		b.complaints = append(b.complaints, fmt.Sprintf("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL))
	case *page.EventJavascriptDialogOpening:
		b.complaints = append(b.complaints, "a dialog: "+e.Message)
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err != nil || u.Scheme != "data" && !b.hosts[u.Hostname()] {
			b.complaints = append(b.complaints, "a request to "+e.Request.URL)
		}
	case *page.EventLoadEventFired:
		b.loads++
	}
}

// forgive drops the complaints that have a text, and fails when there is none.
func (b *tab) forgive(text string) {
	b.t.Helper()
	b.mutex.Lock()
	defer b.mutex.Unlock()
	var others []string
	for _, complaint := range b.complaints {
		if !strings.Contains(complaint, text) {
			others = append(others, complaint)
		}
	}
	if len(others) == len(b.complaints) {
		b.t.Errorf("no complaint of %q", text)
	}
	b.complaints = others
}

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// command sends one of the browser's own.
func command[P, R any](b *tab, command cdp.Command[P, R], parameters P) {
	b.t.Helper()
	if _, err := chromedp.Call(b, command, parameters); err != nil {
		b.t.Fatal(err)
	}
}

// run evaluates for the effect.
func (b *tab) run(expression string) { evaluate[chromedp.Void](b, expression) }

// evaluate runs an expression in the page.
func evaluate[T any](b *tab, expression string) T {
	b.t.Helper()
	value, err := chromedp.Run(b, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return value
}

// eventually waits until an expression in the page is true.
func (b *tab) eventually(what, expression string) {
	b.t.Helper()
	pgtest.Eventually(b.t, what, func() bool {
		value, err := chromedp.Run(b, chromedp.Evaluate[bool](expression))
		if errors.Is(err, context.DeadlineExceeded) {
			b.t.Fatal(err)
		}
		return err == nil && value
	})
}

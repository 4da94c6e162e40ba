package status_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
	"github.com/seqheal/seqheal/plugin/status"
)

// site is the page as an application serves it.
type site struct {
	*httptest.Server
	t       *testing.T
	place   *pgtest.Place
	db      *gorm.DB
	plugin  *plugin.Plugin
	browser *http.Client // with cookies
}

const path = "/debug/seqheal/"

func serve(t *testing.T, tables string, options ...status.Option) *site {
	t.Helper()
	s := &site{t: t, place: pgtest.New(t), plugin: plugin.New()}
	s.place.Exec(tables)
	s.db = s.place.Open(nil, s.plugin)
	mux := http.NewServeMux()
	mux.Handle(path, status.Handler(s.plugin, s.db, append(options, status.WithAudit(plugin.InSchemas(s.place.Schema)))...))
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	s.browser = &http.Client{Jar: jar}
	return s
}

func (s *site) ask(method, query string, body io.Reader, headers ...string) (*http.Response, string) {
	s.t.Helper()
	request, err := http.NewRequest(method, s.URL+path+query, body)
	if err != nil {
		s.t.Fatal(err)
	}
	for n := 0; n < len(headers); n += 2 {
		request.Header.Set(headers[n], headers[n+1])
	}
	response, err := s.browser.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response, string(text)
}

func (s *site) page() string {
	s.t.Helper()
	response, text := s.ask("GET", "", nil)
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		s.t.Fatalf("%s %s: %s", response.Status, response.Header, text)
	}
	return text
}

// told is the JSON, as another program reads it.
type told struct {
	Time  string
	Stats struct {
		Healed, Refused int
		TablesKnown     int `json:"tables_known"`
		Tables          map[string]struct{ Healed int }
	}
	Incidents []map[string]any
	Audit     struct {
		Time     *string
		Error    string
		States   map[string]int
		Findings []struct {
			Table, State, Sequence string
			Behind, Last, Furthest int64
			Used                   float64
		}
	}
	Resync struct {
		Allowed bool
		Error   string
		Moved   []struct {
			Sequence string
			From, To int64
		}
	}
}

func (s *site) json() (d told) {
	s.t.Helper()
	response, text := s.ask("GET", "?format=json", nil)
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "application/json; charset=utf-8" {
		s.t.Fatalf("%s %s: %s", response.Status, response.Header, text)
	}
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		s.t.Fatalf("%v: %s", err, text)
	}
	return d
}

// drifted is two tables behind, of which one has a name to be careful with, one nearly
// used up and one in sync.
const drifted = `CREATE TABLE users (id bigserial PRIMARY KEY, name text); INSERT INTO users SELECT g, 'old' FROM generate_series(1, 20) g;
	CREATE TABLE "<script>alert(1)</script>" (id serial PRIMARY KEY, name text); INSERT INTO "<script>alert(1)</script>" SELECT g, 'old' FROM generate_series(1, 5) g;
	CREATE TABLE small (id smallserial PRIMARY KEY); SELECT setval('small_id_seq', 32000);
	CREATE TABLE well (id bigserial PRIMARY KEY)`

func (s *site) insert(table string) {
	s.t.Helper()
	if err := s.db.Table(table).Create(map[string]any{"name": "new"}).Error; err != nil {
		s.t.Fatal(err)
	}
}

// The JSON tells the incidents, the counts and the audit, the most urgent first.
func TestJSON(t *testing.T) {
	t.Parallel()
	s := serve(t, drifted)
	s.insert("users")
	d := s.json()
	if len(d.Incidents) != 1 || d.Incidents[0]["outcome"] != "healed" || d.Incidents[0]["behind"] != 19.0 || d.Stats.Healed != 1 || d.Stats.TablesKnown != 1 {
		t.Errorf("incidents %v, stats %+v", d.Incidents, d.Stats)
	}
	users := `"` + s.place.Schema + `"."users"`
	if d.Stats.Tables[users].Healed != 1 || d.Incidents[0]["table"] != users {
		t.Errorf("by table %v", d.Stats.Tables)
	}
	var order []string
	for _, f := range d.Audit.Findings {
		order = append(order, fmt.Sprint(f.Table, " ", f.State, " ", f.Behind))
	}
	want := "<script>alert(1)</script> behind 5, small nearly_exhausted 0, users in_sync 0, well in_sync 0"
	if got := strings.Join(order, ", "); got != want {
		t.Errorf("findings %s\nwant     %s", got, want)
	}
	if d.Audit.States["in_sync"] != 2 || d.Audit.Error != "" || d.Audit.Time == nil || d.Time == "" || d.Resync.Allowed {
		t.Errorf("audit %+v", d.Audit)
	}
}

// The page says the same, with every name as text.
func TestPage(t *testing.T) {
	t.Parallel()
	s := serve(t, drifted)
	s.insert("users")
	s.insert("<script>alert(1)</script>")
	text := s.page()
	for _, part := range []string{
		"<h1>1 sequence is nearly used up; 2 healed in the last 10 minutes, still happening</h1>", "4 columns draw from a sequence", ".<b>users</b>.id", "98 %", "smallint",
		".<b>&lt;script&gt;alert(1)&lt;/script&gt;</b>.id", ".&#34;&lt;script&gt;alert(1)&lt;/script&gt;&#34;.id",
		"Recent incidents", "1 → 20", `<span class="state">healed</span>`, "By table", "2 healed",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	if strings.Contains(text, "alert(1)</script>") || strings.Contains(text, "<script>alert") {
		t.Error("a table's name got into the page as it is")
	}
	if strings.Contains(text, "Resync all") || strings.Contains(text, `method="post"`) {
		t.Error("there is a button although none was allowed")
	}
	if found := regexp.MustCompile(`(?:src|href|action)="([^"]*)"`).FindAllStringSubmatch(text, -1); len(found) < 2 {
		t.Errorf("links %q", found)
	} else {
		for _, link := range found {
			if link[1] != "data:," && !strings.HasPrefix(link[1], "?") {
				t.Errorf("the page leads elsewhere: %s", link[0])
			}
		}
	}
}

// The policy allows the page's own style and script and nothing else, and nothing is
// kept by caches.
func TestHeaders(t *testing.T) {
	t.Parallel()
	s := serve(t, drifted)
	for _, query := range []string{"", "?format=json", "?format=xml"} {
		response, text := s.ask("GET", query, nil)
		policy := response.Header.Get("Content-Security-Policy")
		for name, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "X-Frame-Options": "DENY"} {
			if got := response.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q", query, name, got)
			}
		}
		for _, part := range []string{"default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "form-action 'self'"} {
			if !strings.Contains(policy, part) {
				t.Errorf("the policy lacks %s: %s", part, policy)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") || len(response.Cookies()) != 0 {
			t.Errorf("policy %s, cookies %v", policy, response.Cookies())
		}
		if query != "" {
			continue
		}
		for _, element := range []string{"style", "script"} {
			found := regexp.MustCompile(`(?s)<`+element+`>(.*?)</`+element+`>`).FindAllStringSubmatch(text, -1)
			if len(found) != 1 {
				t.Fatalf("%d elements %s", len(found), element)
			}
			sum := sha256.Sum256([]byte(found[0][1]))
			if hash := element + "-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(policy, hash) {
				t.Errorf("the policy lacks %s: %s", hash, policy)
			}
		}
		if strings.Contains(text, " style=") || strings.Contains(text, " onclick=") {
			t.Error("there is an attribute that the policy forbids")
		}
	}
}

func TestMethods(t *testing.T) {
	t.Parallel()
	for _, allowed := range []bool{false, true} {
		var options []status.Option
		allow := "GET, HEAD"
		if allowed {
			options, allow = append(options, status.AllowResync()), "GET, HEAD, POST"
		}
		s := serve(t, drifted, options...)
		for _, method := range []string{"PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "POST"} {
			if allowed && method == "POST" {
				continue
			}
			if response, _ := s.ask(method, "", nil); response.StatusCode != http.StatusMethodNotAllowed || response.Header.Get("Allow") != allow {
				t.Errorf("%s: %s, Allow %q", method, response.Status, response.Header.Get("Allow"))
			}
		}
		if response, text := s.ask("HEAD", "", nil); response.StatusCode != http.StatusOK || text != "" {
			t.Errorf("HEAD: %s, %d bytes", response.Status, len(text))
		}
		if response, _ := s.ask("GET", "?format=xml", nil); response.StatusCode != http.StatusBadRequest {
			t.Errorf("a format that there is not: %s", response.Status)
		}
		if got := s.place.Int("SELECT last_value FROM users_id_seq"); got != 1 {
			t.Errorf("somebody moved the sequence to %d", got)
		}
	}
}

// The page works at whatever path, with http.StripPrefix or without.
func TestPaths(t *testing.T) {
	t.Parallel()
	s := serve(t, drifted)
	h := status.Handler(s.plugin, s.db, status.AllowResync(), status.WithAudit(plugin.InSchemas(s.place.Schema)))
	for name, wrapped := range map[string]http.Handler{
		"/debug/seqheal/": h, "/": h, "/a/b": http.StripPrefix("/a/b", h), "/a/b/": http.StripPrefix("/a/b", h), "/x/": http.StripPrefix("/x", h),
	} {
		for _, query := range []string{"", "?format=json"} {
			recorder := httptest.NewRecorder()
			wrapped.ServeHTTP(recorder, httptest.NewRequest("GET", name+query, nil))
			if recorder.Code != http.StatusOK || !strings.Contains(recorder.Body.String(), "users") {
				t.Errorf("%s%s: %d", name, query, recorder.Code)
			}
		}
	}
}

// A database without sequences, and a plugin without incidents.
func TestNothingToTell(t *testing.T) {
	t.Parallel()
	s := serve(t, "")
	text := s.page()
	for _, part := range []string{"<h1>No column is fed by a sequence</h1>", "No insert collided because of a drifted sequence since the program began"} {
		if !strings.Contains(text, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	if d := s.json(); d.Incidents == nil || d.Audit.Findings == nil || d.Audit.Time == nil {
		t.Errorf("lists that are null: %+v", d)
	}
}

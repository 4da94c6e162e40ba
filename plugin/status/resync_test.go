package status_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/seqheal/seqheal/plugin/status"
)

var tokenField = regexp.MustCompile(`name="seqheal_token" value="([^"]+)"`)

func (s *site) token() string {
	s.t.Helper()
	found := tokenField.FindStringSubmatch(s.page())
	if found == nil {
		s.t.Fatal("the page has no token")
	}
	return found[1]
}

func (s *site) post(form url.Values, query string) (*http.Response, string) {
	s.t.Helper()
	return s.ask("POST", query, strings.NewReader(form.Encode()), "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin")
}

// The button for all asks first, moves what is behind, and the page says so.
func TestResync(t *testing.T) {
	t.Parallel()
	s := serve(t, drifted, status.AllowResync())
	if d := s.json(); d.Audit.States["behind"] != 2 || !d.Resync.Allowed {
		t.Fatalf("before %+v", d.Audit.States)
	}
	token := s.token()
	if again := s.token(); again != token {
		t.Error("another look made the first page's token useless")
	}
	if plain := s.page(); strings.Contains(plain, "resync-confirm") || !strings.Contains(plain, `href="?ask=all"`) {
		t.Error("the button for all does not ask first")
	}
	if _, asking := s.ask("GET", "?ask=all", nil); !strings.Contains(asking, "Move 2 sequences forward: ") || !strings.Contains(asking, "users_id_seq by 19") && !strings.Contains(asking, "users_id_seq by 20") {
		t.Error("the question does not say what would be moved")
	}
	if response, _ := s.post(url.Values{"seqheal_token": {token}}, ""); response.StatusCode != http.StatusBadRequest || s.place.Int("SELECT last_value FROM users_id_seq") != 1 {
		t.Errorf("without an answer to the question: %s", response.Status)
	}
	response, text := s.post(url.Values{"seqheal_token": {token}, "all": {"yes"}}, "?q=u&ask=all")
	if response.Request.URL.RawQuery != "q=u" {
		t.Errorf("the filter is lost, or the page asks again: %s", response.Request.URL)
	}
	if response.StatusCode != http.StatusOK || response.Request.Method != "GET" || response.Request.URL.Path != path {
		t.Fatalf("%s %s %s", response.Request.Method, response.Request.URL, response.Status)
	}
	for _, part := range []string{"_id_seq</code> 1 → 20", "<h1>1 sequence is nearly used up</h1>", "Resync at"} {
		if !strings.Contains(text, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	d := s.json()
	if d.Audit.States["behind"] != 0 || len(d.Resync.Moved) != 2 || d.Resync.Error != "" {
		t.Errorf("after %+v, %+v", d.Audit.States, d.Resync)
	}
	if got := s.place.Text("SELECT last_value FROM users_id_seq"); got != "20" {
		t.Errorf("the sequence is at %s", got)
	}
}

// Whatever another site can make a browser send, and whatever lacks the token, moves
// nothing.
func TestResyncIsRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, drifted, status.AllowResync())
	form := url.Values{"all": {"yes"}, "seqheal_token": {s.token()}}.Encode()
	for _, c := range []struct {
		name, form string
		headers    []string
		forget     bool // the cookie
	}{
		{name: "from another site", form: form, headers: []string{"Sec-Fetch-Site", "cross-site"}},
		{name: "from a sister site", form: form, headers: []string{"Sec-Fetch-Site", "same-site"}},
		{name: "another Origin, by an old browser", form: form, headers: []string{"Origin", "https://example.org"}},
		{name: "Origin null, from a sandbox", form: form, headers: []string{"Origin", "null"}},
		{name: "no token", form: "", headers: []string{"Sec-Fetch-Site", "same-origin"}},
		{name: "another token", form: "all=yes&seqheal_token=" + strings.Repeat("A", 26), headers: []string{"Sec-Fetch-Site", "same-origin"}},
		{name: "too long a form", form: "x=" + strings.Repeat("x", 1<<16) + "&" + form, headers: []string{"Sec-Fetch-Site", "same-origin"}},
		{name: "no cookie", form: form, headers: []string{"Sec-Fetch-Site", "same-origin"}, forget: true},
		{name: "neither", form: "all=yes&seqheal_token=", headers: []string{"Cookie", "seqheal_token="}, forget: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.forget {
				jar := s.browser.Jar
				s.browser.Jar = nil
				defer func() { s.browser.Jar = jar }()
			}
			response, _ := s.ask("POST", "", strings.NewReader(c.form), append(c.headers, "Content-Type", "application/x-www-form-urlencoded")...)
			if response.StatusCode != http.StatusForbidden {
				t.Error(response.Status)
			}
			if got := s.place.Int("SELECT last_value FROM users_id_seq"); got != 1 {
				t.Errorf("somebody moved the sequence to %d", got)
			}
		})
	}
}

// The button of a table moves that one alone, and only a table that the page shows.
func TestResyncOfOneTable(t *testing.T) {
	t.Parallel()
	s := serve(t, drifted, status.AllowResync())
	s.place.Exec("CREATE SCHEMA $S_other; CREATE TABLE $S_other.users (id bigserial PRIMARY KEY); INSERT INTO $S_other.users VALUES (7)")
	t.Cleanup(func() { s.place.Exec("DROP SCHEMA $S_other CASCADE") })
	page := s.page()
	for _, part := range []string{
		`name="table" value="&#34;` + s.place.Schema + `&#34;.&#34;users&#34;"`, "<summary", "pg_catalog.nextval(", "Copy</button>",
	} {
		if !strings.Contains(page, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	token := s.token()
	for table, want := range map[string]int{`"` + s.place.Schema + `_other"."users"`: http.StatusBadRequest, "users": http.StatusBadRequest, `"nowhere"."x"`: http.StatusBadRequest} {
		if response, text := s.post(url.Values{"seqheal_token": {token}, "table": {table}}, ""); response.StatusCode != want {
			t.Errorf("%s: %s %.80s", table, response.Status, text)
		}
	}
	response, text := s.post(url.Values{"seqheal_token": {token}, "table": {`"` + s.place.Schema + `"."users"`}}, "")
	if response.StatusCode != http.StatusOK || !strings.Contains(text, "users_id_seq</code> 1 → 20") && !strings.Contains(text, "users_id_seq</code> 0 → 20") {
		t.Errorf("%s", response.Status)
	}
	got := s.place.Text(`SELECT last_value FROM users_id_seq UNION ALL SELECT last_value FROM "<script>alert(1)</script>_id_seq" UNION ALL SELECT last_value FROM $S_other.users_id_seq`)
	if got != "20\n1\n1" {
		t.Errorf("the sequences are at %s", got)
	}
}

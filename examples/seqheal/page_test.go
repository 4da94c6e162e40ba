package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
)

// servePage starts the built command and returns the page's address, and what ends it and
// returns its exit code.
func (d *database) servePage(t *testing.T, arguments ...string) (address string, end func() int) {
	t.Helper()
	c := command(t, nil, append([]string{"page", "-dsn", d.dsn, "-listen", "127.0.0.1:0"}, arguments...)...)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for address == "" && lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "serving "); ok {
			address, _, _ = strings.Cut(rest, " ")
		}
	}
	return address, func() int {
		_ = c.Process.Signal(os.Interrupt)
		_, _ = io.Copy(io.Discard, out)
		_ = c.Wait()
		return c.ProcessState.ExitCode()
	}
}

func body(t *testing.T, response *http.Response, err error) (code int, text string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	all, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(all)
}

func TestPage(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, everyLevel)
	address, end := d.servePage(t, "-exclude", "odd")
	response, err := http.Get(address)
	code, text := body(t, response, err)
	for _, part := range []string{"<h1>1 sequence has no value left, 3 behind</h1>", ">Users</b>", "SELECT CASE WHEN", "No plugin runs in this process", "Database <b>" + d.name + "</b>"} {
		if code != 200 || !strings.Contains(text, part) {
			t.Errorf("%d: the page lacks %q", code, part)
		}
	}
	if strings.Contains(text, "<b>odd</b>") || strings.Contains(text, `method="post"`) {
		t.Error("the page lists an excluded table, or has a button")
	}
	response, err = http.Get(address + "?format=json")
	_, text = body(t, response, err)
	var page struct {
		Audit struct {
			States map[string]int `json:"states"`
		} `json:"audit"`
	}
	if err := json.Unmarshal([]byte(text), &page); err != nil || page.Audit.States["behind"] != 3 || page.Audit.States["nearly_exhausted"] != 3 {
		t.Errorf("%v: %s", err, text)
	}
	response, err = http.Post(address, "application/x-www-form-urlencoded", strings.NewReader("all=yes"))
	if code, text = body(t, response, err); code != http.StatusMethodNotAllowed {
		t.Errorf("a POST: %d %s", code, text)
	}
	if code := end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestPageThatCannotBeServed(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, fine)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	if got := d.run(t, "page", "-listen", taken.Addr().String()); got.code != 2 || !strings.Contains(got.diagnostics, "address already in use") || got.out != "" {
		t.Errorf("the address is taken: %+v", got)
	}
	if got := d.run(t, "page", "-listen", "127.0.0.1:0", "-table", "nobody"); got.code != 2 || !strings.Contains(got.diagnostics, "-table nobody matches no table") {
		t.Errorf("no such table: %+v", got)
	}
}

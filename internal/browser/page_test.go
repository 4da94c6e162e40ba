package browser

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/seqheal/seqheal/plugin/status"
)

// A heal that happens while the page is open comes up by itself: the page is not
// loaded again, stays where it was scrolled to and keeps the focus.
func TestAHealComesUp(t *testing.T) {
	t.Parallel()
	s := serve(t, drifted)
	b := open(t, "127.0.0.1")
	b.do(chromedp.EmulateViewport(900, 420), chromedp.Navigate(s.at("127.0.0.1")))
	if title := evaluate[string](b, "document.title"); title != "3 sequences are behind · seqheal" {
		t.Errorf("title %q", title)
	}
	if n := evaluate[int](b, "document.querySelectorAll('#incidents tbody tr').length"); n != 0 {
		t.Fatalf("%d incidents before the first", n)
	}
	b.run("window.mark = 1; scrollTo(0, 300); document.querySelector('footer a').focus({preventScroll: true})")
	// What is in view stays where it is, whatever grows above it.
	const place = "document.querySelector('#sequences h2').getBoundingClientRect().top"
	before := evaluate[float64](b, place)
	s.insert("users")
	b.eventually("the incident to come up", "document.querySelectorAll('#incidents tbody tr.healed').length === 1")
	row := evaluate[string](b, "document.querySelector('#incidents tbody tr').innerText")
	for _, part := range []string{"healed", "users", "19", "1 → 20"} {
		if !strings.Contains(row, part) {
			t.Errorf("the row lacks %q: %s", part, row)
		}
	}
	for what, expression := range map[string]string{
		"the page was loaded again": "window.mark !== 1",
		"the page scrolled":         fmt.Sprintf("scrollY < 100 || Math.abs(%s - %g) > 1", place, before),
		"the focus went":            "document.activeElement !== document.querySelector('footer a')",
		"the headline is old":       "document.querySelector('h1').textContent !== '2 sequences are behind; 1 healed in the last 10 minutes, still happening'",
		"the title is old":          "!document.title.startsWith('2 sequences are behind; 1 healed')",
		"the total is old":          "document.querySelector('.totals dd').textContent !== '1'",
		"the chart has no bar":      "document.querySelectorAll('#over-time rect.healed').length !== 1",
		"the table is old":          "!document.querySelector('#tables tbody').innerText.includes('users')",
	} {
		if what == "the headline is old" || what == "the title is old" {
			b.eventually("the audit to be made again", "!("+expression+")")
		} else if evaluate[bool](b, expression) {
			t.Error(what)
		}
	}
}

// Names are text, whatever they are.
func TestNamesAreText(t *testing.T) {
	t.Parallel()
	s := serve(t, drifted)
	for _, table := range []string{"<script>window.hacked = 1</script>", "<img src=x onerror=hacked=1>"} {
		s.insert(table)
	}
	b := open(t, "127.0.0.1")
	b.do(chromedp.Navigate(s.at("127.0.0.1")))
	for _, where := range []string{"#findings", "#incidents", "#tables"} {
		text := evaluate[string](b, "document.querySelector('"+where+"').textContent")
		for _, part := range []string{"<script>window.hacked = 1</script>", "<img src=x onerror=hacked=1>"} {
			if !strings.Contains(text, part) {
				t.Errorf("%s lacks %s", where, part)
			}
		}
	}
	if evaluate[bool](b, "'hacked' in window || document.querySelector('main script, main img') !== null") {
		t.Error("a name became part of the page")
	}
}

// The button for all asks, and then moves what is behind: at localhost, at a name over plain HTTP, where
// browsers send no Sec-Fetch-Site, and without script.
func TestTheButton(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, host string
		noScript   bool
	}{
		{"localhost", "127.0.0.1", false}, {"a name", "status.test", false}, {"without script", "status.test", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, drifted, status.AllowResync())
			b := open(t, c.host)
			command(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: c.noScript})
			b.do(chromedp.Navigate(s.at(c.host)), chromedp.WaitVisible("#resync-button"), chromedp.Focus("#resync-button"), chromedp.KeyEvent(kb.Enter),
				chromedp.WaitVisible("#resync-confirm"))
			if got := s.place.Text("SELECT last_value FROM users_id_seq"); got != "1" {
				t.Errorf("the sequence was moved to %s before the answer", got)
			}
			if text := evaluate[string](b, "document.querySelector('.ask').innerText"); !strings.Contains(text, "Move 3 sequences forward") || !strings.Contains(text, "users_id_seq by 20") {
				t.Errorf("the page asks: %s", text)
			}
			b.do(chromedp.Focus("#resync-confirm"), chromedp.KeyEvent(kb.Enter))
			b.eventually("the page to tell of the resync", "document.querySelector('#resync').textContent.includes('Resync at')")
			text := evaluate[string](b, "document.querySelector('#resync').innerText")
			if !strings.Contains(text, "0 → 20") && !strings.Contains(text, "1 → 20") {
				t.Errorf("the page says: %s", text)
			}
			if got := s.place.Text("SELECT last_value FROM users_id_seq"); got != "20" {
				t.Errorf("the sequence is at %s", got)
			}
			b.eventually("the headline to tell", "document.querySelector('h1').textContent === '1 sequence is nearly used up'")
			if evaluate[bool](b, "document.querySelector('.ask') !== null || location.search.includes('ask')") {
				t.Error("the page asks again")
			}
			if !c.noScript && evaluate[bool](b, "document.activeElement.id !== 'resync-button'") {
				t.Error("the focus is lost")
			}
		})
	}
}

// A browser that was given another token meanwhile, in a tab that another site opened,
// can still use the button of the page that was open before.
func TestTheButtonAfterAnotherToken(t *testing.T) {
	t.Parallel()
	s := serve(t, drifted, status.AllowResync())
	b := open(t, "status.test")
	b.do(chromedp.Navigate(s.at("status.test")+"?ask=all"), chromedp.WaitVisible("#resync-confirm"))
	const token = "document.querySelector('.ask input').value"
	before := evaluate[string](b, token)
	command(b, network.ClearBrowserCookies, cdp.Empty{})
	b.eventually("the page to have the new token", token+" !== '"+before+"'")
	b.do(chromedp.Click("#resync-confirm"))
	b.eventually("the page to tell of the resync", "document.querySelector('#resync').textContent.includes('Resync at')")
}

// Another site cannot use the button, with a form or from a script, although the
// browser has the page's cookie.
func TestAnotherSiteCannotUseTheButton(t *testing.T) {
	t.Parallel()
	s := serve(t, drifted, status.AllowResync())
	target := s.at("status.test")
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, `<!DOCTYPE html><link rel="icon" href="data:,"><form method="post" action="%s"><input name="seqheal_token" value="%s"></form>`,
			target, strings.Repeat("A", 26))
	}))
	t.Cleanup(evil.Close)
	_, port, _ := net.SplitHostPort(evil.Listener.Addr().String())
	b := open(t, "status.test", "evil.test")
	b.do(chromedp.Navigate(target), chromedp.WaitVisible("#resync-button"))
	b.do(chromedp.Navigate("http://evil.test:" + port + "/"))
	b.run(fmt.Sprintf(`fetch(%q, {method: "POST", mode: "no-cors", credentials: "include", body: new URLSearchParams({seqheal_token: "A".repeat(26)})})
		.then(() => { window.sent = true })`, target))
	b.eventually("the script's request", "window.sent === true")
	b.run("document.forms[0].submit()")
	b.eventually("the refusal", "document.body && document.body.innerText.includes('refused, because the request comes from another site')")
	if got := s.place.Int("SELECT last_value FROM users_id_seq"); got != 1 {
		t.Errorf("the sequence was moved to %d", got)
	}
	b.forgive("403")
}

// When the application does not answer, the page says so and keeps what it has.
func TestTheApplicationGoesAway(t *testing.T) {
	t.Parallel()
	s := serve(t, drifted)
	b := open(t, "127.0.0.1")
	b.do(chromedp.Navigate(s.at("127.0.0.1")))
	s.server.CloseClientConnections()
	s.server.Close()
	b.eventually("the page to notice", "document.querySelector('#note').textContent.startsWith('No answer since ')")
	if text := evaluate[string](b, "document.querySelector('#findings').innerText"); !strings.Contains(text, "users") {
		t.Errorf("the page is empty: %s", text)
	}
	b.forgive("ERR_CONNECTION_REFUSED")
}

// contrast finds texts whose contrast to what is behind them is below 4.5, and
// reports them as text.
const contrast = `(() => {
	const parse = (c) => c.match(/[\d.]+/g).map(Number);
	const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
		.reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
	const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] !== 0) return c; } return [255, 255, 255]; };
	const faint = [];
	for (const e of document.querySelectorAll("body *")) {
		if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || e.closest("script, style, svg, noscript") || !e.checkVisibility()) continue;
		const a = light(parse(getComputedStyle(e).color)), b = light(behind(e));
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (ratio < 4.5) faint.push(e.textContent.trim().slice(0, 30) + " " + ratio.toFixed(2));
	}
	return faint.join("; ");
})()`

// The page fits a phone and a desk, and is readable in the dark and in the light.
func TestItFitsAndIsReadable(t *testing.T) {
	t.Parallel()
	s := serve(t, drifted+"; CREATE SEQUENCE ring CYCLE; CREATE TABLE rings (id bigint PRIMARY KEY DEFAULT nextval('ring'), name text); INSERT INTO rings VALUES (1)",
		status.AllowResync())
	for _, table := range []string{"users", "<img src=x onerror=hacked=1>"} {
		s.insert(table)
	}
	if err := s.db.Table("rings").Create(map[string]any{"name": "new"}).Error; err == nil {
		t.Fatal("the ring did not fail")
	}
	backgrounds := map[string]bool{}
	for _, scheme := range []string{"light", "dark"} {
		b := open(t, "127.0.0.1")
		command(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		b.do(chromedp.Navigate(s.at("127.0.0.1")))
		for _, size := range [][2]int64{{320, 640}, {390, 844}, {768, 1024}, {1280, 900}, {2560, 1200}} {
			b.do(chromedp.EmulateViewport(size[0], size[1]))
			if over := evaluate[string](b, `[...document.querySelectorAll("body *")].filter((e) => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 0.5
				&& !e.closest("caption, thead")).map((e) => e.tagName + " " + e.className + " " + e.textContent.slice(0, 40)).join("; ")`); over != "" ||
				evaluate[int](b, "document.documentElement.scrollWidth - innerWidth") > 0 {
				t.Errorf("%s, %d wide: too wide: %s", scheme, size[0], over)
			}
			if faint := evaluate[string](b, contrast); faint != "" {
				t.Errorf("%s, %d wide: too faint: %s", scheme, size[0], faint)
			}
		}
		backgrounds[evaluate[string](b, "getComputedStyle(document.body).backgroundColor")] = true
		for what, expression := range map[string]string{
			"one main, one h1":                    "document.querySelectorAll('main').length === 1 && document.querySelectorAll('h1').length === 1",
			"a language":                          "document.documentElement.lang === 'en'",
			"column headers with their scope":     "[...document.querySelectorAll('thead th')].every((e) => e.scope === 'col') && document.querySelectorAll('thead th').length > 12",
			"a row header in each row":            "[...document.querySelectorAll('tbody tr:not(.more)')].every((r) => r.querySelector('th[scope=row]'))",
			"a caption for each table":            "[...document.querySelectorAll('table')].every((e) => e.caption && e.caption.textContent)",
			"the chart told in words":             "document.querySelector('#over-time svg[role=img] title').textContent && document.querySelector('#chart-text').textContent.includes('2 healed, 1 refused or failed')",
			"every section named":                 "[...document.querySelectorAll('section')].every((e) => e.getAttribute('aria-label') || document.getElementById(e.getAttribute('aria-labelledby')))",
			"ids that are there once":             "new Set([...document.querySelectorAll('[id]')].map((e) => e.id)).size === document.querySelectorAll('[id]').length",
			"what was refused and what to do":     "document.querySelector('#incidents tr.more').textContent.includes('NO CYCLE')",
			"a style of its own for the keyboard": "(document.querySelector('#resync-button').focus({focusVisible: true}), getComputedStyle(document.activeElement).outlineStyle === 'solid')",
		} {
			if !evaluate[bool](b, "!!("+expression+")") {
				t.Errorf("%s: the page lacks %s", scheme, what)
			}
		}
	}
	if len(backgrounds) != 2 {
		t.Errorf("light and dark look the same: %v", backgrounds)
	}
}

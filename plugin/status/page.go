package status

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seqheal/seqheal/plugin"
)

var (
	//go:embed page.html
	pageText string
	//go:embed page.css
	style string
	//go:embed page.js
	script string

	styleHash, scriptHash = hashOf(style), hashOf(script)

	pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
		"number": number, "clock": clock, "stamp": stamp, "percent": percent, "spell": spell, "plural": plural, "took": took, "width": width, "plain": plain,
	}).Parse(pageText))
)

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// What a page shows of long lists; the JSON has all.
const (
	shownFindings  = 300
	shownIncidents = 20
	shownTables    = 50
)

// page is a document as the template needs it.
type page struct {
	document
	Style  template.CSS
	Script template.JS
	Token  string

	Chart chart
	// Headline sums up the audit; Mood is its class: good, warn, bad or unknown.
	Headline, Mood string
	// Total is the number of all incidents.
	Total int
	// States are in the order of their urgency.
	States []stateCount
	Shown  []plugin.Finding
	Latest []event
	Tables []tableRow
}

type stateCount struct {
	State plugin.State
	Count int
}

// event is an incident as the page shows it.
type event struct {
	plugin.Incident
	Age string
}

type tableRow struct {
	Name string
	plugin.TableStats
	Age string
}

// write renders the page as a whole before the first byte is sent.
func (h *handler) write(w http.ResponseWriter, d document, token string) {
	p := page{document: d, Style: template.CSS(style), Script: template.JS(script), Token: token, Chart: chartOf(d.Incidents, d.Time)}
	p.Headline, p.Mood = d.Audit.headline()
	p.Total = int(d.Stats.Total())
	for _, state := range byUrgency {
		if count := d.Audit.States[state]; count > 0 {
			p.States = append(p.States, stateCount{state, count})
		}
	}
	p.Shown = d.Audit.Findings[:min(len(d.Audit.Findings), shownFindings)]
	for _, i := range slices.Backward(d.Incidents) {
		if len(p.Latest) < shownIncidents {
			p.Latest = append(p.Latest, event{i, age(d.Time.Sub(i.Time))})
		}
	}
	for name, stats := range d.Stats.Tables {
		p.Tables = append(p.Tables, tableRow{name, stats, age(d.Time.Sub(stats.Latest))})
	}
	slices.SortFunc(p.Tables, func(a, b tableRow) int {
		if c := b.Latest.Compare(a.Latest); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	p.Tables = p.Tables[:min(len(p.Tables), shownTables)]
	var out bytes.Buffer
	if err := pageTemplate.Execute(&out, p); err != nil {
		http.Error(w, "seqheal: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(out.Bytes())
}

// headline is the one sentence that most readers come for.
func (a auditDocument) headline() (text, mood string) {
	if a.Time == nil {
		return "The sequences could not be read", "unknown"
	}
	exhausted, behind := a.States[plugin.StateExhausted], a.States[plugin.StateBehind]
	nearly, unreadable := a.States[plugin.StateNearlyExhausted], a.States[plugin.StateUnreadable]
	switch {
	case exhausted > 0:
		return plural(exhausted, "sequence has", "sequences have") + " no value left", "bad"
	case behind > 0:
		return plural(behind, "sequence is", "sequences are") + " behind", "warn"
	case nearly > 0:
		return plural(nearly, "sequence is", "sequences are") + " nearly used up", "warn"
	case a.Error != "":
		return "Not all sequences could be read", "unknown"
	case unreadable > 0:
		return plural(unreadable, "sequence", "sequences") + " could not be read", "unknown"
	case len(a.Findings) == 0:
		return "No column is fed by a sequence", "good"
	}
	return "All sequences are in sync", "good"
}

// number writes thousands apart.
func number(n any) string {
	text := fmt.Sprint(n)
	digits, sign := strings.CutPrefix(text, "-")
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	if sign {
		return "−" + digits
	}
	return digits
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}

func tally(healed, already, lost int) string {
	var parts []string
	for _, p := range []struct {
		n    int
		name string
	}{{healed, "healed"}, {already, "healed meanwhile"}, {lost, "refused or failed"}} {
		if p.n > 0 {
			parts = append(parts, number(p.n)+" "+p.name)
		}
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// percent keeps what is not full from being called so.
func percent(share float64) string {
	switch p := share * 100; {
	case p <= 0:
		return "0"
	case p < 0.1:
		return "<0.1"
	case p < 10:
		return strconv.FormatFloat(p, 'f', 1, 64)
	case share < 1:
		return strconv.Itoa(min(99, int(p+0.5)))
	}
	return "100"
}

// width is a share as a length of a hundred; a little of something is to be seen.
func width(share float64) float64 {
	if share <= 0 {
		return 0
	}
	return max(1, min(100, share*100))
}

func took(d time.Duration) string {
	switch {
	case d > 0 && d < 100*time.Microsecond:
		return "<0.1 ms"
	case d < time.Second:
		return strconv.FormatFloat(d.Seconds()*1000, 'f', 1, 64) + " ms"
	case d < time.Minute:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d < time.Hour:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// plain leaves out the quotes of names that need none.
func plain(name string) string { return quotedInVain.ReplaceAllString(name, "$1") }

var quotedInVain = regexp.MustCompile(`"([a-z_][a-z0-9_]*)"`)

// spell writes a state, an outcome or a reason in words.
func spell(code any) string { return strings.ReplaceAll(fmt.Sprint(code), "_", " ") }

func clock(t time.Time) string { return t.UTC().Format("Jan 2 15:04:05") }

// stamp is the time for machines.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func age(d time.Duration) string {
	switch {
	case d < 2*time.Second:
		return "now"
	case d < 2*time.Minute:
		return strconv.Itoa(int(d/time.Second)) + " s ago"
	case d < 2*time.Hour:
		return strconv.Itoa(int(d/time.Minute)) + " min ago"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d/time.Hour)) + " h ago"
	}
	return strconv.Itoa(int(d/(24*time.Hour))) + " days ago"
}

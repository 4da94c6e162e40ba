package status

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"

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
		"number": number, "clock": clock, "stamp": stamp, "percent": percent, "spell": spell, "plural": plural, "took": took, "width": width, "plain": plain, "list": list, "short": short,
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
	shownMoves     = 10
)

// view is what the request asks to see.
type view struct {
	filter filter
	// asking is true where the page asks before it moves everything.
	asking bool
	token  string
}

// page is a document as the template needs it.
type page struct {
	document
	Style  template.CSS
	Script template.JS
	Token  string
	Filter filter
	Asking bool
	// Watching is true when there is a plugin that incidents come from.
	Watching bool

	Chart chart
	// Headline sums up how things are; Mood is its class: good, warn, bad or unknown.
	Headline, Mood string
	// States are in the order of their urgency.
	States []stateCount
	// Matching is how many findings the filter lets through; Shown are the first.
	Matching int
	Shown    []row
	// Behind are the sequences that the button for all would move.
	Behind []row
	Latest []event
	Tables []tableRow
}

type stateCount struct {
	State plugin.State
	Count int
}

// row is a finding as the page shows it.
type row struct {
	plugin.Finding
	// Key names the row among the page's ids.
	Key string
}

// AllStates are what the filter offers.
func (p page) AllStates() []plugin.State { return byUrgency }

// Unread is true for a row of which no number is known.
func (r row) Unread() bool { return r.State == plugin.StateUnreadable }

// ValuesLeft is how many values the sequence can still give once it is past the rows.
func (r row) ValuesLeft() int64 { return max(0, r.Remaining-r.Behind) }

// LeftKnown is false for a sequence that cycles, and for a column whose type has limits
// of its own, such as a domain or numeric.
func (r row) LeftKnown() bool {
	return !r.Cycle && (r.Type == "smallint" || r.Type == "integer" || r.Type == "bigint")
}

// Ending is what to do about a sequence near its end.
func (r row) Ending() string {
	switch r.State {
	case plugin.StateExhausted:
		return "inserts fail: widen the column and its sequence to bigint, or raise the sequence's MAXVALUE"
	case plugin.StateNearlyExhausted:
		if len(r.Narrow) > 0 {
			key := slices.MaxFunc(r.Narrow, func(a, b plugin.NarrowKey) int { return cmp.Compare(a.Used, b.Used) })
			return fmt.Sprintf("foreign key %s.%s.%s is %s and ends at %s, %s values from now: widen it to %s before it is over",
				key.Schema, key.Table, key.Column, key.Type, number(key.Limit), number(key.Remaining), r.Type)
		}
		return "widen the column and its sequence to bigint before it is over"
	}
	return ""
}

// event is an incident as the page shows it.
type event struct {
	plugin.Incident
	Age string
	// Key names the incident among the page's ids.
	Key string
}

// Told are the causes that the page shows: one that is unknown only where something was
// looked at.
func (e event) Told() []plugin.Cause {
	if e.Cause.Kind == plugin.CauseUnknown && e.Outcome != plugin.Healed {
		return nil
	}
	return e.Causes()
}

type tableRow struct {
	Name string
	plugin.TableStats
	Age string
}

// write renders the page as a whole before the first byte is sent.
func (h *handler) write(w http.ResponseWriter, d document, v view) {
	p := page{
		document: d, Style: template.CSS(style), Script: template.JS(script), Token: v.token, Filter: v.filter, Asking: v.asking, Watching: h.plugin != nil,
		Chart: chartOf(d.Minutes, d.Stats.Total(), d.Time),
	}
	p.Headline, p.Mood = d.headline()
	for _, state := range byUrgency {
		if count := d.Audit.States[state]; count > 0 {
			p.States = append(p.States, stateCount{state, count})
		}
	}
	matching := v.filter.of(d.Audit.Findings)
	p.Matching = len(matching)
	for _, f := range matching[:min(len(matching), shownFindings)] {
		p.Shown = append(p.Shown, rowOf(f))
	}
	for _, f := range d.Audit.Findings {
		if f.State == plugin.StateBehind {
			p.Behind = append(p.Behind, rowOf(f))
		}
	}
	for _, i := range slices.Backward(d.Incidents) {
		if len(p.Latest) < shownIncidents {
			p.Latest = append(p.Latest, event{i, age(d.Time.Sub(i.Time)), strconv.FormatInt(i.Time.UnixNano(), 36)})
		}
	}
	p.Tables = tableRows(d)
	var out bytes.Buffer
	if err := pageTemplate.Execute(&out, p); err != nil {
		http.Error(w, "seqheal: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(out.Bytes())
}

func rowOf(f plugin.Finding) row {
	r := row{Finding: f}
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(f.QuotedTable() + "." + f.Column))
	r.Key = strconv.FormatUint(sum.Sum64(), 36)
	return r
}

func tableRows(d document) (rows []tableRow) {
	for name, stats := range d.Stats.Tables {
		rows = append(rows, tableRow{name, stats, age(d.Time.Sub(stats.Latest))})
	}
	slices.SortFunc(rows, func(a, b tableRow) int {
		return cmp.Or(b.Latest.Compare(a.Latest), strings.Compare(a.Name, b.Name))
	})
	return rows[:min(len(rows), shownTables)]
}

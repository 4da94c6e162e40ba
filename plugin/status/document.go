package status

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"slices"
	"time"

	"github.com/seqheal/seqheal/plugin"
)

// document is all that the page tells, as JSON has it.
type document struct {
	Time time.Time `json:"time"`
	// Server is what is audited, null until it was read.
	Server *server `json:"server"`
	// Process is whose incidents these are: other processes have their own.
	Process process      `json:"process"`
	Stats   plugin.Stats `json:"stats"`
	// Minutes count the incidents of the last day, the newest last.
	Minutes []plugin.Minute `json:"minutes"`
	// Incidents are the latest, the newest last.
	Incidents []plugin.Incident `json:"incidents"`
	Audit     auditDocument     `json:"audit"`
	Resync    resyncDocument    `json:"resync"`
}

type auditDocument struct {
	// Time is when the findings were read, null when they never were.
	Time *time.Time `json:"time"`
	// DurationMS is what reading them took.
	DurationMS float64 `json:"duration_ms"`
	// Error is why there is nothing newer, or not all; Tried is when that was seen.
	Error string     `json:"error,omitempty"`
	Tried *time.Time `json:"tried,omitempty"`
	// Pending is how many columns are still to be read, because the first audit is
	// under way. Reached and Total are the progress of the audit under way, if any.
	Pending int `json:"pending"`
	Reached int `json:"reached,omitempty"`
	Total   int `json:"total,omitempty"`
	// Incomplete is true when the next request goes on at once.
	Incomplete bool `json:"incomplete"`
	// States counts the findings by state.
	States map[plugin.State]int `json:"states"`
	// Findings are in the order of their urgency.
	Findings []plugin.Finding `json:"findings"`
}

type resyncDocument struct {
	Allowed bool `json:"allowed"`
	Running bool `json:"running"`
	// Time is when the button was used last, with what came of it.
	Time  *time.Time       `json:"time,omitempty"`
	Error string           `json:"error,omitempty"`
	Moved []plugin.Finding `json:"moved,omitempty"`
}

// read gathers the document. It waits for an audit no longer than the timeout.
func (h *handler) read(ctx context.Context) document {
	result := h.auditor.latest(ctx)
	d := document{
		Time: h.now(), Process: thisProcess, Minutes: []plugin.Minute{}, Incidents: []plugin.Incident{}, Resync: h.resyncer.document(),
		Server: h.surroundings.known(),
	}
	if h.plugin != nil {
		d.Stats, d.Incidents = h.plugin.Stats(), h.plugin.Incidents()
		d.Minutes = append(d.Minutes, h.plugin.Minutes()...)
	}
	d.Resync.Allowed = h.allowed
	if d.Stats.Last != nil {
		d.Stats.Last.Err = presentable(d.Stats.Last.Err)
	}
	for i := range d.Incidents {
		d.Incidents[i].Err = presentable(d.Incidents[i].Err)
	}
	d.Audit = result.document()
	return d
}

func (r result) document() auditDocument {
	d := auditDocument{Pending: r.pending, Incomplete: r.pending > 0 || r.again, Reached: r.reached, Total: r.total, DurationMS: float64(r.took.Microseconds()) / 1000, States: map[plugin.State]int{}, Findings: []plugin.Finding{}}
	if !r.read.IsZero() {
		d.Time = &r.read
	}
	if r.err != nil {
		d.Error, d.Tried = presentable(r.err).Error(), &r.tried
	}
	for _, f := range r.findings {
		f.Err = presentable(f.Err)
		d.States[f.State]++
		d.Findings = append(d.Findings, f)
	}
	slices.SortStableFunc(d.Findings, func(a, b plugin.Finding) int {
		return cmp.Or(cmp.Compare(urgency(a.State), urgency(b.State)), cmp.Compare(b.Behind, a.Behind), cmp.Compare(b.Used, a.Used))
	})
	return d
}

// byUrgency orders states, the most urgent first.
var byUrgency = []plugin.State{
	plugin.StateExhausted, plugin.StateBehind, plugin.StateNearlyExhausted, plugin.StateUnreadable, plugin.StateInSync,
}

func urgency(s plugin.State) int { return slices.Index(byUrgency, s) }

// Passwords as connection strings write them, of both kinds.
var (
	inURL   = regexp.MustCompile(`(://[^\s:/@]*:)[^\s/]*@`)
	inWords = regexp.MustCompile(`(?i)((?:password|passwd|pwd)\s*=\s*)(?:'(?:[^'\\]|\\.|'')*'|"[^"]*"|[^\s&"']+)`)
)

// presentable is the error without a password: some drivers put the connection
// string into what they say of a connection.
func presentable(err error) error {
	if err == nil {
		return nil
	}
	text := inURL.ReplaceAllString(err.Error(), "${1}xxxxx@")
	return errors.New(inWords.ReplaceAllString(text, "${1}xxxxx"))
}

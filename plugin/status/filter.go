package status

import (
	"net/url"
	"slices"
	"strings"

	"github.com/seqheal/seqheal/plugin"
)

// attention is the filter for every state but in sync.
const attention = "attention"

// filter narrows the list of sequences. It is in the page's address, so that it can be
// linked to, works without script and stays when the page refreshes itself.
type filter struct {
	// Text is looked for in the names of table, column and sequence, in any case.
	Text string
	// State is one of plugin's, attention, or empty for all.
	State string
}

func filterFrom(query url.Values) filter {
	f := filter{Text: strings.TrimSpace(query.Get("q")), State: query.Get("state")}
	if f.State != attention && !slices.Contains(byUrgency, plugin.State(f.State)) {
		f.State = ""
	}
	return f
}

// Query is the filter as the page's address has it.
func (f filter) Query() string {
	query := url.Values{}
	if f.Text != "" {
		query.Set("q", f.Text)
	}
	if f.State != "" {
		query.Set("state", f.State)
	}
	return query.Encode()
}

// Here is the address of the page so filtered.
func (f filter) Here() string { return "?" + f.Query() }

// With is the address of the same text in another state.
func (f filter) With(state plugin.State) string { return filter{f.Text, string(state)}.Here() }

// Asking is the address where the page asks before it moves everything.
func (f filter) Asking() string {
	if query := f.Query(); query != "" {
		return "?ask=all&" + query
	}
	return "?ask=all"
}

func (f filter) matches(finding plugin.Finding) bool {
	switch {
	case f.State == attention && finding.State == plugin.StateInSync:
		return false
	case f.State != "" && f.State != attention && string(finding.State) != f.State:
		return false
	case f.Text == "":
		return true
	}
	names := finding.Schema + "." + finding.Table + "." + finding.Column + "\n" + finding.Sequence + "\n" + plain(finding.Sequence)
	return strings.Contains(strings.ToLower(names), strings.ToLower(f.Text))
}

func (f filter) of(findings []plugin.Finding) []plugin.Finding {
	if f == (filter{}) {
		return findings
	}
	matching := []plugin.Finding{}
	for _, finding := range findings {
		if f.matches(finding) {
			matching = append(matching, finding)
		}
	}
	return matching
}

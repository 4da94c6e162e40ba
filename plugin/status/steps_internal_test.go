package status

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/seqheal/seqheal/plugin"
)

// slow is a database of which one request can read so many columns.
type slow struct {
	tables, each int
	asked        []int
	err          error
}

func (s *slow) run(ctx context.Context, tables []string, progress func(int, int)) (findings []plugin.Finding, err error) {
	for n := range s.tables {
		f := plugin.Finding{Schema: "s", Table: fmt.Sprintf("t%05d", n), Column: "id", State: plugin.StateInSync}
		if n%1000 == 0 {
			f.State, f.Behind = plugin.StateBehind, 1
		}
		findings = append(findings, f)
	}
	if tables != nil {
		asked := map[string]bool{}
		for _, table := range tables {
			asked[table] = true
		}
		all := findings
		findings = nil
		for _, f := range all {
			if asked[f.QuotedTable()] {
				findings = append(findings, f)
			}
		}
	}
	s.asked = append(s.asked, len(findings))
	if s.err != nil {
		return nil, s.err
	}
	progress(0, len(findings))
	if len(findings) <= s.each {
		progress(len(findings), len(findings))
		return findings, nil
	}
	progress(s.each, len(findings))
	<-ctx.Done()
	for n := s.each; n < len(findings); n++ {
		findings[n].State, findings[n].Behind, findings[n].Reason, findings[n].Err = plugin.StateUnreadable, 0, plugin.ReasonCanceled, ctx.Err()
	}
	return findings, ctx.Err()
}

func (s *slow) handler(timeout time.Duration) *handler {
	h := &handler{now: time.Now}
	h.auditor = auditor{now: time.Now, timeout: timeout, run: s.run}
	return h
}

// More tables than one request has time for are read by several: each goes on where the
// one before ended, and the page says how far it is and what was not reached.
func TestManyTablesAreReadInSteps(t *testing.T) {
	t.Parallel()
	s := &slow{tables: 10_000, each: 4000}
	h := s.handler(10 * time.Millisecond)
	first := h.text("")
	for _, part := range []string{"<h1>4 sequences are behind so far</h1>", `max="10000" value="4000">`, "4,000 of 10,000 columns read; 6,000 not yet", " data-more"} {
		if !strings.Contains(first, part) {
			t.Errorf("after the first step the page lacks %q", part)
		}
	}
	h.text("")
	last := h.text("")
	if !strings.Contains(last, "<h1>10 sequences are behind</h1>") || strings.Contains(last, "<progress") || strings.Contains(last, " data-more") {
		t.Errorf("after all steps: %.400s", last[strings.Index(last, "<h1>"):])
	}
	if fmt.Sprint(s.asked) != "[10000 3000 3000]" {
		t.Errorf("the steps asked for %v", s.asked)
	}
	r := h.auditor.latest(t.Context())
	seen := map[string]bool{}
	for _, f := range r.findings {
		seen[f.Table] = true
	}
	if len(seen) != 10_000 || len(r.findings) != 10_000 || r.err != nil {
		t.Errorf("%d findings of %d tables, %v", len(r.findings), len(seen), r.err)
	}

	// The next audit does not hide what is known until it is complete.
	h.auditor.until = time.Time{}
	again := h.text("")
	if !strings.Contains(again, "<h1>10 sequences are behind</h1>") || !strings.Contains(again, "Reading anew: 4,000 of 10,000 columns") {
		t.Errorf("while it is read anew: %.900s", again[strings.Index(again, "<h1>"):])
	}
}

// A step that reads nothing more ends the audit, with what was not reached and why. One
// that fails does too, and what was complete before is shown.
func TestWhatIsNotReachedIsSaid(t *testing.T) {
	t.Parallel()
	s := &slow{tables: 1000, each: 600}
	h := s.handler(10 * time.Millisecond)
	h.text("")
	s.each = 0
	text := h.text("")
	for _, part := range []string{"400 unreadable", "599 in sync", "not all could be read within 10ms"} {
		if !strings.Contains(text, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	s.each, h.auditor.until = 1000, time.Time{}
	if r := h.auditor.latest(t.Context()); r.err != nil || len(r.findings) != 1000 {
		t.Errorf("%d findings, %v", len(r.findings), r.err)
	}
	s.each, h.auditor.until = 600, time.Time{}
	h.auditor.latest(t.Context())
	s.err = errors.New("connection lost")
	if r := h.auditor.latest(t.Context()); r.err == nil || len(r.findings) != 1000 || h.auditor.pass != nil {
		t.Errorf("%d findings, %v", len(r.findings), r.err)
	}
}

// An audit that no request goes on with is begun anew: no part of it is old.
func TestAnAbandonedAuditBeginsAnew(t *testing.T) {
	t.Parallel()
	s, clock := &slow{tables: 1000, each: 600}, &manualClock{at: time.Now()}
	h := s.handler(10 * time.Millisecond)
	h.now, h.auditor.now = clock.now, clock.now
	h.text("")
	clock.advance(abandoned - 1)
	s.each = 100
	if r := h.auditor.latest(t.Context()); r.pending != 300 {
		t.Errorf("%d pending after the second step", r.pending)
	}
	clock.advance(abandoned)
	if r := h.auditor.latest(t.Context()); r.pending != 900 || len(r.findings) != 100 {
		t.Errorf("%d pending, %d read after a new beginning", r.pending, len(r.findings))
	}
	s.each = 1000
	if r := h.auditor.latest(t.Context()); r.pending != 700 || len(r.findings) != 300 {
		t.Errorf("%d pending, %d read after its second step", r.pending, len(r.findings))
	}
	if fmt.Sprint(s.asked) != "[1000 400 1000 200]" {
		t.Errorf("the steps asked for %v", s.asked)
	}
}

// A database of which one timeout reads nothing is given more time.
func TestASlowDatabaseIsGivenMoreTime(t *testing.T) {
	t.Parallel()
	var had []time.Duration
	a := &auditor{now: time.Now, timeout: 40 * time.Millisecond}
	a.run = func(ctx context.Context, _ []string, _ func(int, int)) ([]plugin.Finding, error) {
		deadline, _ := ctx.Deadline()
		had = append(had, time.Until(deadline))
		if len(had) < 6 {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return one, nil
	}
	for range 5 {
		r := a.latest(t.Context())
		if r.err == nil || r.again != (len(had) < 4) {
			t.Errorf("step %d, which was cut off: %+v", len(had), r)
		}
		if !r.again { // at the end of its patience it waits, as after other failures
			a.until = time.Time{}
		}
	}
	if r := a.latest(t.Context()); r.err != nil || len(r.findings) != 1 {
		t.Errorf("%+v", r)
	}
	if had[0] > 40*time.Millisecond || had[5] < 160*time.Millisecond || had[5] > 320*time.Millisecond {
		t.Errorf("the steps had %v", had)
	}
}

// The page of ten thousand tables is made in little time.
func BenchmarkPageOfTenThousandTables(b *testing.B) {
	s := &slow{tables: 10_000, each: 10_000}
	h := s.handler(time.Minute)
	for b.Loop() {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
	}
}

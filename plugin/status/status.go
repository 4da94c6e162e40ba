// Package status serves one page that tells how the sequences of a database stand
// and what the plugin did about them:
//
//	mux.Handle("/debug/seqheal/", status.Handler(healing, db))
//
// It is for those who run the application: it names tables and shows errors, and it
// has no login. Put it behind what guards the other pages of its kind.
package status

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/plugin"
)

// Option changes one setting of [Handler].
type Option func(*settings)

type settings struct {
	resync  bool
	timeout time.Duration
	audit   []plugin.AuditOption
}

// AllowResync puts buttons on the page that move forward the sequences that are behind,
// as [plugin.Resync] does: one for each table, and one for all, which asks first.
// Requests that come from another site, or without the token that the page hands out in
// a cookie and in the form, are refused.
func AllowResync() Option {
	return func(s *settings) { s.resync = true }
}

// WithAudit narrows what the page audits, and what its buttons move, to
// [plugin.InSchemas] for example. The page lists columns:
// [plugin.WithUnusedSequences] has no effect.
func WithAudit(options ...plugin.AuditOption) Option {
	return func(s *settings) { s.audit = append(s.audit, options...) }
}

// WithAuditTimeout limits how long a request waits for the audit; the default is 3
// seconds. What was read by then is shown, the page says what is missing, and the next
// request goes on with that. Until an audit was complete, a request waits up to eight
// times as long on a database of which less time reads nothing.
func WithAuditTimeout(timeout time.Duration) Option {
	return func(s *settings) { s.timeout = timeout }
}

// Handler serves the page to GET and HEAD, whatever the path, and the same as JSON
// under ?format=json. The incidents are p's, and db is what is audited. With a nil p the
// page shows the sequences alone, for a program that inserts nothing itself.
//
// The audit is made by one request at a time, with its result kept for 5 seconds, or
// ten times as long as it took; until there is a newer one the others get that. It
// starts nothing that outlives the request. When the database cannot be read, the
// page has what was read last and says why there is nothing newer.
func Handler(p *plugin.Plugin, db *gorm.DB, options ...Option) http.Handler {
	s := settings{timeout: 3 * time.Second}
	for _, option := range options {
		option(&s)
	}
	h := &handler{plugin: p, now: time.Now, allowed: s.resync}
	with := func(options ...plugin.AuditOption) []plugin.AuditOption {
		return append(s.audit[:len(s.audit):len(s.audit)], options...)
	}
	h.auditor = auditor{now: time.Now, timeout: s.timeout, run: func(ctx context.Context, tables []string, progress func(int, int)) ([]plugin.Finding, error) {
		h.surroundings.read(ctx, db)
		findings, err := plugin.Audit(ctx, db, with(plugin.OfTables(tables...), plugin.OnProgress(progress))...)
		return slices.DeleteFunc(findings, func(f plugin.Finding) bool { return f.State == plugin.StateUnused }), err
	}}
	h.resyncer = resyncer{now: time.Now, run: func(ctx context.Context, table string) ([]plugin.Finding, error) {
		if table != "" { // which the page shows, so that it is among those of WithAudit
			return plugin.Resync(ctx, db, table)
		}
		return plugin.Audit(ctx, db, with(plugin.AndResync())...)
	}}
	return h
}

type handler struct {
	plugin       *plugin.Plugin // nil for a page without incidents
	now          func() time.Time
	surroundings surroundings
	auditor      auditor
	allowed      bool // whether the buttons are there
	resyncer     resyncer
	origins      http.CrossOriginProtection
}

// policy lets the page have its own style and script, by their hashes, and ask its
// own server. Nothing else is loaded, and no other page may frame it.
var policy = "default-src 'none'; style-src " + styleHash + "; script-src " + scriptHash +
	"; connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	// Not no-referrer: a form's Origin would then be null, and the button refused
	// where a browser sends no Sec-Fetch-Site, which is plain HTTP but to localhost.
	header.Set("Referrer-Policy", "same-origin")
	switch {
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		h.show(w, r)
	case r.Method == http.MethodPost && h.allowed:
		h.resync(w, r)
	default:
		allow := "GET, HEAD"
		if h.allowed {
			allow += ", POST"
		}
		header.Set("Allow", allow)
		http.Error(w, "this page has only "+allow, http.StatusMethodNotAllowed)
	}
}

func (h *handler) show(w http.ResponseWriter, r *http.Request) {
	format := r.URL.Query().Get("format")
	if format != "" && format != "json" && format != "html" {
		http.Error(w, `the formats are "html" and "json"`, http.StatusBadRequest)
		return
	}
	d := h.read(r.Context())
	v := view{filter: filterFrom(r.URL.Query()), asking: h.allowed && r.URL.Query().Get("ask") == "all"}
	if format == "json" {
		d.Audit.Findings = v.filter.of(d.Audit.Findings)
		text, err := json.MarshalIndent(d, "", "  ")
		if err != nil {
			http.Error(w, "seqheal: "+err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = w.Write(append(text, '\n'))
		return
	}
	if h.allowed {
		v.token = handOut(w, r)
	}
	h.write(w, d, v)
}

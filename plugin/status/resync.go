package status

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/seqheal/seqheal/plugin"
)

// resyncTimeout is what one use of a button may take.
const resyncTimeout = 30 * time.Second

// resyncer moves sequences, once at a time, and remembers what came of it.
type resyncer struct {
	// run moves what is behind of the table with this quoted name, or of all.
	run func(ctx context.Context, table string) ([]plugin.Finding, error)
	now func() time.Time

	mutex    sync.Mutex
	running  bool
	used     time.Time
	findings []plugin.Finding
	err      error
}

// resync answers the buttons: it sends the browser back to the page, which tells what
// came of it. While one is running another click changes nothing.
func (h *handler) resync(w http.ResponseWriter, r *http.Request) {
	if err := h.origins.Check(r); err != nil {
		http.Error(w, "seqheal: refused, because the request comes from another site: "+err.Error(), http.StatusForbidden)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	if !handedOut(r) {
		http.Error(w, "seqheal: refused, because the request lacks the page's token: load the page again, with cookies allowed", http.StatusForbidden)
		return
	}
	table := r.PostFormValue("table")
	if table != "" {
		h.auditor.latest(r.Context()) // the page may be another instance's
	}
	switch {
	case table == "" && r.PostFormValue("all") != "yes":
		http.Error(w, "seqheal: the request names neither a table nor all", http.StatusBadRequest)
		return
	case table != "" && !h.auditor.has(table):
		http.Error(w, "seqheal: the page shows no table "+table, http.StatusBadRequest)
		return
	}
	h.resyncer.once(r.Context(), table)
	h.auditor.outdate()
	// Relative to what the browser asked for, which http.StripPrefix hides.
	w.Header().Set("Location", filterFrom(r.URL.Query()).Here())
	w.WriteHeader(http.StatusSeeOther)
}

// once moves what is behind, of one table or of all. It ends what it began although the
// client may go.
func (r *resyncer) once(ctx context.Context, table string) {
	r.mutex.Lock()
	if r.running {
		r.mutex.Unlock()
		return
	}
	r.running = true
	r.mutex.Unlock()
	var findings []plugin.Finding
	var err error
	defer func() {
		r.mutex.Lock()
		defer r.mutex.Unlock()
		r.running, r.used, r.findings, r.err = false, r.now(), findings, err
	}()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resyncTimeout)
	defer cancel()
	findings, err = r.run(ctx, table)
}

func (r *resyncer) document() resyncDocument {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	d := resyncDocument{Running: r.running}
	if r.used.IsZero() {
		return d
	}
	used := r.used
	d.Time = &used
	for _, f := range r.findings {
		if f.Moved {
			f.Err = presentable(f.Err)
			d.Moved = append(d.Moved, f)
		}
	}
	if r.err != nil {
		d.Error = presentable(r.err).Error()
	}
	d.Moved = slices.Clip(d.Moved)
	return d
}

// tokenName is the cookie and the form field that must have the same value. Another
// site can make a browser send the one, and can neither read it nor set the other.
// It is good for every instance of the application behind one address.
const tokenName = "seqheal_token"

// handOut gives the browser its token, the one that it has if it has one.
func handOut(w http.ResponseWriter, r *http.Request) string {
	if cookie, err := r.Cookie(tokenName); err == nil && len(cookie.Value) == len(rand.Text()) {
		return cookie.Value
	}
	token := rand.Text()
	http.SetCookie(w, &http.Cookie{
		Name: tokenName, Value: token, HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	})
	return token
}

func handedOut(r *http.Request) bool {
	cookie, err := r.Cookie(tokenName)
	return err == nil && len(cookie.Value) == len(rand.Text()) &&
		subtle.ConstantTimeCompare([]byte(cookie.Value), []byte(r.PostFormValue(tokenName))) == 1
}

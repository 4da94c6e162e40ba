package status_test

import (
	"net/http"
	"time"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/plugin"
	"github.com/seqheal/seqheal/plugin/status"
)

// What the application has.
var (
	healing *plugin.Plugin
	db      *gorm.DB
	guarded func(http.Handler) http.Handler // asks for a login
)

// The button moves sequences, so the page is behind a login.
func ExampleAllowResync() {
	http.Handle("/admin/sequences", guarded(status.Handler(healing, db, status.AllowResync())))
}

func ExampleWithAudit() {
	http.Handle("/admin/billing", guarded(status.Handler(healing, db, status.WithAudit(plugin.InSchemas("billing")))))
}

// A page that waits ten seconds for a database of many tables before it shows a part.
func ExampleWithAuditTimeout() {
	http.Handle("/admin/sequences", guarded(status.Handler(healing, db, status.WithAuditTimeout(10*time.Second))))
}

package status_test

import (
	"net/http"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/plugin"
	"github.com/seqheal/seqheal/plugin/status"
)

func ExampleHandler() {
	db, err := gorm.Open(postgres.Open("postgres://app@localhost/app"), &gorm.Config{})
	if err != nil {
		panic(err)
	}
	healing := plugin.New()
	if err := db.Use(healing); err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/debug/seqheal/", status.Handler(healing, db))
	// With a button, and for two schemas only:
	mux.Handle("/admin/sequences", status.Handler(healing, db,
		status.AllowResync(), status.WithAudit(plugin.InSchemas("shop", "billing"))))
}

// A page about the sequences alone, for a program that inserts nothing itself.
func ExampleHandler_standalone() {
	db, err := gorm.Open(postgres.Open("postgres://admin@localhost/app"), &gorm.Config{})
	if err != nil {
		panic(err)
	}
	if err := http.ListenAndServe("127.0.0.1:8090", status.Handler(nil, db, status.AllowResync())); err != nil {
		panic(err)
	}
}

package auditor_test

import (
	"context"
	"os"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/plugin"
	"github.com/seqheal/seqheal/plugin/auditor"
)

// db is the application's database.
var db *gorm.DB

// Sequences that change slowly need no audit every minute.
func ExampleEvery() {
	auditor.New(db, auditor.Every(10*time.Minute))
}

// A database of many large tables may take longer than five minutes.
func ExampleTimeout() {
	auditor.New(db, auditor.Every(time.Hour), auditor.Timeout(30*time.Minute))
}

// Two schemas, with a warning from 80 % of a range on.
func ExampleWith() {
	auditor.New(db, auditor.With(plugin.InSchemas("shop", "billing"), plugin.WithNearlyExhausted(0.8)))
}

// The first replica of a Kubernetes StatefulSet audits, for all.
func ExampleIf() {
	auditor.New(db, auditor.If(func(context.Context) bool { return strings.HasSuffix(os.Getenv("HOSTNAME"), "-0") }))
}

package plugin_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/plugin"
)

// Order is a model of the application's.
type Order struct{ ID int64 }

// incidentsTotal stands for a counter of the application's metrics.
func incidentsTotal(table, outcome string) { fmt.Println(table, outcome) }

func Example() {
	dsn := os.Getenv("DATABASE_URL")

	db, err := gorm.Open(postgres.Open(dsn), &gorm.Config{})
	if err != nil {
		panic(err)
	}
	if err := db.Use(plugin.New()); err != nil {
		panic(err)
	}
}

func ExampleNew() {
	healing := plugin.New(
		plugin.WithLogger(slog.Default()),
		plugin.WithResyncTimeout(2*time.Second),
		plugin.WithPrevention(),
		plugin.OnIncident(func(ctx context.Context, i plugin.Incident) {
			incidentsTotal(i.Table, string(i.Outcome))
		}),
	)
	fmt.Println(healing.Name(), healing.Stats().Healed)
	// Output: seqheal 0
}

func ExampleAudit() {
	var ctx context.Context
	var db *gorm.DB

	findings, err := plugin.Audit(ctx, db)
	for _, f := range findings {
		if f.State == plugin.StateBehind {
			fmt.Println(f.QuotedTable(), f.Behind, f.SQL())
		}
	}
	_ = err
}

func ExampleResync() {
	var ctx context.Context
	var db *gorm.DB

	moved, err := plugin.Resync(ctx, db, "users", "billing.invoices") // none named: all
	_, _ = moved, err
}

func ExampleWithStartupAudit() {
	var db *gorm.DB

	err := db.Use(plugin.New(
		plugin.WithStartupAudit(plugin.OfModels(&Order{}), plugin.AndResync()),
	))
	_ = err
}

func ExampleWithGuard() {
	plugin.New(plugin.WithGuard(plugin.GuardSavepoint))
}

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

func Example() {
	db, err := gorm.Open(postgres.Open(os.Getenv("DATABASE_URL")), &gorm.Config{})
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
		plugin.OnIncident(func(_ context.Context, i plugin.Incident) {
			fmt.Println(i.Outcome, i.Table, i.From, i.To)
		}),
	)
	fmt.Println(healing.Name(), healing.Stats().Total(), "incidents")
	// Output: seqheal 0 incidents
}

package otel_test

import (
	"context"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/plugin"
	"github.com/seqheal/seqheal/plugin/auditor"
	seqotel "github.com/seqheal/seqheal/plugin/otel"
)

func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	db, err := gorm.Open(postgres.Open("postgres://app@localhost/app"), &gorm.Config{})
	if err != nil {
		panic(err)
	}
	audits := auditor.New(db)
	telemetry, err := seqotel.New(audits)
	if err != nil {
		panic(err)
	}
	if err := db.Use(plugin.New(plugin.OnIncident(telemetry.OnIncident))); err != nil {
		panic(err)
	}
	go audits.Run(ctx)
}

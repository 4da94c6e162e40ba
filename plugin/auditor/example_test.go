package auditor_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/plugin"
	"github.com/seqheal/seqheal/plugin/auditor"
)

// An audit of one schema every five minutes, by one replica of several.
func ExampleNew() {
	db, err := gorm.Open(postgres.Open(os.Getenv("DATABASE_URL")), &gorm.Config{})
	if err != nil {
		log.Fatal(err)
	}
	audits := auditor.New(db,
		auditor.Every(5*time.Minute),
		auditor.Timeout(time.Minute),
		auditor.With(plugin.InSchemas("shop")),
		auditor.If(func(context.Context) bool { return strings.HasSuffix(os.Getenv("HOSTNAME"), "-0") }),
	)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go audits.Run(ctx)
}

// One audit now, for a program that has its own clock.
func ExampleAuditor_Audit() {
	db, err := gorm.Open(postgres.Open(os.Getenv("DATABASE_URL")), &gorm.Config{})
	if err != nil {
		log.Fatal(err)
	}
	audits := auditor.New(db)
	result := audits.Audit(context.Background())
	if result.Err != nil {
		log.Fatal(result.Err)
	}
	fmt.Println(len(result.Findings), "sequences")
}

package plugin_test

import (
	"expvar"
	"fmt"
	"log/slog"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/plugin"
)

// Counts for a metrics system, which may be asked for at every scrape.
func ExamplePlugin_Stats() {
	healing := plugin.New()
	expvar.Publish("seqheal", expvar.Func(func() any { return healing.Stats() }))
	fmt.Println(expvar.Get("seqheal"))
	// Output: {"healed":0,"already_healed":0,"refused":0,"failed":0,"spent_ns":0,"last":null,"tables":null,"tables_known":0}
}

func ExamplePlugin_Incidents() {
	healing := plugin.New()
	db := open(healing)
	db.Create(&User{Name: "new"})
	for _, incident := range healing.Incidents() { // the newest last
		fmt.Println(incident.Outcome, incident.Table, incident.Behind)
	}
	// Output: healed "public"."users" 19
}

// The next step, for the text of an alert or a ticket.
func ExampleIncident_Advice() {
	healing := plugin.New()
	for _, incident := range healing.Incidents() {
		if incident.Outcome == plugin.Refused || incident.Outcome == plugin.Failed {
			fmt.Println(incident.Table, incident.Reason, incident.Advice())
		}
	}
	// Output:
}

// What the log's summary holds back is written when the program ends.
func ExamplePlugin_Flush() {
	db, err := gorm.Open(postgres.Open("postgres://app@localhost/app"), &gorm.Config{})
	if err != nil {
		panic(err)
	}
	healing := plugin.New(plugin.WithLogger(slog.Default()))
	if err := db.Use(healing); err != nil {
		panic(err)
	}
	defer healing.Flush()
}

package plugin_test

import (
	"context"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/seqheal/seqheal/plugin"
)

// show audits and prints each column with its state.
func show(options ...plugin.AuditOption) {
	findings, err := plugin.Audit(context.Background(), open(), options...)
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range findings {
		fmt.Println(f.QuotedTable(), f.State)
	}
}

func ExampleInSchemas() {
	show(plugin.InSchemas("billing"))
	// Output: "billing"."invoices" behind
}

// Also what the role may not use, as unreadable, with the GRANT that is missing.
func ExampleInEverySchema() {
	findings, err := plugin.Audit(context.Background(), open(), plugin.InEverySchema())
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range findings {
		if f.State == plugin.StateUnreadable {
			fmt.Println(f.QuotedTable(), f.Reason, f.Err)
		}
	}
	// Output:
}

func ExampleOfTables() {
	show(plugin.OfTables("billing.invoices", "users"))
	// Output:
	// "billing"."invoices" behind
	// "public"."users" behind
}

func ExampleOfModels() {
	show(plugin.OfModels(&User{}, &Order{}))
	// Output:
	// "public"."orders" in_sync
	// "public"."users" behind
}

func ExampleOnlyTables() {
	show(plugin.OnlyTables(func(schema, table string) bool { return schema == "public" && !strings.HasPrefix(table, "user") }))
	// Output: "public"."orders" in_sync
}

// Sequences that no table draws from.
func ExampleWithUnusedSequences() {
	findings, err := plugin.Audit(context.Background(), open(), plugin.WithUnusedSequences())
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range findings {
		if f.State == plugin.StateUnused {
			fmt.Println(f.Sequence)
		}
	}
	// Output: "public"."tickets"
}

// A warning from one percent of the range on; the default is 90 %.
func ExampleWithNearlyExhausted() {
	db := open()
	db.Exec("SELECT setval('billing.invoices_id_seq', 400)") // of 32,767, a smallint
	findings, err := plugin.Audit(context.Background(), db, plugin.WithNearlyExhausted(0.01), plugin.InSchemas("billing"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(findings[0].QuotedTable(), findings[0].State, findings[0].Remaining, "left")
	// Output: "billing"."invoices" nearly_exhausted 32367 left
}

// How many values a day each sequence gives, from the findings of an earlier audit.
func ExampleWithForecast() {
	ctx, db := context.Background(), open()
	earlier, err := plugin.Audit(ctx, db, plugin.OfTables("orders"))
	if err != nil {
		log.Fatal(err)
	}
	earlier[0].Time = earlier[0].Time.Add(-24 * time.Hour) // as if it had been yesterday
	db.Exec("SELECT setval('orders_id_seq', 101)")
	later, err := plugin.Audit(ctx, db, plugin.OfTables("orders"), plugin.WithForecast(earlier...))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s gives %.0f values a day\n", later[0].QuotedTable(), later[0].PerDay)
	// Output: "public"."orders" gives 100 values a day
}

// A table that takes longer than this is reported as unreadable; the others are read.
func ExampleWithTableTimeout() {
	show(plugin.WithTableTimeout(30*time.Second), plugin.OfTables("users"))
	// Output: "public"."users" behind
}

func ExampleOnProgress() {
	var last string
	_, err := plugin.Audit(context.Background(), open(), plugin.OnProgress(func(done, total int) {
		last = fmt.Sprint(done, " of ", total) // for a progress bar
	}))
	fmt.Println(last, err)
	// Output: 3 of 3 <nil>
}

// Audit and Resync in one: what was behind is moved.
func ExampleAndResync() {
	findings, err := plugin.Audit(context.Background(), open(), plugin.AndResync())
	if err != nil {
		log.Print(err) // names each table that could not be moved; the others were
	}
	for _, f := range findings {
		fmt.Println(f.QuotedTable(), f.State, f.Moved)
	}
	// Output:
	// "billing"."invoices" in_sync true
	// "public"."orders" in_sync false
	// "public"."users" in_sync true
}

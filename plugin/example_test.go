package plugin_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"strings"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/plugin"
)

// incidentsTotal stands for a counter of the application's metrics.
func incidentsTotal(table, outcome string) { fmt.Println(table, outcome) }

// Without options it heals, and logs through GORM's logger.
func Example() {
	db, err := gorm.Open(postgres.Open(os.Getenv("DATABASE_URL")), &gorm.Config{})
	if err != nil {
		log.Fatal(err)
	}
	if err := db.Use(plugin.New()); err != nil {
		log.Fatal(err)
	}
	user := User{} // its id comes from the sequence, which may have drifted
	if err := db.Create(&user).Error; err != nil {
		log.Fatal(err)
	}
}

// What a service in production may want.
func ExampleNew() {
	healing := plugin.New(
		plugin.WithLogger(slog.Default()),
		plugin.WithResyncTimeout(2*time.Second),
		plugin.OnIncident(func(ctx context.Context, i plugin.Incident) {
			incidentsTotal(i.Table, string(i.Outcome))
		}),
	)
	fmt.Println(healing.Name(), healing.Stats().Healed)
	// Output: seqheal 0
}

// Every column that a sequence feeds, and how far those that are behind are.
func ExampleAudit() {
	findings, err := plugin.Audit(context.Background(), open())
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range findings {
		fmt.Println(f.QuotedTable(), f.State, f.Behind)
	}
	// Output:
	// "billing"."invoices" behind 7
	// "public"."orders" in_sync 0
	// "public"."users" behind 20
}

// Two schemas, without the tables of the migration tool, and when their ranges end.
func ExampleAudit_options() {
	findings, err := plugin.Audit(context.Background(), open(),
		plugin.InSchemas("shop", "billing"),
		plugin.OnlyTables(func(_, table string) bool { return !strings.HasPrefix(table, "schema_") }),
		plugin.WithNearlyExhausted(0.8),
		plugin.WithForecast(),
		plugin.WithTableTimeout(time.Second),
		plugin.OnProgress(func(done, total int) { fmt.Println(done, "of", total) }),
	)
	if err != nil {
		log.Print(err) // there is no schema shop
	}
	for _, f := range findings {
		if f.State == plugin.StateNearlyExhausted && !f.Ends.IsZero() {
			fmt.Println(f.QuotedTable(), f.Remaining, "left, until", f.Ends.Format(time.DateOnly))
		}
	}
}

// What lies in front of a sequence, and what brought it there.
func ExampleWithCauses() {
	findings, err := plugin.Audit(context.Background(), open(), plugin.WithCauses())
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range findings {
		if f.State == plugin.StateBehind {
			fmt.Println(f.QuotedTable(), f.Cause.Kind, f.Cause.Evidence)
			fmt.Println(f.Front.Select) // shows the rows, in psql
		}
	}
}

// An import that names its ids ends with this.
func ExampleResync() {
	findings, err := plugin.Resync(context.Background(), open(), "users", "billing.invoices") // none named: all
	if err != nil {
		log.Print(err) // names each table that could not be moved; the others were
	}
	for _, f := range findings {
		if f.Moved {
			fmt.Println(f.QuotedTable(), "moved to", f.To)
		}
	}
	// Output:
	// "billing"."invoices" moved to 7
	// "public"."users" moved to 20
}

// What Resync would move, without moving it.
func ExampleResync_dryRun() {
	dry := open().Session(&gorm.Session{DryRun: true})
	findings, err := plugin.Resync(context.Background(), dry)
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range findings {
		if f.State == plugin.StateBehind {
			fmt.Println(f.QuotedTable(), "would move by", f.Behind)
		}
	}
	// Output:
	// "billing"."invoices" would move by 7
	// "public"."users" would move by 20
}

// The SQL of a finding goes into psql. It never moves the sequence backwards, and may be
// run again.
func ExampleFinding_SQL() {
	db := open()
	findings, err := plugin.Audit(context.Background(), db, plugin.OfTables("users"))
	if err != nil {
		log.Fatal(err)
	}
	db.Exec(findings[0].SQL())
	user := User{Name: "new"}
	fmt.Println(db.Create(&user).Error, user.ID)
	// Output: <nil> 21
}

// Records with fields instead of lines in GORM's log.
func ExampleWithLogger() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == "msg" || a.Key == "table" || a.Key == "behind" {
			return a
		}
		return slog.Attr{} // the others are left out here
	}}))
	healing := plugin.New(plugin.WithLogger(logger))
	defer healing.Flush() // repeats of the last minute
	db := open(healing)
	db.Create(&User{Name: "new"})
	// Output: msg="seqheal: healed a drifted sequence" seqheal.table="\"public\".\"users\"" seqheal.behind=19
}

// A metric, and an alert for what needs a person.
func ExampleOnIncident() {
	db := open(plugin.New(plugin.OnIncident(func(ctx context.Context, i plugin.Incident) {
		incidentsTotal(i.Table, string(i.Outcome))
		if i.Outcome == plugin.Refused || i.Outcome == plugin.Failed {
			slog.ErrorContext(ctx, "an insert failed", "incident", i, "next step", i.Advice())
		}
	})))
	db.Create(&User{Name: "new"})
	// Output: "public"."users" healed
}

// Healed in place in REPEATABLE READ and SERIALIZABLE, too.
func ExampleWithGuard() {
	db := open(plugin.New(plugin.WithGuard(plugin.GuardSavepoint)))
	user := User{Name: "new"}
	err := db.Transaction(func(tx *gorm.DB) error {
		return tx.Create(&user).Error
	}, &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	fmt.Println(user.ID, err)
	// Output: 21 <nil>
}

// A second role for what the application's own may not do.
func ExampleWithResyncDB() {
	admin := open() // with the connection string of that role
	db := open(plugin.New(plugin.WithResyncDB(admin)))
	user := User{Name: "new"}
	fmt.Println(db.Create(&user).Error, user.ID)
	// Output: <nil> 21
}

// Beside an import that keeps naming ids in front of the sequence.
func ExampleWithMaxRounds() {
	open(plugin.New(plugin.WithMaxRounds(8)))
}

// An insert waits for a heal at most this long.
func ExampleWithResyncTimeout() {
	open(plugin.New(plugin.WithResyncTimeout(500 * time.Millisecond)))
}

// Seed scripts name ids, and nothing drifts.
func ExampleWithPrevention() {
	db := open(plugin.New(plugin.WithPrevention()))
	db.Create(&User{ID: 1000, Name: "seeded"})
	next := User{Name: "next"}
	db.Create(&next)
	fmt.Println(next.ID)
	// Output: 1001
}

// The tables of the application's models are in sync before its first request.
func ExampleWithStartupAudit() {
	healing := plugin.New(plugin.WithStartupAudit(plugin.OfModels(&User{}, &Order{}), plugin.AndResync()))
	user := User{Name: "new"}
	fmt.Println(open(healing).Create(&user).Error, user.ID, healing.Stats().Healed)
	// Output: <nil> 21 0
}

// An upsert that could not be protected in time has changed nothing: try again.
func Example_errRowsMissing() {
	db := open(plugin.New())
	users := []User{{ID: 1, Name: "renamed"}, {Name: "new"}}
	save := func() error {
		return db.Transaction(func(tx *gorm.DB) error { return tx.Save(&users).Error })
	}
	err := save()
	if errors.Is(err, plugin.ErrRowsMissing) {
		err = save()
	}
	fmt.Println(err, users[0].ID, users[1].ID)
	// Output: <nil> 1 21
}

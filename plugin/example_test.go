package plugin_test

import (
	"context"
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

// User and Order are models of the application's.
type (
	User  struct{ ID int64 }
	Order struct{ ID int64 }
)

// open is what the application does to get its database.
func open(plugins ...gorm.Plugin) *gorm.DB {
	db, err := gorm.Open(postgres.Open(os.Getenv("DATABASE_URL")), &gorm.Config{})
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range plugins {
		if err := db.Use(p); err != nil {
			log.Fatal(err)
		}
	}
	return db
}

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

// Every column that a sequence feeds, and what would move those that are behind.
func ExampleAudit() {
	findings, err := plugin.Audit(context.Background(), open())
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range findings {
		if f.State == plugin.StateBehind {
			fmt.Println(f.QuotedTable(), f.Behind, f.SQL())
		}
	}
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
		log.Fatal(err)
	}
	for _, f := range findings {
		if f.State == plugin.StateNearlyExhausted && !f.Ends.IsZero() {
			fmt.Println(f.QuotedTable(), f.Remaining, "left, until", f.Ends.Format(time.DateOnly))
		}
	}
}

// How many values a day each sequence gives, from the findings of an earlier audit.
func ExampleWithForecast() {
	ctx, db := context.Background(), open()
	earlier, err := plugin.Audit(ctx, db)
	if err != nil {
		log.Fatal(err)
	}
	time.Sleep(time.Hour)
	later, err := plugin.Audit(ctx, db, plugin.WithForecast(earlier...))
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range later {
		fmt.Println(f.QuotedTable(), f.PerDay)
	}
}

// Sequences that no table draws from, also in schemas that the role may not use.
func ExampleWithUnusedSequences() {
	findings, err := plugin.Audit(context.Background(), open(), plugin.InEverySchema(), plugin.WithUnusedSequences())
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range findings {
		if f.State == plugin.StateUnused {
			fmt.Println(f.Sequence)
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
			fmt.Println(f.QuotedTable(), f.From, f.To)
		}
	}
}

// What Resync would move, without moving it.
func ExampleResync_dryRun() {
	dry := open().Session(&gorm.Session{DryRun: true})
	findings, err := plugin.Resync(context.Background(), dry)
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range findings {
		fmt.Print(f.SQL())
	}
}

// The SQL of a finding goes into psql. It never moves the sequence backwards.
func ExampleFinding_SQL() {
	f := plugin.Finding{
		Schema: "public", Table: "users", Column: "id", Sequence: `"public"."users_id_seq"`, Increment: 1, Cache: 1,
		Last: 1, Furthest: 4739, FurthestKnown: true, Behind: 4738, State: plugin.StateBehind,
	}
	fmt.Println(strings.Count(f.SQL(), "nextval"), "draws,", strings.Count(f.SQL(), "setval"), "setval")
	// Output: 2 draws, 0 setval
}

// Records with fields instead of lines in GORM's log.
func ExampleWithLogger() {
	logger := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	healing := plugin.New(plugin.WithLogger(logger))
	open(healing)
	defer healing.Flush() // repeats of the last minute
}

// A metric, and an alert for what needs a person.
func ExampleOnIncident() {
	open(plugin.New(plugin.OnIncident(func(ctx context.Context, i plugin.Incident) {
		incidentsTotal(i.Table, string(i.Outcome))
		if i.Outcome == plugin.Refused || i.Outcome == plugin.Failed {
			slog.ErrorContext(ctx, "an insert failed", "incident", i, "next step", i.Advice())
		}
	})))
}

// Healed in place in REPEATABLE READ and SERIALIZABLE, too.
func ExampleWithGuard() {
	open(plugin.New(plugin.WithGuard(plugin.GuardSavepoint)))
}

// A second role for what the application's own may not do.
func ExampleWithResyncDB() {
	admin, err := gorm.Open(postgres.Open(os.Getenv("ADMIN_DATABASE_URL")), &gorm.Config{})
	if err != nil {
		log.Fatal(err)
	}
	open(plugin.New(plugin.WithResyncDB(admin)))
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
	db.Create(&User{ID: 1000})
	next := User{}
	db.Create(&next)
	fmt.Println(next.ID) // 1001
}

// The tables of the application's models are in sync before its first request.
func ExampleWithStartupAudit() {
	open(plugin.New(
		plugin.WithStartupAudit(plugin.OfModels(&User{}, &Order{}), plugin.AndResync()),
	))
}

// An upsert that could not be protected in time has changed nothing: try again.
func Example_errRowsMissing() {
	db := open(plugin.New())
	save := func() error {
		return db.Transaction(func(tx *gorm.DB) error {
			return tx.Save(&[]User{{ID: 1}, {}}).Error
		})
	}
	err := save()
	if errors.Is(err, plugin.ErrRowsMissing) {
		err = save()
	}
	if err != nil {
		log.Fatal(err)
	}
}

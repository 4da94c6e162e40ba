// Command quickstart shows a drifted sequence and its cure on a throwaway
// PostgreSQL: go run ./examples/quickstart
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/pgserver"
	"github.com/seqheal/seqheal/plugin"
)

// User is a row of the table "Users". Its id is a serial: the sequence
// "Users_id_seq" hands it out.
type User struct {
	ID                             int64
	Name, Surname, Email, Password string
}

// TableName makes GORM use "Users" instead of "users".
func (User) TableName() string { return "Users" }

const create = `CREATE TABLE "Users" (id serial PRIMARY KEY, name text, surname text, email text UNIQUE, password text)`

// imported rows bring their own ids, so the sequence does not move.
const imported = `INSERT INTO "Users" SELECT i, 'Name', 'Surname', i || '@example.com', 'secret' FROM generate_series(1, 20) i`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for the tidying up
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	server, err := pgserver.Start()
	if err != nil {
		return err
	}
	defer server.Stop()
	// A schema of its own, so that SEQHEAL_DSN may name anybody's server.
	schema := "quickstart_" + strconv.FormatInt(time.Now().UnixNano(), 36)
	dsn := server.With(map[string]string{"search_path": schema})
	plain, err := open(dsn, gorm.Config{})
	if err != nil {
		return err
	}
	defer shut(plain)
	if err := plain.Exec("CREATE SCHEMA " + schema).Error; err != nil {
		return err
	}
	defer func() { // also after Ctrl-C
		err = errors.Join(err, plain.Exec("DROP SCHEMA "+schema+" CASCADE").Error)
	}()
	if err := plain.Exec(create + ";" + imported).Error; err != nil {
		return err
	}

	fmt.Println("Without the plugin, after an import of the ids 1 to 20")
	if err := state(plain, "before"); err != nil {
		return err
	}
	failure := plain.Create(newUser()).Error
	if failure == nil || !strings.Contains(failure.Error(), "23505") {
		return fmt.Errorf("expected a duplicate key, got: %v", failure)
	}
	fmt.Println("  error    ", failure)

	inTransaction := func(db *gorm.DB) error { return db.Transaction(insert) }
	for _, mode := range []struct {
		name   string
		config gorm.Config
		insert func(*gorm.DB) error
	}{
		{"without a transaction (SkipDefaultTransaction)", gorm.Config{SkipDefaultTransaction: true}, insert},
		{"in GORM's own transaction", gorm.Config{}, insert},
		{"in your transaction (db.Transaction)", gorm.Config{}, inTransaction},
	} {
		fmt.Println("\nWith db.Use(plugin.New()),", mode.name)
		if err := heal(ctx, dsn, plain, mode.config, mode.insert); err != nil {
			return err
		}
	}
	return nil
}

// heal rewinds the sequence and inserts with the plugin.
func heal(ctx context.Context, dsn string, plain *gorm.DB, config gorm.Config, insert func(*gorm.DB) error) error {
	if err := plain.Exec(`SELECT setval('"Users_id_seq"', 1, false)`).Error; err != nil {
		return err
	}
	if err := state(plain, "before"); err != nil {
		return err
	}
	db, err := open(dsn, config)
	if err != nil {
		return err
	}
	defer shut(db)

	// Without options the incident goes to GORM's logger, which is silent here.
	seqheal := plugin.New(plugin.OnIncident(func(_ context.Context, incident plugin.Incident) {
		fmt.Println("  incident ", incident)
	}))
	if err := db.Use(seqheal); err != nil {
		return err
	}
	if err := insert(db.WithContext(ctx)); err != nil {
		return err
	}
	if got := seqheal.Stats().Counts; got != (plugin.Counts{Healed: 1}) {
		return fmt.Errorf("expected one healed incident, got %+v", got)
	}
	return state(plain, "after")
}

// insert stores a user as any program does.
func insert(db *gorm.DB) error {
	user := newUser()
	if err := db.Create(user).Error; err != nil {
		return err
	}
	fmt.Println("  inserted  id", user.ID)
	return nil
}

func newUser() *User {
	email := fmt.Sprintf("jennifer%d@example.com", time.Now().UnixNano())
	return &User{Name: "Jennifer", Surname: "Jones", Email: email, Password: "pBHxe*cWnC2ZJKHw"}
}

// state prints the sequence beside the table.
func state(db *gorm.DB, when string) error {
	var next, furthest int64
	const query = `SELECT last_value + is_called::int, (SELECT max(id) FROM "Users") FROM "Users_id_seq"`
	if err := db.Raw(query).Row().Scan(&next, &furthest); err != nil {
		return err
	}
	if when == "after" && next <= furthest {
		return fmt.Errorf("the sequence gives %d next, and the table holds %d", next, furthest)
	}
	fmt.Printf("  %-8s  the sequence gives %d next; the table's furthest id is %d\n", when, next, furthest)
	return nil
}

func open(dsn string, config gorm.Config) (*gorm.DB, error) {
	config.Logger = logger.Discard
	return gorm.Open(postgres.Open(dsn), &config)
}

func shut(db *gorm.DB) {
	if pool, err := db.DB(); err == nil {
		_ = pool.Close()
	}
}

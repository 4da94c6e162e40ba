// Command causes makes a sequence drift in the three ways in which they do, and shows what
// the incident says of each, on a throwaway PostgreSQL: go run ./examples/causes
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/pgserver"
	"github.com/seqheal/seqheal/plugin"
)

// User is a row of the table users. Its id is a bigserial.
type User struct {
	ID   int64
	Name string
}

// ways are how the sequence comes to drift, and the cause that the incident then names.
var ways = []struct {
	name  string
	drift func(db *gorm.DB) error
	cause plugin.CauseKind
}{
	{"An import: 500 rows bring their ids", func(db *gorm.DB) error {
		return db.Exec("INSERT INTO users SELECT last + n, 'imported' FROM generate_series(1, 500) n, (SELECT coalesce(max(id), 0) AS last FROM users) furthest").Error
	}, plugin.CauseBulk},
	{"A wrong setval: the sequence begins again", func(db *gorm.DB) error {
		return db.Exec("SELECT setval('users_id_seq', 1)").Error
	}, plugin.CauseSetBack},
	{"An id named in an insert", func(db *gorm.DB) error {
		var furthest int64
		if err := db.Model(&User{}).Select("max(id)").Scan(&furthest).Error; err != nil {
			return err
		}
		return db.Create(&User{ID: furthest + 1, Name: "Ada"}).Error
	}, plugin.CauseNamedIDs},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for the tidying up
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "causes:", err)
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
	schema := "causes_" + strconv.FormatInt(time.Now().UnixNano(), 36)
	db, err := gorm.Open(postgres.Open(server.With(map[string]string{"search_path": schema})), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		return err
	}
	if pool, err := db.DB(); err == nil {
		defer func() { _ = pool.Close() }()
	}
	if err := db.Exec("CREATE SCHEMA " + schema).Error; err != nil {
		return err
	}
	defer func() { // also after Ctrl-C
		err = errors.Join(err, db.Exec("DROP SCHEMA "+schema+" CASCADE").Error)
	}()
	if err := db.Exec("CREATE TABLE users (id bigserial PRIMARY KEY, name text)").Error; err != nil {
		return err
	}
	seqheal := plugin.New()
	if err := db.Use(seqheal); err != nil {
		return err
	}
	for _, way := range ways {
		fmt.Println(way.name)
		if err := way.drift(db.WithContext(ctx)); err != nil {
			return err
		}
		if err := db.WithContext(ctx).Create(&User{Name: "Jennifer"}).Error; err != nil {
			return err
		}
		if err := expect(seqheal.Stats().Last, way.cause); err != nil {
			return err
		}
	}
	return nil
}

// expect shows the incident, which must name this cause. On a machine that is so slow that
// a look takes more than 5 ms it is unknown.
func expect(incident *plugin.Incident, cause plugin.CauseKind) error {
	if incident == nil {
		return errors.New("the insert met no drift")
	}
	show(*incident)
	if kind := incident.Cause.Kind; kind != cause && kind != plugin.CauseUnknown {
		return fmt.Errorf("expected the cause %s, got %s", cause, incident.Cause)
	}
	return nil
}

// show prints what an incident says of its cause.
func show(i plugin.Incident) {
	fmt.Println("  outcome  ", i.Outcome, i.From, "→", i.To)
	fmt.Println("  sent by  ", i.Caller)
	for _, cause := range i.Causes() {
		fmt.Println("  cause    ", cause)
	}
	fmt.Printf("  in front  %d rows, ids %d to %d\n", i.Front.Rows, i.Front.First, i.Front.Last)
	fmt.Println("  to see   ", i.Front.Select)
	fmt.Println("  next step", i.Advice())
	fmt.Println()
}

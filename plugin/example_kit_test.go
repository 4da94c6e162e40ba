package plugin_test

import (
	"database/sql"
	"fmt"
	"log"
	"os"
	"sync"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/pgtest"
)

// exampleTables are what each example finds: rows that an import has named, and sequences
// that did not move. Orders are in sync, and nothing draws from tickets.
const exampleTables = `
DROP SCHEMA IF EXISTS public, billing CASCADE; CREATE SCHEMA public; CREATE SCHEMA billing;
CREATE TABLE public.users (id bigserial PRIMARY KEY, name text);
INSERT INTO public.users SELECT n, 'imported' FROM generate_series(1, 20) n;
CREATE TABLE public.orders (id serial PRIMARY KEY);
INSERT INTO public.orders DEFAULT VALUES;
CREATE TABLE billing.invoices (id smallserial PRIMARY KEY);
INSERT INTO billing.invoices VALUES (7);
CREATE SEQUENCE public.tickets;`

// User and Order are models of the application's.
type (
	User struct {
		ID   int64
		Name string
	}
	Order struct{ ID int64 }
)

// exampleDatabase is one of this process's own, so that names in the examples are the
// ones that an application has.
var exampleDatabase = sync.OnceValues(func() (dsn string, err error) {
	server, err := pgtest.Shared()
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("seqheal_examples_%d", os.Getpid())
	return server.With(map[string]string{"dbname": name}), onServer(server.DSN(), "CREATE DATABASE "+name)
})

func onServer(dsn, statements string) error {
	pool, err := sql.Open("pgx", dsn)
	if err != nil {
		return err
	}
	defer func() { _ = pool.Close() }()
	_, err = pool.Exec(statements)
	return err
}

// open is what the application does to get its database.
func open(plugins ...gorm.Plugin) *gorm.DB {
	dsn, err := exampleDatabase()
	if err != nil {
		log.Fatal(err)
	}
	if err := onServer(dsn, exampleTables); err != nil {
		log.Fatal(err)
	}
	db, err := gorm.Open(postgres.Open(dsn), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range plugins {
		if err := db.Use(p); err != nil {
			log.Fatal(err)
		}
	}
	openPools = append(openPools, db)
	return db
}

var openPools []*gorm.DB

func TestMain(m *testing.M) {
	code := m.Run()
	if len(openPools) > 0 {
		for _, db := range openPools {
			if pool, err := db.DB(); err == nil {
				_ = pool.Close()
			}
		}
		server, err := pgtest.Shared()
		if err == nil {
			err = onServer(server.DSN(), fmt.Sprintf("DROP DATABASE seqheal_examples_%d", os.Getpid()))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// schema holds the example's tables.
const schema = "seqheal_example"

const noDatabase = `DATABASE_URL is not set; a server to try with: ` +
	`docker run --rm -p 5432:5432 -e POSTGRES_PASSWORD=postgres postgres, and then ` +
	`DATABASE_URL=postgres://postgres:postgres@127.0.0.1:5432/postgres`

// openPool opens the pool of a database whose search_path is the example's schema alone.
func openPool(dsn string) (*sql.DB, error) {
	if dsn == "" {
		return nil, errors.New(noDatabase)
	}
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	config.RuntimeParams["search_path"] = schema
	return stdlib.OpenDB(*config), nil
}

func openGORM(pool *sql.DB, log *slog.Logger) (*gorm.DB, error) {
	return gorm.Open(postgres.New(postgres.Config{Conn: pool}), &gorm.Config{Logger: logger.NewSlogLogger(log, logger.Config{
		LogLevel: logger.Warn, SlowThreshold: time.Second, IgnoreRecordNotFoundError: true, ParameterizedQueries: true,
	})})
}

const duplicateSchema = "42P06"

// createSchema makes the schema, and fails where there is one: its tables are not ours.
func createSchema(ctx context.Context, pool *sql.DB) error {
	_, err := pool.ExecContext(context.WithoutCancel(ctx), "CREATE SCHEMA "+schema)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == duplicateSchema {
		return fmt.Errorf("schema %s exists: another service uses it (join it with -replica), or one was killed; "+
			"if nothing in it is yours: DROP SCHEMA %[1]s CASCADE", schema)
	}
	return err
}

func dropSchema(pool *sql.DB) error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	_, err := pool.ExecContext(ctx, "DROP SCHEMA "+schema+" CASCADE")
	return err
}

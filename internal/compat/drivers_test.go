package compat

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v4"
	_ "github.com/jackc/pgx/v4/stdlib"
	pgx5 "github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	_ "github.com/lib/pq"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
)

// connection is a way to connect GORM with PostgreSQL.
type connection struct {
	name      string
	dialector func(*testing.T, *pgtest.Place) gorm.Dialector
	// simple are the arguments with which the driver sends a query by the simple
	// protocol, which prepares nothing.
	simple []any
	// prepares is true for a driver that prepares every query, and which the
	// plugin cannot tell not to: it would take an argument of a type that the main
	// module does not import, or that the driver does not let through.
	prepares bool
}

func drivers() []connection {
	simple5 := []any{pgx5.QueryExecModeSimpleProtocol}
	all := []connection{
		{"pgx v5 PreferSimpleProtocol", func(_ *testing.T, p *pgtest.Place) gorm.Dialector {
			return postgres.New(postgres.Config{DSN: p.DSN, PreferSimpleProtocol: true})
		}, simple5, false},
		{"pgx v5 pool", func(t *testing.T, p *pgtest.Place) gorm.Dialector {
			pool, err := pgxpool.New(context.Background(), p.DSN)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(pool.Close)
			return postgres.New(postgres.Config{Conn: stdlib.OpenDBFromPool(pool)})
		}, simple5, false},
		{"pgx v5 behind a tracing driver", func(t *testing.T, p *pgtest.Place) gorm.Dialector {
			return postgres.New(postgres.Config{Conn: openTraced(t, p)})
		}, nil, true},
		{"pgx v4 as Conn", func(t *testing.T, p *pgtest.Place) gorm.Dialector {
			pool, err := sql.Open("pgx/v4", p.DSN)
			if err != nil {
				t.Fatal(err)
			}
			return postgres.New(postgres.Config{Conn: pool})
		}, []any{pgx.QuerySimpleProtocol(true)}, true},
		{"pgx v4 as DriverName", func(_ *testing.T, p *pgtest.Place) gorm.Dialector {
			return postgres.New(postgres.Config{DriverName: "pgx/v4", DSN: p.DSN})
		}, []any{pgx.QuerySimpleProtocol(true)}, true},
		{"lib/pq", func(_ *testing.T, p *pgtest.Place) gorm.Dialector {
			return postgres.New(postgres.Config{DriverName: "postgres", DSN: p.DSN})
		}, nil, false},
	}
	for _, exec := range execModes {
		all = append(all, connection{"pgx v5 " + exec, func(_ *testing.T, p *pgtest.Place) gorm.Dialector {
			return postgres.Open(p.DSNFor(map[string]string{"default_query_exec_mode": exec}))
		}, simple5, false})
	}
	return all
}

// execModes are the query modes of pgx v5.
var execModes = []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"}

// P1, P5: whatever the driver, drift heals, and another duplicate is the error
// that plain GORM gives, translated or not.
func TestEveryDriverHealsDriftAndKeepsOtherErrors(t *testing.T) {
	t.Parallel()
	for _, d := range drivers() {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode) {
				for _, rows := range []int{1, 3} {
					for _, translate := range []bool{false, true} {
						t.Run(fmt.Sprintf("%d rows, TranslateError %t", rows, translate), func(t *testing.T) {
							t.Parallel()
							m := m
							m.config.TranslateError = translate
							healsAndKeepsErrors(t, d, m, rows)
						})
					}
				}
			})
		})
	}
}

func healsAndKeepsErrors(t *testing.T, d connection, m mode, rows int) {
	p := pgtest.New(t)
	p.Exec(drifted + healthy + "INSERT INTO members (email) VALUES ('old1@example.com')")
	var seen incidents
	db := open(t, d.dialector(t, p), m.config, seen.plugin())
	plain, err := gorm.Open(postgres.New(postgres.Config{Conn: poolOf(t, db)}), &gorm.Config{
		Logger: db.Logger, SkipDefaultTransaction: m.config.SkipDefaultTransaction, TranslateError: m.config.TranslateError})
	if err != nil {
		t.Fatal(err)
	}

	heals(t, p, db, m, rows, &seen)

	for _, table := range []string{"accounts", "members"} { // known to the plugin, and not
		got, want := duplicateEmail(db, m, table, rows), duplicateEmail(plain, m, table, rows)
		if got != want {
			t.Errorf("%s: with the plugin\n%s\nwithout\n%s", table, got, want)
		}
		if !strings.Contains(want, table+"_email_key") && !m.config.TranslateError {
			t.Errorf("%s: the test met another error: %s", table, want)
		}
	}
	seen.healed(t, 1)
}

// duplicateEmail inserts a row whose e-mail is taken and tells all that the
// caller sees, the state of the transaction included.
func duplicateEmail(db *gorm.DB, m mode, table string, rows int) string {
	created := newAccounts("duplicate", rows)
	created[rows-1].Email = "old1@example.com"
	var tale []string
	tell := func(name string, err error) {
		tale = append(tale, fmt.Sprintf("%s: %v, ErrDuplicatedKey %t, %T", name, err, errors.Is(err, gorm.ErrDuplicatedKey), err))
	}
	tell("outcome", m.within(db, func(tx *gorm.DB) error {
		err := create(tx.Table(table), created)
		tell("insert", err)
		tell("next statement", tx.Exec("SELECT 1").Error)
		return err
	}))
	return strings.Join(append(tale, fmt.Sprint(created)), "\n")
}

// P9: what the driver keeps prepared on the connection are the application's
// INSERTs alone. Drivers that prepare every query keep the plugin's as well, in
// their cache of a bounded size; a second heal then adds none.
func TestLeavesNoStatementPreparedOnTheConnection(t *testing.T) {
	t.Parallel()
	for _, d := range drivers() {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode) {
				p := pgtest.New(t)
				p.Exec(drifted)
				var seen incidents
				db := open(t, d.dialector(t, p), m.config, seen.plugin())
				pool := poolOf(t, db)
				pool.SetMaxOpenConns(1)
				heals(t, p, db, m, 1, &seen)
				prepared := preparedOn(t, pool, d.simple)
				if !d.prepares {
					onlyInserts(t, prepared)
					return
				}
				p.Exec(driftAgain)
				if err := m.within(db, func(tx *gorm.DB) error { return create(tx, newAccounts("again", 1)) }); err != nil {
					t.Fatal(err)
				}
				seen.healed(t, 2)
				if again := preparedOn(t, pool, d.simple); len(again) > len(prepared) {
					t.Errorf("a second heal left %d statements behind instead of %d", len(again), len(prepared))
				}
			})
		})
	}
}

// preparedOn lists what is prepared on the one connection of the pool.
func preparedOn(t *testing.T, pool *sql.DB, simple []any) []string {
	t.Helper()
	rows, err := pool.QueryContext(context.Background(), "SELECT statement FROM pg_prepared_statements", simple...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var prepared []string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		prepared = append(prepared, text)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return prepared
}

// onlyInserts checks that every text is the application's INSERT.
func onlyInserts(t *testing.T, texts []string) {
	t.Helper()
	for _, text := range texts {
		if !strings.HasPrefix(text, `INSERT INTO "accounts" `) {
			t.Errorf("the plugin left a statement behind: %.80s…", strings.Join(strings.Fields(text), " "))
		}
	}
}

// P9: nor on a connection that the caller borrowed.
func TestLeavesNoStatementPreparedOnABorrowedConnection(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode) {
		p := pgtest.New(t)
		p.Exec(drifted)
		var seen incidents
		db := open(t, postgres.Open(p.DSN), m.config, seen.plugin())
		pool := poolOf(t, db)
		pool.SetMaxOpenConns(1)
		if err := db.Connection(func(tx *gorm.DB) error {
			heals(t, p, tx, m, 1, &seen)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		onlyInserts(t, preparedOn(t, pool, []any{pgx5.QueryExecModeSimpleProtocol}))
	})
}

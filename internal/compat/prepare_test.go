package compat

import (
	"fmt"
	"testing"

	pgx5 "github.com/jackc/pgx/v5"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
)

// P1, P9: with PrepareStmt drift heals in every query mode of pgx, and neither
// GORM's statement cache nor the connection holds anything but the application's
// INSERTs.
func TestHealsPreparedStatementsAndLeavesNoneOfItsOwn(t *testing.T) {
	t.Parallel()
	for _, exec := range execModes {
		t.Run(exec, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode) {
				p := pgtest.New(t)
				p.Exec(drifted)
				m.config.PrepareStmt = true
				var seen incidents
				db := open(t, postgres.Open(p.DSNFor(map[string]string{"default_query_exec_mode": exec})), m.config, seen.plugin())
				pool := poolOf(t, db)
				pool.SetMaxOpenConns(1)

				heals(t, p, db, m, 1, &seen)
				p.Exec(driftAgain) // now the table is known and the INSERT prepared
				one, three := newAccounts("again", 1), newAccounts("three", 3)
				if err := m.within(db, func(tx *gorm.DB) error { return create(tx, one) }); err != nil {
					t.Fatal(err)
				}
				p.Exec(driftAgain)
				if err := m.within(db, func(tx *gorm.DB) error { return create(tx, three) }); err != nil {
					t.Fatal(err)
				}
				seen.healed(t, 3)
				if rows := p.Int("SELECT count(*) FROM accounts"); rows != 25 {
					t.Errorf("%d rows instead of 25", rows)
				}

				cached := db.ConnPool.(*gorm.PreparedStmtDB).Stmts.Keys()
				if len(cached) == 0 {
					t.Error("GORM prepared nothing: the test sees the wrong cache")
				}
				onlyInserts(t, cached)
				onlyInserts(t, preparedOn(t, pool, []any{pgx5.QueryExecModeSimpleProtocol}))
			})
		})
	}
}

// P1, P9: a session may ask for prepared statements by itself, or once more.
func TestHealsInASessionThatPrepares(t *testing.T) {
	t.Parallel()
	for _, already := range []bool{false, true} {
		t.Run(fmt.Sprintf("PrepareStmt already %t", already), func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode) {
				p := pgtest.New(t)
				p.Exec(drifted)
				m.config.PrepareStmt = already
				var seen incidents
				db := open(t, postgres.Open(p.DSN), m.config, seen.plugin())
				pool := poolOf(t, db)
				pool.SetMaxOpenConns(1)
				within := m.within
				m.within = func(db *gorm.DB, fn func(*gorm.DB) error) error {
					return within(db, func(tx *gorm.DB) error { return fn(tx.Session(&gorm.Session{PrepareStmt: true})) })
				}
				heals(t, p, db, m, 1, &seen)
				healsAgain(t, p, db, m, 3, &seen)
				onlyInserts(t, preparedOn(t, pool, []any{pgx5.QueryExecModeSimpleProtocol}))
			})
		})
	}
}

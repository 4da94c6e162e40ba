//go:build unix

package compat

import (
	"database/sql"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
)

// P1, P3, P9: sixteen goroutines share a few server connections through PgBouncer
// and insert into a drifted table: nothing is lost, and no lock and no setting
// stays on a connection that the next client gets.
func TestLosesNothingThroughPgBouncer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		connections int // of PgBouncer to the server
		settings    string
		execMode    string
		prepareStmt bool
		prepares    bool // needs a PgBouncer that knows prepared statements
	}{
		{"transaction pooling", 4, "pool_mode = transaction", "exec", false, false},
		{"transaction pooling, simple protocol", 4, "pool_mode = transaction", "simple_protocol", false, false},
		{"session pooling", 16, "pool_mode = session", "cache_statement", false, false},
		{"session pooling, PrepareStmt", 16, "pool_mode = session", "cache_statement", true, false},
		{"transaction pooling, prepared statements off", 4, "pool_mode = transaction\nmax_prepared_statements = 0", "exec", false, true},
		{"transaction pooling, prepared statements", 4, "pool_mode = transaction\nmax_prepared_statements = 100", "cache_statement", false, true},
		{"transaction pooling, PrepareStmt", 4, "pool_mode = transaction\nmax_prepared_statements = 100", "cache_statement", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if program := poolerProgram(t); c.prepares && !poolerPrepares(t, program) {
				t.Skip("this PgBouncer is older than 1.21 and does not know max_prepared_statements")
			}
			inModes(t, func(t *testing.T, m mode) {
				p := pgtest.New(t)
				p.Exec(farDrifted)
				bouncer := startPooler(t, p, c.connections, c.settings)
				m.config.PrepareStmt = c.prepareStmt
				var seen incidents
				db := open(t, postgres.Open(bouncer.dsn(c.execMode)), m.config, seen.plugin())
				pool := poolOf(t, db)
				pool.SetMaxOpenConns(16)
				pool.SetMaxIdleConns(16)

				stored(t, p, "accounts", 1000, herd(t, []*gorm.DB{db}, m, 16, 5)...)
				everyoneHealed(t, &seen)
				leftNothing(t, p, pool, c.connections)
			})
		})
	}
}

// leftNothing looks at the sequence's value, and at what leftNoLockAndNoSetting does.
func leftNothing(t *testing.T, p *pgtest.Place, pool *sql.DB, connections int) {
	t.Helper()
	if behind := p.Int("SELECT (SELECT max(id) FROM accounts) - last_value FROM accounts_id_seq"); behind > 0 {
		t.Errorf("the sequence is %d behind", behind)
	}
	leftNoLockAndNoSetting(t, p, pool, connections)
}

// P5: through a pooler another duplicate stays the error of plain GORM.
func TestKeepsOtherErrorsThroughPgBouncer(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode) {
		p := pgtest.New(t)
		p.Exec(drifted + healthy + "INSERT INTO members (email) VALUES ('old1@example.com')")
		bouncer := startPooler(t, p, 2, "pool_mode = transaction")
		m.config.TranslateError = true
		var seen incidents
		db := open(t, postgres.Open(bouncer.dsn("exec")), m.config, seen.plugin())
		plain := open(t, postgres.Open(bouncer.dsn("exec")), m.config)
		heals(t, p, db, m, 1, &seen)
		for _, table := range []string{"accounts", "members"} {
			if got, want := duplicateEmail(db, m, table, 1), duplicateEmail(plain, m, table, 1); got != want {
				t.Errorf("%s: with the plugin\n%s\nwithout\n%s", table, got, want)
			}
		}
		seen.healed(t, 1)
	})
}

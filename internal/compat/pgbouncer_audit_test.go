//go:build unix

package compat

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// pooled are the ways in which PgBouncer hands out its connections and the driver
// sends queries. PrepareStmt is GORM's.
var pooled = []struct {
	name, settings, execMode string
	prepareStmt              bool
}{
	{"transaction pooling", "pool_mode = transaction", "exec", false},
	{"transaction pooling, simple protocol", "pool_mode = transaction", "simple_protocol", false},
	{"session pooling, PrepareStmt", "pool_mode = session", "cache_statement", true},
}

// throughPooler runs a test in each of these and in each mode, on a drifted table.
func throughPooler(t *testing.T, fn func(t *testing.T, m mode, p *pgtest.Place, bouncer pooler, execMode string)) {
	t.Helper()
	for _, c := range pooled {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode) {
				p := pgtest.New(t)
				p.Exec(drifted)
				m.config.PrepareStmt = c.prepareStmt
				fn(t, m, p, startPooler(t, p, 4, c.settings), c.execMode)
			})
		})
	}
}

// errUndone makes a caller's transaction roll back.
var errUndone = errors.New("undone")

// P3, P9: an audit reads and a resync moves, many at once, beside inserts, inside a
// caller's transaction that is then rolled back, too; nothing of their transactions,
// locks and SET LOCAL stays on a connection that the next client gets.
func TestAuditsThroughPgBouncer(t *testing.T) {
	t.Parallel()
	throughPooler(t, func(t *testing.T, m mode, p *pgtest.Place, bouncer pooler, execMode string) {
		var seen incidents
		db := open(t, postgres.Open(bouncer.dsn(execMode)), m.config, seen.plugin())
		pool := poolOf(t, db)
		pool.SetMaxOpenConns(4)
		pool.SetMaxIdleConns(4)

		err := m.within(db, func(tx *gorm.DB) error {
			findings, err := plugin.Audit(t.Context(), tx, plugin.InSchemas(p.Schema))
			if len(findings) != 1 || findings[0].State != plugin.StateBehind || findings[0].Behind != 20 || findings[0].Furthest != 20 || findings[0].Moved {
				t.Errorf("%v: %v", err, findings)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		leftNoLockAndNoSetting(t, p, pool, 4)

		err = m.within(db, func(tx *gorm.DB) error {
			findings, err := plugin.Resync(t.Context(), tx, "accounts")
			if err != nil || len(findings) != 1 || !findings[0].Moved || findings[0].To != 20 || findings[0].State != plugin.StateInSync {
				t.Errorf("%v: %v", err, findings)
			}
			return errUndone
		})
		if !errors.Is(err, errUndone) {
			t.Error(err)
		}
		leftNothing(t, p, pool, 4)
		stored(t, p, "accounts", 20)

		p.Exec(driftAgain)
		var created []account
		var work sync.WaitGroup
		work.Go(func() { created = herd(t, []*gorm.DB{db}, m, 4, 4) })
		for range 4 {
			work.Go(func() {
				for range 4 {
					if findings, err := plugin.Resync(t.Context(), db, "accounts"); err != nil || len(findings) != 1 || findings[0].State != plugin.StateInSync {
						t.Errorf("%v: %v", err, findings)
					}
				}
			})
		}
		work.Wait()
		stored(t, p, "accounts", 20, created...)
		leftNothing(t, p, pool, 4)
	})
}

// P3, P9: with prevention ids that are named move the sequence along, also where the
// caller's transaction is rolled back; an id that is left out then meets nothing. Many
// at once may give up on one another's lock, and leave the sequence to a heal.
func TestPreventsThroughPgBouncer(t *testing.T) {
	t.Parallel()
	throughPooler(t, func(t *testing.T, m mode, p *pgtest.Place, bouncer pooler, execMode string) {
		p.Exec("SELECT setval('accounts_id_seq', 20)")
		var seen incidents
		db := open(t, postgres.Open(bouncer.dsn(execMode)), m.config, seen.plugin(plugin.WithPrevention()))
		pool := poolOf(t, db)
		pool.SetMaxOpenConns(4)
		pool.SetMaxIdleConns(4)
		named := func(label string, ids ...int64) []account {
			rows := newAccounts(label, len(ids))
			for i, id := range ids {
				rows[i].ID = id
			}
			if err := m.within(db, func(tx *gorm.DB) error { return create(tx, rows) }); err != nil {
				t.Errorf("%s: %v", label, err)
			}
			return rows
		}
		left := func(label string) []account {
			rows := newAccounts(label, 1)
			if err := m.within(db, func(tx *gorm.DB) error { return create(tx, rows) }); err != nil {
				t.Errorf("%s: %v", label, err)
			}
			return rows
		}

		var created []account
		for n, ids := range [][]int64{{30}, {31, 40}, {5_000_000}, {5_000_001, 5_000_002}, {6_000_000, 70}} {
			created = append(created, named(fmt.Sprintf("import %d", n), ids...)...)
			leftNothing(t, p, pool, 4)
		}
		if m.name == modes[2].name {
			undone := newAccounts("undone", 1)
			undone[0].ID = 7_000_000
			if err := m.within(db, func(tx *gorm.DB) error { return errors.Join(create(tx, undone), errUndone) }); err == nil || err.Error() != errUndone.Error() {
				t.Error(err)
			}
			if last := p.Int("SELECT last_value FROM accounts_id_seq"); last < 7_000_000 {
				t.Errorf("the sequence stands at %d", last)
			}
		}
		created = append(created, left("next")...)
		if all := seen.list(); len(all) != 0 {
			t.Errorf("incidents %v", all)
		}

		results := make([][]account, 4)
		var work sync.WaitGroup
		for g := range results {
			work.Go(func() {
				for i := range int64(5) {
					id := 10_000_000*int64(g+1) + i
					results[g] = append(results[g], named(fmt.Sprintf("import %d of %d", i, g), id, id+1_000_000)...)
				}
			})
		}
		work.Wait()
		leftNoLockAndNoSetting(t, p, pool, 4)
		for _, rows := range results {
			created = append(created, rows...)
		}
		created = append(created, left("last")...)
		stored(t, p, "accounts", 20, created...)
		leftNoLockAndNoSetting(t, p, pool, 4)
	})
}

// P9: the audit at startup goes through PgBouncer as well.
func TestAuditsAtStartupThroughPgBouncer(t *testing.T) {
	t.Parallel()
	throughPooler(t, func(t *testing.T, m mode, p *pgtest.Place, bouncer pooler, execMode string) {
		var log bytes.Buffer
		var seen incidents
		db := open(t, postgres.Open(bouncer.dsn(execMode)), m.config, seen.plugin(
			plugin.WithLogger(slog.New(slog.NewTextHandler(&log, nil))),
			plugin.WithStartupAudit(plugin.OfTables("accounts"), plugin.AndResync())))
		if text := log.String(); strings.Contains(text, "level=ERROR") || !strings.Contains(text, "startup audit: 1 column checked, 1 needs attention") {
			t.Errorf("the log:\n%s", text)
		}
		created := newAccounts("new", 2)
		if err := m.within(db, func(tx *gorm.DB) error { return create(tx, created) }); err != nil {
			t.Error(err)
		}
		stored(t, p, "accounts", 20, created...)
		if all := seen.list(); len(all) != 0 {
			t.Errorf("incidents %v", all)
		}
		leftNothing(t, p, poolOf(t, db), 1)
	})
}

// leftNoLockAndNoSetting looks at the locks on the place's sequence, and on each
// connection that PgBouncer holds for what a session can keep.
func leftNoLockAndNoSetting(t *testing.T, p *pgtest.Place, pool *sql.DB, connections int) {
	t.Helper()
	if locks := p.Int("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 'accounts_id_seq'::regclass::oid"); locks != 0 {
		t.Errorf("%d advisory locks remain", locks)
	}
	holdAll(t, pool, connections, func(tx *sql.Tx) {
		var kept string
		if err := tx.QueryRow(keptBySession).Scan(&kept); err != nil || kept != "" {
			t.Errorf("a session keeps %s: %v", kept, err)
		}
	})
}

// keptBySession lists what SET has left in a session, but for what PgBouncer and the
// driver set for every client, statements that are not the application's, and cursors.
const keptBySession = `SELECT concat_ws(', ',
  (SELECT string_agg(name || ' = ' || setting, ', ') FROM pg_settings
   WHERE source = 'session' AND name NOT IN ('client_encoding', 'DateStyle', 'TimeZone', 'standard_conforming_strings', 'application_name', 'IntervalStyle')),
  (SELECT string_agg(statement, ', ') FROM pg_prepared_statements WHERE statement !~ 'INSERT INTO|pg_prepared_statements'),
  (SELECT string_agg(name, ', ') FROM pg_cursors WHERE name <> ''))`

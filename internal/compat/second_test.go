//go:build unix

package compat

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// P1, P9: PgBouncer's only connection to the server is the caller's transaction's, so
// that a second one answers no BEGIN. An insert that would look from there does not
// wait for it: in REPEATABLE READ it heals in place, under GuardOff it fails.
func TestHealsWithOneServerConnectionOfPgBouncer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		guard plugin.Guard
		level sql.IsolationLevel
		heals bool
	}{
		{"GuardSavepoint, REPEATABLE READ", plugin.GuardSavepoint, sql.LevelRepeatableRead, true},
		{"GuardSavepoint, SERIALIZABLE", plugin.GuardSavepoint, sql.LevelSerializable, true},
		{"GuardOff", plugin.GuardOff, sql.LevelDefault, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(drifted)
			bouncer := startPooler(t, p, 1, "pool_mode = transaction")
			var seen incidents
			db := open(t, postgres.Open(bouncer.dsn("exec")), gorm.Config{}, seen.plugin(plugin.WithGuard(c.guard)))
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			created := newAccounts("new", 1)
			err := db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
				err := create(tx, created)
				if ctx.Err() != nil {
					t.Error("the insert waited until its context ended")
				}
				return err
			}, &sql.TxOptions{Isolation: c.level})
			switch {
			case c.heals:
				if err != nil {
					t.Fatalf("%v; %v", err, seen.list())
				}
				stored(t, p, "accounts", 20, created...)
				seen.healed(t, 1)
			default:
				if !pgerr.Is(err, pgerr.UniqueViolation) {
					t.Errorf("error %v", err)
				}
				stored(t, p, "accounts", 20)
				if all := seen.list(); len(all) != 1 || all[0].Outcome != plugin.Failed {
					t.Errorf("incidents %v", all)
				}
			}
			leftNoLockAndNoSetting(t, p, poolOf(t, db), 1)
		})
	}
}

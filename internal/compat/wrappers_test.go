package compat

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/callbacks"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// wrapper is a plugin that stands around gorm:create, as tracing plugins do.
type wrapper struct {
	name      string
	calls     atomic.Int64
	sent      atomic.Int64 // calls that were no dry run
	statement atomic.Value // the last SQL seen
}

func (w *wrapper) Name() string { return w.name }

func (w *wrapper) Initialize(db *gorm.DB) error {
	create := db.Callback().Create()
	inner := create.Get("gorm:create")
	return create.Replace("gorm:create", func(db *gorm.DB) {
		w.calls.Add(1)
		if !db.DryRun {
			w.sent.Add(1)
		}
		inner(db)
		w.statement.Store(db.Statement.SQL.String())
	})
}

// P1, P4: other plugins may wrap gorm:create before and after; those outside
// see one create, those inside see each statement that is sent.
func TestHealsBetweenPluginsThatWrapCreate(t *testing.T) {
	t.Parallel()
	for _, rows := range []int{1, 3} {
		inModes(t, func(t *testing.T, m mode) {
			p := pgtest.New(t)
			p.Exec(drifted)
			var seen incidents
			inner, outer := &wrapper{name: "inner"}, &wrapper{name: "outer"}
			var before, after int
			db := open(t, postgres.Open(p.DSN), m.config, inner, seen.plugin(), outer)
			chain := db.Callback().Create()
			if err := errors.Join(
				chain.Before("gorm:create").Register("before", func(*gorm.DB) { before++ }),
				chain.After("gorm:create").Register("after", func(*gorm.DB) { after++ })); err != nil {
				t.Fatal(err)
			}

			heals(t, p, db, m, rows, &seen)
			if outer.calls.Load() != 1 || outer.sent.Load() != 1 || before != 1 || after != 1 {
				t.Errorf("one create: outer wrapper %d, before %d, after %d", outer.calls.Load(), before, after)
			}
			if inner.sent.Load() != 2 {
				t.Errorf("one retry: the inner wrapper saw %d statements", inner.sent.Load())
			}
			if sql, _ := outer.statement.Load().(string); !strings.HasPrefix(sql, `INSERT INTO "accounts"`) {
				t.Errorf("the outer wrapper saw %q", sql)
			}

			inner.sent.Store(0)
			if err := m.within(db, func(tx *gorm.DB) error { return create(tx, newAccounts("healthy", rows)) }); err != nil {
				t.Fatal(err)
			}
			if outer.calls.Load() != 2 || inner.sent.Load() != 1 {
				t.Errorf("a healthy create: outer wrapper %d, inner %d", outer.calls.Load()-1, inner.sent.Load())
			}
			seen.healed(t, 1)
		})
	}
}

// usurper replaces gorm:create and does not call what was there.
type usurper struct{}

func (usurper) Name() string { return "usurper" }

func (usurper) Initialize(db *gorm.DB) error {
	return db.Callback().Create().Replace("gorm:create", callbacks.Create(&callbacks.Config{
		CreateClauses: []string{"INSERT", "VALUES", "ON CONFLICT", "RETURNING"}}))
}

// A plugin that takes gorm:create away is named in the log once; one that calls
// what it replaced is welcome.
func TestSaysOnceWhenItIsDisplaced(t *testing.T) {
	t.Parallel()
	for _, other := range []struct {
		name   string
		plugin gorm.Plugin
		lines  int
	}{
		{"usurper", usurper{}, 1},
		{"wrapper", &wrapper{name: "wrapper"}, 0},
	} {
		t.Run(other.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(healthy)
			var log bytes.Buffer
			db := open(t, postgres.Open(p.DSN), gorm.Config{},
				plugin.New(plugin.WithLogger(slog.New(slog.NewTextHandler(&log, nil)))), other.plugin)
			for _, label := range []string{"a", "b", "c", "d"} {
				if err := create(db.Table("members"), newAccounts(label, 1)); err != nil {
					t.Fatal(err)
				}
			}
			if lines := strings.Count(log.String(), "\n"); lines != other.lines {
				t.Errorf("%d lines instead of %d:\n%s", lines, other.lines, log.String())
			}
			if other.lines == 1 && !strings.Contains(log.String(), "replaced the callback gorm:create") {
				t.Errorf("the line does not say what happened: %s", log.String())
			}
		})
	}
}

// Package plugin heals drifted PostgreSQL sequences in GORM: inserts that fail with
//
//	ERROR: duplicate key value violates unique constraint "users_pkey" (SQLSTATE 23505)
//
// because rows with explicit ids arrived, by an import, a restore or replication, and the
// sequence behind the key stayed where it was. Registering it is all it takes:
//
//	db, err := gorm.Open(postgres.Open(dsn), &gorm.Config{})
//	if err != nil {
//		return err
//	}
//	if err := db.Use(plugin.New()); err != nil {
//		return err
//	}
//
// An insert that leaves its key to the database and collides is caught, the sequence is
// advanced past the rows, and the INSERT alone is sent again. Upserts and saves of
// associations, which would overwrite or drop rows without an error, are protected likewise.
// Inserts into a healthy table are stored, returned and reported as without the plugin.
//
// # Transactions
//
// It works without a transaction, in GORM's own and in the caller's. Hooks run once, and
// what the transaction did before stays. An insert that cannot be healed fails with
// PostgreSQL's own error, and an upsert that would damage rows with [ErrRowsMissing]. Both
// leave the transaction aborted. [Guard] says how inserts in a transaction survive a collision.
//
// # Retries and rounds
//
// An insert that collides is sent again once. Only when rows appear in front of the
// sequence while it heals, as beside a running import, does it collide again: that is
// another round, which leaves a larger margin in front of the rows. [WithMaxRounds] limits
// the rounds of one insert, [WithResyncTimeout] their time. A sequence never moves
// backwards.
//
// # Incidents
//
// Each healed, refused or failed collision is one [Incident], with its [Outcome], the line
// of the application that sent the insert, the [Cause] of the drift as far as it is proved
// and, where the insert failed, a [Reason] and the next step. Without options it is a line
// in GORM's log; see [WithLogger], [OnIncident], [Plugin.Stats] and [Plugin.Incidents]. A
// collision that no sequence caused is the caller's own error and no incident.
//
//	healing := plugin.New(
//		plugin.WithLogger(slog.Default()),
//		plugin.OnIncident(func(ctx context.Context, i plugin.Incident) {
//			incidentsTotal(i.Table, string(i.Outcome)) // a counter of the application's
//		}),
//		plugin.WithStartupAudit(), // logs what is behind already
//	)
//
// The packages plugin/metrics and plugin/otel count incidents for Prometheus and
// OpenTelemetry, and plugin/status shows them on a page.
//
// # Rights
//
// The owner of the tables needs none. Another role needs SELECT on the key, and USAGE, SELECT
// and UPDATE on the sequence; USAGE alone heals up to 10 million values behind. Where a right is
// missing a collision fails, that of an upsert with [ErrRowsMissing], and the incident holds the
// GRANT. [WithResyncDB] lends a second connection.
//
// # The whole database
//
// [Audit] compares every sequence with its rows, and [Resync] advances those that
// are behind: after an import, a restore or a cut-over, and for programs without the
// plugin. [WithStartupAudit] audits before the first request, [WithPrevention] advances a
// sequence with each id that is named through GORM.
//
// What cannot be healed, and what to do about it, is in docs/limits.md of the project.
package plugin

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/heal"
	"github.com/seqheal/seqheal/internal/report"
)

// createCallback is GORM's callback that sends the INSERT, the only one that is
// wrapped: hooks, associations and the transaction stay outside.
const createCallback = "gorm:create"

// watchCallback notices that another plugin has replaced createCallback.
const watchCallback = "seqheal:watch"

// ErrRowsMissing is wrapped by the error of an upsert that would lose or change rows because a
// sequence drifted and was not advanced: rows with explicit ids keep appearing in front of it, a
// lock or the time limit stopped the heal, or the heal was refused, as [Incident].Reason says.
// No row was changed. The transaction can only roll back. The next try succeeds once the
// cause is gone.
var ErrRowsMissing = heal.ErrRowsMissing

// Plugin heals the inserts of the *gorm.DB that it is registered with, by [gorm.DB.Use]. [New]
// makes one. It serves that *gorm.DB and all sessions that are made from it, and is safe for
// concurrent use.
type Plugin struct {
	settings settings
	journal  journal
	repeats  report.Repeats[entry]
	// healers holds every *heal.Healer, one unless the plugin is given to several
	// *gorm.DB.
	healers sync.Map
}

// New returns a plugin to register with [gorm.DB.Use]. Without options it heals, and logs
// through GORM's logger; each [Option] names its default.
func New(options ...Option) *Plugin {
	p := &Plugin{settings: defaults()}
	for _, option := range options {
		option(&p.settings)
	}
	return p
}

// Name is the key under which GORM keeps the plugin.
func (p *Plugin) Name() string { return "seqheal" }

// Initialize wraps GORM's create callback, or whatever another plugin has put in
// its place. [gorm.DB.Use] calls it. It sends nothing but what [WithStartupAudit]
// asks for. It returns an error for every dialect but PostgreSQL's.
func (p *Plugin) Initialize(db *gorm.DB) error {
	if name := db.Dialector.Name(); name != "postgres" {
		return fmt.Errorf("seqheal works on PostgreSQL through gorm.io/driver/postgres; this database's dialect is %q", name)
	}
	create := db.Callback().Create()
	original := create.Get(createCallback)
	if original == nil {
		return errors.New("seqheal wraps GORM's callback gorm:create, which this database does not have: " +
			"register seqheal before the plugin that removes it")
	}
	healer := heal.New(p.settings.heal(), original, reporter{p})
	watch := &watch{plugin: p, current: create.Get}
	if err := create.Replace(createCallback, watch.marking(healer.Create)); err != nil {
		return err
	}
	p.healers.Store(healer, nil)
	watch.ours = reflect.ValueOf(create.Get(createCallback)).Pointer()
	if err := create.After(createCallback).Register(watchCallback, watch.check); err != nil {
		return err
	}
	p.auditAtStartup(db)
	return nil
}

// watch reports, once, that creates no longer pass through the plugin. A later plugin
// that wraps the plugin's callback and calls it is fine.
type watch struct {
	plugin  *Plugin
	current func(string) func(*gorm.DB)
	ours    uintptr
	// wrapped is set once another callback stands in our place. From then on our
	// callback leaves a mark, to distinguish a plugin that wraps create from one that
	// replaces it.
	wrapped  atomic.Bool
	reported sync.Once
}

// marking is create with the mark.
func (w *watch) marking(create func(*gorm.DB)) func(*gorm.DB) {
	return func(db *gorm.DB) {
		if w.wrapped.Load() {
			db.InstanceSet(watchCallback, true)
		}
		create(db)
	}
}

func (w *watch) check(db *gorm.DB) {
	if reflect.ValueOf(w.current(createCallback)).Pointer() == w.ours || db.Error != nil || db.DryRun {
		return
	}
	if !w.wrapped.Swap(true) {
		return // this create ran before marks were left
	}
	if _, passed := db.InstanceGet(watchCallback); passed {
		return
	}
	w.reported.Do(func() {
		w.plugin.complain(context.Background(), db.Logger,
			"seqheal: another plugin replaced the callback gorm:create and does not call what it replaced; "+
				"drifted sequences are no longer healed: register seqheal after it")
	})
}

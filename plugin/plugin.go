// Package plugin makes drifted PostgreSQL sequences harmless in GORM.
//
//	db.Use(plugin.New())
//
// An insert that leaves its primary key to the database and meets a row that is
// already there (SQLSTATE 23505) is caught, the sequence is moved forward past
// the rows, and the INSERT alone is sent once more: hooks run once, the caller's
// transaction goes on. Every incident is logged. Inserts on a healthy table are
// stored, returned and reported as without the plugin.
package plugin

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/resync"
)

// createCallback is GORM's callback that sends the INSERT, the only one that is
// wrapped: hooks, associations and the transaction stay outside.
const createCallback = "gorm:create"

// watchCallback notices that another plugin has taken createCallback away.
const watchCallback = "seqheal:watch"

// Plugin is registered with gorm.DB.Use. One Plugin serves one *gorm.DB and all
// sessions that are made from it. It is safe for concurrent use.
type Plugin struct {
	settings settings
	journal  journal
	digest   digest
	// healers holds every *healer, one unless the plugin is given to several
	// *gorm.DB.
	healers sync.Map
}

// New returns a plugin. Without options it heals, retries once and logs through
// GORM's logger: OnIncident none, WithGuard GuardAuto, WithMaxRounds 4,
// WithResyncTimeout 5 s, WithResyncDB none.
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
// its place. It is called by gorm.DB.Use and sends nothing but what WithStartupAudit
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
	h := &healer{plugin: p, original: original, looks: new(resync.Looks)}
	if err := create.Replace(createCallback, h.create); err != nil {
		return err
	}
	p.healers.Store(h, nil)
	if err := create.After(createCallback).Register(watchCallback, h.watch(create.Get)); err != nil {
		return err
	}
	p.auditAtStartup(db)
	return nil
}

// healer is the plugin at work for one *gorm.DB.
type healer struct {
	plugin   *Plugin
	original func(*gorm.DB)
	looks    *resync.Looks
	// tables holds what is known of the tables of each connection pool, *tables by
	// *sql.DB: dbresolver puts several databases behind one *gorm.DB.
	tables sync.Map
	// wrapped is set once another plugin stands in our place: from then on our
	// callback leaves a mark, so that watch can tell a wrapper from a usurper.
	wrapped   atomic.Bool
	displaced sync.Once
}

// tablesOf returns what is known of the tables behind a statement.
func (h *healer) tablesOf(db *gorm.DB) *tables {
	pool := conn.PoolOf(db)
	if known, ok := h.tables.Load(pool); ok {
		return known.(*tables)
	}
	known, _ := h.tables.LoadOrStore(pool, newTables())
	return known.(*tables)
}

// tablesKnown counts the tables that are remembered.
func (h *healer) tablesKnown() (count int) {
	h.tables.Range(func(_, known any) bool {
		count += known.(*tables).count()
		return true
	})
	return count
}

// watch returns a callback that says, once, when creates no longer pass through
// the plugin. A later plugin that wraps ours and calls it is welcome.
func (h *healer) watch(get func(string) func(*gorm.DB)) func(*gorm.DB) {
	ours := reflect.ValueOf(get(createCallback)).Pointer()
	return func(db *gorm.DB) {
		if reflect.ValueOf(get(createCallback)).Pointer() == ours || db.Error != nil || db.DryRun {
			return
		}
		if !h.wrapped.Swap(true) {
			return // this create ran before marks were asked for
		}
		if _, passed := db.InstanceGet(watchCallback); passed {
			return
		}
		h.displaced.Do(func() {
			h.plugin.complain(context.Background(), db.Logger,
				"seqheal: another plugin replaced the callback gorm:create and does not call what it replaced; "+
					"drifted sequences are no longer healed: register seqheal after it")
		})
	}
}

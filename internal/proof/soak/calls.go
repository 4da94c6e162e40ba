package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"math/rand/v2"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/plugin"
)

// call is one use of GORM. It returns the rows that are stored when there was no
// error, and the names that may be stored when there was one.
type call func(w *worker, db *gorm.DB, in string) (do func(*gorm.DB) error, stored func() []entry, names []string)

type entry struct {
	table   string
	id      int64
	content string
	// changed is true for a row that was there before.
	changed bool
}

// calls are the uses of GORM, the usual ones more often. One that changes rows is
// not made where the answer may be lost: the old content would be in doubt too.
// One of several statements needs a transaction, or a part of it may stay.
var calls = []struct {
	call
	changes, several bool
}{
	{call: createOne}, {call: createOne}, {call: createOne}, {call: createBatch}, {call: saveSlice}, {call: upsertOne},
	{call: updateMixed, changes: true}, {call: saveHasMany, several: true},
}

// plan is how a call is made.
type plan struct {
	call  call
	table string
	// caller: in a transaction of the caller's. alone: in none at all.
	caller, alone bool
	level         sql.IsolationLevel
	// impatient: the caller's context ends early.
	impatient bool
}

func (p plan) String() string {
	return fmt.Sprintf("in the caller's transaction: %v, level %s, impatient: %v", p.caller, p.level, p.impatient)
}

// draw chooses how a pool is used next.
func draw(on pool) plan {
	chosen := pick(calls)
	p := plan{call: chosen.call, level: on.level, impatient: rand.IntN(50) == 0,
		table: pick([]string{plainTable, plainTable, cachedTable, partedTable, triggerTable, viewTable, tenantTable})}
	if on.guard == plugin.GuardOff && p.table == cachedTable {
		p.table = plainTable // what the session has cached defeats the caller's retry, as GuardOff says
	}
	if chosen.changes && (p.impatient || on.cut) {
		p.call, chosen.changes = createOne, false
	}
	tenant := p.table == tenantTable
	if tenant && chosen.several {
		p.call, chosen.several = createBatch, false // its tables are not the tenant's
	}
	p.caller = tenant || rand.IntN(3) == 0
	p.alone = !p.caller && !chosen.several && rand.IntN(2) == 0
	if p.caller && rand.IntN(4) == 0 {
		p.level = pick(snapshots)
	}
	if p.table == viewTable && chosen.changes && p.level == sql.LevelSerializable {
		p.table = plainTable // through a view nothing but a look keeps such an upsert from other rows, and there is none here
	}
	return p
}

// step makes one call in one mode on one pool.
func (w *worker) step() {
	on := pick(w.crew.pools)
	p, a := draw(on), &attempt{}
	ctx := context.WithValue(context.Background(), attemptKey{}, a)
	if p.impatient {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, time.Duration(rand.IntN(8))*time.Millisecond)
		defer stop()
	}
	session := on.db.WithContext(ctx)
	if p.alone {
		session = session.Session(&gorm.Session{SkipDefaultTransaction: true})
	}
	var stored func() []entry
	var names []string
	run := func() error {
		*a = attempt{}
		var do func(*gorm.DB) error
		do, stored, names = p.call(w, session, p.table)
		if p.table == tenantTable {
			do = asTenant(do)
		}
		switch {
		case !p.caller:
			return do(session)
		case p.level == sql.LevelDefault:
			return session.Transaction(do)
		}
		return session.Transaction(thinking(do, p.table), &sql.TxOptions{Isolation: p.level})
	}
	err := run()
	for tries := 1; err != nil && w.triesAgain(err, on.guard, p.level, tries); tries++ {
		err = run()
	}
	w.settle(a, fmt.Sprintf("guard %d, default level %s, %s", on.guard, on.level, p), err, stored, names, on.cut || p.impatient)
}

// settle enters what came of a call.
func (w *worker) settle(a *attempt, how string, err error, stored func() []entry, names []string, mayBreak bool) {
	c := w.crew
	c.mutex.Lock()
	defer c.mutex.Unlock()
	b := &c.batch
	switch {
	case err == nil:
		for _, e := range stored() {
			if e.id == 0 {
				b.Unexpected = append(b.Unexpected, fmt.Sprintf("%q into %s has no id and no error (%s, reasons %v, healed %v)", e.content, e.table, how, a.reasons, a.healed))
				continue
			}
			b.stored(e, fmt.Sprintf("%s, healed %v", how, a.healed))
			b.Counts.Inserts++
			if w.own[e.table] = append(w.own[e.table], e.id); len(w.own[e.table]) > 50 {
				w.own[e.table] = w.own[e.table][25:]
			}
		}
	case metItself(err):
		b.Counts.Missing++ // an upsert lost a race; its transaction is rolled back
	case duplicate(err) && slices.Contains(a.reasons, plugin.ReasonRounds):
		b.Counts.Outrun++
	case mayBreak && duplicate(err) && slices.ContainsFunc(a.reasons, broke):
		b.Counts.Broken++ // nothing is stored: it collided, and could not be healed any more
	case mayBreak && !serverSpoke(err):
		b.Counts.Unsure++
		b.Unsure = append(b.Unsure, names...)
	default:
		b.Unexpected = append(b.Unexpected, fmt.Sprintf("%v (%s, reasons %v, healed %v, rows %v)", err, how, a.reasons, a.healed, names))
	}
}

// metItself tells an upsert that drew the very id that another of its rows names:
// the sequence was moved back behind the plugin's look.
func metItself(err error) bool {
	var server *pgconn.PgError
	return errors.As(err, &server) && server.Code == "21000"
}

// broke tells of a heal that ended with its connection or its caller's patience.
func broke(reason plugin.Reason) bool {
	return reason == plugin.ReasonCanceled || reason == plugin.ReasonConnection || reason == plugin.ReasonTimeout
}

// duplicate tells a 23505, translated or not, and an upsert that was undone instead of it.
func duplicate(err error) bool {
	var server *pgconn.PgError
	return errors.Is(err, plugin.ErrRowsMissing) || errors.Is(err, gorm.ErrDuplicatedKey) || errors.As(err, &server) && server.Code == "23505"
}

// serverSpoke tells an error of the server's from a connection that broke or a
// context that ended. 57014 is the server's word for the latter, 57P01 and 08 for
// the former.
func serverSpoke(err error) bool {
	var server *pgconn.PgError
	return errors.As(err, &server) && server.Code != "57014" && server.Code != "57P01" && server.Code[:2] != "08" ||
		errors.Is(err, gorm.ErrDuplicatedKey)
}

func createOne(w *worker, _ *gorm.DB, in string) (func(*gorm.DB) error, func() []entry, []string) {
	r := &row{Name: w.name()}
	return func(db *gorm.DB) error { r.ID = 0; return db.Table(named(in)).Create(r).Error },
		func() []entry { return []entry{{table: in, id: r.ID, content: r.Name}} }, []string{r.Name}
}

// several rows that leave their ids out.
func (w *worker) rows(count int) (rows []row, names []string) {
	for range count {
		rows = append(rows, row{Name: w.name()})
		names = append(names, rows[len(rows)-1].Name)
	}
	return rows, names
}

func entries(in string, rows []row) (all []entry) {
	for _, r := range rows {
		all = append(all, entry{table: in, id: r.ID, content: r.Name})
	}
	return all
}

func createBatch(w *worker, _ *gorm.DB, in string) (func(*gorm.DB) error, func() []entry, []string) {
	rows, names := w.rows(2 + rand.IntN(20))
	return func(db *gorm.DB) error { return db.Table(named(in)).Create(&rows).Error },
		func() []entry { return entries(in, rows) }, names
}

// saveSlice is sent as an upsert by key, which drift would let overwrite rows.
func saveSlice(w *worker, _ *gorm.DB, in string) (func(*gorm.DB) error, func() []entry, []string) {
	rows, names := w.rows(1 + rand.IntN(5))
	return func(db *gorm.DB) error { return db.Table(named(in)).Save(&rows).Error },
		func() []entry { return entries(in, rows) }, names
}

// upsertOne leaves its id out under ON CONFLICT DO NOTHING, which drift would let
// drop the row. The trigger on one of the tables makes that undecidable.
func upsertOne(w *worker, db *gorm.DB, in string) (func(*gorm.DB) error, func() []entry, []string) {
	if in == triggerTable {
		return saveSlice(w, db, in)
	}
	r := &row{Name: w.name()}
	return func(db *gorm.DB) error {
			r.ID = 0
			return db.Table(named(in)).Clauses(clause.OnConflict{DoNothing: true}).Create(r).Error
		},
		func() []entry { return []entry{{table: in, id: r.ID, content: r.Name}} }, []string{r.Name}
}

// updateMixed renames a row of this worker's and brings new ones, in one upsert.
func updateMixed(w *worker, _ *gorm.DB, in string) (func(*gorm.DB) error, func() []entry, []string) {
	own := w.own[in]
	if len(own) == 0 {
		return createBatch(w, nil, in)
	}
	rows, names := w.rows(3)
	rows[0].ID = pick(own)
	return func(db *gorm.DB) error { return db.Table(named(in)).Save(&rows).Error },
		func() []entry {
			all := entries(in, rows)
			all[0].changed = true
			return all
		}, names
}

func saveHasMany(w *worker, _ *gorm.DB, _ string) (func(*gorm.DB) error, func() []entry, []string) {
	o := &owner{Name: w.name()}
	names := []string{o.Name}
	for range 1 + rand.IntN(3) {
		o.Pets = append(o.Pets, pet{Name: w.name()})
		names = append(names, o.Pets[len(o.Pets)-1].Name)
	}
	return func(db *gorm.DB) error { return db.Create(o).Error },
		func() (all []entry) {
			all = append(all, entry{table: ownersTable, id: o.ID, content: o.Name})
			for _, p := range o.Pets {
				all = append(all, entry{table: petsTable, id: p.ID, content: p.content()})
			}
			return all
		}, names
}

package model

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/plugin"
)

// attempt is one statement of the application's, or several that GORM sends for
// one call, and what it must come to.
type attempt struct {
	step step
	rows []row
	want outcome
	send func(*gorm.DB) (*gorm.DB, []held)
	// survives: GORM fences a failure with a savepoint of its own.
	survives bool
	// fenced is what it comes to in a savepoint, where the plugin may use one as well as the
	// conflict guard: for a name that has stood for two tables.
	fenced *outcome
	// otherHooks: Save runs the hooks of an UPDATE.
	otherHooks bool
}

// attempt sends the statement and checks everything that can be seen of it.
func (r *run) attempt(a attempt) {
	if r.temporary && !r.failed {
		r.sequence = r.readSequence() // it cannot be read in an aborted transaction
	}
	before := r.sequence
	drift := r.drift(a)
	r.underNumbers(a, &drift)
	r.besideOpenImport(a, &drift)
	if drift.unprotected != "" {
		tally.add("left out: " + drift.unprotected)
		return
	}
	if r.failed {
		a.want, drift = outcome{fails: inFailedBlock, next: r.now}, expectation{}
	}
	r.snapped = r.snapped || r.inTransaction()
	var tx *gorm.DB
	var holds []held
	r.besideImport(func() { tx, holds = a.send(r.db(a.step)) })
	got := classify(r.kind, tx.Error)
	if translated := errors.Is(tx.Error, gorm.ErrDuplicatedKey); translated != (r.program.translated && (got == keyTaken || got == mailTaken)) {
		r.fail(a, "translated %v: %v", translated, tx.Error)
	} else if translated {
		tally.add("translated")
	}
	if a.fenced != nil && a.want.fails == notSerialized && got == a.fenced.fails {
		a.want = *a.fenced
		drift = r.drift(a)
	}
	if a.want.fails == success && got == notSerialized && r.level == sql.LevelSerializable && r.way(a.step, a.rows) == lookedAhead {
		a.want = outcome{fails: notSerialized, next: r.now}
		drift.must = false
		tally.add(tooLate)
	}
	if r.overtaken(a, got) {
		return
	}
	if r.changed && got == mailTaken && a.want.fails == keyTaken && slices.ContainsFunc(a.rows, func(one row) bool { return one.email != "" }) {
		got = a.want.fails // both are violated, and the server names the older index
	}
	if got == keyTaken && a.want.fails == mailTaken && drift.either {
		got = a.want.fails
	}
	if got == notSerialized && a.want.fails == mailTaken {
		got = a.want.fails // outside the snapshot the server may meet either row first; nothing is stored
	}
	if got != a.want.fails {
		r.fail(a, "ended with %q (%v), want %q", got, tx.Error, a.want.fails)
	}
	r.sequence = r.readSequence()
	if was, is := r.kind.position(before.next(r.kind)), r.kind.position(r.sequence.next(r.kind)); is < was {
		r.fail(a, "the sequence stepped back: %+v → %+v", before, r.sequence)
	}
	r.checkIncidents(a, drift)
	r.checkTryAgain(a, drift)
	r.checkHooks(a, holds)
	tally.add("form "+string(a.step.form), "conflict "+string(a.step.conflict), "ends "+string(a.want.fails))
	switch {
	case r.failed:
	case a.want.fails != success && r.inTransaction() && !a.survives:
		// P6: the transaction is as PostgreSQL leaves it.
		r.failed = true
		var one int
		if err := r.db(a.step).Raw("SELECT 1").Scan(&one).Error; classify(r.kind, err) != inFailedBlock {
			r.fail(a, "the transaction goes on after a failure: %v", err)
		}
	default:
		r.learn(&a)
		r.compare(a.want.next)
		r.now = a.want.next
		if r.inTransaction() {
			for at := range r.now.rows {
				r.written[at] = true
			}
		}
		r.checkHeld(a, tx, holds)
	}
}

func (r *run) fail(a attempt, format string, args ...any) {
	r.Helper()
	r.Fatalf("%s\nrows %+v, sequence %+v\n%s", r.doing, a.rows, r.sequence, fmt.Sprintf(format, args...))
}

// expectation is what the sequence and the rows say of drift before a statement.
type expectation struct {
	// must: an id that the statement draws is taken. may: one is, or lies among
	// those that the plugin looks ahead at.
	must, may bool
	// either: a drawn id is taken that another row names as well. Of an email that is
	// taken and this key, both the caller's errors, the plugin leaves what came first.
	either bool
	// guess: nobody can look at some of the rows in the way, so that it takes rounds.
	guess bool
	// another is the table of another tenant that may be healed instead.
	another *table
	// unprotected is a limit that the design states and the statement runs into.
	unprotected string
}

// lookAhead is how many values beyond its own a statement may be healed for.
const lookAhead = 16

// drift tells whether a statement is going to meet a drifted sequence.
func (r *run) drift(a attempt) (e expectation) {
	k := r.kind
	var tenants []int64
	named := map[int64]int{}
	for _, one := range a.rows {
		if one.null {
			continue
		}
		if one.id == 0 {
			tenants = append(tenants, one.tenant)
		} else {
			named[one.id]++
		}
	}
	if len(tenants) == 0 {
		return e
	}
	if k.cache > 1 { // what a session has cached is its own business
		e.may = true
		r.underSnapshot(a, &e)
		return e
	}
	value := r.sequence.next(k)
	for i := range len(tenants) + lookAhead {
		for _, tenant := range tenants {
			taken, own := r.stands(k.keyOf(row{tenant: tenant, id: value}), a.rows)
			e.may = e.may || taken || own
		}
		if i < len(tenants) {
			taken, own := r.stands(k.keyOf(row{tenant: tenants[i], id: value}), a.rows)
			e.must = e.must || taken || own
			e.either = e.either || taken && named[value] > 0
			if taken && named[value] > 0 && a.step.conflict == updateByMail {
				e.unprotected = "upsert by email, an id that is named and drawn" // also where it is healed
			}
			if k.composite && (taken || own) && (named[value] > 1 || named[value] == 1 && r.anyTenantHas(value)) {
				e.unprotected = "mixed batch under a composite key, an id of another tenant"
			}
		}
		value += k.increment
	}
	keyed := a.step.conflict == updateAll || a.step.conflict == updateByKey || a.step.conflict == nothingByKey
	if k.trigger && e.may && (keyed && len(named) == 0 || a.step.conflict == doNothing && len(a.rows) == 1) {
		e.unprotected = "upsert into a table with a BEFORE INSERT trigger"
	}
	// Where a row is dropped or changes another one, it need not collide.
	e.must = e.must && a.want.fails == success && a.want.inserted+len(named) >= len(a.rows) && a.step.action != triggerDrop
	if a.step.conflict == updateByMail || a.step.conflict == doNothing {
		e.must = e.must && a.want.inserted == len(a.rows)
	}
	if a.step.conflict == doNothing && len(a.rows) == 1 && !r.inTransaction() && r.program.mode == noTransaction {
		e.must = false // it is sent again in a transaction, and its next draw may fit
	}
	r.underSnapshot(a, &e)
	return e
}

// stands reports whether a row stands at a key, and whether one of those that are
// about to be sent names it.
func (r *run) stands(at key, rows []row) (taken, own bool) {
	_, taken = r.now.rows[at]
	taken = taken || r.now.hides(at)
	return taken, r.names(rows, at)
}

func (r *run) anyTenantHas(id int64) bool {
	return slices.ContainsFunc(r.keys(), func(at key) bool { return at.id == id })
}

func (r *run) checkIncidents(a attempt, drift expectation) {
	all := r.w.take()
	switch {
	case len(all) > 0 && !drift.may:
		r.fail(a, "incidents without drift: %v", all)
	case len(all) == 0 && drift.must:
		r.fail(a, "a drifted sequence was not reported; expected %+v", drift)
	case len(all) > 1 && a.step.form != batches && !(r.kind.numbered && len(all) == 2 && all[0].Column != all[1].Column):
		r.fail(a, "several incidents: %v", all)
	}
	if drift.another != nil {
		here := r.table
		r.table = drift.another
		r.sequence = r.readSequence()
		r.table = here
	}
	for _, i := range all {
		silent := a.step.conflict != none && a.step.conflict != updateByMail
		second := r.kind.numbered && i.Column == `"number"`
		if i.Outcome != plugin.Healed && i.Outcome != plugin.AlreadyHealed || i.Reason != "" || i.Silent != silent && !second ||
			!r.named(i.Table) && (drift.another == nil || !drift.another.named(i.Table)) || i.Column != `"id"` && !second {
			r.fail(a, "incident %v", i)
		}
		if second {
			tally.add("healed second key")
		}
		// P2: nobody inserts while the statement runs. The round that finds the
		// caller's own error behind a heal is counted as well.
		if i.Rounds != 1 && a.want.fails == success && !drift.guess && !r.kind.numbered {
			r.fail(a, "%d rounds: %v", i.Rounds, i)
		}
		if (i.Err != nil) != (a.want.fails != success) && a.step.form != batches {
			r.fail(a, "the incident ends with %v", i.Err)
		}
		if (i.To-i.From)*r.kind.increment < 0 {
			r.fail(a, "incident from %d to %d", i.From, i.To)
		}
		tally.add("incident "+string(i.Outcome), "guard of a heal "+i.Guard, "healed kind "+r.kind.name,
			"healed form "+string(a.step.form), "healed conflict "+string(a.step.conflict))
		if i.To-i.From > 1_000_000 {
			tally.add("healed far")
		}
		if r.inTransaction() {
			tally.add("healed in the caller's transaction", "healed at "+r.level.String())
		}
	}
}

// checkHooks: hooks run once, however often the INSERT is sent.
func (r *run) checkHooks(a attempt, holds []held) {
	if a.otherHooks || a.step.form == mapList || a.step.form == oneMap || a.step.form == batches && a.want.fails != success {
		return
	}
	want := calls{1, 1}
	if a.want.fails != success {
		want.after = 0
	}
	for _, h := range holds {
		if h.calls != want {
			r.fail(a, "hooks ran %+v, want %+v", h.calls, want)
		}
	}
}

// checkHeld: the caller's structs hold the ids of their rows.
func (r *run) checkHeld(a attempt, tx *gorm.DB, holds []held) {
	if a.want.fails != success {
		return
	}
	dropped := len(a.rows) - int(a.want.affected)
	if len(a.rows) > 1 && (a.step.conflict == doNothing || a.step.conflict == nothingByKey) &&
		(dropped > 0 || slices.ContainsFunc(a.rows, func(one row) bool { return one.id != 0 })) {
		return // GORM itself counts wrong and gives ids to the wrong elements of a slice
	}
	if tx.RowsAffected != a.want.affected {
		r.fail(a, "%d rows affected, want %d", tx.RowsAffected, a.want.affected)
	}
	for i, h := range holds {
		want := a.want.ended[i].id
		if dropped > 0 {
			want = a.rows[i].id
		}
		if h.known && h.id != want {
			r.fail(a, "element %d holds id %d, its row has %d", i, h.id, want)
		}
	}
}

// learn finds the ids that the database gave, by the rows' names, and checks
// that the sequence never handed one of them out before.
func (r *run) learn(a *attempt) {
	byName := map[string]row{}
	for _, one := range r.read().rows {
		byName[one.name] = one
	}
	k := r.kind
	for at, one := range a.want.next.rows {
		if !isPlaceholder(at.id) {
			continue
		}
		stored, found := byName[one.name]
		switch {
		case !found:
			r.fail(*a, "row %q is not there", one.name)
		case r.handed[stored.id] && !(k.cache > 1 && r.setBack):
			r.fail(*a, "id %d was handed out twice", stored.id)
		case !k.inPhase(stored.id):
			r.fail(*a, "id %d is not one of the sequence's", stored.id)
		case k.position(stored.id) >= k.position(r.sequence.next(k)) && !(k.cache > 1 && r.setBack):
			r.fail(*a, "id %d lies in front of the sequence", stored.id)
		}
		r.handed[stored.id] = true
		one.id = stored.id
		delete(a.want.next.rows, at)
		own := k.keyOf(one)
		if _, twice := a.want.next.rows[own]; twice {
			r.fail(*a, "row %q took the place of another", one.name)
		}
		a.want.next.rows[own] = one
		for i, ended := range a.want.ended {
			if ended == at {
				a.want.ended[i] = own
			}
		}
	}
}

package model

import (
	"database/sql"
	"slices"

	"github.com/seqheal/seqheal/plugin"
)

// blockLevels are those of the caller's transactions. At all but the first a
// transaction does not see what others commit once it has its snapshot.
var blockLevels = []sql.IsolationLevel{sql.LevelDefault, sql.LevelRepeatableRead, sql.LevelSerializable}

// enter begins a transaction in the model.
func (r *run) enter(level sql.IsolationLevel) {
	r.level, r.snapped = level, false
	if level != sql.LevelDefault {
		r.now.hidden = &state{rows: map[key]row{}}
	}
}

// leave ends it: what others have committed can be seen.
func (r *run) leave() {
	hidden := r.now.hidden
	r.level = sql.LevelDefault
	if hidden == nil {
		return
	}
	r.now = r.now.clone()
	r.now.hidden = nil
	r.now.log += hidden.log
	for at, one := range hidden.rows {
		r.now.rows[at] = one
	}
}

// hide takes in a row that somebody else commits, where the open transaction does not
// see it.
func (r *run) hide(one row) bool {
	if r.now.hidden == nil || !r.snapped {
		return false
	}
	after := r.now.hidden.insert(r.kind.lenient(), []row{one}, none)
	if after.fails != success {
		r.Fatalf("the model's own writer: %s", after.fails)
	}
	*r.now.hidden = after.next
	tally.add("outside a snapshot")
	return true
}

// hides reports whether a row stands at a key that the transaction does not see.
func (s state) hides(at key) bool {
	if s.hidden == nil {
		return false
	}
	_, hidden := s.hidden.rows[at]
	return hidden
}

// there is the row at a key, seen or not.
func (s state) there(at key) row {
	if s.hides(at) {
		return s.hidden.rows[at]
	}
	return s.rows[at]
}

// way is how the plugin lets a statement meet ids that it draws and that are taken.
type way int

const (
	// fenced: the server says 23505, whoever sees the row, and it is healed.
	fenced way = iota
	// guarded: a row in the snapshot is met without damage, and healed; of one outside the
	// server says 40001. The conflict guard, a tripwire, and DO NOTHING of one row.
	guarded
	// lookedAhead: what the look ahead does not see is met as guarded does, and rows
	// in the snapshot drop or miss those of the statement.
	lookedAhead
)

func (r *run) way(s step, rows []row) way {
	k := r.kind
	one := len(rows) == 1 || s.form == batches && len(rows)%2 == 1
	omitted, named := drawing(rows)
	switch {
	case len(omitted) == 0, s.conflict == updateByMail:
		return fenced
	case s.conflict == doNothing && one && !k.statement:
		return guarded
	case s.conflict == doNothing, s.conflict == nothingByKey, s.conflict != none && (named > 0 && k.composite || k.trigger):
		return lookedAhead
	case s.conflict != none:
		return guarded
	case one && s.conflict == none && r.program.guard == plugin.GuardAuto && k.guardable():
		return guarded
	}
	return fenced
}

// drawing splits rows into those that leave their id out and how many name it.
func drawing(rows []row) (omitted []row, named int) {
	for _, one := range rows {
		switch {
		case one.null:
		case one.id == 0:
			omitted = append(omitted, one)
		default:
			named++
		}
	}
	return omitted, named
}

// draws are the values that a statement draws while nobody heals. The zero value is a
// statement that is healed whatever it meets.
type draws struct {
	known bool
	first int64
}

// meet reports whether the row that draws the nth value meets a row outside the snapshot.
func (d draws) meet(s state, k *kind, r row, n int) bool {
	if !d.known {
		return false
	}
	r.id = d.first + int64(n-1)*k.increment
	return s.hides(k.keyOf(r))
}

// unhealed is what a statement draws before anything can be healed.
func (r *run) unhealed(s step, rows []row) draws {
	if r.now.hidden == nil {
		return draws{}
	}
	way := r.way(s, rows)
	if way == fenced || way == lookedAhead && r.foreseen(s, rows) {
		return draws{}
	}
	d := draws{known: true, first: r.sequence.next(r.kind)}
	if way == guarded && (r.tripsFirst(rows, d) || s.conflict != none && r.namesAhead(rows)) {
		return draws{}
	}
	return d
}

// namesAhead reports whether the statement itself names one of the next values, which an upsert
// looks at before it is sent.
func (r *run) namesAhead(rows []row) bool {
	return r.inFront(rows, r.sequence.next(r.kind), func(at key) bool {
		return slices.ContainsFunc(rows, func(one row) bool { return one.id != 0 && r.kind.keyOf(one) == at })
	})
}

// tripsFirst reports whether a draw meets a row in the snapshot before one meets a row outside.
func (r *run) tripsFirst(rows []row, d draws) bool {
	omitted, _ := drawing(rows)
	for n, one := range omitted {
		if d.meet(r.now, r.kind, one, n+1) {
			return false
		}
		one.id = d.first + int64(n)*r.kind.increment
		if _, there := r.now.rows[r.kind.keyOf(one)]; there {
			return true
		}
	}
	return false
}

// inFront calls yes with the keys that the omitted rows would have with each of the next
// values, its own and those of the look ahead, and reports whether it said so once.
func (r *run) inFront(rows []row, first int64, yes func(key) bool) bool {
	omitted, _ := drawing(rows)
	for n := range len(omitted) + lookAhead {
		for _, one := range omitted {
			one.id = first + int64(n)*r.kind.increment
			if yes(r.kind.keyOf(one)) {
				return true
			}
		}
	}
	return false
}

// foreseen reports whether the look ahead finds drift: among the statement's own ids, and among
// rows where nothing shows afterwards what it met. In SERIALIZABLE it looks at the rows that
// others see.
func (r *run) foreseen(s step, rows []row) bool {
	_, named := drawing(rows)
	return r.inFront(rows, r.sequence.next(r.kind), func(at key) bool {
		_, there := r.now.rows[at]
		nothing := s.conflict == doNothing || s.conflict == nothingByKey
		there = there && (r.kind.composite || r.kind.cache > 1 || nothing && (named > 0 || r.kind.trigger || r.kind.audit || r.kind.statement)) // else what came back tells, or a question afterwards
		if r.level == sql.LevelSerializable {
			there = r.committed(at)
		}
		return there || r.names(rows, at)
	})
}

// namesNext reports whether a row names an id that another one may draw. Those are looked at
// behind a tripwire as well.
func (r *run) namesNext(rows []row) bool {
	return r.inFront(rows, r.sequence.next(r.kind), func(at key) bool { return r.names(rows, at) })
}

func (r *run) names(rows []row, at key) bool {
	return slices.ContainsFunc(rows, func(one row) bool { return one.id != 0 && r.kind.keyOf(one) == at })
}

// ownAhead reports whether rows of the transaction's own lie in front of the sequence.
// From a second connection they are not to be seen.
func (r *run) ownAhead() bool {
	return slices.ContainsFunc(r.keys(), func(at key) bool {
		// What the session has cached lies behind the sequence's own next value.
		return r.own(at) && (r.kind.cache > 1 || r.kind.position(at.id) >= r.kind.position(r.sequence.next(r.kind)))
	})
}

func (r *run) own(at key) bool {
	_, there := r.now.rows[at]
	_, before := r.saved[0].rows[at]
	return there && !before
}

// committedInFront reports whether others see a row among the next values.
func (r *run) committedInFront(rows []row, first int64) bool {
	return r.inFront(rows, first, r.committed)
}

func (r *run) committed(at key) bool {
	_, before := r.saved[0].rows[at]
	return before || r.now.hides(at)
}

// lastOfBatches: the last statement of an odd number of rows sends one, in front of
// which those before it have been healed if they met anything.
func (r *run) lastOfBatches(o *outcome, rows []row) {
	if r.now.hidden == nil || r.way(step{form: batches}, rows) != guarded || o.fails != success || rows[len(rows)-1].id != 0 {
		return
	}
	omitted, _ := drawing(rows)
	for n, one := range omitted {
		one.id = r.sequence.next(r.kind) + int64(n)*r.kind.increment
		at := r.kind.keyOf(one)
		_, there := r.now.rows[at]
		switch {
		case n == len(omitted)-1 && r.now.hides(at):
			*o = outcome{fails: notSerialized, next: r.now, drew: n + 1}
		case there || r.now.hides(at):
			return
		}
	}
}

// underSnapshot tells what is expected of a statement in a transaction that has a
// snapshot, beside what drift says of every other.
func (r *run) underSnapshot(a attempt, e *expectation) {
	if r.now.hidden == nil {
		return
	}
	k, way, serializable := r.kind, r.way(a.step, a.rows), r.level == sql.LevelSerializable
	omitted, _ := drawing(a.rows)
	met := func(at key) bool { _, there := r.now.rows[at]; return there }
	switch {
	case k.cache > 1 && way != fenced && (len(r.now.hidden.rows) > 0 || serializable):
		e.unprotected = "under a snapshot, what a session has cached"
	case way == lookedAhead && serializable && !r.foreseen(a.step, a.rows) && r.inFront(a.rows, r.sequence.next(k), met) &&
		(k.trigger || k.statement || k.view || k.composite || a.step.conflict == doNothing || a.step.conflict == nothingByKey):
		e.unprotected = "rows in front of an upsert in SERIALIZABLE"
	case serializable && r.ownAhead() && len(omitted) > 0 && (way == lookedAhead || way == guarded && a.step.conflict == doNothing):
		e.unprotected = "the transaction's own rows in front of an upsert in SERIALIZABLE"
	}
	e.guess = serializable && r.ownAhead()
	// From a second connection rows are seen that the transaction itself has deleted.
	e.may = e.may || serializable && way == lookedAhead && r.committedInFront(a.rows, r.sequence.next(k))
	// Nobody can tell an id of the transaction's own that the statement names from one
	// that it drew, until it collides again.
	e.may = e.may || serializable && len(omitted) > 0 && slices.ContainsFunc(a.rows, func(one row) bool {
		return one.id != 0 && r.own(k.keyOf(one))
	})
	switch {
	case a.want.fails == rowsMissing:
		e.must = true // the next try would meet them as well
	case a.want.fails == notSerialized && (k.cache > 1 || len(omitted) == 0):
		e.must = false
	case a.want.fails == notSerialized:
		e.must = r.movedForTheNextTry(a, way)
		e.may = e.must || way == guarded && r.namesNext(a.rows) // healed, and then what 40001 is about
		if way == guarded && r.table != r.tables[0] {
			// The aborted transaction cannot be asked which table the name stood for: the one
			// that is remembered is looked at.
			e.must, e.may, e.another = false, true, r.tables[0]
		}
	}
}

// movedForTheNextTry reports whether a statement that ends with 40001 moves the sequence.
func (r *run) movedForTheNextTry(a attempt, way way) bool {
	k := r.kind
	after := r.sequence.next(k) + int64(a.want.drew)*k.increment
	switch {
	case way == lookedAhead && r.foreseen(a.step, a.rows):
		return true // it did before
	case way == lookedAhead:
		return r.committedInFront(a.rows, after)
	case a.step.conflict == doNothing:
		return false // a retry that meets drift heals it
	}
	if a.step.conflict == none {
		a.rows = a.rows[len(a.rows)-1:]
	}
	return r.committedInFront(a.rows, after)
}

// checkTryAgain: the application tries again on what a snapshot brings about, and then
// meets it no more.
func (r *run) checkTryAgain(a attempt, drift expectation) {
	if a.want.fails != notSerialized && a.want.fails != rowsMissing {
		return
	}
	if r.retrying && !r.disturbed {
		r.fail(a, "the application's first retry met drift again")
	}
	if again := r.doing; r.again == nil {
		r.again, r.disturbed = &again, false
	}
	if !drift.must || r.kind.composite {
		return
	}
	for _, at := range r.keys() {
		if r.committed(at) && r.kind.position(at.id) >= r.kind.position(r.sequence.next(r.kind)) {
			r.fail(a, "the sequence was not moved past id %d", at.id)
		}
	}
}

// tryAgain sends what failed once more, in a transaction of its own.
func (r *run) tryAgain(s step) {
	if r.again == nil || r.retrying {
		return
	}
	again := *r.again
	r.again, r.retrying = nil, true
	tally.add("tried again")
	r.block(step{action: block, level: s.level, tenant: s.tenant, steps: []step{again}})
	r.retrying = false
}

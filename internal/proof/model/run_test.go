package model

import (
	"database/sql"
	"fmt"
	"slices"

	"gorm.io/gorm"
	"pgregory.net/rapid"
)

// run is a program under way: what the server does beside what the model says.
type run struct {
	*rapid.T
	*table  // the one at work
	w       *worker
	program program
	app     *gorm.DB // the transaction while one is open
	other   *gorm.DB
	// saved is what a rollback brings back: the state before the transaction and
	// those of its savepoints. Empty outside a transaction.
	saved []state
	// written holds the keys of all rows that the transaction has written, also of
	// those that it has deleted again: until it ends, nobody else can have them.
	written map[key]bool
	// failed: the transaction is aborted, as PostgreSQL leaves it after a failure.
	failed bool
	// importing is what the writer has stored and not committed.
	importing *openImport
	rows      int // rows so far, for their names
	doing     step
	floor     int // how many entries of saved lie behind the nested transaction
	// level is that of the open transaction, and snapped is true once it has its snapshot.
	level   sql.IsolationLevel
	snapped bool
	// again is what failed in the transaction and the application tries once more;
	// retrying is true meanwhile, disturbed when others did anything since it failed.
	again *step
	// changed: the table has become another one.
	changed             bool
	tables              []*table // the tenants'
	retrying, disturbed bool
}

func runTable(t *rapid.T, w *worker, p program) {
	r := &run{T: t, w: w, program: p}
	r.mend()
	var err error
	here := setting{kind: p.kind, mode: p.mode, guard: p.guard, prepared: p.prepared, translated: p.translated}
	here.pool = w.app
	if r.app, err = w.open(here, p.warm, r.warmUp); err != nil {
		t.Fatal(err)
	}
	here.pool = w.other
	if r.other, err = w.open(here, p.warm, r.warmUp); err != nil {
		t.Fatal(err)
	}
	w.take()
	r.begin()
	if r.kind.cache > 1 {
		if err := w.discardSequences(); err != nil {
			t.Fatal(err)
		}
	}
	tally.add("programs", string(p.mode), "kind "+p.kind, fmt.Sprint("guard ", p.guard), fmt.Sprint("warm ", p.warm),
		fmt.Sprint("prepared ", p.prepared), fmt.Sprint("translated ", p.translated))
	defer r.dropImport()
	r.all(p.steps)
	r.compare(r.now)
}

func (r *run) all(steps []step) {
	for _, s := range steps {
		r.doing = s
		r.step(s)
	}
	r.endImport()
}

func (r *run) inTransaction() bool { return len(r.saved) > 0 }

// db is a session of the application's that carries no error of an earlier step.
func (r *run) db(s step) *gorm.DB {
	if s.elsewhere {
		tally.add("elsewhere")
		return r.other.Session(&gorm.Session{})
	}
	return r.app.Session(&gorm.Session{})
}

func (r *run) step(s step) {
	tally.add("step " + string(s.action))
	if !s.action.inserts() {
		r.endImport()
	}
	switch s.action {
	case insertRows, triggerDrop:
		r.insert(s)
	case saveRows, saveRow:
		r.save(s)
	case softDelete, hardDelete:
		r.remove(s)
	case setBack:
		r.moveBack(s)
	case writer:
		r.write(s)
	case block:
		r.block(s)
	case nested:
		r.nest(s)
	case setSavepoint:
		r.savepoint(s)
	case rollbackTo:
		r.rollbackTo(s.pick)
	case changeTable:
		r.change(s)
	}
}

// build makes the rows of a step.
func (r *run) build(s step) []row {
	rows := make([]row, 0, len(s.rows))
	for _, spec := range s.rows {
		one := row{tenant: spec.tenant, name: r.name("n"), qty: int64(r.rows)}
		if s.action == triggerDrop {
			one.name = r.name("drop")
		}
		one.id = r.chooseID(spec, &one, rows)
		switch spec.mail {
		case newMail:
			one.email = one.name + "@x"
		case takenMail:
			one.email = r.takenMail(spec.offset)
		}
		rows = append(rows, one)
	}
	return rows
}

func (r *run) name(prefix string) string {
	r.rows++
	return fmt.Sprintf("%s%d", prefix, r.rows)
}

// chooseID finds the id that a spec describes. An existing row lends its tenant,
// for that may belong to the key.
func (r *run) chooseID(s spec, one *row, others []row) int64 {
	k := r.kind
	id := r.sequence.next(k)
	switch s.id {
	case omitted:
		return 0
	case existing:
		keys := slices.DeleteFunc(r.keys(), r.imports)
		if len(keys) == 0 {
			return 0
		}
		at := keys[s.offset%len(keys)]
		one.tenant = r.now.there(at).tenant
		return at.id
	case ahead:
		id += int64(s.offset) * k.increment
	case between:
		id += int64(s.offset)*k.increment + 1
	case further:
		id += 3_000 * k.increment
	case far:
		id += 3_000_000 * k.increment
	}
	for id == 0 || r.occupied(k.keyOf(row{tenant: one.tenant, id: id}), others) {
		id += k.increment
	}
	return id
}

// occupied reports whether a row stands at a key, has stood there in a
// transaction that may still be rolled back, or is about to.
func (r *run) occupied(at key, others []row) bool {
	if r.written[at] || r.now.hides(at) {
		return true
	}
	for _, s := range append(slices.Clone(r.saved), r.now) {
		if _, there := s.rows[at]; there {
			return true
		}
	}
	return slices.ContainsFunc(others, func(o row) bool { return r.kind.keyOf(o) == at })
}

// keys are those of the rows that are there, seen or not, in an order that is always
// the same.
func (r *run) keys() []key {
	var keys []key
	for at := range r.now.rows {
		keys = append(keys, at)
	}
	if r.now.hidden != nil {
		for at := range r.now.hidden.rows {
			keys = append(keys, at)
		}
	}
	slices.SortFunc(keys, func(a, b key) int { return int(a.id-b.id)*4 + int(a.tenant-b.tenant) })
	return keys
}

func (r *run) takenMail(offset int) string {
	var taken []string
	for _, at := range r.keys() {
		if email := r.now.rows[at].email; email != "" {
			taken = append(taken, email)
		}
	}
	if len(taken) == 0 {
		return ""
	}
	return taken[offset%len(taken)]
}

// moveBack sets the sequence back by some steps, as a restore does.
func (r *run) moveBack(s step) {
	k := r.kind
	if r.temporary && r.failed {
		return
	}
	r.disturbed = true
	next := r.sequence.next(k)
	to := max(0, k.position(next)-int64(s.pick)-1)
	r.exec(fmt.Sprintf("SELECT setval('%s', %d, false)", k.sequence(), k.start+to*k.increment))
	r.moveNumbersBack(int64(s.pick) + 1)
	clear(r.handed)
	r.setBack = true
	r.sequence = r.readSequence()
}

// write commits rows with explicit ids on a connection that knows no plugin, or leaves its
// transaction open.
func (r *run) write(s step) {
	if r.temporary {
		r.writeOwn(s)
		return
	}
	r.disturbed = true
	exec := r.exec
	if s.open && r.now.hidden == nil {
		r.beginImport()
		exec = func(statement string) {
			if _, err := r.importing.tx.Exec(statement); err != nil {
				r.Fatalf("%s: %v", statement, err)
			}
		}
	}
	for _, one := range r.build(s) {
		column, value := r.numberFor()
		exec(fmt.Sprintf("INSERT INTO %s (tenant_id, id, name, qty%s) OVERRIDING SYSTEM VALUE VALUES (%d, %d, '%s', %d%s)",
			r.kind.table, column, one.tenant, one.id, one.name, one.qty, value))
		if r.importing != nil {
			r.importing.keys[r.kind.keyOf(one)] = true
		}
		if r.hide(one) {
			continue
		}
		into := append(slices.Clone(r.saved), r.now)
		for i := range into {
			after := into[i].insert(r.kind.lenient(), []row{one}, none)
			if after.fails != success {
				r.Fatalf("the model's own writer: %s", after.fails)
			}
			into[i] = after.next
		}
		r.saved, r.now = into[:len(into)-1], into[len(into)-1]
	}
	if r.importing == nil {
		r.compareUnlessFailed()
	}
}

// lenient is the kind as OVERRIDING SYSTEM VALUE sees it.
func (k *kind) lenient() *kind {
	own := *k
	own.always = false
	return &own
}

func (r *run) insert(s step) {
	rows := r.build(s)
	if r.kind.anyEmail && s.conflict == updateByMail {
		s.conflict = updateAll
	}
	if s.form == mapList && slices.ContainsFunc(rows, func(one row) bool { return one.id != 0 }) {
		for i := range rows {
			rows[i].null = rows[i].id == 0
		}
	}
	unhealed := r.unhealed(s, rows)
	o := r.now.insertDrawing(r.kind, rows, s.conflict, unhealed)
	if s.action == triggerDrop {
		s.form = oneStruct
		o = outcome{next: r.now.clone(), ended: []key{{}}}
		o.next.log++
	}
	if s.form == batches {
		o = r.now.insertInBatches(r.kind, rows, r.program.mode == noTransaction && !r.inTransaction())
	}
	call := attempt{step: s, rows: rows, want: o}
	call.fenced = r.inSavepoint(s, rows, unhealed)
	if s.form == batches {
		r.lastOfBatches(&call.want, rows)
		call.fenced = &o
	}
	call.send = func(db *gorm.DB) (*gorm.DB, []held) {
		if r.kind.composite {
			return send[tenantItem](db, s.form, s.conflict, r.kind, rows)
		}
		return send[item](db, s.form, s.conflict, r.kind, rows)
	}
	// CreateInBatches has a savepoint of its own.
	call.survives = s.form == batches && len(rows) > 2 && r.program.mode != noTransaction
	r.attempt(call)
}

func (r *run) save(s step) {
	rows := r.build(s)
	s.conflict = updateAll
	if s.action == saveRow && rows[0].id == 0 {
		s.conflict = none
	}
	unhealed := r.unhealed(s, rows)
	o := r.now.insertDrawing(r.kind, rows, s.conflict, unhealed)
	if s.action == saveRow {
		s.form = oneStruct
		if rows[0].id != 0 {
			o = r.now.save(r.kind, rows[0])
		}
	}
	call := attempt{step: s, rows: rows, want: o, otherHooks: s.action == saveRow && rows[0].id != 0,
		fenced: r.inSavepoint(s, rows, unhealed)}
	call.send = func(db *gorm.DB) (*gorm.DB, []held) {
		switch {
		case r.kind.composite && s.action == saveRow:
			return saveOne[tenantItem](db, r.kind, rows[0])
		case r.kind.composite:
			return save[tenantItem](db, r.kind, rows)
		case s.action == saveRow:
			return saveOne[item](db, r.kind, rows[0])
		}
		return save[item](db, r.kind, rows)
	}
	r.attempt(call)
}

// inSavepoint is what a plain INSERT comes to in a savepoint instead of behind the conflict
// guard, nil for every other statement.
func (r *run) inSavepoint(s step, rows []row, unhealed draws) *outcome {
	if !unhealed.known || s.conflict != none || s.action == triggerDrop {
		return nil
	}
	fenced := r.now.insert(r.kind, rows, none)
	return &fenced
}

func (r *run) remove(s step) {
	keys := r.keys()
	if len(keys) == 0 {
		return
	}
	at, soft := keys[s.pick%len(keys)], s.action == softDelete
	call := attempt{step: s, want: r.now.delete(at, soft)}
	call.send = func(db *gorm.DB) (*gorm.DB, []held) {
		if r.kind.composite {
			return remove[tenantItem](db, r.kind, at, soft), nil
		}
		return remove[item](db, r.kind, at, soft), nil
	}
	r.attempt(call)
}

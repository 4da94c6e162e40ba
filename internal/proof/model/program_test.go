package model

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/seqheal/seqheal/plugin"
)

// program is what an application does with one table. It is drawn before it
// runs and names rows by their place among those that will be there, so that a
// seed and a shrunk program mean the same in every run.
type program struct {
	kind  string
	mode  mode
	guard plugin.Guard
	// warm: the plugin has seen the table before.
	warm bool
	// prepared and translated are GORM's PrepareStmt and TranslateError.
	prepared, translated bool
	// changes: its table becomes another one while it runs.
	changes bool
	steps   []step
}

type mode string

const (
	noTransaction      mode = "no transaction"
	gormTransaction    mode = "GORM's transaction"
	callersTransaction mode = "caller's transaction"
)

// action is what a step does.
type action string

const (
	insertRows   action = "insert"
	saveRow      action = "save one"
	saveRows     action = "save"
	softDelete   action = "soft delete"
	hardDelete   action = "delete"
	setBack      action = "setval"
	writer       action = "explicit ids on a second connection"
	triggerDrop  action = "row that a trigger drops"
	block        action = "transaction"
	nested       action = "nested transaction"
	setSavepoint action = "savepoint"
	rollbackTo   action = "rollback to savepoint"
	changeTable  action = "change"
)

// inserts reports whether the action sends rows that leave their ids out.
func (a action) inserts() bool { return a == insertRows || a == saveRow || a == saveRows }

// form is how rows are handed to GORM.
type form string

const (
	oneStruct form = "struct"
	slice     form = "slice"
	pointers  form = "pointers"
	batches   form = "batches of two"
	oneMap    form = "map"
	mapList   form = "maps"
	selected  form = "Select without the id"
)

// conflict is the statement's ON CONFLICT.
type conflict string

const (
	none         conflict = ""
	doNothing    conflict = "DO NOTHING"
	nothingByKey conflict = "DO NOTHING by key"
	updateAll    conflict = "UpdateAll"
	updateByKey  conflict = "DO UPDATE by key"
	updateByMail conflict = "DO UPDATE by email"
)

// idChoice is where a row's id comes from.
type idChoice string

const (
	omitted  idChoice = "omitted"
	existing idChoice = "existing" // of a row that is there
	ahead    idChoice = "ahead"    // a few steps in front of the sequence
	further  idChoice = "further"  // thousands of steps: walked
	far      idChoice = "far"      // millions of steps: jumped
	between  idChoice = "between"  // in front, and where the sequence has steps not one of them
)

// mailChoice is where a row's email comes from.
type mailChoice string

const (
	noMail    mailChoice = "no"
	newMail   mailChoice = "new"
	takenMail mailChoice = "taken"
)

// spec describes a row.
type spec struct {
	id     idChoice
	offset int
	mail   mailChoice
	tenant int64
}

func (s spec) String() string {
	text := string(s.id)
	if s.id != omitted {
		text += fmt.Sprint(" ", s.offset)
	}
	if s.mail != noMail {
		text += ", email " + string(s.mail)
	}
	return fmt.Sprintf("{%s, tenant %d}", text, s.tenant)
}

type step struct {
	action   action
	form     form
	conflict conflict
	rows     []spec
	// pick chooses among the rows or savepoints that are there.
	pick int
	// elsewhere: on another application's connection, when none of this one's
	// transactions is open.
	elsewhere bool
	steps     []step             // of a block, and what follows a savepoint
	undo      bool               // they are rolled back
	level     sql.IsolationLevel // of a block
	// open: the writer's transaction stays open while the next statement is sent.
	open bool
	// tenant is the schema that a block works in; temporary: it makes a table of its own
	// that shadows the one of that name.
	tenant    int
	temporary bool
	// reads: a block reads first, so that it has its snapshot before others do anything.
	reads bool
}

func (s step) String() string {
	text := string(s.action)
	if s.action == insertRows {
		text += " " + string(s.form)
	}
	if s.conflict != none {
		text += " ON CONFLICT " + string(s.conflict)
	}
	if len(s.rows) > 0 {
		text += fmt.Sprint(" ", s.rows)
	}
	switch s.action {
	case softDelete, hardDelete, setBack, rollbackTo:
		text += fmt.Sprint(" ", s.pick)
	case changeTable:
		text += ": " + string(changes[s.pick%len(changes)])
	}
	if s.temporary {
		text += " with a temporary table"
	}
	if s.tenant > 0 {
		text += fmt.Sprint(" of tenant ", s.tenant+1)
	}
	if s.open {
		text += " stays open"
	}
	if s.elsewhere {
		text += " elsewhere"
	}
	if s.level != sql.LevelDefault {
		text += fmt.Sprintf(" in %s, reads %v", s.level, s.reads)
	}
	if len(s.steps) > 0 {
		text += " {" + lines(s.steps) + "\n} " + map[bool]string{false: "kept", true: "undone"}[s.undo]
	}
	return text
}

func lines(steps []step) string {
	var b strings.Builder
	for _, s := range steps {
		b.WriteString("\n  " + strings.ReplaceAll(s.String(), "\n", "\n  "))
	}
	return b.String()
}

func (p program) String() string {
	return fmt.Sprintf("%s, %s, guard %d, warm %v, PrepareStmt %v, TranslateError %v%s",
		p.kind, p.mode, p.guard, p.warm, p.prepared, p.translated, lines(p.steps))
}

// tenants is how many of the tenants' tables the program works with.
func (p program) tenants() int {
	most := 0
	for _, s := range p.steps {
		most = max(most, s.tenant)
	}
	return most + 1
}

// GoString is how rapid prints a drawn program.
func (p program) GoString() string { return p.String() }

// place is where a step stands: what may be drawn there.
type place int

const (
	outside place = iota
	inBlock
	inSnapshot // of a block at a level that has one
	inNested
)

var programs = rapid.Custom(func(t *rapid.T) program {
	p := program{
		kind:  rapid.SampledFrom(kindNames()).Draw(t, "kind"),
		mode:  rapid.SampledFrom([]mode{callersTransaction, callersTransaction, gormTransaction, noTransaction}).Draw(t, "mode"),
		guard: rapid.SampledFrom([]plugin.Guard{plugin.GuardAuto, plugin.GuardSavepoint}).Draw(t, "guard"),
		warm:  true, // what is first read under a snapshot is sent in a savepoint

		prepared:   rapid.IntRange(0, 3).Draw(t, "prepared") == 0,
		translated: rapid.IntRange(0, 3).Draw(t, "translated") == 0,
	}
	// Each GORM keeps its prepared statements on the connection: only the warm ones
	// prepare, which stay.
	p.prepared = p.prepared && p.warm
	p.changes = rapid.IntRange(0, 5).Draw(t, "changes") == 0
	p.steps = rapid.SliceOfN(stepIn(p, outside), 1, 8).Draw(t, "steps")
	return p
})

var specs = rapid.Custom(func(t *rapid.T) spec {
	return spec{
		id:     rapid.SampledFrom([]idChoice{omitted, omitted, omitted, omitted, existing, ahead, ahead, further, far, between}).Draw(t, "id"),
		offset: rapid.IntRange(0, 5).Draw(t, "offset"),
		mail:   rapid.SampledFrom([]mailChoice{noMail, noMail, newMail, newMail, takenMail}).Draw(t, "mail"),
		tenant: int64(rapid.IntRange(1, 2).Draw(t, "tenant")),
	}
})

// plainSpecs leave their id out.
var plainSpecs = rapid.Map(specs, func(s spec) spec { s.id = omitted; return s })

// batchSpecs leave their id out or name one that exists: an id in front of the
// sequence may be drawn by the statement before the one that names it.
var batchSpecs = rapid.Map(specs, func(s spec) spec {
	if s.id != existing {
		s.id = omitted
	}
	return s
})

// writerSpecs name ids that nobody has.
var writerSpecs = rapid.Map(specs, func(s spec) spec {
	s.mail = noMail
	if s.id == omitted || s.id == existing {
		s.id = ahead
	}
	return s
})

// nextSpecs name the ids that come next.
var nextSpecs = rapid.Map(writerSpecs, func(s spec) spec {
	if s.id == ahead {
		s.offset %= 2
	}
	return s
})

// openings are what a transaction with a snapshot begins with: what others do while it
// runs, and an upsert that names an id far from those that it draws, which in
// SERIALIZABLE no look warns.
var openings = []*rapid.Generator[[]step]{
	rapid.Just([]step(nil)),
	rapid.Custom(func(t *rapid.T) []step { return []step{othersWrite(t)} }),
	rapid.Custom(func(t *rapid.T) []step {
		mixed := step{action: saveRows, rows: []spec{plainSpecs.Draw(t, "row"), {id: further, mail: noMail, tenant: 1}}}
		return []step{othersWrite(t), mixed}
	}),
}

func othersWrite(t *rapid.T) step {
	return step{action: writer, rows: rapid.SliceOfN(nextSpecs, 1, 3).Draw(t, "others")}
}

func stepIn(p program, where place) *rapid.Generator[step] {
	actions := []action{
		insertRows, insertRows, insertRows, insertRows, insertRows, insertRows, saveRows, saveRow,
		softDelete, hardDelete, setBack, writer, writer, writer,
	}
	if p.kind == "trigger" {
		actions = append(actions, triggerDrop, triggerDrop)
	}
	if where == outside && p.changes {
		actions = append(actions, changeTable, changeTable, changeTable)
	}
	if p.mode == callersTransaction {
		switch where {
		case outside:
			actions = append(actions, block, block, block, block, block, block)
		case inSnapshot:
			actions = append(actions, writer, writer, writer, saveRows, saveRows)
			fallthrough
		case inBlock:
			actions = append(actions, setSavepoint, setSavepoint, rollbackTo, rollbackTo, nested, nested)
		case inNested:
			actions = append(actions, rollbackTo)
		}
	}
	return rapid.Custom(func(t *rapid.T) step {
		s := step{action: rapid.SampledFrom(actions).Draw(t, "action")}
		switch s.action {
		case insertRows:
			s.drawInsert(t)
		case saveRows, saveRow:
			most := 3
			if s.action == saveRow {
				most = 1
			}
			s.rows = rapid.SliceOfN(specs, 1, most).Draw(t, "rows")
		case triggerDrop:
			s.rows = []spec{plainSpecs.Draw(t, "row")}
		case writer:
			specs := writerSpecs
			if where == inSnapshot {
				specs = nextSpecs
			}
			s.rows = rapid.SliceOfN(specs, 1, 3).Draw(t, "rows")
			s.open = rapid.IntRange(0, 2).Draw(t, "open") == 0
		case softDelete, hardDelete, setBack, rollbackTo:
			s.pick = rapid.IntRange(0, 7).Draw(t, "pick")
		case changeTable:
			s.pick = rapid.IntRange(0, len(changes)-1).Draw(t, "change")
		case block:
			s.tenant = rapid.IntRange(0, tenants-1).Draw(t, "tenant")
			s.temporary = slices.Contains(temporaryKinds, p.kind) && rapid.IntRange(0, 5).Draw(t, "temporary") == 0
			s.level = rapid.SampledFrom(blockLevels).Draw(t, "level")
			if s.temporary {
				s.level = sql.LevelDefault // the model does not say what a second connection cannot see
			}
			inside := inBlock
			if s.level != sql.LevelDefault {
				inside = inSnapshot
				s.reads = rapid.IntRange(0, 2).Draw(t, "reads") > 0
			}
			s.steps = rapid.SliceOfN(stepIn(p, inside), 1, 6).Draw(t, "steps")
			if inside == inSnapshot {
				s.steps = append(rapid.SampledFrom(openings).Draw(t, "opening").Draw(t, "first"), s.steps...)
			}
			s.undo = rapid.IntRange(0, 2).Draw(t, "undo") == 0
		case nested, setSavepoint:
			s.steps = rapid.SliceOfN(stepIn(p, inNested), 1, 3).Draw(t, "steps")
			s.undo = rapid.Bool().Draw(t, "undo")
		}
		s.elsewhere = where == outside && s.action != block && rapid.IntRange(0, 4).Draw(t, "elsewhere") == 0
		return s
	})
}

func (s *step) drawInsert(t *rapid.T) {
	s.form = rapid.SampledFrom([]form{oneStruct, oneStruct, oneStruct, slice, slice, pointers, batches, oneMap, mapList, selected}).Draw(t, "form")
	if s.form == oneStruct || s.form == slice || s.form == pointers {
		s.conflict = rapid.SampledFrom([]conflict{none, none, none, doNothing, nothingByKey, updateAll, updateByKey, updateByMail}).Draw(t, "conflict")
	}
	row := plainSpecs
	if s.form != selected && rapid.IntRange(0, 2).Draw(t, "named") == 0 {
		row = specs
	}
	switch s.form {
	case oneStruct, oneMap, selected:
		s.rows = []spec{row.Draw(t, "row")}
	case batches:
		s.rows = rapid.SliceOfN(batchSpecs, 1, 5).Draw(t, "rows")
	default:
		s.rows = rapid.SliceOfN(row, 1, 3).Draw(t, "rows")
	}
}

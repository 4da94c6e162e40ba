package model

import (
	"fmt"
	"maps"
	"strings"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
)

// table is one table of a program's: what stands in it, and what its sequence has done.
type table struct {
	kind *kind
	// place is the tenant's schema.
	place *pgtest.Place
	// temporary: it is the open transaction's own, and shadows another of its name.
	temporary bool
	now       state
	// handed holds the ids that the sequence has handed out since the program
	// itself last moved it back.
	handed   map[int64]bool
	numbers  numbers
	setBack  bool
	sequence position
	// widened: the key has other columns than the plugin has seen, here and elsewhere.
	widened map[bool]bool
}

// newTable is a table of the program's in a tenant's schema.
func (r *run) newTable(place *pgtest.Place) *table {
	own := *kindNamed(r.program.kind)
	return &table{kind: &own, place: place, now: state{rows: map[key]row{}}, handed: map[int64]bool{}, numbers: numbers{}}
}

// mend makes the tables anew that a program before has changed. No plugin is left that
// remembers them: their keys may be other ones.
func (r *run) mend() {
	for _, place := range r.w.places[:r.program.tenants()] {
		r.table = r.newTable(place)
		if changed := place.Schema + r.kind.table; r.w.changed[changed] {
			maps.DeleteFunc(r.w.warm, func(s setting, _ *gorm.DB) bool { return s.kind == r.kind.name })
			r.exec(r.kind.drop() + "; " + r.kind.create())
			delete(r.w.changed, changed)
		}
	}
}

// begin gives the program an empty table in each tenant's schema.
func (r *run) begin() {
	for _, place := range r.w.places[:r.program.tenants()] {
		r.table = r.newTable(place)
		r.exec(r.kind.reset())
		r.sequence = r.readSequence()
		r.tables = append(r.tables, r.table)
	}
	r.table = r.tables[0]
}

// temporaryKinds are those of which a transaction may have a temporary table of its own.
var temporaryKinds = []string{"bigserial", "identity always", "identity by default"}

// shadow makes a temporary table of the name in the open transaction.
func (r *run) shadow() {
	own := r.newTable(r.place)
	own.temporary = true
	// PostgreSQL does not analyze a prepared statement again for a new table in front of
	// the one of its name, but for another search_path.
	if err := r.db(step{}).Exec("SET LOCAL search_path TO pg_temp, " + r.place.Schema).Error; err != nil {
		r.Fatal(err)
	}
	text := strings.TrimPrefix(own.kind.create(), ";")
	text = strings.Replace(text, "CREATE TABLE", "CREATE TEMPORARY TABLE", 1) + " ON COMMIT DROP"
	if err := r.db(step{}).Exec(text).Error; err != nil {
		r.Fatal(err)
	}
	r.table = own
	r.sequence = r.readSequence()
	tally.add("temporary table")
}

// named reports whether a quoted table name is the one of this table.
func (t *table) named(quoted string) bool {
	if t.temporary {
		return strings.HasPrefix(quoted, `"pg_temp_`) && strings.HasSuffix(quoted, fmt.Sprintf(".%q", t.kind.stored()))
	}
	return quoted == fmt.Sprintf("%q.%q", t.place.Schema, t.kind.stored())
}

// changing is what becomes of a table under the program's feet.
type changing string

const (
	madeAnew        changing = "made anew"
	restored        changing = "made anew, and its sequence set to where it was"
	keyRenamed      changing = "constraint renamed"
	keyPromoted     changing = "unique index promoted"
	keyWidened      changing = "key widened"
	otherSequence   changing = "another sequence"
	sequenceRenamed changing = "sequence renamed"
	otherIncrement  changing = "another increment"
)

var changes = []changing{madeAnew, restored, keyRenamed, keyPromoted, keyWidened, otherSequence, sequenceRenamed, otherIncrement}

// possible reports whether a kind can be changed so.
func (c changing) possible(k *kind) bool {
	switch c {
	case keyPromoted:
		return k.partitions == "" // PostgreSQL cannot
	case keyWidened:
		return !k.composite && !k.unique && !k.numbered
	case otherIncrement:
		return k.cache <= 1 // a session goes on with what it has cached
	}
	return true
}

// change changes the table, as a migration does beside the running program.
func (r *run) change(s step) {
	k, what := r.kind, changes[s.pick%len(changes)]
	if r.inTransaction() || !what.possible(k) {
		return
	}
	r.w.changed[r.place.Schema+k.table] = true
	r.disturbed, r.changed = true, true
	sequence, constraint, kept := k.sequence(), k.constraintName(), k.stored()+"_kept"
	was := r.sequence
	var text string
	switch what {
	case madeAnew, restored:
		text = fmt.Sprintf("CREATE TABLE %s AS SELECT * FROM %s; %s; ", kept, k.stored(), k.dropKeepingLog())
		k.renamed, k.constraint, k.start, k.increment = "", "", kindNamed(k.name).start, kindNamed(k.name).increment
		text += k.create() + fmt.Sprintf("; SET LOCAL session_replication_role = replica; INSERT INTO %s OVERRIDING SYSTEM VALUE SELECT * FROM %s; DROP TABLE %[2]s", k.stored(), kept)
		if what == restored && k.inPhase(was.last) {
			text += fmt.Sprintf("; SELECT setval('%s', %d, %v)", k.sequence(), was.last, was.called)
		}
	case keyRenamed:
		k.constraint = "renamed_" + strings.TrimPrefix(constraint, "renamed_")
		if k.constraint == constraint {
			k.constraint = strings.TrimPrefix(constraint, "renamed_")
		}
		text = fmt.Sprintf("ALTER TABLE %s RENAME CONSTRAINT %s TO %s", k.stored(), constraint, k.constraint)
	case keyPromoted:
		text = fmt.Sprintf("CREATE UNIQUE INDEX promoted_%[1]s ON %[1]s (%[2]s); ALTER TABLE %[1]s DROP CONSTRAINT %[3]s; ALTER TABLE %[1]s ADD CONSTRAINT %[3]s %[4]s USING INDEX promoted_%[1]s",
			k.stored(), k.keyColumns(), constraint, map[bool]string{false: "PRIMARY KEY", true: "UNIQUE"}[k.unique])
	case keyWidened:
		k.composite, k.key = true, "tenant_id, id"
		text = fmt.Sprintf("ALTER TABLE %[1]s DROP CONSTRAINT %[2]s; ALTER TABLE %[1]s ADD CONSTRAINT %[2]s PRIMARY KEY (%[3]s)", k.stored(), constraint, k.key)
		rows := map[key]row{}
		for _, one := range r.now.rows {
			rows[k.keyOf(one)] = one
		}
		r.now.rows, r.widened = rows, map[bool]bool{false: true, true: true}
	case otherSequence:
		if k.identity() {
			k.renamed = ""
			text = fmt.Sprintf("ALTER TABLE %[1]s ALTER id DROP IDENTITY; ALTER TABLE %[1]s ALTER id ADD GENERATED %[2]s AS IDENTITY (INCREMENT %d START %d)",
				k.stored(), map[bool]string{false: "BY DEFAULT", true: "ALWAYS"}[k.always], k.increment, k.start)
			break
		}
		text = fmt.Sprintf("ALTER SEQUENCE %[2]s RENAME TO gone; CREATE SEQUENCE %[2]s INCREMENT %d START %d CACHE %d; ALTER TABLE %[1]s ALTER id SET DEFAULT nextval('%[2]s'); DROP SEQUENCE gone",
			k.stored(), sequence, k.increment, k.start, max(1, k.cache))
	case sequenceRenamed:
		k.renamed = k.table + "_moved_seq"
		if sequence == k.renamed {
			k.renamed = ""
		}
		text = fmt.Sprintf("ALTER SEQUENCE %s RENAME TO %s", sequence, k.sequence())
	case otherIncrement:
		text = fmt.Sprintf("ALTER SEQUENCE %s INCREMENT %d", sequence, 2*k.increment)
		k.increment *= 2
		k.start = was.next(k)
	}
	r.exec("BEGIN; " + text + "; COMMIT")
	clear(r.handed)
	clear(r.numbers)
	r.setBack = true
	r.sequence = r.readSequence()
	tally.add("change: "+string(what), "change")
}

// identity reports whether the key is an identity column.
func (k *kind) identity() bool { return strings.Contains(k.id, "IDENTITY") }

// constraintName is that of the key which the sequence feeds.
func (k *kind) constraintName() string {
	switch {
	case k.constraint != "":
		return k.constraint
	case k.unique:
		return k.table + "_id_key"
	}
	return k.stored() + "_pkey"
}

// keyColumns are those of the key which the sequence feeds.
func (k *kind) keyColumns() string {
	if k.key == "" || k.unique {
		return "id"
	}
	return k.key
}

// drop is the SQL that drops everything of the kind.
func (k *kind) drop() string {
	text := k.dropKeepingLog()
	if log := k.logged(); log != "" {
		text += "; DROP TABLE IF EXISTS " + log
	}
	return text
}

func (k *kind) dropKeepingLog() string {
	return fmt.Sprintf("DROP TABLE IF EXISTS %s CASCADE; DROP SEQUENCE IF EXISTS %s_id_seq, %s_moved_seq", k.stored(), k.stored(), k.table)
}

// overtaken reports whether a statement in a transaction was the first after its key
// became another one: it may be lost, and is reported.
func (r *run) overtaken(a attempt, got failure) bool {
	if !r.widened[a.step.elsewhere] || !r.inTransaction() && r.program.mode == noTransaction || got != "42P10" {
		return false
	}
	all := r.w.take()
	if len(all) != 1 || !r.named(all[0].Table) {
		r.fail(a, "the first statement after the key was widened: incidents %v", all)
	}
	r.widened[a.step.elsewhere], r.failed = false, r.inTransaction()
	tally.add("lost to a widened key")
	return true
}

// writeOwn stores rows with explicit ids in the open transaction's temporary table, which no
// other connection sees.
func (r *run) writeOwn(s step) {
	if r.failed {
		return
	}
	for _, one := range r.build(s) {
		r.exec(fmt.Sprintf("INSERT INTO %s (tenant_id, id, name, qty) OVERRIDING SYSTEM VALUE VALUES (%d, %d, '%s', %d)",
			r.kind.table, one.tenant, one.id, one.name, one.qty))
		after := r.now.insert(r.kind.lenient(), []row{one}, none)
		if after.fails != success {
			r.Fatalf("the model's own writer: %s", after.fails)
		}
		r.now = after.next
	}
	r.compare(r.now)
}

// warmUp inserts a row into the table.
func (r *run) warmUp(db *gorm.DB) error {
	return db.Table(r.kind.table).Create(map[string]any{"tenant_id": 1}).Error
}

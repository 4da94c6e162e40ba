package model

import (
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gorm.io/gorm"
	"pgregory.net/rapid"

	"github.com/seqheal/seqheal/plugin"
)

// The shop's tables: owners have pets, pets have tags.
const shopSchema = `
CREATE TABLE owners (id bigserial PRIMARY KEY, name text);
CREATE TABLE pets (id bigserial PRIMARY KEY, name text, owner_id bigint REFERENCES owners);
CREATE TABLE tags (id bigserial PRIMARY KEY, name text);
CREATE TABLE pet_tags (pet_id bigint REFERENCES pets, tag_id bigint REFERENCES tags, PRIMARY KEY (pet_id, tag_id))`

const shopReset = `TRUNCATE owners, pets, tags, pet_tags;
SELECT setval('owners_id_seq', 1, false), setval('pets_id_seq', 1, false), setval('tags_id_seq', 1, false)`

// shopRows answers a line for everything: of links the pet and the tag.
const shopRows = `
SELECT 'owners', id, name, 0 FROM owners
UNION ALL SELECT 'pets', id, name, coalesce(owner_id, 0) FROM pets
UNION ALL SELECT 'tags', id, name, 0 FROM tags
UNION ALL SELECT 'links', pet_id, '', tag_id FROM pet_tags`

var shopTables = []string{"owners", "pets", "tags"}

type owner struct {
	ID   int64
	Name string
	Pets []*pet
	calls
}

type pet struct {
	ID      int64
	Name    string
	OwnerID *int64
	Owner   *owner
	Tags    []*tag `gorm:"many2many:pet_tags"`
	calls
}

type tag struct {
	ID   int64
	Name string
	calls
}

// thing is one line of shopRows.
type thing struct {
	table string
	id    int64
	name  string
	other int64
}

// shop is everything in the tables.
type shop map[thing]bool

func (s shop) of(table string) []thing {
	var all []thing
	for t := range s {
		if t.table == table {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b thing) int { return int(a.id - b.id) })
	return all
}

// visit is one step of a shop program.
type visit struct {
	action visitAction
	// mains is how many owners or pets are created; each gets the children.
	mains    int
	children []choice
	owner    choice
	table    string // of a writer or a setval
	offset   int
	visits   []visit // of a transaction
	undo     bool
	// repeatable: the transaction has read and is at REPEATABLE READ. In SERIALIZABLE
	// no look warns an upsert, and DO NOTHING of several rows drops some: a limit.
	repeatable bool
}

type visitAction string

const (
	ownersWithPets visitAction = "owners with pets"   // has many
	petsWithTags   visitAction = "pets with owner"    // belongs to, many2many
	appendPets     visitAction = "append pets"        // Association.Append
	appendTags     visitAction = "append tags"        // Association.Append, many2many
	shopWriter     visitAction = "explicit ids"       // on a second connection
	shopSetBack    visitAction = "setval of the shop" //
	shopBlock      visitAction = "shop transaction"
)

// choice is a new row, or one that is there.
type choice struct {
	existing bool
	pick     int
	none     bool
}

func (c choice) String() string {
	switch {
	case c.none:
		return "none"
	case c.existing:
		return fmt.Sprint("existing ", c.pick)
	}
	return "new"
}

func (v visit) String() string {
	switch v.action {
	case shopBlock:
		text := "transaction {"
		for _, inner := range v.visits {
			text += "\n  " + strings.ReplaceAll(inner.String(), "\n", "\n  ")
		}
		return text + fmt.Sprint("\n} undo ", v.undo, ", REPEATABLE READ ", v.repeatable)
	case shopWriter, shopSetBack:
		return fmt.Sprintf("%s %s %d", v.action, v.table, v.offset)
	}
	return fmt.Sprintf("%d %s: children %v, owner %v", v.mains, v.action, v.children, v.owner)
}

// shopProgram is what an application does with associations.
type shopProgram struct {
	mode   mode
	guard  plugin.Guard
	warm   bool
	visits []visit
}

func (p shopProgram) GoString() string {
	text := fmt.Sprintf("%s, guard %d, warm %v", p.mode, p.guard, p.warm)
	for _, v := range p.visits {
		text += "\n  " + strings.ReplaceAll(v.String(), "\n", "\n  ")
	}
	return text
}

var choices = rapid.Custom(func(t *rapid.T) choice {
	return choice{existing: rapid.IntRange(0, 2).Draw(t, "existing") == 0, pick: rapid.IntRange(0, 5).Draw(t, "pick")}
})

func visitIn(p shopProgram, inside bool) *rapid.Generator[visit] {
	actions := []visitAction{
		ownersWithPets, ownersWithPets, petsWithTags, petsWithTags, appendPets, appendPets, appendTags, appendTags,
		shopWriter, shopWriter, shopWriter, shopWriter, shopWriter, shopSetBack, shopSetBack,
	}
	if p.mode == callersTransaction && !inside {
		actions = append(actions, shopBlock, shopBlock, shopBlock, shopBlock)
	}
	return rapid.Custom(func(t *rapid.T) visit {
		v := visit{action: rapid.SampledFrom(actions).Draw(t, "action")}
		switch v.action {
		case shopWriter, shopSetBack:
			v.table, v.offset = rapid.SampledFrom(shopTables).Draw(t, "table"), rapid.IntRange(0, 3).Draw(t, "offset")
		case shopBlock:
			v.visits, v.undo = rapid.SliceOfN(visitIn(p, true), 1, 4).Draw(t, "visits"), rapid.IntRange(0, 2).Draw(t, "undo") == 0
			if v.repeatable = rapid.Bool().Draw(t, "repeatable"); v.repeatable {
				for _, table := range shopTables { // outside its snapshot, in front of every sequence
					others := visit{action: shopWriter, table: table, offset: rapid.IntRange(0, 1).Draw(t, "others")}
					v.visits = append([]visit{others}, v.visits...)
				}
			}
		default:
			v.mains = rapid.IntRange(1, 2).Draw(t, "mains")
			v.children = rapid.SliceOfN(choices, 0, 3).Draw(t, "children")
			v.owner = choices.Draw(t, "owner")
			v.owner.none = rapid.IntRange(0, 2).Draw(t, "none") == 0
		}
		return v
	})
}

var shopPrograms = rapid.Custom(func(t *rapid.T) shopProgram {
	p := shopProgram{
		mode:  rapid.SampledFrom([]mode{callersTransaction, callersTransaction, gormTransaction, noTransaction}).Draw(t, "mode"),
		guard: rapid.SampledFrom([]plugin.Guard{plugin.GuardAuto, plugin.GuardSavepoint}).Draw(t, "guard"),
		warm:  rapid.IntRange(0, 3).Draw(t, "warm") > 0,
	}
	p.visits = append([]visit{{action: ownersWithPets, mains: 1, children: []choice{{}, {}}}},
		rapid.SliceOfN(visitIn(p, false), 1, 7).Draw(t, "visits")...)
	return p
})

// shopRun is a shop program under way.
type shopRun struct {
	*rapid.T
	w       *worker
	program shopProgram
	db      *gorm.DB
	now     shop
	before  shop // the transaction, nil outside one
	hidden  shop // what others have committed since its snapshot, nil at READ COMMITTED
	// lost: the transaction ended with 40001.
	lost  bool
	names int
	doing visit
}

func runShop(t *rapid.T, w *worker, p shopProgram) {
	r := &shopRun{T: t, w: w, program: p, now: shop{}}
	db, err := w.open(setting{pool: w.app, mode: p.mode, guard: p.guard}, p.warm, func(db *gorm.DB) error {
		return db.Create(&pet{Owner: &owner{}, Tags: []*tag{{}}}).Error
	})
	if err != nil {
		t.Fatal(err)
	}
	r.db = db
	r.exec(shopReset)
	w.take()
	tally.add("programs", "shop programs", "shop "+string(p.mode))
	for _, v := range p.visits {
		r.visit(v)
	}
	r.compare()
}

func (r *shopRun) exec(statements string) {
	if _, err := r.w.places[0].SQL.Exec(statements); err != nil {
		r.Fatalf("%s: %v", statements, err)
	}
}

func (r *shopRun) visit(v visit) {
	r.doing = v
	tally.add("step " + string(v.action))
	switch v.action {
	case ownersWithPets:
		r.createOwners(v)
	case petsWithTags:
		r.createPets(v)
	case appendPets:
		r.appendPets(v)
	case appendTags:
		r.appendTags(v)
	case shopWriter:
		r.write(v)
	case shopSetBack:
		at := max(1, r.next(v.table)-1-int64(v.offset))
		r.exec(fmt.Sprintf("SELECT setval('%s_id_seq', %d, false)", v.table, at))
	case shopBlock:
		r.block(v)
	}
}

func (r *shopRun) block(v visit) {
	outer, options := r.db, &sql.TxOptions{}
	if v.repeatable {
		options.Isolation, r.hidden = sql.LevelRepeatableRead, shop{}
	}
	r.db, r.before = outer.Begin(options), maps.Clone(r.now)
	tx := r.db
	defer func() {
		tx.Session(&gorm.Session{}).Rollback()
		r.db, r.before, r.hidden, r.lost = outer, nil, nil, false
	}()
	if v.repeatable {
		r.compare() // takes the snapshot
	}
	var failed visit
	for _, inner := range v.visits {
		if r.visit(inner); r.lost {
			failed = inner
			break
		}
	}
	end, lost := tx.Session(&gorm.Session{}), r.lost
	if v.undo || lost {
		end, r.now = end.Rollback(), r.before
	} else {
		end = end.Commit()
	}
	if end.Error != nil {
		r.Fatalf("%s\n%v", v, end.Error)
	}
	maps.Copy(r.now, r.hidden)
	r.db, r.before, r.hidden, r.lost = outer, nil, nil, false
	r.compare()
	if lost { // the application's retry, which nobody disturbs, succeeds
		tally.add("shop visit tried again")
		r.block(visit{action: shopBlock, visits: []visit{failed}, repeatable: true})
	}
}

// write commits a row on a second connection.
func (r *shopRun) write(v visit) {
	one := thing{table: v.table, id: r.next(v.table) + int64(v.offset), name: r.name("w")}
	all := slices.Concat(r.now.of(v.table), r.before.of(v.table), r.hidden.of(v.table))
	for slices.ContainsFunc(all, func(t thing) bool { return t.id == one.id }) {
		one.id++
	}
	r.exec(fmt.Sprintf("INSERT INTO %s (id, name) VALUES (%d, '%s')", one.table, one.id, one.name))
	if r.hidden != nil {
		r.hidden[one] = true
		return
	}
	r.now[one] = true
	if r.before != nil {
		r.before[one] = true
	}
}

func (r *shopRun) name(prefix string) string {
	r.names++
	return fmt.Sprint(prefix, r.names)
}

// next is what a table's sequence hands out next.
func (r *shopRun) next(table string) (n int64) {
	err := r.w.places[0].SQL.QueryRow(fmt.Sprintf("SELECT last_value + is_called::int FROM %s_id_seq", table)).Scan(&n)
	if err != nil {
		r.Fatal(err)
	}
	return n
}

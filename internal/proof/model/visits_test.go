package model

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/plugin"
)

// pick is one of the rows that are there.
func (r *shopRun) pick(table string, c choice, taken map[int64]bool) (thing, bool) {
	all := slices.DeleteFunc(r.now.of(table), func(t thing) bool { return taken[t.id] })
	if !c.existing || len(all) == 0 {
		return thing{}, false
	}
	one := all[c.pick%len(all)]
	taken[one.id] = true
	return one, true
}

func (r *shopRun) pets(children []choice, taken map[int64]bool) (pets []*pet) {
	for _, c := range children {
		p := &pet{Name: r.name("pet")}
		if there, ok := r.pick("pets", c, taken); ok {
			p.ID, p.Name = there.id, there.name
			if there.other != 0 {
				p.OwnerID = &there.other
			}
		}
		pets = append(pets, p)
	}
	return pets
}

func (r *shopRun) tags(children []choice) (tags []*tag) {
	taken := map[int64]bool{}
	for _, c := range children {
		t := &tag{Name: r.name("tag")}
		if there, ok := r.pick("tags", c, taken); ok {
			t.ID, t.Name = there.id, there.name
		}
		tags = append(tags, t)
	}
	return tags
}

// expected is how many rows of each table a call leaves to the database to name,
// and whether a hit among those must be reported.
type expected struct {
	draws map[string]int
	must  map[string]bool
}

// call sends one call of the application's, which must not fail, and compares
// what the sequences and the rows say with what is reported. Only a row outside the
// snapshot that a draw hits may end it, with 40001; it reports false then.
func (r *shopRun) call(e expected, send func(*gorm.DB) error) bool {
	hits, near, hidden := map[string]bool{}, map[string]bool{}, false
	before := map[string]int64{}
	for _, table := range shopTables {
		before[table] = r.next(table)
		for _, t := range append(r.now.of(table), r.hidden.of(table)...) {
			steps := int(t.id - before[table])
			hits[table] = hits[table] || steps >= 0 && steps < e.draws[table]
			hidden = hidden || r.hidden[t] && steps >= 0 && steps < e.draws[table]
			near[table] = near[table] || steps >= 0 && steps < e.draws[table]+lookAhead && e.draws[table] > 0
		}
	}
	switch err := send(r.db.Session(&gorm.Session{})); {
	case hidden && strings.Contains(fmt.Sprint(err), string(notSerialized)):
		r.lost = true
		r.w.take()
		return false
	case err != nil:
		r.Fatalf("%s\n%v", r.doing, err)
	}
	for _, i := range r.w.take() {
		var of string
		for _, table := range shopTables {
			if i.Table == fmt.Sprintf("%q.%q", r.w.places[0].Schema, table) {
				of = table
			}
		}
		if !near[of] || i.Outcome != plugin.Healed && i.Outcome != plugin.AlreadyHealed || i.Err != nil || i.Rounds != 1 {
			r.Fatalf("%s\nincident %v", r.doing, i)
		}
		hits[of] = false
		tally.add("healed in the shop: "+of, "healed visit "+string(r.doing.action))
	}
	for _, table := range shopTables {
		if hits[table] && e.must[table] {
			r.Fatalf("%s\na drifted sequence of %s was not reported", r.doing, table)
		}
		if r.next(table) < before[table] {
			r.Fatalf("%s\nthe sequence of %s stepped back", r.doing, table)
		}
	}
	return true
}

// stored takes a struct into the model: its row must be new, under an id that
// nobody had, unless it was there.
func (r *shopRun) stored(t thing, hooks calls) {
	if hooks != (calls{1, 1}) {
		r.Fatalf("%s\nhooks of %+v ran %+v", r.doing, t, hooks)
	}
	for _, there := range r.now.of(t.table) {
		if there.id == t.id && there.name != t.name {
			r.Fatalf("%s\n%+v holds the id of %+v", r.doing, t, there)
		}
		if there.name == t.name {
			delete(r.now, there) // its owner may be another now
		}
	}
	r.now[t] = true
}

func (r *shopRun) storedPet(p *pet) {
	t := thing{table: "pets", id: p.ID, name: p.Name}
	if p.OwnerID != nil {
		t.other = *p.OwnerID
	}
	r.stored(t, p.calls)
	r.storedTags(p)
}

func (r *shopRun) storedTags(p *pet) {
	for _, t := range p.Tags {
		r.stored(thing{table: "tags", id: t.ID, name: t.Name}, t.calls)
		r.now[thing{table: "links", id: p.ID, other: t.ID}] = true
	}
}

func newPets(pets []*pet) (n int) {
	for _, p := range pets {
		if p.ID == 0 {
			n++
		}
	}
	return n
}

func newTags(tags []*tag) (n int) {
	for _, t := range tags {
		if t.ID == 0 {
			n++
		}
	}
	return n
}

func (r *shopRun) createOwners(v visit) {
	owners := make([]*owner, v.mains)
	e := expected{draws: map[string]int{"owners": v.mains}, must: map[string]bool{"owners": true, "pets": true}}
	taken := map[int64]bool{}
	for i := range owners {
		owners[i] = &owner{Name: r.name("owner"), Pets: r.pets(v.children, taken)}
		e.draws["pets"] += newPets(owners[i].Pets)
	}
	if !r.call(e, func(db *gorm.DB) error {
		if len(owners) == 1 {
			return db.Create(owners[0]).Error
		}
		return db.Create(owners).Error
	}) {
		return
	}
	for _, o := range owners {
		r.stored(thing{table: "owners", id: o.ID, name: o.Name}, o.calls)
		for _, p := range o.Pets {
			if p.OwnerID == nil || *p.OwnerID != o.ID {
				r.Fatalf("%s\npet %+v of owner %+v", v, p, o)
			}
			r.storedPet(p)
		}
	}
	r.compare()
}

func (r *shopRun) createPets(v visit) {
	pets := make([]*pet, v.mains)
	e := expected{draws: map[string]int{"pets": v.mains}, must: map[string]bool{"pets": true}}
	taken := map[int64]bool{} // an owner whom two pets bring is sent once
	for i := range pets {
		pets[i] = &pet{Name: r.name("pet")}
		if i == 0 { // a tag that two pets bring is two rows of one statement
			pets[i].Tags = r.tags(v.children)
			e.draws["tags"] = newTags(pets[i].Tags)
		}
		if v.owner.none {
			continue
		}
		pets[i].Owner = &owner{Name: r.name("owner")}
		if there, ok := r.pick("owners", v.owner, taken); ok {
			pets[i].Owner.ID, pets[i].Owner.Name = there.id, there.name
		} else {
			e.draws["owners"]++
		}
	}
	// Without a transaction one dropped row is sent again, and its next draw may fit.
	sure := r.before != nil || r.program.mode != noTransaction
	e.must["owners"] = sure || e.draws["owners"] > 1
	e.must["tags"] = sure || len(pets[0].Tags) > 1
	if !r.call(e, func(db *gorm.DB) error {
		if len(pets) == 1 {
			return db.Create(pets[0]).Error
		}
		return db.Create(pets).Error
	}) {
		return
	}
	for _, p := range pets {
		if p.Owner != nil {
			if p.OwnerID == nil || *p.OwnerID != p.Owner.ID {
				r.Fatalf("%s\npet %+v of owner %+v", v, p, p.Owner)
			}
			r.stored(thing{table: "owners", id: p.Owner.ID, name: p.Owner.Name}, p.Owner.calls)
		}
		r.storedPet(p)
	}
	r.compare()
}

func (r *shopRun) appendPets(v visit) {
	there, ok := r.pick("owners", choice{existing: true, pick: v.owner.pick}, map[int64]bool{})
	if !ok || len(v.children) == 0 {
		return
	}
	o := owner{ID: there.id, Name: there.name}
	pets := r.pets(v.children, map[int64]bool{})
	e := expected{draws: map[string]int{"pets": newPets(pets)}, must: map[string]bool{"pets": true}}
	if !r.call(e, func(db *gorm.DB) error { return db.Model(&o).Association("Pets").Append(pets) }) {
		return
	}
	for _, p := range pets {
		if p.OwnerID == nil || *p.OwnerID != o.ID {
			r.Fatalf("%s\npet %+v of owner %+v", v, p, o)
		}
		r.storedPet(p)
	}
	r.compare()
}

func (r *shopRun) appendTags(v visit) {
	there, ok := r.pick("pets", choice{existing: true, pick: v.owner.pick}, map[int64]bool{})
	if !ok || len(v.children) == 0 {
		return
	}
	p := pet{ID: there.id, Name: there.name, Tags: []*tag{}}
	tags := r.tags(v.children)
	e := expected{draws: map[string]int{"tags": newTags(tags)}, must: map[string]bool{"tags": len(tags) > 1}}
	if !r.call(e, func(db *gorm.DB) error { return db.Model(&p).Association("Tags").Append(tags) }) {
		return
	}
	p.Tags = tags
	r.storedTags(&p)
	r.compare()
}

// compare checks every row of every table.
func (r *shopRun) compare() {
	r.Helper()
	got := shop{}
	rows, err := r.db.Session(&gorm.Session{}).Raw(shopRows).Rows()
	if err != nil {
		r.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var t thing
		if err := rows.Scan(&t.table, &t.id, &t.name, &t.other); err != nil {
			r.Fatal(err)
		}
		got[t] = true
	}
	if err := rows.Err(); err != nil {
		r.Fatal(err)
	}
	if !maps.Equal(got, r.now) {
		for t := range r.now {
			if !got[t] {
				r.Errorf("missing %+v", t)
			}
		}
		for t := range got {
			if !r.now[t] {
				r.Errorf("a row that nobody inserted: %+v", t)
			}
		}
		r.Fatalf("%s", r.doing)
	}
}

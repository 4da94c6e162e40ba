package model

import (
	"maps"
	"math"
)

// row is a row with everything in it. In what is about to be sent, id 0 leaves
// the id to the database.
type row struct {
	tenant, id  int64
	name, email string
	qty         int64
	deleted     bool
	// null: GORM sends NULL for the id, as it does in a list of maps of which only
	// some name theirs.
	null bool
}

// key is the primary key; tenant is 0 where it does not belong to it.
type key struct{ tenant, id int64 }

func (k *kind) keyOf(r row) key {
	if k.composite {
		return key{r.tenant, r.id}
	}
	return key{0, r.id}
}

// state is everything in a table. Rows whose id the database chose and the model
// has not learned yet stand under placeholders.
type state struct {
	rows map[key]row
	log  int64 // rows that the trigger has seen
	// hidden is what others have committed since the transaction took its snapshot,
	// nil at READ COMMITTED. All states of one transaction share it.
	hidden *state
}

func (s state) clone() state { return state{maps.Clone(s.rows), s.log, s.hidden} }

// placeholder is the id of the nth row that the database has yet to name.
func placeholder(n int) int64 { return math.MinInt64 + int64(n) }

func isPlaceholder(id int64) bool { return id < math.MinInt64/2 }

func (s state) holder(email string) (key, bool) {
	for k, r := range s.rows {
		if email != "" && r.email == email {
			return k, true
		}
	}
	return key{}, false
}

// failure is why the server refuses a statement.
type failure string

const (
	success       failure = ""
	keyTaken      failure = "23505 on the key"
	mailTaken     failure = "23505 on the email"
	alwaysFails   failure = "428C9" // an explicit id in an identity ALWAYS
	idIsNull      failure = "23502"
	touchedTwice  failure = "21000" // ON CONFLICT DO UPDATE meets a row of its own
	notSerialized failure = "40001"
	rowsMissing   failure = "ErrRowsMissing"
	inFailedBlock failure = "25P02"
)

// outcome is what a statement must come to.
type outcome struct {
	fails failure
	next  state
	// ended is, for each row that was sent, where it ended: its own place, the
	// place of the row that it updated, or the zero key when it was dropped.
	ended    []key
	inserted int
	affected int64
	// drew is how many values a statement that fails has drawn.
	drew int
}

// insert is what a server without drift does with one INSERT: rows whose id is 0
// get one that is free.
func (s state) insert(k *kind, rows []row, on conflict) outcome {
	return s.insertDrawing(k, rows, on, draws{})
}

// insertDrawing is insert where nobody heals before some of the values that are drawn
// meet a row.
func (s state) insertDrawing(k *kind, rows []row, on conflict, drawn draws) outcome {
	o := outcome{next: s.clone(), affected: 0}
	touched := map[key]bool{}
	for _, r := range rows {
		if k.always && r.id != 0 {
			return outcome{fails: alwaysFails, next: s}
		}
	}
	for _, r := range rows {
		if k.trigger && (k.only == 0 || r.tenant == k.only) {
			o.next.log++
			r.qty += triggerQty
		}
		if r.id == 0 && !r.null {
			o.drew++
			if drawn.meet(s, k, r, o.drew) {
				return outcome{fails: notSerialized, next: s, drew: o.drew}
			}
		}
		at, fails := o.next.meet(k, r, on, touched)
		if fails != success {
			return outcome{fails: fails, next: s, drew: o.drew}
		}
		switch {
		case at == nil: // dropped
			o.ended = append(o.ended, key{})
			continue
		case r.id == 0 && *at == key{}:
			r.id = placeholder(len(o.next.rows))
			fallthrough
		case *at == key{}:
			*at = k.keyOf(r)
			o.next.rows[*at] = r
			o.inserted++
			if k.audit {
				o.next.log++
			}
		}
		touched[*at] = true
		o.ended = append(o.ended, *at)
		o.affected++
	}
	return o
}

// meet lets a row meet those that are there. It answers the row that was updated,
// the zero key for a row to be inserted, nil for one that was dropped.
func (s state) meet(k *kind, r row, on conflict, touched map[key]bool) (*key, failure) {
	own := k.keyOf(r)
	_, keyMet := s.rows[own]
	keyMet = keyMet && r.id != 0
	holder, mailMet := s.holder(r.email)
	mailMet = mailMet && !k.anyEmail
	hidden := r.id != 0 && s.hides(own)
	switch {
	case r.null:
		return nil, idIsNull
	case hidden && on != none && on != updateByMail:
		return nil, notSerialized
	case on == doNothing && (keyMet || mailMet), on == nothingByKey && keyMet:
		return nil, success
	case (on == updateAll || on == updateByKey) && keyMet:
		if touched[own] {
			return nil, touchedTwice
		}
		return &own, s.update(k, own, r, on)
	case on == updateByMail && mailMet:
		if touched[holder] {
			return nil, touchedTwice
		}
		return &holder, s.update(k, holder, r, on)
	case keyMet || hidden:
		return nil, keyTaken
	case mailMet:
		return nil, mailTaken
	}
	return new(key), success
}

// update changes the row at a key to what the statement says.
func (s state) update(k *kind, at key, to row, on conflict) failure {
	r := s.rows[at]
	r.name, r.qty = to.name, to.qty
	if on == updateAll {
		if holder, held := s.holder(to.email); held && holder != at && !k.anyEmail {
			return mailTaken
		}
		r.tenant, r.email, r.deleted = to.tenant, to.email, false
	}
	s.rows[at] = r
	return success
}

// insertInBatches is insert, two rows in a statement. Without a transaction what
// was sent before a failure stays.
func (s state) insertInBatches(k *kind, rows []row, keep bool) outcome {
	all := outcome{next: s}
	for len(rows) > 0 {
		n := min(2, len(rows))
		o := all.next.insert(k, rows[:n], none)
		rows = rows[n:]
		if o.fails != success {
			if !keep {
				return outcome{fails: o.fails, next: s}
			}
			all.fails = o.fails
			return all
		}
		all.next, all.ended = o.next, append(all.ended, o.ended...)
		all.inserted, all.affected = all.inserted+o.inserted, all.affected+o.affected
	}
	return all
}

// save is what db.Save does with one struct that names its id: an UPDATE of the
// row, and an upsert when there is none.
func (s state) save(k *kind, r row) outcome {
	at := k.keyOf(r)
	if there, ok := s.rows[at]; !ok || there.deleted {
		return s.insert(k, []row{r}, updateAll)
	}
	o := outcome{next: s.clone(), ended: []key{at}, affected: 1}
	if o.fails = o.next.update(k, at, r, updateAll); o.fails != success {
		return outcome{fails: o.fails, next: s}
	}
	return o
}

// delete is what a soft or a hard DELETE does.
func (s state) delete(at key, soft bool) outcome {
	o := outcome{next: s.clone()}
	r, there := s.rows[at]
	switch {
	case !there, soft && r.deleted:
	case soft:
		r.deleted = true
		o.next.rows[at], o.affected = r, 1
	default:
		delete(o.next.rows, at)
		o.affected = 1
	}
	return o
}

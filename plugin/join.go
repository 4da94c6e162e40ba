package plugin

import (
	"context"
	"sync"
	"time"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/resync"
)

// heals lets the inserts of one process that collide on the same primary key at the
// same time have one heal: the first moves the sequence, the others wait for it and are
// sent again. When each of a herd of 64 healed by itself, most of the time went into
// asking the catalog on connections that had not read it yet, 2 ms each (measured).
type heals struct {
	mutex   sync.Mutex
	running map[primary]*answer[*moved]
	// latest holds the last heal of each key.
	latest map[primary]*moved
}

// primary is a primary key as the server names it in an error.
type primary struct {
	table      catalog.Name
	constraint string
}

func primaryOf(t *catalog.Table) primary {
	return primary{catalog.Name{Schema: t.Schema, Table: t.Name}, t.Constraint}
}

// moved is where a heal left a table's sequence, nothing where it had to draw no value,
// and when.
type moved struct {
	table *catalog.Table
	to    resync.Sight
	at    time.Time
}

// enter answers with the heal that was over after a statement of that time was sent, or
// else with the one under way, or else, where lead is true, makes the caller's the one
// that others wait for.
func (h *heals) enter(key primary, sent time.Time, lead bool) (done *moved, other, own *answer[*moved]) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if last := h.latest[key]; last != nil && last.at.After(sent) {
		return last, nil, nil
	}
	if running := h.running[key]; running != nil || !lead {
		return nil, running, nil
	}
	if h.running == nil {
		h.running, h.latest = map[primary]*answer[*moved]{}, map[primary]*moved{}
	}
	own = newAnswer[*moved]()
	h.running[key] = own
	return nil, nil, own
}

// end lets those go on who wait. One that found no drift, or could not heal it, leaves
// them to themselves: to is nil.
func (h *heals) end(key primary, own *answer[*moved], to *moved) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.leave(key, own)
	if to != nil {
		own.value, own.err = to, nil
		room(h.latest, key)
		h.latest[key] = to
	}
	close(own.done)
}

// abandon keeps others from waiting for a heal any more.
func (h *heals) abandon(key primary, running *answer[*moved]) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.leave(key, running)
}

// leave is for the holder of the mutex; another heal may have begun since.
func (h *heals) leave(key primary, running *answer[*moved]) {
	if h.running[key] == running {
		delete(h.running, key)
	}
}

// follow reports whether the insert may be sent again at once, because another insert
// of this process has moved the sequence past the colliding id since it was sent. Where
// one is at it, follow waits for it, a quarter of the time that is left at the most, for
// who waits may hold the very lock that the other one needs. A round of this episode's
// own is not used up.
//
// Otherwise, where lead is true, others may wait for this episode, which must hold the
// connection that it heals on.
func (e *episode) follow(ctx context.Context, lead bool) bool {
	if e.followed || e.rounds > 1 || !e.mayFollow() {
		return false
	}
	e.primary = primary{e.last.violated, e.last.constraint}
	if e.last.err == nil {
		e.primary = primaryOf(e.table)
	}
	all := &e.s.tables.heals
	done, other, own := all.enter(e.primary, e.s.sent, lead)
	e.own = own
	if other != nil {
		if !other.endedWithin(ctx, time.Until(e.deadline(ctx))/4) {
			all.abandon(e.primary, other) // nobody else waits in vain
		} else if other.err == nil {
			done = other.value
		}
	}
	if done == nil || !e.servedBy(done) {
		return false
	}
	e.followed = true
	e.table, e.ours = done.table, true
	e.rounds = 0
	return true
}

// mayFollow tells, before anything is waited for, a collision of the statement's own
// table from one that a trigger or a view met elsewhere. Without an error the table has
// been read since the collision.
func (e *episode) mayFollow() bool {
	if e.last.err == nil {
		return followable(e.table) && !e.s.insert.Names(e.table.FedColumn())
	}
	target, violated := e.s.target, e.last.violated
	if target.Table != violated.Table || target.Schema != "" && target.Schema != violated.Schema {
		return false
	}
	k := e.s.tables.get(target)
	if k == nil || k.table.Schema != violated.Schema {
		return true // the heal that is followed tells
	}
	return followable(k.table) && k.table.Constraint == e.last.constraint && !e.s.insert.Names(k.table.FedColumn())
}

// servedBy reports whether another's heal moved the sequence past what this statement
// met.
func (e *episode) servedBy(done *moved) bool {
	t := done.table
	if !followable(t) || primaryOf(t) != e.primary || e.s.insert.Names(t.FedColumn()) {
		return false
	}
	if e.last.err != nil {
		e.key.Value, e.key.Found = e.last.server.Key(t.Column, len(t.Key))
	}
	return !e.key.Found || !done.to.Found || t.Sequence.Reached(done.to.Value, e.key.Value)
}

// followable reports whether a heal of one insert is one of all: not where a session
// hands out what it has cached before, nor where the other one looked only at the rows
// below its own prefix of the key.
func followable(t *catalog.Table) bool {
	return t.Fed() && t.Own && t.Indexed && t.Sequence.Cache <= 1
}

// unfollow forgets a heal that was followed in vain, which is so before the first round
// of the episode's own: it begins anew.
func (e *episode) unfollow() {
	if e.followed && e.rounds == 0 {
		e.ours, e.table, e.key = false, nil, resync.Sight{}
	}
}

// lead tells those who wait for this episode what came of its heal.
func (e *episode) lead(healed bool) {
	if e.own == nil {
		return
	}
	var to *moved
	if healed {
		to = &moved{e.table, resync.Sight{Value: e.to, Found: e.drew}, time.Now()}
	}
	e.s.tables.heals.end(e.primary, e.own, to)
	e.own = nil
}

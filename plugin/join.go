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
	running map[primary]*answer[moved]
	// latest holds the last heal of each key.
	latest map[primary]*moved
}

// primary is a primary key as the server names it in an error.
type primary struct {
	table      catalog.Name
	constraint string
}

// moved is where a heal left the sequence, nothing where it drew no value, and when.
type moved struct {
	to resync.Sight
	at time.Time
}

// enter answers with the heal that was over after a statement of that time was sent, or
// else with the one to wait for, or else with one of the caller's own, for others to
// wait for.
func (h *heals) enter(key primary, sent time.Time) (done *moved, other, own *answer[moved]) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if last := h.latest[key]; last != nil && last.at.After(sent) {
		return last, nil, nil
	}
	if running := h.running[key]; running != nil {
		return nil, running, nil
	}
	if h.running == nil {
		h.running, h.latest = map[primary]*answer[moved]{}, map[primary]*moved{}
	}
	own = newAnswer[moved]()
	h.running[key] = own
	return nil, nil, own
}

// end lets those go on who wait. One that found no drift, or could not heal it, leaves
// them to themselves.
func (h *heals) end(key primary, own *answer[moved], to resync.Sight, healed bool) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	delete(h.running, key)
	if healed {
		own.value, own.err = moved{to, time.Now()}, nil
		room(h.latest, key)
		h.latest[key] = &own.value
	}
	close(own.done)
}

// join reports whether the insert may be sent again at once, because another insert of
// this process has moved the sequence past the colliding id since it was sent. Where one
// is at it, join waits for it, though not for long: who waits may hold the very lock
// or connection that the other one needs. Otherwise others wait for this episode.
//
// Where only the absence of a row tells of the collision, it is for heal to follow: the
// catalog has to confirm first that nothing else explains it.
func (e *episode) join(ctx context.Context) bool {
	if e.h.plugin.settings.maxRounds == 1 {
		return false // the only round is for a look of its own
	}
	e.primary = primary{e.last.violated, e.last.constraint}
	if k := e.s.tables.get(e.s.target); k != nil && e.last.err == nil {
		v := k.table.Violated
		e.primary = primary{catalog.Name{Schema: v.Schema, Table: v.Name}, v.Constraint}
	}
	e.done, e.other, e.own = e.s.tables.heals.enter(e.primary, e.s.sent)
	return e.last.err != nil && e.follow(ctx)
}

// follow is join once it is known whom to follow.
func (e *episode) follow(ctx context.Context) bool {
	done, other := e.done, e.other
	e.done, e.other = nil, nil
	if other != nil && other.ended(ctx) && other.err == nil {
		done = &other.value
	}
	k := e.s.tables.get(e.s.target)
	if done == nil || k == nil || !k.followable() || e.s.insert.Names(k.table.FedColumn()) {
		return false
	}
	t, key := k.table, resync.Sight{}
	if e.last.err != nil {
		key.Value, key.Found = e.last.server.Key(t.Column, len(t.Key))
		if e.s.tables.judge(e.last.server) != primaryKey || key.Found && done.to.Found && !t.Sequence.Reached(done.to.Value, key.Value) {
			return false
		}
	}
	e.table, e.key, e.ours = t, key, true
	e.rounds = max(e.rounds, 1)
	if done.to.Found {
		e.from, e.to, e.drew = done.to.Value, done.to.Value, true
	}
	return true
}

// followable reports whether a heal of one insert is one of all: not where a session
// hands out what it has cached before, nor where the other one looked at the rows below
// its own prefix of the key alone.
func (k *known) followable() bool {
	return k.table.Fed() && k.table.Own && k.table.Indexed && k.table.Sequence.Cache <= 1
}

// lead tells those who wait for this episode what came of its heal.
func (e *episode) lead(healed bool) {
	if e.own != nil {
		e.s.tables.heals.end(e.primary, e.own, resync.Sight{Value: e.to, Found: e.drew}, healed)
		e.own = nil
	}
}

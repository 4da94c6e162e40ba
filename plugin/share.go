package plugin

import (
	"context"
	"errors"
	"sync"
	"time"
)

// shared lets all that ask the same at the same moment share one answer. Without
// it each connection of a herd reads the catalog for itself, which is most of
// what a heal costs (measured). The zero value is ready.
type shared[T any] struct {
	mutex sync.Mutex
	// running holds the answers under way, next those that begin when they end.
	running, next map[string]*answer[T]
}

// answer is one asking. value and err may be read once done is closed.
type answer[T any] struct {
	asked time.Time
	done  chan struct{}
	value T
	err   error
}

// patience is how long another's answer is waited for. Its connection may be
// stuck, or wait for a lock that this caller's own transaction holds.
const patience = 250 * time.Millisecond

var errAbandoned = errors.New("whoever asked has given up")

// current answers with what is being asked already, or asks.
func (s *shared[T]) current(ctx context.Context, key string, ask func() (T, error)) (T, error) {
	s.mutex.Lock()
	if a := s.running[key]; a != nil {
		s.mutex.Unlock()
		return a.wait(ctx, ask)
	}
	return s.lead(key, s.begin(&s.running, key), ask)
}

// fresh answers with something that began to be asked after the caller's reason to
// ask. What was asked before that may be an answer from before, too.
func (s *shared[T]) fresh(ctx context.Context, key string, reason time.Time, ask func() (T, error)) (T, error) {
	s.mutex.Lock()
	before := s.running[key]
	switch {
	case before == nil:
		return s.lead(key, s.begin(&s.running, key), ask)
	case before.asked.After(reason):
		s.mutex.Unlock()
		return before.wait(ctx, ask)
	}
	if a := s.next[key]; a != nil {
		s.mutex.Unlock()
		return a.wait(ctx, ask)
	}
	a := s.begin(&s.next, key)
	if !before.ended(ctx) {
		s.end(key, a)
		return ask()
	}
	return s.lead(key, a, ask)
}

// begin enters an answer that the caller is going to give, and unlocks.
func (s *shared[T]) begin(in *map[string]*answer[T], key string) *answer[T] {
	defer s.mutex.Unlock()
	a := newAnswer[T]()
	if *in == nil {
		*in = map[string]*answer[T]{}
	}
	(*in)[key] = a
	return a
}

func (s *shared[T]) lead(key string, a *answer[T], ask func() (T, error)) (T, error) {
	defer s.end(key, a)
	a.value, a.err = ask()
	return a.value, a.err
}

// end lets the next begin and tells those who wait.
func (s *shared[T]) end(key string, a *answer[T]) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	switch a {
	case s.next[key]:
		delete(s.next, key)
	case s.running[key]:
		delete(s.running, key)
		if next := s.next[key]; next != nil {
			s.running[key] = next
			delete(s.next, key)
		}
	}
	close(a.done)
}

// newAnswer begins to ask. Until it is known, also after a panic, the answer is an error.
func newAnswer[T any]() *answer[T] {
	return &answer[T]{asked: time.Now(), done: make(chan struct{}), err: errAbandoned}
}

// ended waits until the answer is there, and reports false when that takes too
// long.
func (a *answer[T]) ended(ctx context.Context) bool { return a.endedWithin(ctx, patience) }

func (a *answer[T]) endedWithin(ctx context.Context, limit time.Duration) bool {
	select {
	case <-a.done:
		return true
	default:
	}
	tired := time.NewTimer(limit)
	defer tired.Stop()
	select {
	case <-a.done:
		return true
	case <-ctx.Done():
	case <-tired.C:
	}
	return false
}

// wait takes over the answer. When whoever asked has trouble of its own, or takes
// too long, this caller asks itself.
func (a *answer[T]) wait(ctx context.Context, ask func() (T, error)) (T, error) {
	if !a.ended(ctx) || a.err != nil {
		return ask()
	}
	return a.value, nil
}

package facts

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Shared lets callers that ask the same question at the same moment share one answer.
// It is singleflight with one difference: a waiting caller keeps its own context and
// time limit, because it may hold the very lock that the other one waits for. The zero
// value is ready.
type Shared[T any] struct {
	mutex   sync.Mutex
	pending map[string]*answer[T]
}

// answer is a question in flight. value and err may be read once done is closed.
type answer[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// errAbandoned is the answer of a caller that panicked. Waiting callers ask themselves.
var errAbandoned = errors.New("the question was abandoned")

// Do returns the answer that is in flight for key, or asks. It waits for another
// caller's answer at most limit, and asks itself when that one fails: an error may be
// of its connection, its context or its role.
func (s *Shared[T]) Do(ctx context.Context, key string, limit time.Duration, ask func() (T, error)) (T, error) {
	s.mutex.Lock()
	if a := s.pending[key]; a != nil {
		s.mutex.Unlock()
		if a.arrives(ctx, limit) && a.err == nil {
			return a.value, nil
		}
		if err := ctx.Err(); err != nil {
			var none T
			return none, err
		}
		return ask()
	}
	a := &answer[T]{done: make(chan struct{}), err: errAbandoned}
	if s.pending == nil {
		s.pending = map[string]*answer[T]{}
	}
	s.pending[key] = a
	s.mutex.Unlock()
	defer func() {
		s.mutex.Lock()
		delete(s.pending, key)
		s.mutex.Unlock()
		close(a.done)
	}()
	a.value, a.err = ask()
	return a.value, a.err
}

// arrives waits for the answer and reports false when that takes too long.
func (a *answer[T]) arrives(ctx context.Context, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-a.done:
		return true
	case <-ctx.Done():
	case <-timer.C:
	}
	return false
}

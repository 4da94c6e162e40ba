package facts

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// desk answers each question when it is told to, with the question's number.
type desk struct {
	shared Shared[int]
	asked  atomic.Int64
	answer chan error
}

// do asks and returns once the caller asks the desk or waits for another caller's
// answer.
func (d *desk) do(ctx context.Context, limit time.Duration) <-chan any {
	got := make(chan any, 1)
	go func() {
		n, err := d.shared.Do(ctx, "key", limit, func() (int, error) {
			n := int(d.asked.Add(1))
			return n, <-d.answer
		})
		if err != nil {
			got <- err
			return
		}
		got <- n
	}()
	synctest.Wait()
	return got
}

func TestShared_callersAtTheSameMomentGetOneAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{answer: make(chan error)}
		first, second, third := d.do(t.Context(), time.Hour), d.do(t.Context(), time.Hour), d.do(t.Context(), time.Hour)
		d.answer <- nil
		for _, got := range []any{<-first, <-second, <-third} {
			if got != 1 {
				t.Errorf("answer %v, want that of the first question", got)
			}
		}
		later := d.do(t.Context(), time.Hour)
		d.answer <- nil
		if got := <-later; got != 2 {
			t.Errorf("a later caller got %v, want an answer of its own", got)
		}
	})
}

func TestShared_anErrorIsNotShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{answer: make(chan error)}
		trouble := errors.New("the connection broke")
		first, second := d.do(t.Context(), time.Hour), d.do(t.Context(), time.Hour)
		d.answer <- trouble
		if got := <-first; got != trouble {
			t.Errorf("the first got %v", got)
		}
		d.answer <- nil
		if got := <-second; got != 2 {
			t.Errorf("the second got %v, want an answer of its own", got)
		}
	})
}

func TestShared_aWaitingCallerKeepsItsContextAndLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{answer: make(chan error)}
		first := d.do(t.Context(), time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		canceled := d.do(ctx, time.Hour)
		cancel()
		if got := <-canceled; got != context.Canceled {
			t.Errorf("the canceled caller got %v", got)
		}
		patient := d.do(t.Context(), time.Second)
		time.Sleep(time.Second) // of the bubble's clock
		synctest.Wait()
		d.answer <- nil
		d.answer <- nil
		if one, other := <-first, <-patient; one == other {
			t.Errorf("both got %v: the second waited longer than its limit", one)
		}
	})
}

func TestShared_aPanicLeavesWaitingCallersToAskThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Shared[int]
		asking, fail := make(chan struct{}), make(chan struct{})
		go func() {
			defer func() { _ = recover() }()
			_, _ = s.Do(t.Context(), "key", time.Hour, func() (int, error) { close(asking); <-fail; panic("of the driver") })
		}()
		<-asking
		got := make(chan int)
		go func() {
			n, _ := s.Do(t.Context(), "key", time.Hour, func() (int, error) { return 7, nil })
			got <- n
		}()
		synctest.Wait()
		close(fail)
		if n := <-got; n != 7 {
			t.Errorf("the waiting caller got %d", n)
		}
	})
}

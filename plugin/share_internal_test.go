package plugin

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// desk answers questions one by one, when it is let, with the number of the
// question.
type desk struct {
	shared shared[int]
	asked  atomic.Int64
	let    chan error
}

func newDesk() *desk { return &desk{let: make(chan error)} }

func (d *desk) ask() (int, error) {
	n := int(d.asked.Add(1))
	return n, <-d.let
}

// current and fresh give the answer that a caller gets, once it is there.
func (d *desk) current(ctx context.Context) <-chan int { return d.call(ctx, d.shared.current) }
func (d *desk) fresh(ctx context.Context) <-chan int   { return d.freshSince(ctx, time.Now()) }

func (d *desk) freshSince(ctx context.Context, reason time.Time) <-chan int {
	return d.call(ctx, func(ctx context.Context, key string, ask func() (int, error)) (int, error) {
		return d.shared.fresh(ctx, key, reason, ask)
	})
}

func (d *desk) call(ctx context.Context, how func(context.Context, string, func() (int, error)) (int, error)) <-chan int {
	got := make(chan int, 1)
	go func() {
		n, err := how(ctx, "key", d.ask)
		if err != nil {
			n = -1
		}
		got <- n
	}()
	synctest.Wait() // until it asks or waits
	return got
}

func all(got ...<-chan int) (numbers []int) {
	for _, c := range got {
		numbers = append(numbers, <-c)
	}
	return numbers
}

func TestReadsAtTheSameMomentShareOneAnswer(t *testing.T) {
	t.Parallel()
	trouble := errors.New("the connection broke")
	for _, test := range []struct {
		name string
		run  func(*testing.T, *desk) []int
		want []int
		// asked is how often somebody asked.
		asked int64
	}{
		{"the first read is shared", func(t *testing.T, d *desk) []int {
			a, b, c := d.current(t.Context()), d.current(t.Context()), d.current(t.Context())
			d.let <- nil
			return all(a, b, c)
		}, []int{1, 1, 1}, 1},
		{"later ones ask again", func(t *testing.T, d *desk) []int {
			a := d.current(t.Context())
			d.let <- nil
			first := <-a
			b := d.fresh(t.Context())
			d.let <- nil
			return append([]int{first}, <-b)
		}, []int{1, 2}, 2},
		{"a fresh answer is not one that was asked for before", func(t *testing.T, d *desk) []int {
			a := d.fresh(t.Context())
			b, c := d.fresh(t.Context()), d.fresh(t.Context())
			d.let <- nil
			first := <-a
			synctest.Wait() // b asks by now
			e := d.fresh(t.Context())
			d.let <- nil
			both := all(b, c)
			d.let <- nil
			return append([]int{first}, append(both, <-e)...)
		}, []int{1, 2, 2, 3}, 3},
		{"what was asked after the reason is fresh, whenever the caller comes", func(t *testing.T, d *desk) []int {
			before := time.Now()
			time.Sleep(time.Millisecond) // by the bubble's own clock, which takes no time
			a := d.fresh(t.Context())
			b := d.freshSince(t.Context(), before)
			d.let <- nil
			return all(a, b)
		}, []int{1, 1}, 1},
		{"who asked is in trouble: each asks itself", func(t *testing.T, d *desk) []int {
			a, b := d.current(t.Context()), d.current(t.Context())
			d.let <- trouble
			first := <-a
			d.let <- nil
			return []int{first, <-b}
		}, []int{-1, 2}, 2},
		{"who asked is stuck: the others lose patience", func(t *testing.T, d *desk) []int {
			a, b, c := d.fresh(t.Context()), d.fresh(t.Context()), d.fresh(t.Context())
			time.Sleep(patience) // by the bubble's own clock, which takes no time
			synctest.Wait()
			d.let <- nil
			d.let <- nil
			d.let <- nil
			numbers := all(a, b, c)
			slices.Sort(numbers)
			return numbers
		}, []int{1, 2, 3}, 3},
		{"whoever was to ask next has given up: who waits for it asks", func(t *testing.T, d *desk) []int {
			ctx, cancel := context.WithCancel(t.Context())
			a := d.fresh(t.Context())
			b := d.fresh(ctx)
			c := d.fresh(t.Context())
			cancel()
			synctest.Wait() // b and c ask for themselves by now
			d.let <- nil
			d.let <- nil
			d.let <- nil
			numbers := all(a, b, c)
			slices.Sort(numbers)
			return numbers
		}, []int{1, 2, 3}, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newDesk()
				if got := test.run(t, d); !slices.Equal(got, test.want) {
					t.Errorf("the answers are %v, want %v", got, test.want)
				}
				if n := d.asked.Load(); n != test.asked {
					t.Errorf("asked %d times, want %d", n, test.asked)
				}
				if len(d.shared.running)+len(d.shared.next) != 0 {
					t.Errorf("left: %v, %v", d.shared.running, d.shared.next)
				}
			})
		})
	}
}

package fault_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/proof/proxy"
	"github.com/seqheal/seqheal/plugin"
)

// kinds are the inserts that the faults are shown on: one row in each mode under
// each guard, and what else heals on a path of its own. GORM's transaction and the
// caller's are one to the plugin, and what it opens itself is one more; the other
// shapes meet them in the long variant.
func kinds() (all []run) {
	for _, m := range modes {
		for _, s := range shapes {
			oneRow := s.name == shapes[0].name
			if oneRow || long || m == callersTransaction || m == noTransaction && s.name == mixed {
				all = append(all, run{mode: m, shape: s, guard: plugin.GuardAuto})
			}
			if oneRow && m != noTransaction {
				all = append(all, run{mode: m, shape: s, guard: plugin.GuardSavepoint})
			}
		}
	}
	all = append(all, others()...)
	// A snapshot hides rows, so that a second connection looks, or another
	// transaction.
	return append(all,
		run{mode: noTransaction, shape: shapes[0], isolation: "repeatable read"},
		run{mode: callersTransaction, shape: shapes[0], guard: plugin.GuardSavepoint, isolation: "serializable"})
}

// others are saves with associations, GuardOff, and GORM's prepared statements. The
// long variant meets them in all modes.
func others() (all []run) {
	for _, m := range modes {
		for _, s := range families {
			if long || s.name == oneOld && m != gormsTransaction || s.name == manyToMany && m == callersTransaction {
				all = append(all, run{mode: m, shape: s, guard: plugin.GuardAuto})
			}
		}
	}
	hasOne, belongsTo := families[0], families[2]
	all = append(all,
		run{mode: callersTransaction, shape: shapes[0], guard: plugin.GuardOff},
		run{mode: callersTransaction, shape: hasOne, guard: plugin.GuardOff},
		run{mode: noTransaction, shape: shapes[0], prepared: true},
		run{mode: callersTransaction, shape: shapes[0], prepared: true},
		run{mode: callersTransaction, shape: belongsTo, prepared: true})
	if !long {
		return all
	}
	return append(all,
		run{mode: callersTransaction, shape: hasOne, guard: plugin.GuardSavepoint},
		run{mode: gormsTransaction, shape: shapes[0], guard: plugin.GuardOff},
		run{mode: gormsTransaction, shape: shapes[1], guard: plugin.GuardOff},
		run{mode: gormsTransaction, shape: shapes[0], prepared: true},
		run{mode: callersTransaction, shape: shapes[0], guard: plugin.GuardSavepoint, prepared: true},
		run{mode: callersTransaction, shape: shapes[2], prepared: true},
		run{mode: noTransaction, shape: belongsTo, prepared: true})
}

func (r *run) name() string {
	name := fmt.Sprintf("%s, %s", r.mode, r.shape.name)
	switch r.guard {
	case plugin.GuardSavepoint:
		name += ", savepoint"
	case plugin.GuardOff:
		name += ", unguarded"
	}
	if r.prepared {
		name += ", prepared"
	}
	if r.isolation != "" {
		name += ", " + r.isolation
	}
	return name
}

// A connection that is cut, stalled until the caller gives up, or slow, before or
// after any one statement of an insert that heals (P3, P4, P6, P9): the caller
// gets its rows or an error, nobody else's row is touched, and nothing stays
// behind. A lost answer to COMMIT is the one case in which an error comes for rows
// that are stored.
func TestEveryStatementOfAHeal(t *testing.T) {
	t.Parallel()
	for k, kind := range kinds() {
		t.Run(kind.name(), func(t *testing.T) {
			t.Parallel()
			kind.room = newRoom(t)
			statements := kind.withoutFault(t)
			for i, statement := range statements {
				for _, moment := range []proxy.Moment{proxy.Before, proxy.After} {
					for _, effect := range []proxy.Effect{proxy.Cut, proxy.Stall, proxy.Delay} {
						if effect == proxy.Stall && i >= kind.sent {
							continue // the caller has not given up on its own statements
						}
						if !long && !inTurn(i+k, moment, effect) {
							continue
						}
						f := proxy.Fault{Statement: i + 1, Moment: moment, Effect: effect, For: 5 * time.Millisecond}
						name := fmt.Sprintf("%s %s %d %s", effect, moment, i+1, brief(statement.Text))
						if !t.Run(name, func(t *testing.T) { kind.withFault(t, f) }) {
							return // the others would only say it again
						}
					}
				}
			}
		})
	}
}

// inTurn reports whether the short variant meets a statement with this fault: with two of the four
// that cut or stall, which change from statement to statement and from kind to kind. A delay is the
// same to the client before and after, and one in four statements shows it.
func inTurn(turn int, moment proxy.Moment, effect proxy.Effect) bool {
	if effect == proxy.Delay {
		return moment == proxy.Before && turn%4 == 0
	}
	return (turn%2 == 0) == ((effect == proxy.Cut) == (moment == proxy.Before))
}

// withoutFault counts the statements of the insert, up to the end of its
// transaction.
func (r *run) withoutFault(t *testing.T) (statements []proxy.Statement) {
	r.open(r.throughProxy)
	r.insert(func(func()) { r.proxy.Fail(proxy.Fault{}) })
	statements = r.proxy.Statements()
	if err := r.undisturbed(); err != nil {
		t.Fatal(err)
	}
	r.check(t, noCommit)
	return statements
}

func (r *run) throughProxy(config *gorm.Config, plugins ...gorm.Plugin) *gorm.DB {
	return r.OpenDSN(r.dsn(r.through), config, plugins...)
}

// withFault runs the insert with one fault; the caller gives up when it stalls.
//
// Which statement is hit is read from this run: a look that finds no second
// connection in time, on a busy machine, makes other statements than the run before.
func (r run) withFault(t *testing.T, f proxy.Fault) { r.withFaultAgain(t, f, 0) }

func (r run) withFaultAgain(t *testing.T, f proxy.Fault, tries int) {
	own := *r.room
	own.t = t
	r.room = &own
	r.open(r.throughProxy)
	finished := make(chan struct{})
	var hit <-chan struct{}
	over := make(chan struct{})
	r.insert(func(giveUp func()) {
		hit = r.proxy.Fail(f)
		go func() {
			defer close(over)
			select {
			case <-hit:
				r.giveUpOrGoOn(&f, giveUp)
			case <-finished:
			}
		}()
	})
	select {
	case <-hit: // before finished is closed, which would make it a coin toss
		<-over
	default:
		close(finished)
		<-over
		r.proxy.Fail(proxy.Fault{}) // or it strikes the next try, or the insert after it
		if tries < 3 {              // a busy machine: the proof of one round trip found no connection in time
			r.close(t)
			r.withFaultAgain(t, f, tries+1)
			return
		}
		// This run is shorter than the one that was counted, by a look for which no connection was
		// free at once. Nothing struck it.
		if err := r.undisturbed(); err != nil {
			t.Errorf("only %d statements were sent, not %d: %v", len(r.proxy.Statements()), f.Statement, err)
		}
		r.check(t, noCommit)
		return
	}
	if f.Effect == proxy.Delay {
		if err := r.undisturbed(); err != nil {
			t.Errorf("a delay made it fail: %v", err)
		}
	}
	commit := noCommit
	switch {
	case f.Effect == proxy.Delay:
	case strings.HasSuffix(r.struck(f), "RELEASE SAVEPOINT seqheal") && !strings.Contains(r.struck(f), "; INSERT INTO "):
		commit = closing
	case r.strikesLook(f):
		commit = closing
	case r.struck(f) == "commit":
		if commit = commitLost; f.Moment == proxy.After {
			commit = answerLost
		}
	}
	r.check(t, commit)
}

// giveUpOrGoOn ends a stall: the caller gives up on the insert, but not on what its
// transaction does afterwards.
func (r *run) giveUpOrGoOn(f *proxy.Fault, giveUp func()) {
	text := r.struck(*f)
	switch {
	case f.Effect != proxy.Stall:
	case r.mode == callersTransaction && (text == "commit" || strings.HasPrefix(text, "INSERT INTO notes")):
		f.Effect = proxy.Delay
		r.proxy.Release()
	default:
		giveUp()
	}
}

// strikesLook reports whether the fault hit the look at what lay in front, which follows the
// INSERT that succeeded.
func (r *run) strikesLook(f proxy.Fault) bool {
	isLook := func(text string) bool {
		return strings.HasPrefix(text, "SAVEPOINT seqheal; SET LOCAL jit") || strings.Contains(text, "GROUP BY f.xmin") || strings.Contains(text, "pg_subscription_rel")
	}
	rollsBack := strings.HasPrefix(r.struck(f), "ROLLBACK TO SAVEPOINT seqheal")
	return isLook(r.struck(f)) || rollsBack && isLook(r.proxy.Statements()[f.Statement-2].Text)
}

// struck is the text of the statement that the fault hit.
func (r *run) struck(f proxy.Fault) string { return r.proxy.Statements()[f.Statement-1].Text }

// brief is the beginning of a statement, for the name of a test.
func brief(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	return text[:min(len(text), 30)]
}

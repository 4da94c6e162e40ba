package model

import (
	"database/sql"
	"fmt"
)

// numbers are the values of a second sequence key that ever stood in the table. Only the
// writer names them.
type numbers map[int64]bool

// numbersAhead bounds how many values a statement may draw of the second sequence: it is
// sent again for a key that it meets, and looked ahead for.
const numbersAhead = 64

// learnNumbers reads the second key of every row, as the application sees them, and returns
// those.
func (r *run) learnNumbers() numbers {
	r.Helper()
	found := numbers{}
	if !r.kind.numbered || r.failed {
		return found
	}
	var all []int64
	if err := r.db(step{}).Table(r.kind.table).Pluck("number", &all).Error; err != nil {
		r.Fatalf("%s\nreading the numbers: %v", r.doing, err)
	}
	for _, n := range all {
		found[n], r.numbers[n] = true, true
	}
	return found
}

func (r *run) nextNumber() (next int64) {
	r.Helper()
	err := r.place.SQL.QueryRow("SELECT last_value + CASE WHEN is_called THEN 1 ELSE 0 END FROM " + r.kind.numbers()).Scan(&next)
	if err != nil {
		r.Fatal(err)
	}
	return next
}

// underNumbers adds what is expected of a statement because of the second key. It may be
// sent again for either key, which shifts what it draws of the other.
func (r *run) underNumbers(a attempt, e *expectation) {
	if !r.kind.numbered {
		return
	}
	there, next := r.learnNumbers(), r.nextNumber()
	met, near := false, false
	for i := range int64(numbersAhead) {
		near = near || r.numbers[next+i]
		met = met || i < int64(len(a.rows)) && there[next+i]
	}
	if near {
		e.may, e.must = true, false
	}
	if met && a.step.action == insertRows && a.step.conflict == none && a.want.fails == success {
		e.must = true
		tally.add("second key met")
	}
}

// numberFor is a number near the second sequence, and in front of it, that the writer's row
// names; nothing where there is no second key.
func (r *run) numberFor() (column, value string) {
	if !r.kind.numbered {
		return "", ""
	}
	r.learnNumbers()
	n := r.nextNumber() + int64(r.rows%3)
	for r.numbers[n] {
		n++
	}
	r.numbers[n] = true
	return ", number", fmt.Sprint(", ", n)
}

// moveNumbersBack sets the second sequence back by some steps.
func (r *run) moveNumbersBack(steps int64) {
	if r.kind.numbered {
		r.exec(fmt.Sprintf("SELECT setval('%s', %d, false)", r.kind.numbers(), max(1, r.nextNumber()-steps)))
	}
}

// levelOf leaves a transaction with a snapshot out where the model does not say what it does
// not see: for the second key, and on a table of which the plugin remembers another one.
func (r *run) levelOf(s step) sql.IsolationLevel {
	if r.kind.numbered || r.changed {
		return sql.LevelDefault
	}
	return s.level
}

package model

import (
	"database/sql"
	"errors"
	"fmt"

	"gorm.io/gorm"
)

// block runs steps in a transaction of the caller's and ends it.
func (r *run) block(s step) {
	s.level = r.levelOf(s)
	outer, first := r.app, r.table
	tx := outer.Begin(&sql.TxOptions{Isolation: s.level})
	if tx.Error != nil {
		r.Fatal(tx.Error)
	}
	tally.add("level "+s.level.String(), fmt.Sprint("tenant ", s.tenant))
	r.app = tx
	r.work(s)
	r.enter(s.level)
	r.saved, r.written = []state{r.now}, map[key]bool{}
	defer func() {
		tx.Session(&gorm.Session{}).Rollback() // where a check has ended the program
		r.table = first
		r.app, r.saved, r.written, r.failed = outer, nil, nil, false
	}()
	if s.reads {
		r.compare(r.now)
	}
	r.all(s.steps)
	r.doing = s
	end := tx.Session(&gorm.Session{})
	switch {
	case s.undo:
		if err := end.Rollback().Error; err != nil {
			r.Fatalf("rollback: %v", err)
		}
		r.now = r.saved[0]
		tally.add("rolled back")
	case r.failed:
		// P6: a failure never becomes a commit of the rest.
		if err := end.Commit().Error; err == nil {
			r.Fatal("an aborted transaction was committed")
		}
		r.now = r.saved[0]
		tally.add("commit of an aborted transaction")
	default:
		if err := end.Commit().Error; err != nil {
			r.Fatalf("commit: %v", err)
		}
		tally.add("committed")
	}
	r.app, r.saved, r.written, r.failed = outer, nil, nil, false
	r.leave()
	if r.temporary {
		return
	}
	r.compare(r.now)
	r.tryAgain(s)
}

// work lets the block work in its tenant's schema, and with a table of its own.
func (r *run) work(s step) {
	r.table = r.tables[s.tenant]
	if s.tenant > 0 {
		if err := r.db(step{}).Exec("SET LOCAL search_path TO " + r.place.Schema).Error; err != nil {
			r.Fatal(err)
		}
	}
	if s.temporary {
		r.shadow()
	}
}

func savepointName(n int) string { return fmt.Sprint("mine", n) }

// savepoint sets one and runs the steps behind it; the dialector keeps the server's
// answer to itself, and in an aborted transaction there is none.
func (r *run) savepoint(s step) {
	n := len(r.saved)
	if err := r.db(step{}).SavePoint(savepointName(n)).Error; err != nil {
		r.Fatalf("SAVEPOINT: %v", err)
	}
	set := !r.failed
	if set {
		r.saved = append(r.saved, r.now)
	}
	r.all(s.steps)
	r.doing = s
	if set && s.undo && len(r.saved) > n {
		r.backTo(n)
	}
}

// rollbackTo goes back to one of the savepoints, which stays, and makes an aborted
// transaction usable again. In a nested transaction it goes no further back than
// that began, which would end it under GORM's feet.
func (r *run) rollbackTo(pick int) {
	most := len(r.saved) - 1 - r.floor
	if most == 0 {
		return
	}
	r.backTo(r.floor + 1 + pick%most)
}

func (r *run) backTo(n int) {
	if err := r.db(step{}).RollbackTo(savepointName(n)).Error; err != nil {
		r.Fatalf("ROLLBACK TO SAVEPOINT: %v", err)
	}
	if r.failed {
		tally.add("alive again after ROLLBACK TO")
	}
	tally.add("rolled back to a savepoint")
	r.now, r.saved, r.failed = r.saved[n], r.saved[:n+1], false
	r.compare(r.now)
}

var errUndo = errors.New("undo")

// nest runs steps in a nested transaction, a savepoint of GORM's; in an aborted one
// there is no savepoint to go back to.
func (r *run) nest(s step) {
	outer, floor, depth, aborted := r.app, r.floor, len(r.saved), r.failed
	err := r.db(step{}).Transaction(func(tx *gorm.DB) error {
		defer func() { r.app, r.floor = outer, floor }()
		r.app, r.floor = tx, depth
		r.saved = append(r.saved, r.now)
		r.all(s.steps)
		if s.undo {
			return errUndo
		}
		return nil
	})
	r.doing = s
	if s.undo != errors.Is(err, errUndo) || !s.undo && err != nil {
		r.Fatalf("nested transaction: %v", err)
	}
	switch {
	case aborted:
		tally.add("nested in an aborted transaction")
	case s.undo:
		r.now, r.failed = r.saved[depth], false
		tally.add("nested rolled back")
	default:
		tally.add("nested kept")
	}
	r.saved = r.saved[:depth]
	r.compareUnlessFailed()
}

package main

import (
	"database/sql"
	"errors"
	"math/rand/v2"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/plugin"
)

// snapshots are the levels at which a transaction does not see what others commit
// while it runs, and an application has to send it again as a whole on 40001.
var snapshots = []sql.IsolationLevel{sql.LevelRepeatableRead, sql.LevelSerializable}

// mostTries bounds what an application sends again. One further try is enough where
// nobody disturbs; here a sequence is moved back every 40 ms.
const mostTries = 100

// deadlock is PostgreSQL's word for two transactions that wait for each other's rows: with a
// sequence that is moved back between them, two that store several rows may, with the plugin
// and without.
const deadlock = "40P01"

// triesAgain reports whether an application sends the transaction once more, and
// counts it: on what PostgreSQL's levels ask of everybody, on what GuardOff leaves to
// the caller, on ErrRowsMissing, and nothing else.
func (w *worker) triesAgain(err error, guard plugin.Guard, level sql.IsolationLevel, tries int) bool {
	if tries >= mostTries {
		return false
	}
	c := w.crew
	c.mutex.Lock()
	defer c.mutex.Unlock()
	counts := &c.batch.Counts
	switch {
	case guard == plugin.GuardOff && duplicate(err):
		return true
	case errors.Is(err, plugin.ErrRowsMissing): // an upsert lost a race, or its heal
		counts.Missing++
	case speaks(err, deadlock): // rows of an import and of a batch that wait for each other
		counts.Deadlocks++
	case level != sql.LevelDefault && speaks(err, "40001"):
		counts.Serialization++
	default:
		return false
	}
	counts.MostTries = max(counts.MostTries, int64(tries)+1)
	return true
}

// thinking lets a transaction take its snapshot, read, and take up to 4 ms before it
// writes, in which others commit.
func thinking(do func(*gorm.DB) error, table string) func(*gorm.DB) error {
	return func(tx *gorm.DB) error {
		var near int64
		err := tx.Raw("SELECT count(*) FROM (SELECT id FROM "+table+" ORDER BY id DESC LIMIT 3) last, pg_sleep(?)", rand.Float64()*0.004).Scan(&near).Error
		if err != nil {
			return err
		}
		return do(tx)
	}
}

// speaks tells an error of the server's with this SQLSTATE.
func speaks(err error, code string) bool {
	var server *pgconn.PgError
	return errors.As(err, &server) && server.Code == code
}

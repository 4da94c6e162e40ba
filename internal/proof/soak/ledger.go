package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// batch is what a crew has done since it was resumed.
type batch struct {
	// Stored holds the contents of the rows that were acknowledged, by table and id.
	Stored map[string]map[int64]string
	// How tells in which way each was stored.
	How map[string]map[int64]string
	// Changed holds the rows that were there before.
	Changed map[string]map[int64]bool
	// Unsure holds names whose insert ended without an answer: a cut connection, an
	// ended context. Such a row is there once or not at all.
	Unsure []string
	// Unexpected holds errors and incidents that no limit explains.
	Unexpected []string
	Counts     counts
}

func newBatch() batch {
	return batch{Stored: map[string]map[int64]string{}, How: map[string]map[int64]string{}, Changed: map[string]map[int64]bool{}}
}

// stored enters a row. A new one takes the place of no other.
func (b *batch) stored(e entry, how string) {
	if b.Stored[e.table] == nil {
		b.Stored[e.table], b.How[e.table], b.Changed[e.table] = map[int64]string{}, map[int64]string{}, map[int64]bool{}
	}
	before, there := b.Stored[e.table][e.id]
	switch {
	case there && !e.changed:
		b.Unexpected = append(b.Unexpected, fmt.Sprintf("%s: id %d was given to %q (%s) and to %q (%s)", e.table, e.id, before, b.How[e.table][e.id], e.content, how))
	case e.changed && !there:
		b.Changed[e.table][e.id] = true
	}
	b.Stored[e.table][e.id], b.How[e.table][e.id] = e.content, how
}

// counts is what is told of a run.
type counts struct {
	Inserts, Unsure, Foreign, Open         int64
	Back, Cuts                             int64
	Healed, AlreadyHealed, Outrun, Missing int64
	Broken                                 int64
	// Serialization and Deadlocks count transactions that were sent again for these,
	// MostTries how often one was sent.
	Serialization, Deadlocks, MostTries int64
}

// total is the last line.
type total struct {
	counts
	Checks int
	Lasted time.Duration
	wrong  []string
}

func (t *total) add(b batch) {
	c := b.Counts
	t.Inserts += c.Inserts
	t.Unsure += c.Unsure
	t.Foreign += c.Foreign
	t.Open += c.Open
	t.Back += c.Back
	t.Cuts += c.Cuts
	t.Healed += c.Healed
	t.AlreadyHealed += c.AlreadyHealed
	t.Outrun += c.Outrun
	t.Missing += c.Missing
	t.Broken += c.Broken
	t.Serialization += c.Serialization
	t.Deadlocks += c.Deadlocks
	t.MostTries = max(t.MostTries, c.MostTries)
	t.wrong = append(t.wrong, b.Unexpected...)
}

func (t total) String() string {
	return fmt.Sprintf("%s, %d checks: %d inserts acknowledged, %d explicit ids beside them, %d imports that stayed open, sequences moved back %d times, connections cut %d times; "+
		"%d healed, %d already healed, %d outrun (rounds), %d rows missing reported, %d broken off, %d without an answer; "+
		"%d transactions tried again for a serialization failure, %d for a deadlock, one %d times",
		t.Lasted, t.Checks, t.Inserts, t.Foreign, t.Open, t.Back, t.Cuts, t.Healed, t.AlreadyHealed, t.Outrun, t.Missing, t.Broken, t.Unsure,
		t.Serialization, t.Deadlocks, t.MostTries)
}

func (t total) unexpected() error {
	if len(t.wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%d unexpected errors, the first: %s", len(t.wrong), strings.Join(t.wrong[:min(3, len(t.wrong))], "\n"))
}

// ledger is what must be in the tables.
type ledger struct {
	stored map[string]map[int64]string
	how    map[string]map[int64]string // of the rows that are new
	unsure map[string]bool
	// twice tells of ids that were given to two rows.
	twice []error
}

func newLedger() *ledger {
	l := &ledger{stored: map[string]map[int64]string{}, how: map[string]map[int64]string{}, unsure: map[string]bool{}}
	for _, table := range tables {
		l.stored[table] = map[int64]string{}
	}
	return l
}

func (l *ledger) take(b batch) {
	for table, rows := range b.Stored {
		for id, content := range rows {
			if before, there := l.stored[table][id]; there && !b.Changed[table][id] {
				l.twice = append(l.twice, fmt.Errorf("%s: id %d was given to %q and to %q (%s)", table, id, before, content, b.How[table][id]))
			}
		}
		maps.Copy(l.stored[table], rows)
		if l.how[table] == nil {
			l.how[table] = map[int64]string{}
		}
		maps.Copy(l.how[table], b.How[table])
	}
	for _, name := range b.Unsure {
		l.unsure[name] = true
	}
}

// check holds the tables against the ledger, while nothing runs, and looks for
// what the plugin must not leave behind.
func (l *ledger) check(ctx context.Context, admin *sql.DB) error {
	broken := append([]error{settled(ctx, admin)}, l.twice[:min(5, len(l.twice))]...)
	for _, table := range tables {
		broken = append(broken, l.checkTable(ctx, admin, table))
	}
	return errors.Join(append(broken, locksLeft(ctx, admin))...)
}

// settled waits until the server has ended what a cut connection or an ended
// context left running, and reports what never ends.
func settled(ctx context.Context, admin *sql.DB) error {
	const running = `SELECT count(*) FROM pg_stat_activity
		WHERE backend_type = 'client backend' AND state <> 'idle' AND pid <> pg_backend_pid()`
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(15 * time.Second); ; <-tick.C {
		var n int
		if err := admin.QueryRowContext(ctx, running).Scan(&n); err != nil || n == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d sessions are in a transaction although nothing runs", n)
		}
	}
}

func locksLeft(ctx context.Context, admin *sql.DB) error {
	var n int
	err := admin.QueryRowContext(ctx, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").Scan(&n)
	if err == nil && n > 0 {
		err = fmt.Errorf("%d advisory locks are left", n)
	}
	return err
}

func (l *ledger) checkTable(ctx context.Context, admin *sql.DB, table string) error {
	rows, err := admin.QueryContext(ctx, "SELECT id, "+contentOf(table)+" FROM "+table)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	want, seen, contents := l.stored[table], map[int64]bool{}, map[string]int64{}
	var broken []string
	for rows.Next() {
		var id int64
		var got string
		if err := rows.Scan(&id, &got); err != nil {
			return err
		}
		if other, twice := contents[got]; twice {
			broken = append(broken, fmt.Sprintf("%q is stored twice, as %d and %d", got, other, id))
		}
		contents[got] = id
		acknowledged, known := want[id]
		name, _, _ := strings.Cut(got, " of ")
		switch {
		case known && acknowledged == got:
			seen[id] = true
		case known:
			broken = append(broken, fmt.Sprintf("row %d was acknowledged as %q and is %q (%s)", id, acknowledged, got, l.how[table][id]))
			seen[id] = true
		case l.unsure[name]:
			want[id] = got
			seen[id] = true
		default:
			broken = append(broken, fmt.Sprintf("row %d %q is nobody's", id, got))
		}
	}
	for id, content := range want {
		if !seen[id] {
			broken = append(broken, fmt.Sprintf("row %d was acknowledged as %q and is not there; %[2]q is %d (%s)", id, content, contents[content], l.how[table][id]))
		}
	}
	if len(broken) == 0 {
		return rows.Err()
	}
	return errors.Join(rows.Err(), fmt.Errorf("table %s: %d rows are wrong: %s", table, len(broken), strings.Join(broken[:min(5, len(broken))], "; ")))
}

// Rows beyond mostRows of a table are deleted at a check but for the fewestRows
// with the furthest ids, so that neither memory nor the check grows without end.
const (
	mostRows   = 20_000
	fewestRows = 500
)

// trim deletes old rows that have been checked, and the names in doubt.
func (l *ledger) trim(ctx context.Context, admin *sql.DB) error {
	clear(l.unsure)
	clear(l.how)
	for table, rows := range l.stored {
		if len(rows) < mostRows {
			continue
		}
		ids := slices.Sorted(maps.Keys(rows))
		bound := ids[len(ids)-fewestRows]
		if _, err := admin.ExecContext(ctx, "DELETE FROM "+table+" WHERE id < $1", bound); err != nil {
			return err
		}
		if _, err := admin.ExecContext(ctx, "VACUUM "+table); err != nil {
			return err
		}
		for _, id := range ids[:len(ids)-fewestRows] {
			delete(rows, id)
		}
	}
	return nil
}

package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/proof/proxy"
)

// member has the columns of a small table; owner and pet are a has-many.
type member struct {
	ID                             int64
	Name, Surname, Email, Password string
}

type owner struct {
	ID   int64
	Name string
	Pets []pet
}

type pet struct {
	ID      int64
	OwnerID int64
	Name    string
}

// ticket has a number from a sequence of its own beside the key.
type ticket struct {
	ID     int64
	Number int64 `gorm:"autoIncrement"`
	Name   string
}

// An audit trigger is as most people write one: a copy of the row in another table.
const healthyTables = `
DROP TABLE IF EXISTS members, pets, owners, audited, audits, tickets;
CREATE TABLE audited (id bigserial PRIMARY KEY, name text, surname text, email text, password text);
CREATE TABLE audits (at timestamptz DEFAULT now(), of jsonb);
CREATE OR REPLACE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO audits (of) VALUES (to_jsonb(NEW)); RETURN NULL; END';
CREATE TRIGGER audit AFTER INSERT ON audited FOR EACH ROW EXECUTE FUNCTION audit();
CREATE TABLE tickets (id bigserial PRIMARY KEY, number bigserial UNIQUE, name text);
CREATE TABLE members (id bigserial PRIMARY KEY, name text, surname text, email text, password text);
CREATE TABLE owners (id bigserial PRIMARY KEY, name text);
CREATE TABLE pets (id bigserial PRIMARY KEY, owner_id bigint, name text)`

func newMembers(rows int) []member {
	all := make([]member, rows)
	for i := range all {
		all[i] = member{Name: "Jennifer", Surname: "Jones", Email: "jennifer@example.com", Password: "pBHxe*cWnC2ZJKHw"}
	}
	return all
}

// shape is one way to insert; a slice of a round is count calls.
type shape struct {
	name  string
	calls int
	// remoteCalls is calls where a round trip takes a millisecond longer.
	remoteCalls int
	noTx        bool
	whole       bool // the slice is one transaction of the caller's
	// goroutines insert at once, each its share of the calls; one when 0.
	goroutines int
	create     func(*gorm.DB) error
}

func rowsOf(rows int) func(*gorm.DB) error {
	return func(db *gorm.DB) error {
		all := newMembers(rows)
		if rows == 1 {
			return db.Create(&all[0]).Error
		}
		return db.Create(&all).Error
	}
}

func hasMany(db *gorm.DB) error {
	return db.Create(&owner{Name: "Ada", Pets: []pet{{Name: "Rex"}, {Name: "Tom"}, {Name: "Kit"}}}).Error
}

func audited(rows int) func(*gorm.DB) error {
	create := rowsOf(rows)
	return func(db *gorm.DB) error { return create(db.Table("audited")) }
}

func twoKeys(db *gorm.DB) error { return db.Create(&ticket{Name: "new"}).Error }

var shapes = []shape{
	{name: "1 row, no transaction", calls: 30, remoteCalls: 5, noTx: true, create: rowsOf(1)},
	{name: "1 row, GORM's transaction", calls: 15, remoteCalls: 3, create: rowsOf(1)},
	{name: "1 row, each of 100 in the caller's transaction", calls: 100, remoteCalls: 100, whole: true, create: rowsOf(1)},
	{name: "batch of 2, GORM's transaction", calls: 15, remoteCalls: 3, create: rowsOf(2)},
	{name: "batch of 10, GORM's transaction", calls: 10, remoteCalls: 3, create: rowsOf(10)},
	{name: "batch of 20, GORM's transaction", calls: 8, remoteCalls: 3, create: rowsOf(20)},
	{name: "batch of 100, GORM's transaction", calls: 3, remoteCalls: 3, create: rowsOf(100)},
	{name: "batch of 1,000, GORM's transaction", calls: 1, remoteCalls: 1, create: rowsOf(1000)},
	{name: "batch of 10, each of 20 in the caller's transaction", calls: 20, remoteCalls: 20, whole: true, create: rowsOf(10)},
	{name: "batch of 50, each of 5 in the caller's transaction", calls: 5, remoteCalls: 5, whole: true, create: rowsOf(50)},
	{name: "has many: an owner with 3 pets", calls: 8, remoteCalls: 2, create: hasMany},
	{name: "1 row, audit trigger, GORM's transaction", calls: 12, remoteCalls: 3, create: audited(1)},
	{name: "batch of 10, audit trigger, GORM's transaction", calls: 8, remoteCalls: 3, create: audited(10)},
	{name: "1 row, GORM's transaction, 16 goroutines", calls: 160, remoteCalls: 160, goroutines: 16, create: rowsOf(1)},
	{name: "batch of 10, GORM's transaction, 16 goroutines", calls: 80, remoteCalls: 80, goroutines: 16, create: rowsOf(10)},
	{name: "1 row, two sequence keys, GORM's transaction", calls: 15, remoteCalls: 3, create: twoKeys},
}

// network is how far away the server is.
type network struct {
	name   string
	oneWay time.Duration
}

var networks = []network{{"loopback", 0}, {"1 ms away", 500 * time.Microsecond}}

// inserts compares inserts into healthy tables.
func inserts(ctx context.Context, b *bench) error {
	for _, n := range networks {
		t := newTable("Insert into a healthy table, "+n.name, "insert", "plain GORM, µs", "plain again", "seqheal", "savepoints", "check first")
		panel := bars{title: "Insert into a healthy table, " + n.name + ": time × plain GORM", contenders: []string{"seqheal", "savepoints", "check first"}}
		for _, s := range shapes {
			all, calls, err := s.compete(ctx, b, n)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			plain := all[0]
			cells := []string{s.name, fmt.Sprintf("%.0f", quantile(plain.times, 0.5).Seconds()*1e6/float64(calls))}
			group := barGroup{name: s.name}
			for _, c := range all[1:] {
				if c.fences && s.noTx {
					cells = append(cells, "")
					group.bars = append(group.bars, ratio{})
					continue
				}
				r := ratioTo(c.times, plain.times)
				cells = append(cells, r.String())
				if c.name != "plain again" {
					group.bars = append(group.bars, r)
				}
			}
			t.add(cells...)
			panel.groups = append(panel.groups, group)
		}
		t.print()
		b.figures.bars = append(b.figures.bars, panel)
	}
	return nil
}

// compete lets every contender insert in this shape, and returns the calls in
// one slice.
func (s shape) compete(ctx context.Context, b *bench, n network) (all []*contender, calls int, err error) {
	if err := b.exec(ctx, healthyTables); err != nil {
		return nil, 0, err
	}
	dsn, rounds := b.server.DSN(), b.rounds
	calls = s.calls
	if n.oneWay > 0 {
		// The time of a distant server varies less, and is longer.
		calls, rounds = s.remoteCalls, max(9, b.rounds/3)
		var p *proxy.Proxy
		if p, dsn, err = proxy.StartFor(dsn); err != nil {
			return nil, 0, err
		}
		defer func() { _ = p.Close() }()
		p.SetDelay(n.oneWay)
	}
	pool, err := sql.Open("pgx", dsn)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = pool.Close() }()
	most := max(1, s.goroutines) + 1 // one more proves that a savepoint takes one round trip
	pool.SetMaxOpenConns(most)
	pool.SetMaxIdleConns(most)
	all = contenders()
	for _, c := range all {
		if c.db, err = open(pool, gorm.Config{SkipDefaultTransaction: s.noTx}, c.plugins()...); err != nil {
			return nil, 0, err
		}
		if err := s.slice(ctx, c.db, calls); err != nil { // reads the catalog, prepares
			return nil, 0, err
		}
	}
	for range rounds {
		for _, i := range rand.Perm(len(all)) {
			started := time.Now()
			if err := s.slice(ctx, all[i].db, calls); err != nil {
				return nil, 0, err
			}
			all[i].times = append(all[i].times, time.Since(started))
		}
	}
	return all, calls, nil
}

func (s shape) slice(ctx context.Context, db *gorm.DB, calls int) error {
	all := func(db *gorm.DB) error {
		for range calls {
			if err := s.create(db); err != nil {
				return err
			}
		}
		return nil
	}
	db = db.WithContext(ctx)
	switch {
	case s.whole:
		return db.Transaction(all)
	case s.goroutines > 0:
		calls /= s.goroutines
		return atOnce(s.goroutines, func() error { return all(db) })
	}
	return all(db)
}

// atOnce runs fn in as many goroutines.
func atOnce(count int, fn func() error) error {
	failed := make([]error, count)
	var group sync.WaitGroup
	for i := range failed {
		group.Go(func() { failed[i] = fn() })
	}
	group.Wait()
	return errors.Join(failed...)
}

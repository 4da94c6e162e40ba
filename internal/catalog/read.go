package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/seqheal/seqheal/internal/conn"
)

// ErrNotFound reports that no such table is visible to the role.
var ErrNotFound = errors.New("table not found in the catalog")

// errChanged reports that the catalog changed between two questions.
var errChanged = errors.New("the table changed while the catalog was read")

// Name is a table's name as the server reads it, without quotes. An empty
// schema leaves it to the search_path.
type Name struct{ Schema, Table string }

// Read describes the table that a statement inserts into, the one below when the
// statement names a view. violated is the table that the server named in a 23505, the
// zero Name without one; the table described is then the one whose key collided. It
// returns ErrNotFound when there is none, and ErrOutdated when a snapshot hides what the table is.
//
// It sends one query for the table and one for its sequences. Further ones go out for a
// view, a partitioned table, a domain, another table that was violated, in a
// transaction that has written, and under a snapshot. No table is locked and no lock is waited for.
func Read(ctx context.Context, c *conn.Conn, target, violated Name) (*Table, error) {
	r, err := gather(ctx, c, target, violated)
	for again := 0; again < mostReadings && errors.Is(err, errChanged) || again == 0 && errors.Is(err, ErrNotFound); again++ {
		// A name that was given to another table a moment ago is found at the second look.
		r, err = gather(ctx, c, target, violated)
	}
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("read the catalog for table %s: %w", target.Table, err)
	}
	t := r.judge()
	if t.Snapshot {
		if err := t.upToDate(ctx, c); err != nil {
			return nil, fmt.Errorf("read the catalog for table %s: %w", target.Table, err)
		}
	}
	return t, nil
}

// mostReadings bounds how often a table is read again because it changed meanwhile.
const mostReadings = 3

// reading is what was asked about one table, not judged yet.
type reading struct {
	target Name
	named  *relation // what the name stands for, nil when there is no such relation
	way    *path     // from the named view to its table, nil without
	table  *relation // the table described
	by     *index    // the key that it is described by, nil for the one that decides
	// reached is true when table is what the statement inserts into.
	reached bool
	hit     *relation // the table of the error: table itself, or a partition of it
	tree    *tree     // below table, nil unless it is partitioned

	bases     map[int64]baseType // by domain
	sequences map[int64]Sequence
	locked    bool // the own transaction holds a lock of DDL
}

// gather asks all questions about a table.
func gather(ctx context.Context, c *conn.Conn, target, violated Name) (*reading, error) {
	r := &reading{target: target}
	if err := r.readTarget(ctx, c); err != nil {
		return nil, err
	}
	if err := r.readViolated(ctx, c, violated); err != nil {
		return nil, err
	}
	if err := r.readSurroundings(ctx, c); err != nil {
		return nil, err
	}
	return r, r.readLocks(ctx, c)
}

// readTarget finds what the name stands for, and the table below when that is a
// view.
func (r *reading) readTarget(ctx context.Context, c *conn.Conn) (err error) {
	if r.named, err = relationNamed(ctx, c, r.target); err != nil || r.named == nil {
		return err
	}
	r.table, r.reached = r.named, true
	if r.named.kind != "v" {
		return nil
	}
	way, base, err := follow(ctx, c, r.named)
	if base != nil {
		way.shadow(base)
		r.way, r.table = way, base
	}
	return err
}

// readViolated finds the table of the error. The table described stays the statement's
// when it is that one or above it. Otherwise it becomes the violated one's root, because rows
// come in through the root and its default draws the values.
func (r *reading) readViolated(ctx context.Context, c *conn.Conn, violated Name) (err error) {
	if r.hit, err = r.hitBy(ctx, c, violated); err != nil || r.hit == r.table {
		return err
	}
	if r.table != nil && r.hit.oid == r.table.oid { // it was renamed since it was read
		return errChanged
	}
	above, err := ancestorsOf(ctx, c, r.hit)
	if err != nil || r.table != nil && slices.Contains(above, r.table.oid) {
		return err
	}
	r.table, r.reached = r.hit, false
	if len(above) == 0 {
		return nil
	}
	if r.table, err = relationOf(ctx, c, above[len(above)-1]); err == nil && r.table == nil {
		err = errChanged
	}
	return err
}

// hitBy is the table of the error, the statement's own when the error names none or
// one that is gone.
func (r *reading) hitBy(ctx context.Context, c *conn.Conn, violated Name) (*relation, error) {
	hit := r.table
	if violated.Table != "" && !r.isTable(violated) {
		other, err := relationNamed(ctx, c, violated)
		if err != nil {
			return nil, err
		}
		if other != nil && (other.kind == "r" || other.kind == "p") {
			hit = other
		}
	}
	if hit == nil {
		return nil, ErrNotFound
	}
	return hit, nil
}

func (r *reading) isTable(name Name) bool {
	return r.table != nil && name == Name{Schema: r.table.schema, Table: r.table.name}
}

// readSurroundings asks for partitions, domains and sequences, where there are any.
func (r *reading) readSurroundings(ctx context.Context, c *conn.Conn) (err error) {
	if r.table.kind == "p" {
		if r.tree, err = treeOf(ctx, c, r.table.oid, r.hit.oid); err != nil {
			return err
		}
	}
	var domains, sequences []int64
	for _, number := range r.keyColumns() {
		a := r.table.number(number)
		if a.Domain {
			domains = append(domains, a.TypeOID)
		}
		if fed := r.table.feed(a); fed.sequence != 0 {
			sequences = append(sequences, fed.sequence)
		}
	}
	if r.bases, err = baseTypesOf(ctx, c, domains); err != nil {
		return err
	}
	if r.sequences, err = sequencesOf(ctx, c, sequences); err != nil {
		return err
	}
	for _, oid := range sequences {
		if _, found := r.sequences[oid]; !found {
			return errChanged
		}
	}
	return nil
}

// keyColumns are the numbers of the columns in the primary key and in any unique
// index, each once.
func (r *reading) keyColumns() []int64 {
	numbers := r.key()
	for _, x := range r.table.indexes {
		if x.Unique {
			numbers = append(numbers, x.Columns...)
		}
	}
	slices.Sort(numbers)
	return slices.DeleteFunc(slices.Compact(numbers), func(number int64) bool { return number == 0 })
}

// key is the columns of the key that decides, by number: the primary key where a
// sequence feeds one of its columns, else a unique index that a sequence feeds, else the
// primary key all the same.
func (r *reading) key() []int64 {
	if x := r.keyIndex(); x != nil {
		return slices.Clone(x.Columns)
	}
	var numbers []int64
	if x := r.tree.primary(); x != nil {
		for _, name := range x.Names {
			if a, ok := r.table.column(name); ok {
				numbers = append(numbers, a.Number)
			}
		}
	}
	if len(numbers) == 0 {
		return r.keyElsewhere()
	}
	return numbers
}

// isElsewhere reports whether rows of the table are on other servers.
func (r *reading) isElsewhere() bool {
	return r.table.kind == "f" || r.tree != nil && r.tree.Foreign > 0
}

// keyElsewhere is the column that a sequence feeds, for a table whose unique indexes are
// on other servers. It is empty when sequences feed none or several.
func (r *reading) keyElsewhere() (numbers []int64) {
	if !r.isElsewhere() {
		return nil
	}
	for _, a := range r.table.columns {
		if r.table.feed(a).sequence != 0 {
			numbers = append(numbers, a.Number)
		}
	}
	if len(numbers) != 1 {
		return nil
	}
	return numbers
}

// indexedElsewhere reports whether the furthest value of the column can be asked for, of a
// table that has no index of its own: other servers are taken to have one, as they keep
// duplicates out, and the partitions here have a primary key that begins with it.
func (r *reading) indexedElsewhere(column string) bool {
	switch {
	case !r.isElsewhere():
		return false
	case r.table.kind == "f" || r.tree.AllForeign():
		return true
	}
	x := r.tree.primary()
	return x != nil && r.tree.Bare == 0 && x.Names[0] == column
}

// keyIndex is the index of that key, nil for a partitioned table whose partitions alone
// have one, as a root with a foreign partition cannot have its own.
func (r *reading) keyIndex() *index {
	if r.by != nil {
		return r.by
	}
	primary := r.table.primary()
	if primary != nil && r.table.feeds(*primary) > 0 || primary == nil && r.tree.primary() != nil {
		return primary
	}
	for i := range r.table.indexes {
		if x := &r.table.indexes[i]; x.decides() && r.table.feeds(*x) == 1 {
			return x
		}
	}
	return primary
}

// decides reports whether the index keeps every duplicate of its plain columns out at once.
func (x index) decides() bool {
	return x.Unique && x.Immediate && x.Valid && !x.Exclusion && !x.Partial && x.plain()
}

// feeds is how many columns of an index a sequence feeds.
func (r *relation) feeds(x index) (count int) {
	for _, number := range x.Columns {
		if r.feed(r.number(number)).sequence != 0 {
			count++
		}
	}
	return count
}

// readLocks asks whether the own transaction holds a lock on one of these relations that a
// plain statement does not take. It may then have changed them, and a dropped trigger leaves no
// row behind that shows it.
//
// $1  a JSON array of the relations' oids
const readLocks = `
SELECT EXISTS (
  SELECT 1 FROM pg_catalog.pg_locks l
  WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' AND l.granted
    AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
    AND l.relation::pg_catalog.int8 IN (
      SELECT e::pg_catalog.int8 FROM pg_catalog.json_array_elements_text($1::pg_catalog.text::pg_catalog.json) e)
    AND l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock'))`

func (r *reading) readLocks(ctx context.Context, c *conn.Conn) error {
	if !r.table.session.wrote || r.uncommitted() {
		return nil
	}
	oids := []int64{r.table.oid, r.hit.oid}
	for oid := range r.sequences {
		oids = append(oids, oid)
	}
	if r.way != nil {
		for _, view := range r.way.views {
			oids = append(oids, view.oid)
		}
	}
	err := c.Row(ctx, readLocks, []any{list(oids)}, &r.locked)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return err
}

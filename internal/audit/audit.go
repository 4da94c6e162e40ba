// Package audit reads every column that a sequence feeds, compares each with
// its sequence, and moves forward the sequences that are behind.
package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/sequence"
)

// Transaction runs fn on a connection inside a transaction, or a savepoint of one,
// that is rolled back when fn returns: the locks that fn took are given back, the
// moves of sequences stay (PostgreSQL manual 9.17).
type Transaction func(ctx context.Context, fn func(context.Context, *conn.Conn) error) error

// Scope is what is read.
type Scope struct {
	Schemas []string       // none for all
	Tables  []catalog.Name // none for all
	// EverySchema includes the schemas that the role may not use, when none are named.
	EverySchema bool
	// Only reports whether a table is read; nil for all.
	Only func(schema, table string) bool
	// Unused lists the sequences that nothing draws from, too.
	Unused bool
	// Inserted reads the server's statistics, for a forecast.
	Inserted bool
	// Nearly is the share of a range from which on a column is nearly exhausted.
	Nearly float64
	// TableTimeout is what may be spent on one table.
	TableTimeout time.Duration
	// Inside is true when the Transactions are savepoints of a longer transaction.
	Inside bool
	// Progress receives how many of the columns are done; it may be nil.
	Progress func(done, total int)
}

// Column is one column that a sequence feeds, compared with that sequence.
type Column struct {
	// Fed is nil for a table that was asked for and cannot be read, Asked is its name; and
	// for a column of which the catalog does not know the sequence, which is Textual.
	*catalog.Fed
	Asked   catalog.Name
	Textual catalog.Textual
	// Last is the last value that the sequence gave, or the one before its first;
	// it is meaningless with Err, unless Behind.
	Last int64
	// Furthest is the furthest value of the column within the sequence's range.
	Furthest sequence.Position
	// Estimated is true when Furthest is only what the statistics tell.
	Estimated bool
	// Outlier is a value near the end of the range that Furthest leaves out.
	Outlier sequence.Position
	// Next is the nearest row in front of a sequence that cycles.
	Next sequence.Position
	// Inserted is how many rows came into the table, as the server's statistics count.
	Inserted catalog.Inserted
	// Err is a *sequence.Refusal: why the column cannot be read or was not moved.
	Err error
	// Move is what Move did, nil when it did nothing.
	Move *sequence.Move
	// Explained is what Explain found, nil where it was not asked.
	Explained *Explained
	// read is true once Last and Furthest are known, and stays so when only the move
	// fails; unseen when part of the table
	// was too large to be read without an index.
	read, unseen bool
	// nearly is the share of a range from which on it is nearly exhausted.
	nearly float64
}

// Report is what one audit found.
type Report struct {
	Columns []*Column
	// Unused are the sequences that nothing draws from, when they were asked for.
	Unused []catalog.Unused
	// At is when the reading began.
	At      time.Time
	session conn.Session
	scope   Scope
	// done and moves count for the progress.
	done, moves int
	// sisters are the columns that were not asked for but share a sequence.
	sisters []*Column
}

// Read reads the columns in the scope, ordered by name, in transactions of at most
// locksAtOnce locks. A table that cannot be read does not stop the others: its
// column says why. The error is that of a connection that failed or a context that
// ended; the columns that were not reached then carry it as well.
func Read(ctx context.Context, within Transaction, scope Scope) (*Report, error) {
	r := &Report{scope: scope, At: time.Now()}
	if err := within(ctx, r.readCatalog); err != nil {
		return r, err
	}
	r.progress(0)
	err := r.look(ctx, within)
	if err != nil {
		r.giveUp(err)
	}
	return r, err
}

// noJIT keeps the server from compiling the query over the whole catalog, which
// costs more than running it.
const noJIT = "SET LOCAL jit = off"

func (r *Report) readCatalog(ctx context.Context, c *conn.Conn) (err error) {
	if err := c.Exec(ctx, noJIT); err != nil {
		return err
	}
	if r.session, err = conn.ReadSession(ctx, c); err != nil {
		return err
	}
	tables, err := r.resolve(ctx, c)
	if err != nil || len(r.scope.Tables) > 0 && len(tables) == 0 {
		return err
	}
	where := catalog.Where{Schemas: r.scope.Schemas, EverySchema: r.scope.EverySchema, Tables: tables}
	fed, err := catalog.ReadFed(ctx, c, where)
	if err != nil {
		return err
	}
	fed = r.wanted(fed)
	for _, f := range fed {
		column := &Column{Fed: f, Asked: catalog.Name{Schema: f.Schema, Table: f.Name}, nearly: cmp.Or(r.scope.Nearly, nearly)}
		column.Err = unreadable(f, r.session.Role)
		if f.Wanted {
			r.Columns = append(r.Columns, column)
		} else {
			r.sisters = append(r.sisters, column)
		}
	}
	return r.readAround(ctx, c, where, fed)
}

// wanted leaves out the tables that the scope does, unless they share a sequence with
// one that it does not.
func (r *Report) wanted(fed []*catalog.Fed) []*catalog.Fed {
	if r.scope.Only == nil {
		return fed
	}
	reached := map[int64]bool{}
	for _, f := range fed {
		f.Wanted = f.Wanted && r.scope.Only(f.Schema, f.Name)
		reached[f.Sequence.OID] = reached[f.Sequence.OID] || f.Wanted
	}
	return slices.DeleteFunc(fed, func(f *catalog.Fed) bool { return !reached[f.Sequence.OID] })
}

// readAround reads what is not the columns' own: foreign keys, statistics, sequences.
func (r *Report) readAround(ctx context.Context, c *conn.Conn, where catalog.Where, fed []*catalog.Fed) error {
	if err := catalog.ReadReferences(ctx, c, fed); err != nil {
		return err
	}
	if err := r.readTextual(ctx, c, where); err != nil {
		return err
	}
	if r.scope.Inserted {
		inserted, err := catalog.ReadInserted(ctx, c, fed)
		if err != nil {
			return err
		}
		for _, column := range r.Columns {
			if column.Fed != nil {
				column.Inserted = inserted[column.OID]
			}
		}
	}
	if !r.scope.Unused {
		return nil
	}
	unused, err := catalog.ReadUnused(ctx, c, where)
	for _, u := range unused {
		if r.scope.Only == nil || r.scope.Only(u.Schema, cmp.Or(u.Table, u.Name)) {
			r.Unused = append(r.Unused, u)
		}
	}
	return err
}

// readTextual adds the columns whose sequence the catalog does not know: without them the
// report would look as if they were in sync.
func (r *Report) readTextual(ctx context.Context, c *conn.Conn, where catalog.Where) error {
	found, err := catalog.ReadTextual(ctx, c, where)
	if err != nil || len(found) == 0 {
		return err
	}
	for _, t := range found {
		if r.scope.Only == nil || r.scope.Only(t.Schema, t.Table) {
			r.Columns = append(r.Columns, &Column{Asked: catalog.Name{Schema: t.Schema, Table: t.Table}, Textual: t, Err: textual(t)})
		}
	}
	slices.SortStableFunc(r.Columns, func(a, b *Column) int {
		return cmp.Or(cmp.Compare(a.Asked.Schema, b.Asked.Schema), cmp.Compare(a.Asked.Table, b.Asked.Table))
	})
	return nil
}

// resolve finds the tables that were asked for, and notes those that are none.
func (r *Report) resolve(ctx context.Context, c *conn.Conn) ([]int64, error) {
	if len(r.scope.Tables) == 0 {
		return nil, nil
	}
	relations, err := catalog.Resolve(ctx, c, r.scope.Tables)
	if err != nil {
		return nil, err
	}
	var tables []int64
	for _, relation := range relations {
		switch {
		case !relation.Found:
			r.Columns = append(r.Columns, &Column{Asked: relation.Name, Err: notFound(relation.Name)})
		case len(r.scope.Schemas) > 0 && !slices.Contains(r.scope.Schemas, relation.Schema):
			r.Columns = append(r.Columns, &Column{Asked: relation.Name, Err: elsewhere(relation)})
		case relation.View:
			r.Columns = append(r.Columns, &Column{Asked: relation.Name, Err: isView(relation.Name)})
		default:
			tables = append(tables, relation.OID)
		}
	}
	return tables, nil
}

// giveUp marks what was not reached.
func (r *Report) giveUp(err error) {
	for _, c := range r.all() {
		if c.Err == nil && !c.read {
			c.Err = &sequence.Refusal{Reason: sequence.Explain(err).Reason, Err: fmt.Errorf("table %s was not read: %w", c.QuotedName(), err)}
		}
	}
}

// all are the columns that were asked for and the ones that share a sequence.
func (r *Report) all() []*Column {
	return append(r.Columns[:len(r.Columns):len(r.Columns)], r.sisters...)
}

func (r *Report) progress(more int) {
	r.done += more
	if r.scope.Progress != nil {
		r.scope.Progress(r.done, r.total())
	}
}

// total is how many steps there are: one for each column, and once it is known which
// sequences have to be moved, one for each of them.
func (r *Report) total() int { return len(r.Columns) + len(r.sisters) + r.moves }

// lost tells a failure that ends the audit, of the context or the connection, from
// one of the server's about one table.
func lost(ctx context.Context, err error) bool {
	if err == nil {
		return false
	}
	_, spoke := pgerr.From(err)
	var refusal *sequence.Refusal
	return ctx.Err() != nil || !spoke && !errors.As(err, &refusal) && !errors.Is(err, conn.ErrTimeSpent)
}

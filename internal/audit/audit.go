// Package audit reads every column that a sequence feeds, says how each stands to
// its sequence, and moves forward the sequences that are behind.
package audit

import (
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
	// TableTimeout is what may be spent on one table.
	TableTimeout time.Duration
	// Inside is true when the Transactions are savepoints of a longer transaction.
	Inside bool
	// Progress is told how many of the columns are done; nil for nobody.
	Progress func(done, total int)
}

// Column is one column that a sequence feeds, and how it stands to it.
type Column struct {
	// Fed is nil for a table that was asked for and cannot be read; Asked is its name.
	*catalog.Fed
	Asked catalog.Name
	// Last is the last value that the sequence gave, or the one before its first;
	// it is meaningless with Err, unless Behind.
	Last int64
	// Furthest is the furthest value of the column within the sequence's range.
	Furthest sequence.Position
	// Estimated is true when Furthest is only what the statistics tell.
	Estimated bool
	// Outlier is a value near the end of the range that Furthest leaves out.
	Outlier sequence.Position
	// Err is a *sequence.Refusal: why the column cannot be read or was not moved.
	Err error
	// Move is what Move did, nil when it did nothing.
	Move *sequence.Move
	// read is true once Last and Furthest are known, and stays so when only the move
	// fails; unseen when part of the table
	// was too large to be read without an index.
	read, unseen bool
}

// Report is what one audit found.
type Report struct {
	Columns []*Column
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
	r := &Report{scope: scope}
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
	fed, err := catalog.ReadFed(ctx, c, r.scope.Schemas, tables)
	if err != nil {
		return err
	}
	for _, f := range fed {
		column := &Column{Fed: f, Asked: catalog.Name{Schema: f.Schema, Table: f.Name}}
		column.Err = unreadable(f, r.session.Role)
		if f.Wanted {
			r.Columns = append(r.Columns, column)
		} else {
			r.sisters = append(r.sisters, column)
		}
	}
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

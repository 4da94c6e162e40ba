package plugin

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/audit"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/facts"
	"github.com/seqheal/seqheal/internal/heal"
)

// Audit reads every column that a sequence feeds, in a key or not, and compares it with
// its sequence. The findings are ordered by schema, table and column; a
// partitioned table is one, beside those of its partitions that have sequences of their
// own. Without [AndResync] it only reads: it works on a standby and in a read-only
// transaction. On a standby a sequence reads up to 32 values further
// than on its primary, because PostgreSQL logs them in advance: that is where it continues
// after a promotion.
//
// Foreign keys of a narrower type that point to a column are reported with it
// (Finding.Narrow).
//
// It sends a few queries to the catalog and then one statement for each fifty tables
// or so, each in a short transaction that locks at most 200 relations (more only for a
// partitioned table whose partitions the role may not read one by one, or which holds a
// value near the end of the range); inside a transaction, db's own, each in a savepoint
// that is rolled back. Furthest values are read by an index; without one, from end to end when the table is at most 8 MB, and
// else from the planner's statistics (Finding.Estimated).
//
// What cannot be read is a [Finding] in [StateUnreadable] with its Reason, and the rest
// is done. The error is that of the connection or the context; what was found before
// is returned with it. With [AndResync] it joins the errors of all tables that were
// not brought in sync, as [Resync] does.
func Audit(ctx context.Context, db *gorm.DB, options ...AuditOption) ([]Finding, error) {
	settings := auditSettings{timeout: 5 * time.Second}
	for _, option := range options {
		option(&settings)
	}
	return settings.run(ctx, db)
}

// Resync moves forward the sequences that are behind: those of the tables named, as
// [OfTables] takes them, or all. It is [Audit] with [AndResync]. A table that fails does
// not stop the others: its Finding has the Reason and Err, and the error, which joins
// theirs, names it. Columns whose default is more than nextval are passed over unless
// their table is named.
func Resync(ctx context.Context, db *gorm.DB, tables ...string) ([]Finding, error) {
	return Audit(ctx, db, OfTables(tables...), AndResync())
}

func (s auditSettings) run(ctx context.Context, db *gorm.DB) ([]Finding, error) {
	for _, model := range s.models {
		name, err := tableOf(db, model)
		if err != nil {
			return nil, err
		}
		s.tables = append(s.tables, name)
	}
	if s.models != nil && len(s.tables) == 0 {
		return nil, nil
	}
	s.resync = s.resync && !db.DryRun
	within, inside := transactions(ctx, db, &sql.TxOptions{Isolation: sql.LevelReadCommitted, ReadOnly: !s.resync})
	report, err := audit.Read(ctx, within, audit.Scope{
		Schemas: s.schemas, EverySchema: s.everySchema, Tables: s.tables, Only: s.only, Unused: s.unused, Inserted: s.forecast && s.earlier == nil,
		Nearly: s.nearly, TableTimeout: s.timeout, Inside: inside, Progress: s.progress,
	})
	if err == nil && s.causes {
		err = report.Explain(ctx, within, func(seq facts.Sequence) *facts.Memory { return remembered(db, seq) })
	}
	if err == nil && s.resync {
		err = errors.Join(report.Move(ctx, within), report.Failures())
	}
	findings := s.findings(report)
	if err != nil {
		err = fmt.Errorf("seqheal: %w", err)
	}
	return findings, err
}

// remembered is what the plugin of db, if it has one, remembers of a sequence.
func remembered(db *gorm.DB, seq facts.Sequence) (memory *facts.Memory) {
	p, ok := db.Plugins[(*Plugin)(nil).Name()].(*Plugin)
	if !ok {
		return nil
	}
	p.healers.Range(func(h, _ any) bool {
		memory = h.(*heal.Healer).Memory(db, seq)
		return memory == nil
	})
	return memory
}

// transactions are what an audit runs in: short ones of its own, or savepoints of the
// transaction that db is in.
func transactions(ctx context.Context, db *gorm.DB, options *sql.TxOptions) (within audit.Transaction, inside bool) {
	inside = conn.Inside(db)
	if inside || !conn.Outside(ctx, db) {
		c := conn.In(db, db.Statement.ConnPool)
		return func(ctx context.Context, fn func(context.Context, *conn.Conn) error) error {
			return c.InSavepoint(ctx, func() error { return fn(ctx, c) })
		}, true
	}
	return func(ctx context.Context, fn func(context.Context, *conn.Conn) error) error {
		tx, err := conn.Begin(ctx, db, options)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		return fn(ctx, tx.Conn)
	}, false
}

package heal

import (
	"context"
	"fmt"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/statement"
)

// mixed sends an upsert in which some rows name their ids, which may exist, and some
// do not, which must not. It looks ahead. Where the key is one integer column a WHERE
// keeps DO UPDATE from any row but the named ones, and a row that is missing
// afterwards is evidence of drift: the statement is undone and sent again after a heal.
type mixed struct {
	*insert
	text  statement.Text
	table *catalog.Table
	// counted is true when every row must come back.
	counted bool
}

func newMixed(in *insert, t *catalog.Table) *mixed {
	s := &mixed{insert: in, text: in.stmt.Text(), table: t}
	onConflict := in.stmt.Insert.OnConflict
	ids, readable := in.stmt.Insert.Explicit(t.FedColumn())
	if !onConflict.DoNothing && len(t.Key) == 1 && readable {
		s.text = s.text.UpdatingOnly(catalog.Quote(t.FedColumn()), ids)
		s.counted = len(onConflict.Where.Exprs) == 0 && !t.UpsertTrigger && !t.UpdateTrigger
	}
	return s
}

func (*mixed) guard() Guard { return Preflight }

func (s *mixed) send(ctx context.Context) *collision {
	if !s.ensureTransaction(ctx) {
		return nil
	}
	if s.nextIsTaken(ctx, s.table) {
		return &collision{evidence: foreseen}
	}
	return s.sendCounted(ctx)
}

// sendCounted sends the statement, in a savepoint if its rows are counted. Rows that
// are missing are a collision.
func (s *mixed) sendCounted(ctx context.Context) *collision {
	c := s.conn()
	if !s.counted || c.Savepoint(ctx) != nil {
		err := s.insert.send(s.text)
		if pgerr.Is(err, pgerr.SerializationFailure) {
			s.healForRetry(ctx, s, err, s.ahead(s.table).Count)
		}
		return nil
	}
	err := s.insert.send(s.text)
	if err != nil {
		if _, server := pgerr.From(err); !server {
			_ = c.Release(ctx) // the server took the rows, or the connection is gone
		}
		if pgerr.Is(err, pgerr.SerializationFailure) {
			s.healForRetry(ctx, s, err, s.ahead(s.table).Count)
		}
		return nil
	}
	if s.stmt.DB.RowsAffected >= int64(s.stmt.Insert.Rows()) {
		s.release(ctx)
		return nil
	}
	returned := s.stmt.DB.RowsAffected
	return &collision{evidence: missingRows, undone: c.RollBack(ctx), err: fmt.Errorf(
		"%w: %d of %d rows for table %s came back, because rows with explicit ids are in front of sequence %s; roll back and try again",
		ErrRowsMissing, returned, s.stmt.Insert.Rows(), s.table.QuotedName(), s.table.Sequence.QuotedName())}
}

func (s *mixed) heal(ctx context.Context, a *attempt) strategy {
	if !a.healHere(ctx) {
		return nil
	}
	return s
}

func (s *mixed) abandon(ctx context.Context, a *attempt) {
	if a.collision.evidence == foreseen {
		if !s.counted && s.mustNotBeSent(ctx, a, s.table) {
			return
		}
		missing := s.sendCounted(ctx)
		if missing == nil {
			return
		}
		a.collision = *missing
	}
	s.conn().Abort(ctx)
	s.stmt.Fail(a.collision.err)
}

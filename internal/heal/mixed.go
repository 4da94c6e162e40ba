package heal

import (
	"context"
	"fmt"

	"github.com/seqheal/seqheal/internal/catalog"
)

// mixed sends an upsert in which some rows name their ids, which may exist, and some
// do not, which must not. It looks ahead. Where the key is one integer column a WHERE
// keeps DO UPDATE from any row but the named ones, and a row that is missing
// afterwards is evidence of drift: the statement is undone and sent again after a heal.
type mixed struct {
	preflight
}

func newMixed(in *insert, t *catalog.Table) *mixed {
	s := &mixed{preflight: preflight{insert: in, text: in.stmt.Text(), table: t}}
	s.restrict()
	return s
}

// restrict adds the WHERE where nothing on the table can notice it.
func (s *mixed) restrict() {
	t, onConflict := s.table, s.stmt.Insert.OnConflict
	if !t.Fed() {
		return // after it turned out to be another table
	}
	ids, readable := s.explicit(t)
	if onConflict.DoNothing || !t.IntegerKey() || !readable || t.View != nil || s.skips(t) || t.TreeRowSecurity || len(onConflict.Where.Exprs) > 0 {
		return
	}
	s.text = s.text.UpdatingOnly(catalog.Quote(t.FedColumn()), ids)
	s.counted = !t.Triggers.BeforeUpdateRow
}

func (s *mixed) send(ctx context.Context) *collision {
	if !s.ensureTransaction(ctx) {
		return nil
	}
	before := s.table
	f := fence{keepOpen: true}
	if !s.counted {
		f = s.watched()
	}
	hit, r := s.sendBehindLook(ctx, f)
	if hit != nil {
		return hit
	}
	if !s.counted {
		return s.examine(ctx, s, r)
	}
	return s.count(ctx, r, before)
}

// count compares the rows that came back with those that were sent. Missing ones are a
// collision. before is the table that the WHERE was made for: where it turned out to be
// another one, the statement is sent again with a WHERE for that.
func (s *mixed) count(ctx context.Context, r fenced, before *catalog.Table) *collision {
	sent := int64(s.stmt.Insert.Rows())
	switch {
	case r.err != nil:
		return s.failed(ctx, s, r)
	case !s.counted || r.rows >= sent:
		if r.open {
			s.release(ctx)
		}
	case before != s.table:
		s.text = s.stmt.Text()
		s.counted = false
		s.restrict()
		fallthrough
	default:
		hit := collisionOf(s.table, missingRows, s.undo(ctx))
		hit.err = fmt.Errorf("%w: %d of %d rows for table %s came back, because rows with explicit ids are in front of sequence %s; roll back and try again",
			ErrRowsMissing, r.rows, sent, s.table.QuotedName(), s.table.Sequence.QuotedName())
		return hit
	}
	return nil
}

func (s *mixed) heal(ctx context.Context, a *attempt) strategy { return a.healAndSend(ctx, s) }

// abandon sends the statement where the look alone found drift, or where what came back
// cannot be counted. Rows that are missing, then or before, fail it with [ErrRowsMissing],
// and a 23505 fails it as it is; both leave the transaction aborted.
func (s *mixed) abandon(ctx context.Context, a *attempt) {
	if a.collision.evidence != uniqueViolation && (a.collision.evidence == foreseen || !s.counted) {
		if !s.counted && s.failUnsent(ctx, a, s.table) {
			return
		}
		missing := s.count(ctx, s.sendUnasked(ctx, s.text, fence{keepOpen: s.counted}), s.table)
		if missing == nil {
			return
		}
		a.collision = *missing
	}
	s.failAborted(ctx, a.collision.err)
}

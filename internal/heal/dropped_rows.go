package heal

import (
	"context"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/pgerr"
)

// droppedRows sends several rows under DO NOTHING without a target, or one on a table
// where a trigger may skip it. It looks ahead. Where every row leaves its key out and
// nothing but the key can drop a row, fewer rows than were sent are evidence of drift:
// the statement is undone and sent again after a heal.
type droppedRows struct {
	preflight
	// counted is true when every row must come back.
	counted bool
}

func newDroppedRows(in *insert, t *catalog.Table) *droppedRows {
	s := &droppedRows{preflight: preflight{insert: in, text: in.stmt.Text(), table: t}}
	s.counted = !in.names(t) && !in.skips(t) && t.OnlyKeyIsUnique() && !t.TreeRowSecurity
	return s
}

func (s *droppedRows) send(ctx context.Context) *collision {
	if !s.ensureTransaction(ctx) {
		return nil
	}
	asked := s.table
	hit, r := s.ask(ctx, fence{keepOpen: s.counted})
	if hit != nil {
		return hit
	}
	switch {
	case r.err != nil:
		if pgerr.Is(r.err, pgerr.SerializationFailure) {
			s.healForRetry(ctx, s, r.err, s.ahead(s.table).Count)
		}
		s.settle(ctx, r)
	case s.counted && asked == s.table && r.rows < int64(s.stmt.Insert.Rows()) && s.onlyKeyDrops(ctx):
		return &collision{evidence: missingRows, undone: s.conn().RollBack(ctx)}
	case r.open:
		s.release(ctx)
	}
	return nil
}

// onlyKeyDrops reads the table again: an index that was added since may be what
// dropped the rows.
func (s *droppedRows) onlyKeyDrops(ctx context.Context) bool {
	if s.table.Triggers.BeforeInsertRow {
		return false
	}
	table, err := catalog.Read(ctx, s.conn(), s.stmt.Target, catalog.Name{})
	return err == nil && table.OnlyKeyIsUnique() && !s.skips(table) && table.Identity.OID == s.table.Identity.OID
}

func (s *droppedRows) heal(ctx context.Context, a *attempt) strategy {
	if !a.healHere(ctx) {
		return nil
	}
	return s
}

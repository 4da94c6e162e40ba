package heal

import (
	"context"
	"errors"

	"github.com/seqheal/seqheal/internal/catalog"
)

// droppedRows sends several rows under DO NOTHING without a target, or one on a table
// where a trigger may skip it. It looks ahead. Where every row leaves its key out and
// nothing but the key can drop a row, fewer rows than were sent are evidence of drift:
// the statement is undone and sent again after a heal.
type droppedRows struct {
	preflight
}

func newDroppedRows(in *insert, t *catalog.Table) *droppedRows {
	in.effect = WouldDrop
	s := &droppedRows{preflight: preflight{insert: in, text: in.stmt.Text(), table: t}}
	s.blind, s.counted = !in.drawsPredictably(t), in.rowsTell(t)
	return s
}

// rowsTell reports whether a row that does not come back under DO NOTHING has met another one by
// a value that it drew.
func (in *insert) rowsTell(t *catalog.Table) bool {
	onConflict := in.stmt.Insert.OnConflict
	return onConflict != nil && onConflict.DoNothing && in.drawsPredictably(t) && !in.names(t) && !in.skips(t) && t.OnlyKeyIsUnique() && !t.TreeRowSecurity
}

func (s *droppedRows) send(ctx context.Context) *collision {
	if !s.ensureTransaction(ctx) {
		return nil
	}
	f := s.watched()
	f.keepOpen = f.keepOpen || s.counted
	hit, r := s.sendBehindLook(ctx, f)
	if hit != nil {
		return hit
	}
	complete := r.rows >= int64(s.stmt.Insert.Rows())
	switch {
	case r.err == nil && r.open && complete:
		s.release(ctx)
		return nil
	case r.err == nil && r.open && s.counted && s.onlyKeyDrops(ctx, s.table):
		return &collision{evidence: missingRows, from: s.table, undone: s.undo(ctx)}
	}
	return s.examine(ctx, r)
}

// onlyKeyDrops reads the table again, and reports whether nothing but its key can have kept
// a row out: an index or a trigger may have been put on it or on a partition since. Where a
// snapshot hides what it is now, t was read from a second connection a moment ago.
func (in *insert) onlyKeyDrops(ctx context.Context, t *catalog.Table) bool {
	now, err := catalog.Read(ctx, in.conn(), in.stmt.Target, catalog.Name{})
	return errors.Is(err, catalog.ErrOutdated) || err == nil && now.OnlyKeyIsUnique() && !in.skips(now) && !now.Triggers.InsertStatement && now.Identity.OID == t.Identity.OID
}

func (s *droppedRows) heal(ctx context.Context, a *attempt) strategy { return a.healAndSend(ctx, s) }

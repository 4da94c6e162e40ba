package heal

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/sequence"
	"github.com/seqheal/seqheal/internal/statement"
)

// collidedOrTripped is the collision of a statement that failed with err, nil for an error
// that is the caller's own. wired is the table by the key at which the statement had a
// tripwire, nil without one. After 40001 the sequence is moved for the caller's retry: the row
// that DO UPDATE met lies outside the snapshot.
func (in *insert) collidedOrTripped(ctx context.Context, by strategy, err error, wired *catalog.Table) *collision {
	hit := in.collided(err)
	switch {
	case hit != nil || wired == nil:
	case pgerr.Is(err, pgerr.SerializationFailure):
		in.healForRetry(ctx, by, err, wired, in.draws(wired))
	default:
		hit = in.tripped(err, wired)
	}
	return hit
}

// tripped is the collision that a tripwire may have found, nil for any other error. The server
// itself finds a row that names the id which another row of the statement draws.
func (in *insert) tripped(err error, t *catalog.Table) *collision {
	server, ok := pgerr.From(err)
	if !ok {
		return nil
	}
	hit := &collision{evidence: metRow, from: t}
	hit.err = err
	id := statement.Tripped(server.Message)
	switch {
	case server.Code == pgerr.InvalidTextRepresentation && id != "":
		value, err := strconv.ParseInt(id, 10, 64)
		hit.key = sequence.Position{Value: value, Found: err == nil}
	case server.Code == pgerr.CardinalityViolation && (server.Routine == "" || strings.Contains(server.Routine, "OnConflict")) && in.namesEachOnce(t):
	default:
		return nil
	}
	return hit
}

// namesEachOnce reports whether rows name ids of the table, and no two the same.
func (in *insert) namesEachOnce(t *catalog.Table) bool {
	ids, readable := in.explicit(t)
	slices.Sort(ids)
	return readable && len(ids) > 0 && len(slices.Compact(slices.Clone(ids))) == len(ids)
}

// classifyMetRow decides whether the sequence gave the id of the row that met another one. A
// trigger may give it by now, or the sequence may give values again.
func (a *attempt) classifyMetRow(ctx context.Context, c *conn.Conn) (verdict, error) {
	if a.skips(a.table) || !predictable(a.table) {
		return callersOwn, nil
	}
	if server, _ := pgerr.From(a.collision.err); server.Code != pgerr.CardinalityViolation {
		return drift, nil
	}
	last, err := sequence.LastDrawn(ctx, c, a.table)
	return driftIf(last.Found && a.namesOneOfTheLast(last.Value)), err
}

// drawnBetween is how many draws of other sessions are expected between those of one statement.
const drawnBetween = 16

// namesOneOfTheLast reports whether a row names an id that is among the draws up to this one, as
// many as the statement has and those of others between them.
func (a *attempt) namesOneOfTheLast(last int64) bool {
	seq, within := a.table.Sequence, a.draws(a.table)+drawnBetween
	ids, _ := a.explicit(a.table)
	return slices.ContainsFunc(ids, func(id int64) bool { return seq.Reached(last, id) && sequence.Steps(id, last, seq.Increment) < within })
}

// isFalseAlarm reports whether a tripwire met a row although the sequence did not give the
// id: the table is another one by now.
func (a *attempt) isFalseAlarm() bool {
	return a.collision.evidence == metRow && a.verdict == callersOwn && a.failure == nil
}

// lastError is what the caller gets when a collision was not healed: what PostgreSQL said of
// it, but for a tripwire's own error.
func (a *attempt) lastError() error {
	if a.collision.evidence != metRow || !a.collision.key.Found || a.table == nil {
		return a.collision.err
	}
	reason := a.collision.err
	if a.failure != nil {
		reason = a.failure.Err
	}
	return fmt.Errorf("%w: an upsert into table %s was undone, because sequence %s gives ids that exist and was not moved: %w",
		ErrRowsMissing, a.table.QuotedName(), a.table.Sequence.QuotedName(), reason)
}

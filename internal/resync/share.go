package resync

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
)

// Looks shares one look at a table among all that collide on its sequence in
// this process: without sharing, slow looks (a dead index tail, a thousand
// partitions) queue a herd past its time budget (measured). The zero value is
// ready.
//
// It is singleflight with one difference: a waiting caller keeps its own context
// and time budget, for it may hold the very lock that the other one waits for.
type Looks struct {
	mutex   sync.Mutex
	pending map[string]*pending
}

// pending is a look under way. sight and err may be read once done is closed.
type pending struct {
	done  chan struct{}
	sight Sight
	err   error
}

// Look returns the furthest value of the column within the sequence's own
// bounds. It needs one query, and one more when other columns draw from the same
// sequence. c must be in a savepoint that is rolled back on error. READ COMMITTED
// callers that look at the same sequence at the same time share the answer; a
// snapshot's answer is its own.
func (l *Looks) Look(ctx context.Context, c *conn.Conn, session conn.Session, t *catalog.Table, prefix *Prefix) (Sight, error) {
	if session.Isolation != conn.ReadCommitted {
		return look(ctx, c, t, prefix)
	}
	key := session.Database + "/" + strconv.FormatInt(t.Sequence.OID, 10) + "/" + strconv.FormatInt(t.OID, 10) + "/" + session.Role
	if prefix != nil {
		key += "/" + strings.Join(prefix.Values, "\x00")
	}
	l.mutex.Lock()
	if p := l.pending[key]; p != nil {
		l.mutex.Unlock()
		return p.wait(ctx, c, t, prefix)
	}
	p := &pending{done: make(chan struct{}), err: context.Canceled} // until it is known, also after a panic
	if l.pending == nil {
		l.pending = map[string]*pending{}
	}
	l.pending[key] = p
	l.mutex.Unlock()
	defer func() {
		l.mutex.Lock()
		delete(l.pending, key)
		l.mutex.Unlock()
		close(p.done)
	}()
	p.sight, p.err = look(ctx, c, t, prefix)
	return p.sight, p.err
}

// wait takes over the answer of the one that looks. When that one has trouble of
// its own (its context, its connection), this caller looks itself.
func (p *pending) wait(ctx context.Context, c *conn.Conn, t *catalog.Table, prefix *Prefix) (Sight, error) {
	spent := time.NewTimer(c.Left())
	defer spent.Stop()
	select {
	case <-p.done:
		if p.err != nil {
			return look(ctx, c, t, prefix)
		}
		return p.sight, nil
	case <-ctx.Done():
		return Sight{}, ctx.Err()
	case <-spent.C:
		return Sight{}, conn.ErrTimeSpent
	}
}

package heal

import (
	"context"
	"sync"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/facts"
	"github.com/seqheal/seqheal/internal/pipeline"
	"github.com/seqheal/seqheal/internal/sequence"
	"github.com/seqheal/seqheal/internal/statement"
)

// Settings are the options of the plugin that concern inserts.
type Settings struct {
	Guard      GuardMode
	MaxRounds  int
	Timeout    time.Duration
	ResyncDB   *gorm.DB // nil without one
	Prevention bool
}

// GuardMode is how inserts in a transaction survive a collision.
type GuardMode int

const (
	GuardAuto      GuardMode = iota // the conflict guard where it is allowed, else a savepoint
	GuardSavepoint                  // always a savepoint
	GuardOff                        // nothing
)

// Reporter receives what happened. Its methods are called on the insert's goroutine
// while no transaction of the plugin's own is open.
type Reporter interface {
	// Report receives an incident.
	Report(context.Context, logger.Interface, Incident)
	// Note receives a remark about how statements are sent.
	Note(context.Context, logger.Interface, string)
	// Complain receives a sentence about what keeps statements from being protected.
	Complain(context.Context, logger.Interface, string)
}

// Healer sends the inserts of one *gorm.DB. It is safe for concurrent use.
type Healer struct {
	settings Settings
	original func(*gorm.DB)
	reporter Reporter
	// maxima shares the furthest value that one caller reads with those who ask at the
	// same moment.
	maxima facts.Shared[sequence.Position]
	// pipes knows which pools take a savepoint and its statement in one round trip.
	pipes pipeline.Pools
	// pools holds what is remembered of the tables of each connection pool,
	// *facts.Tables by *sql.DB: dbresolver puts several databases behind one *gorm.DB.
	pools sync.Map
}

// New returns a Healer that sends statements with the original create callback.
func New(settings Settings, original func(*gorm.DB), reporter Reporter) *Healer {
	return &Healer{settings: settings, original: original, reporter: reporter}
}

// TablesKnown counts the tables that are remembered.
func (h *Healer) TablesKnown() (count int) {
	h.pools.Range(func(_, tables any) bool {
		count += tables.(*facts.Tables).Len()
		return true
	})
	return count
}

// Savepoints returns for each connection pool how statements in a savepoint are sent:
// "one trip", or "three trips" with the reason, such as "three trips: a tracer is set".
func (h *Healer) Savepoints() (ways []string) {
	for _, support := range h.pipes.Known() {
		ways = append(ways, support.String())
	}
	return ways
}

// Memory is what was seen of a sequence in the database of db, nil for nothing.
func (h *Healer) Memory(db *gorm.DB, seq facts.Sequence) *facts.Memory {
	tables, ok := h.pools.Load(conn.PoolOf(db))
	if !ok {
		return nil
	}
	return tables.(*facts.Tables).MemoryOf(seq)
}

func (h *Healer) tablesOf(db *gorm.DB) *facts.Tables {
	pool := conn.PoolOf(db)
	if tables, ok := h.pools.Load(pool); ok {
		return tables.(*facts.Tables)
	}
	tables, _ := h.pools.LoadOrStore(pool, facts.New())
	return tables.(*facts.Tables)
}

// Create replaces GORM's create callback.
func (h *Healer) Create(db *gorm.DB) {
	if db.Error != nil || db.DryRun || db.Statement.SQL.Len() > 0 {
		h.original(db) // nothing will be sent, or the SQL is the caller's own
		return
	}
	stmt := statement.Prepare(db, h.original)
	if stmt == nil {
		return
	}
	in := &insert{Healer: h, stmt: stmt, tables: h.tablesOf(db)}
	in.endedBefore = in.tables.HealsEnded()
	if stmt.Readable {
		in.memory = in.tables.Memory(stmt.Target)
		in.highest = in.memory.Highest()
	}
	defer stmt.Translate()
	defer in.report()
	if s := in.choose(db.Statement.Context); s != nil {
		in.run(db.Statement.Context, s)
	}
	if db.Error != nil {
		in.noticeExhausted()
	}
	in.rememberNamed()
	in.explain(db.Statement.Context)
	if id, ok := stmt.DrawnID(); ok && in.memory != nil && db.Error == nil {
		in.memory.Drew(stmt.KeyColumn(), id, in.highest, stmt.Sent)
	}
	if h.settings.Prevention {
		in.prevent()
	}
}

// run sends the statement until it is stored or fails for good, and heals between
// two sendings.
func (in *insert) run(ctx context.Context, s strategy) {
	returned := false
	var attempts attempts
	defer func() {
		for _, a := range attempts {
			a.end()
		}
		in.leave(returned)
	}()
	for {
		c := s.send(ctx)
		if c == nil {
			break
		}
		a := attempts.of(in, s, *c)
		var again strategy
		if a.rounds >= in.settings.MaxRounds {
			a.failure = &sequence.Refusal{Reason: OutOfRounds, Err: errRounds}
		} else {
			a.rounds++
			again = s.heal(ctx, a)
		}
		if again == nil && a.isFalseAlarm() {
			again = in.chooseLook(a.table)
		}
		if again == nil {
			s.abandon(ctx, a)
			break
		}
		s = again
	}
	if len(attempts) > 0 && in.stmt.DB.Error != nil && in.stmt.Ended() && in.inTransaction() {
		// The caller's context ended before the result was there: a failure that drift
		// caused must not become a commit of the rest.
		in.conn().Abort(ctx)
	}
	returned = true
}

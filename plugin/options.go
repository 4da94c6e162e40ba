package plugin

import (
	"context"
	"log/slog"
	"time"

	"gorm.io/gorm"
)

// Guard chooses how an insert inside a transaction survives a collision.
// Outside a transaction nothing is needed and the setting has no effect.
type Guard int

const (
	// GuardAuto uses the conflict guard for one row of a table that qualifies
	// (ON CONFLICT (key) DO NOTHING, no further statement) and the savepoint
	// guard otherwise (SAVEPOINT and RELEASE around the INSERT).
	GuardAuto Guard = iota
	// GuardSavepoint always uses the savepoint guard: two further statements for
	// every insert in a transaction. It heals in place where the conflict guard
	// cannot, in REPEATABLE READ and SERIALIZABLE.
	GuardSavepoint
	// GuardOff fences nothing: an insert that collides in a transaction fails as
	// without the plugin, and the sequence is moved from a second connection so
	// that the application's own retry of the transaction succeeds. That cannot
	// help where the session caches values (CACHE > 1), nor where the rows with
	// explicit ids are in the failed transaction itself.
	GuardOff
)

// Option changes one setting of New.
type Option func(*settings)

type settings struct {
	logger     *slog.Logger
	onIncident []func(context.Context, Incident)
	guard      Guard
	maxRounds  int
	timeout    time.Duration
	resyncDB   *gorm.DB
	prevention bool
	startup    []AuditOption // nil for no audit
}

func defaults() settings {
	return settings{guard: GuardAuto, maxRounds: 4, timeout: 5 * time.Second}
}

// WithLogger writes incidents to logger as structured records, under the group
// "seqheal", instead of to GORM's logger as lines of text: Warn for what was
// healed, Error for what was not. The names of the fields are stable. Repeats on
// the same table with the same outcome and reason have one record a minute, whose
// field "count" tells how many incidents it stands for; see Plugin.Flush.
func WithLogger(logger *slog.Logger) Option {
	return func(s *settings) { s.logger = logger }
}

// OnIncident calls fn once for every incident, on the goroutine of the insert
// and before the insert returns. It may be given more than once. A panic in fn
// is logged and goes no further. A slow fn, or a logger that blocks, keeps its own
// insert waiting and nobody else: no lock of the plugin's is held meanwhile, and
// no connection but that of a transaction that the insert is in.
func OnIncident(fn func(context.Context, Incident)) Option {
	return func(s *settings) { s.onIncident = append(s.onIncident, fn) }
}

// WithGuard chooses how inserts in transactions survive; the default is GuardAuto.
func WithGuard(guard Guard) Option {
	return func(s *settings) { s.guard = guard }
}

// WithMaxRounds limits how often one insert is healed when rows keep appearing
// in front of the sequence while it runs; the default is 4. Less than 1 is 1.
func WithMaxRounds(rounds int) Option {
	return func(s *settings) { s.maxRounds = max(1, rounds) }
}

// WithResyncTimeout limits the time that one heal may add to an insert; the
// default is 5 seconds. It is kept by the server's statement_timeout and
// lock_timeout, set for the plugin's own statements only.
func WithResyncTimeout(timeout time.Duration) Option {
	return func(s *settings) { s.timeout = timeout }
}

// WithResyncDB lends a connection pool whose role may read every row and update
// sequences. It is used only when the application's own role may not: under
// row-level security, or without the rights on sequence or table.
func WithResyncDB(db *gorm.DB) Option {
	return func(s *settings) { s.resyncDB = db }
}

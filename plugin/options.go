package plugin

import (
	"context"
	"log/slog"
	"time"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/heal"
)

// Option changes one setting of [New].
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

// heal are the settings that concern inserts.
func (s settings) heal() heal.Settings {
	return heal.Settings{
		Guard: heal.GuardMode(s.guard), MaxRounds: s.maxRounds, Timeout: s.timeout,
		ResyncDB: s.resyncDB, Prevention: s.prevention,
	}
}

// Guard is how an insert inside a transaction survives a collision, which would abort the
// transaction. Outside one nothing is needed, and the setting has no effect. It concerns
// plain inserts. Upserts, whose collision is not an error, are protected alike with each
// setting.
type Guard int

const (
	// GuardAuto, the default, sends one row of an ordinary table with ON CONFLICT (key) DO
	// NOTHING, which adds no round trip: no row back means that the key was taken. Any
	// other insert is sent in a savepoint, with pgx v5 in the same round trip.
	GuardAuto Guard = iota
	// GuardSavepoint always uses a savepoint. Unlike GuardAuto it heals in place in
	// REPEATABLE READ and SERIALIZABLE, and leaves the text of each INSERT as it is.
	GuardSavepoint
	// GuardOff adds nothing. An insert that collides in a transaction fails as without the
	// plugin, and the sequence is advanced from a second connection, so that the
	// application's own retry of the transaction succeeds. It does not if the session
	// caches values (CACHE > 1), nor if the rows with explicit ids are in the failed
	// transaction itself.
	GuardOff
)

// WithLogger writes incidents to logger as structured records, under the group
// "seqheal", at Warn for what was healed and Error for what was not. The names of the
// fields are stable. The default is lines of text through GORM's logger.
//
// Repeats on the same table with the same outcome and reason have one record a minute,
// whose field "count" is how many incidents it stands for; see [Plugin.Flush].
func WithLogger(logger *slog.Logger) Option {
	return func(s *settings) { s.logger = logger }
}

// OnIncident calls fn once for every [Incident], on the goroutine of the insert and before
// the insert returns. It may be given more than once. The context is the insert's.
//
// A panic in fn is logged and goes no further. A slow fn, or a logger that blocks, keeps
// its own insert waiting and no other: no lock of the plugin's is held during the call, and
// no connection but that of a transaction that the insert is in.
func OnIncident(fn func(context.Context, Incident)) Option {
	return func(s *settings) { s.onIncident = append(s.onIncident, fn) }
}

// WithGuard chooses how inserts in transactions survive a collision; the default is
// [GuardAuto].
func WithGuard(guard Guard) Option {
	return func(s *settings) { s.guard = guard }
}

// WithMaxRounds limits how often one insert is healed and sent again while rows keep
// appearing in front of the sequence; the default is 4. Less than 1 is 1. An insert that
// collides once is sent again once, whatever the limit. When the rounds are spent the
// insert fails, and the incident has [ReasonRounds].
func WithMaxRounds(rounds int) Option {
	return func(s *settings) { s.maxRounds = max(1, rounds) }
}

// WithResyncTimeout limits the time that one heal may add to an insert; the
// default is 5 seconds. The server keeps it, by statement_timeout and lock_timeout, which
// are set for the plugin's own statements only, to 50 ms at least. When it is spent the insert
// fails with PostgreSQL's own error, and the incident has [ReasonTimeout].
func WithResyncTimeout(timeout time.Duration) Option {
	return func(s *settings) { s.timeout = timeout }
}

// WithResyncDB lends a connection pool whose role may read every row and update
// sequences. It is used only where the application's own role may not look or heal: under
// row-level security, or without a right on the sequence or the table. There is none by
// default, and such a collision is [Refused].
func WithResyncDB(db *gorm.DB) Option {
	return func(s *settings) { s.resyncDB = db }
}

// WithPrevention advances a sequence at once past the ids that an insert through GORM
// names itself, so that seed scripts, imports and fixtures no longer make it drift. It is
// off by default.
//
// After a successful insert that names ids it sends one further statement, on the insert's
// connection. In a transaction that statement stands in a savepoint that is rolled back:
// the sequence stays advanced even when the transaction rolls back. An id in the last
// tenth of what is left of the range is left alone, as is one that the statement computes.
// What prevention cannot do, a heal does when an insert collides.
//
// A session that draws while an import names rising ids gets the very ids that the import is
// still to name, and the import then collides. An import of ids 1 to 1,000 that stores the row
// with id 1,000 first has the others draw behind all of them.
func WithPrevention() Option {
	return func(s *settings) { s.prevention = true }
}

// WithStartupAudit runs an [Audit] when the plugin is registered, before the application's
// first request: of the tables of its models with [OfModels], or of all. Each column that
// is not in sync is logged, at most 20 of them, and a line that counts them. With
// [AndResync] the sequences that are behind are advanced. There is none by default.
//
//	db.Use(plugin.New(plugin.WithStartupAudit(plugin.OfModels(&User{}, &Order{}), plugin.AndResync())))
//
// Trouble, such as a database that cannot be reached yet, is logged and does not keep
// the plugin from being registered.
func WithStartupAudit(options ...AuditOption) Option {
	return func(s *settings) { s.startup = append([]AuditOption{}, options...) }
}

// Package herd lets many connections insert into one table at the same moment
// and keeps account of every row that was acknowledged.
package herd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/plugin"
)

// Mode is a way in which GORM inserts.
type Mode string

const (
	NoTransaction      Mode = "no transaction"
	GormsTransaction   Mode = "GORM's transaction"
	CallersTransaction Mode = "caller's transaction"
)

// Modes are all of them.
var Modes = []Mode{NoTransaction, GormsTransaction, CallersTransaction}

// Shape is what is called for a row.
type Shape string

const (
	Create Shape = "" // INSERT
	// SaveSlice is sent as ON CONFLICT (id) DO UPDATE: drift would let it overwrite
	// somebody else's row, without an error.
	SaveSlice Shape = "Save of a slice"
	// DoNothing is sent as ON CONFLICT DO NOTHING: drift would let it drop the row,
	// without an error.
	DoNothing Shape = "DoNothing"
)

func (s Shape) insert(db *gorm.DB, row *Row) error {
	switch s {
	case SaveSlice:
		rows := []*Row{row}
		return db.Save(&rows).Error
	case DoNothing:
		return db.Clauses(clause.OnConflict{DoNothing: true}).Create(row).Error
	default:
		return db.Create(row).Error
	}
}

// PerTransaction is how many inserts one transaction holds.
func (m Mode) PerTransaction() int {
	if m == CallersTransaction {
		return 5
	}
	return 1
}

// Row is a row of the herd's table.
type Row struct {
	ID   int64
	Name string
}

// TableName is the same for every herd; search_path tells them apart.
func (Row) TableName() string { return "rows" }

// Load is what one process does. It is handed to child processes as JSON.
type Load struct {
	DSN string
	// Tag begins the name of every row, which no other row then has.
	Tag         string
	Mode        Mode
	Way         Way
	Shape       Shape
	Connections int
	// Inserts is how many rows each connection inserts, one by one.
	Inserts int
	// Timeout is plugin.WithResyncTimeout, 0 for the default.
	Timeout time.Duration
}

// Result is what became of a load.
type Result struct {
	// Acknowledged holds the rows that were reported as stored, by connection, in
	// the order of the calls.
	Acknowledged [][]Row
	// Errors holds one entry for each insert that was lost.
	Errors []string
	// Unhealed holds the incidents that were refused or failed.
	Unhealed []string
	Stats    plugin.Stats
	Elapsed  time.Duration
}

// Rows counts the acknowledged rows.
func (r Result) Rows() (n int) {
	for _, rows := range r.Acknowledged {
		n += len(rows)
	}
	return n
}

// Add takes in what another process did at the same time.
func (r *Result) Add(other Result) {
	r.Acknowledged = append(r.Acknowledged, other.Acknowledged...)
	r.Errors = append(r.Errors, other.Errors...)
	r.Unhealed = append(r.Unhealed, other.Unhealed...)
	r.Stats.Healed += other.Stats.Healed
	r.Stats.AlreadyHealed += other.Stats.AlreadyHealed
	r.Stats.Refused += other.Stats.Refused
	r.Stats.Failed += other.Stats.Failed
	r.Elapsed = max(r.Elapsed, other.Elapsed)
}

// Herd is a load whose connections are open.
type Herd struct {
	load   Load
	db     *gorm.DB
	plugin *plugin.Plugin

	mutex    sync.Mutex
	unhealed []string
}

// Open opens all connections of a load, so that a run begins with all of them.
func Open(ctx context.Context, load Load) (*Herd, error) {
	config := &gorm.Config{Logger: logger.Discard, SkipDefaultTransaction: load.Mode == NoTransaction}
	db, err := gorm.Open(postgres.New(postgres.Config{DSN: load.DSN}), config)
	if err != nil {
		return nil, err
	}
	h := &Herd{load: load, db: db}
	if load.Way == Seqheal {
		options := []plugin.Option{plugin.OnIncident(h.hear)}
		if load.Timeout > 0 {
			options = append(options, plugin.WithResyncTimeout(load.Timeout))
		}
		h.plugin = plugin.New(options...)
		if err := db.Use(h.plugin); err != nil {
			return nil, err
		}
	}
	return h, h.connect(ctx)
}

func (h *Herd) hear(_ context.Context, i plugin.Incident) {
	if i.Outcome == plugin.Refused || i.Outcome == plugin.Failed {
		h.mutex.Lock()
		defer h.mutex.Unlock()
		h.unhealed = append(h.unhealed, i.String())
	}
}

func (h *Herd) connect(ctx context.Context) error {
	pool, err := h.db.DB()
	if err != nil {
		return err
	}
	pool.SetMaxOpenConns(h.load.Connections)
	pool.SetMaxIdleConns(h.load.Connections)
	for range h.load.Connections {
		c, err := pool.Conn(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }() // into the pool, once all are open
	}
	return nil
}

// Close closes the connections.
func (h *Herd) Close() error {
	pool, err := h.db.DB()
	if err != nil {
		return err
	}
	return pool.Close()
}

// Run lets all connections insert at once and returns when the last has ended.
func (h *Herd) Run(ctx context.Context) Result {
	result := Result{Acknowledged: make([][]Row, h.load.Connections)}
	failed := make([][]string, h.load.Connections)
	start := make(chan struct{})
	var done sync.WaitGroup
	for worker := range h.load.Connections {
		done.Go(func() {
			<-start
			result.Acknowledged[worker], failed[worker] = h.work(ctx, worker)
		})
	}
	begun := time.Now()
	close(start)
	done.Wait()
	result.Elapsed = time.Since(begun)
	for _, errs := range failed {
		result.Errors = append(result.Errors, errs...)
	}
	if h.plugin != nil {
		result.Stats, result.Unhealed = h.plugin.Stats(), h.unhealed
	}
	return result
}

// work is what one connection does. A transaction that fails loses all its rows.
func (h *Herd) work(ctx context.Context, worker int) (acknowledged []Row, lost []string) {
	size := h.load.Mode.PerTransaction()
	for first := 0; first < h.load.Inserts; first += size {
		names := make([]string, 0, size)
		for i := first; i < min(first+size, h.load.Inserts); i++ {
			names = append(names, fmt.Sprintf("%s-%d-%d", h.load.Tag, worker, i))
		}
		rows, err := h.insert(ctx, names)
		if err != nil && h.load.Way.retries() && uniqueViolation(err) {
			if err = h.load.Way.resync(ctx, h.db); err == nil {
				rows, err = h.insert(ctx, names)
			}
		}
		if err != nil {
			for range names {
				lost = append(lost, err.Error())
			}
			continue
		}
		acknowledged = append(acknowledged, rows...)
	}
	return acknowledged, lost
}

// insert inserts one row for each name, in the mode's own way.
func (h *Herd) insert(ctx context.Context, names []string) (rows []Row, err error) {
	all := func(db *gorm.DB) error {
		for _, name := range names {
			row := Row{Name: name}
			if err := h.load.Shape.insert(db, &row); err != nil {
				return err
			}
			rows = append(rows, row)
		}
		return nil
	}
	db := h.db.WithContext(ctx)
	if h.load.Mode == CallersTransaction {
		return rows, db.Transaction(all)
	}
	err = all(db)
	return rows, err
}

func uniqueViolation(err error) bool {
	var server *pgconn.PgError
	return errors.As(err, &server) && server.Code == "23505"
}

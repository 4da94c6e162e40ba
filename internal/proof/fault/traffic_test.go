package fault_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/plugin"
)

// traffic is an application whose inserts meet drift without end: workers in each
// mode, and an importer that puts explicit ids in front of the sequence.
type traffic struct {
	t    *testing.T
	pool *sql.DB
	work sync.WaitGroup

	mutex sync.Mutex
	// acknowledged are the rows whose insert and COMMIT returned nil, by name.
	acknowledged map[string]int64
	// refused are names to which the server said no, so that no row bears them.
	refused map[string]error
	// lost counts inserts that lost their connection: their rows may be stored.
	lost int
	seen incidents
}

// workers is how many insert in each mode.
const workers = 3

// start runs the traffic until the returned function is called.
func startTraffic(t *testing.T, dsn string) (tr *traffic, stop func()) {
	t.Helper()
	pool, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	pool.SetMaxIdleConns(workers*len(modes) + 1)
	tr = &traffic{t: t, pool: pool, acknowledged: map[string]int64{}, refused: map[string]error{}}
	ctx, cancel := context.WithCancel(context.Background())
	for _, m := range modes {
		config := m.config()
		config.Logger = logger.Discard
		db, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), config)
		if err == nil {
			err = db.Use(plugin.New(tr.seen.option()))
		}
		if err != nil {
			t.Fatal(err)
		}
		for worker := range workers {
			tr.work.Go(func() { tr.insert(ctx, db, m, fmt.Sprintf("%s %d", m, worker)) })
		}
	}
	tr.work.Go(func() { tr.importRows(ctx) })
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			tr.work.Wait()
		})
	}
	t.Cleanup(func() {
		stop()
		_ = pool.Close()
	})
	return tr, stop
}

// insert inserts one row after the other, each under a name of its own. The
// inserts are not cancelled by ctx, so that each one's end is known.
func (tr *traffic) insert(ctx context.Context, db *gorm.DB, m mode, worker string) {
	for n := 0; ctx.Err() == nil; n++ {
		row := user{Name: fmt.Sprintf("%s, row %d", worker, n)}
		var err error
		if m == callersTransaction {
			err = db.Transaction(func(tx *gorm.DB) error { return tx.Create(&row).Error })
		} else {
			err = db.Create(&row).Error
		}
		tr.note(row, err)
		if err != nil {
			tr.untilAnswered(ctx)
		}
	}
}

// importRows inserts rows with explicit ids, three in front of the furthest.
func (tr *traffic) importRows(ctx context.Context) {
	pause := time.NewTicker(5 * time.Millisecond)
	defer pause.Stop()
	for n := 0; ctx.Err() == nil; n++ {
		row := user{Name: fmt.Sprintf("import, row %d", n)}
		err := tr.pool.QueryRow("INSERT INTO users SELECT max(id) + 3, $1 FROM users RETURNING id", row.Name).Scan(&row.ID)
		tr.note(row, err)
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
}

func (tr *traffic) note(row user, err error) {
	tr.mutex.Lock()
	defer tr.mutex.Unlock()
	switch {
	case err == nil:
		tr.acknowledged[row.Name] = row.ID
	case pgerr.Lost(err):
		tr.lost++
	default:
		tr.refused[row.Name] = err
	}
}

// untilAnswered waits until a server takes writes again.
func (tr *traffic) untilAnswered(ctx context.Context) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		var standby bool
		if err := tr.pool.QueryRowContext(ctx, "SELECT pg_is_in_recovery()").Scan(&standby); err == nil && !standby {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// more waits until as many further rows have been acknowledged.
func (tr *traffic) more(rows int) {
	tr.t.Helper()
	enough := tr.count() + rows
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.After(2 * soon)
	for tr.count() < enough {
		select {
		case <-tick.C:
		case <-end:
			tr.t.Fatalf("%d rows acknowledged, %d wanted", tr.count(), enough)
		}
	}
}

func (tr *traffic) count() int {
	tr.mutex.Lock()
	defer tr.mutex.Unlock()
	return len(tr.acknowledged)
}

// check compares what was acknowledged with what a server holds, once the traffic
// has stopped.
func (tr *traffic) check(t *testing.T, server *sql.DB) {
	t.Helper()
	stored := map[string][]int64{}
	rows, err := server.Query("SELECT name, id FROM users")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name string
		var id int64
		if err := rows.Scan(&name, &id); err != nil {
			t.Fatal(err)
		}
		stored[name] = append(stored[name], id)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	given := map[int64]string{}
	for name, id := range tr.acknowledged {
		if ids := stored[name]; len(ids) != 1 || ids[0] != id {
			t.Errorf("%q was acknowledged with id %d, stored are %d", name, id, ids)
		}
		if other, twice := given[id]; twice {
			t.Errorf("id %d was given to %q and %q", id, other, name)
		}
		given[id] = name
	}
	for name, ids := range stored {
		if len(ids) != 1 {
			t.Errorf("%q is stored %d times: %d", name, len(ids), ids)
		}
		if err := tr.refused[name]; err != nil {
			t.Errorf("%q is stored, and its insert returned %v", name, err)
		}
	}
	for id, name := range oldRows() {
		if ids := stored[name]; len(ids) != 1 || ids[0] != id {
			t.Errorf("%q has ids %d", name, ids)
		}
	}
	tr.checkRefused(t)
}

// checkRefused asserts that an insert is refused by a standby, or for drift and
// then only where the plugin has reported why it could not heal (P8). The importer
// has no plugin.
func (tr *traffic) checkRefused(t *testing.T) {
	t.Helper()
	reported := map[plugin.Reason]int{}
	unhealed := 0
	for _, incident := range tr.seen.list() {
		reported[incident.Reason]++
		if incident.Outcome == plugin.Failed || incident.Outcome == plugin.Refused {
			unhealed++
		}
	}
	refused := 0
	for name, err := range tr.refused {
		drift := pgerr.Is(err, pgerr.UniqueViolation) || errors.Is(err, plugin.ErrRowsMissing)
		if !drift && !pgerr.Is(err, pgerr.ReadOnlyTransaction) {
			t.Errorf("%q: %v", name, err)
		}
		if drift && !strings.HasPrefix(name, "import") {
			refused++
		}
	}
	if refused > unhealed {
		t.Errorf("%d inserts were refused, and %d incidents tell that they could not be healed: %v", refused, unhealed, tr.refused)
	}
	t.Logf("%d rows acknowledged, %d connections lost, %d refused, %d of them for drift, incidents by reason: %v",
		len(tr.acknowledged), tr.lost, len(tr.refused), refused, reported)
}

// checkNext asserts that inserts succeed after all, and that the sequence is past
// the rows then.
func (tr *traffic) checkNext(t *testing.T, server *sql.DB) {
	t.Helper()
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: server}), &gorm.Config{Logger: logger.Discard})
	if err == nil {
		err = db.Use(plugin.New())
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		row := user{Name: "next"}
		if err := db.Create(&row).Error; err != nil {
			t.Errorf("an insert after all: %v", err)
		}
	}
	var last, furthest int64
	err = server.QueryRow("SELECT (SELECT last_value FROM users_id_seq), (SELECT max(id) FROM users)").Scan(&last, &furthest)
	if err := errors.Join(err, server.Close()); err != nil {
		t.Fatal(err)
	}
	if last < furthest {
		t.Errorf("the sequence is at %d, the furthest id is %d", last, furthest)
	}
}

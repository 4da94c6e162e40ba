// Package fault_test shows what an insert that heals comes to when the connection,
// the server or a lock fails it.
package fault_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/internal/proof/proxy"
	"github.com/seqheal/seqheal/plugin"
)

// long runs the longer variants.
var long = os.Getenv("SEQHEAL_LONG") != ""

// theServers are the goroutines of the server that all tests share.
var (
	theServers goleak.Option
	atServer   sync.Once
)

// TestMain looks for goroutines that any of the tests left behind (P9).
func TestMain(m *testing.M) {
	flag.Parse()
	if !isSet("test.parallel") {
		_ = flag.Set("test.parallel", "8") // they wait for the server, not for a core
	}
	code := m.Run()
	if theServers != nil {
		pgtest.CloseSpare()
		if err := goleak.Find(theServers, gormsCaches); err != nil {
			fmt.Fprintln(os.Stderr, "left behind by the tests:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// gormsCaches are GORM's own goroutines, one for each cache of prepared statements,
// which it never ends.
var gormsCaches = goleak.IgnoreTopFunction("gorm.io/gorm/internal/lru.NewLRU[...].func1")

func isSet(name string) (set bool) {
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

// room is a schema with a drifted table and a proxy before its server.
type room struct {
	*pgtest.Place
	t     *testing.T
	proxy *proxy.Proxy
	// through is the connection string that leads through the proxy; sessions that
	// come by it bear the schema's name.
	through string
}

func newRoom(t *testing.T) *room {
	t.Helper()
	atServer.Do(func() {
		pgtest.Server(t)
		theServers = goleak.IgnoreCurrent()
	})
	r := &room{Place: pgtest.New(t), t: t}
	var err error
	r.proxy, r.through, err = proxy.StartFor(r.DSNFor(map[string]string{"application_name": r.Schema}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.proxy.Close() })
	r.Exec(drifted)
	r.Exec(rewind + rewindOwners)
	return r
}

// users reads the whole table: the names, and whose they are.
func (r *room) users() map[int64]string {
	r.t.Helper()
	rows, err := r.SQL.Query("SELECT id, concat_ws(' of ', name, owner_id) FROM users")
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	all := map[int64]string{}
	for rows.Next() {
		var id int64
		var name string
		if err := rows.Scan(&id, &name); err != nil {
			r.t.Fatal(err)
		}
		all[id] = name
	}
	if err := rows.Err(); err != nil {
		r.t.Fatal(err)
	}
	return all
}

func (r *room) lastValue() int64 { return r.Int("SELECT last_value FROM users_id_seq") }

// ownersLastValue is that of the owners' sequence.
func (r *room) ownersLastValue() int64 { return r.Int("SELECT last_value FROM owners_id_seq") }

// leftovers counts the advisory locks on the sequences, whoever holds them, and
// the room's sessions that hold a transaction open.
const leftovers = `
SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid IN ('users_id_seq'::regclass::oid, 'owners_id_seq'::regclass::oid))
  + (SELECT count(*) FROM pg_stat_activity WHERE application_name = current_schema() AND state LIKE 'idle in transaction%')`

// sessions counts the room's sessions.
const sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = current_schema()"

// incidents collects what a plugin reports.
type incidents struct {
	mutex sync.Mutex
	all   []plugin.Incident
}

func (i *incidents) option() plugin.Option {
	return plugin.OnIncident(func(_ context.Context, incident plugin.Incident) {
		i.mutex.Lock()
		defer i.mutex.Unlock()
		i.all = append(i.all, incident)
	})
}

func (i *incidents) list() []plugin.Incident {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return append([]plugin.Incident(nil), i.all...)
}

// mode is one of the three ways in which GORM inserts.
type mode string

const (
	noTransaction      mode = "no transaction"
	gormsTransaction   mode = "GORM's transaction"
	callersTransaction mode = "caller's transaction"
)

var modes = []mode{noTransaction, gormsTransaction, callersTransaction}

func (m mode) config() *gorm.Config {
	return &gorm.Config{SkipDefaultTransaction: m == noTransaction}
}

// soon is within which a fault that is to happen has happened; far more than any
// machine needs.
const soon = 30 * time.Second

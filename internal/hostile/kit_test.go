package hostile_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// setting is how a program uses its database.
type setting struct {
	name   string
	skip   bool // SkipDefaultTransaction
	caller bool // each step in a transaction of the caller's
	whole  bool // all steps in one transaction of the caller's
	// own sends DDL over the program's connection instead of another one.
	own         bool
	connections int
}

var (
	noTx      = setting{name: "no transaction", skip: true, connections: 3}
	noTxOne   = setting{name: "no transaction, own DDL, one connection", skip: true, own: true, connections: 1}
	gormTx    = setting{name: "GORM's transaction", connections: 3}
	gormTxOne = setting{name: "GORM's transaction, own DDL, one connection", own: true, connections: 1}
	callerTx  = setting{name: "caller's transaction", caller: true, connections: 3}
	callerOne = setting{name: "caller's transaction, own DDL, one connection", caller: true, own: true, connections: 1}
	wholeTx   = setting{name: "one transaction of the caller's, own DDL, one connection", whole: true, own: true, connections: 1}

	// settings are those in which a program runs that names none.
	settings = []setting{noTx, gormTxOne, callerTx, wholeTx}
	// perStep leaves out the setting that has one transaction over all steps.
	perStep = settings[:3]
	// single are those with one connection.
	single = []setting{noTxOne, gormTxOne, callerOne, wholeTx}
	// every is for programs that stand for many.
	every = []setting{noTx, noTxOne, gormTx, gormTxOne, callerTx, callerOne, wholeTx}
)

// world is one run of a program: a schema of its own, GORM on it, and all that
// can be seen from outside.
type world struct {
	t     *testing.T
	place *pgtest.Place
	setting
	drifted bool
	db      *gorm.DB
	pool    *sql.DB
	connect *connector
	wire    wire
	options []plugin.Option
	healing *plugin.Plugin // nil with plain GORM
	// enter is sent at the start of each step, such as SET LOCAL search_path.
	enter string
	// in stands before a table's name where the test itself reads it.
	in string
	// readsOwn reads the rows through the program's pool: temporary tables.
	readsOwn   bool
	sacrifices int

	incidents
	// lines must be equal in every run, exact on healthy data.
	lines, exact []string
	finally      []func()
}

func (w *world) add(format string, args ...any) {
	w.lines = append(w.lines, w.anonymous(fmt.Sprintf(format, args...)))
}

func (w *world) addExact(format string, args ...any) {
	w.exact = append(w.exact, w.anonymous(fmt.Sprintf(format, args...)))
}

// anonymous replaces the schema's name, which differs between runs.
func (w *world) anonymous(text string) string { return strings.ReplaceAll(text, w.place.Schema, "$S") }

// value records a value with all that is in it, ids included.
func (w *world) value(v any) {
	text, err := json.Marshal(v)
	w.addExact("%s %v", text, err)
}

// schema makes a further schema, whose name ends with _suffix.
func (w *world) schema(suffix string) {
	w.place.Exec("CREATE SCHEMA $S_" + suffix)
	w.t.Cleanup(func() { _, _ = w.place.SQL.Exec("DROP SCHEMA " + w.place.Schema + "_" + suffix + " CASCADE") })
}

// ddl changes the database under the program.
func (w *world) ddl(statements string) {
	w.t.Helper()
	if !w.own {
		w.place.Exec(statements)
		return
	}
	if err := w.db.Exec(strings.ReplaceAll(statements, "$S", w.place.Schema)).Error; err != nil {
		w.add("DDL: error %v", err)
	}
}

// drift changes the database where the run is one on drifted data.
func (w *world) drift(statements string) {
	w.t.Helper()
	if w.drifted && statements != "" {
		w.ddl(statements)
	}
}

// within runs one step in the transaction that the setting asks for.
func (w *world) within(fn func(*gorm.DB) error) error {
	inside := func(db *gorm.DB) error {
		if w.enter != "" {
			if err := db.Exec(strings.ReplaceAll(w.enter, "$S", w.place.Schema)).Error; err != nil {
				return err
			}
		}
		return fn(db)
	}
	if w.caller {
		return w.db.Transaction(inside)
	}
	return inside(w.db)
}

// step runs a statement and records what GORM says of it.
func (w *world) step(name string, fn func(*gorm.DB) *gorm.DB) error {
	w.t.Helper()
	err := w.within(func(db *gorm.DB) error {
		tx := fn(db)
		w.add("%s: %d rows, error %v", name, tx.RowsAffected, tx.Error)
		return tx.Error
	})
	if w.caller {
		w.add("%s: transaction %v", name, err)
	}
	return err
}

// sacrifice is a statement that may be lost, if in a transaction, to a change of
// the table that nothing announced. It must be reported then. What it stores is
// named "sacrifice"; its incidents and ids count no further.
func (w *world) sacrifice(sequence string, fn func(*gorm.DB) *gorm.DB) {
	w.t.Helper()
	err := w.within(func(db *gorm.DB) error { return fn(db).Error })
	if w.healing != nil && w.skip && err != nil {
		w.t.Errorf("a statement outside a transaction is lost: %v", err)
	}
	w.sacrificed(err)
	w.sacrifices++
	w.place.Exec(fmt.Sprintf("SELECT setval('%s', %d)", sequence, 500*w.sacrifices))
}

// sacrificed takes a statement's error, which must be reported.
func (w *world) sacrificed(err error) {
	w.t.Helper()
	if w.healing != nil && err != nil && len(w.reported()) == 0 {
		w.t.Errorf("a statement is lost and not reported: %v", err)
	}
	w.forget()
}

// incidents collects what a plugin reports.
type incidents struct {
	mutex sync.Mutex
	all   []plugin.Incident
}

func (i *incidents) report(_ context.Context, incident plugin.Incident) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	i.all = append(i.all, incident)
}

func (i *incidents) reported() []plugin.Incident {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return append([]plugin.Incident(nil), i.all...)
}

// forget drops what was reported so far.
func (i *incidents) forget() {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	i.all = nil
}

// holds records, after the run, which row a struct's id names.
func (w *world) holds(table string, id func() int64, name string) {
	in := w.in
	w.finally = append(w.finally, func() {
		if w.gone(in + table) {
			return
		}
		got := w.place.Text("SELECT name FROM "+in+table+" WHERE id = $1", id())
		w.add("struct %q holds the id of row %q", name, got)
	})
}

// gone records that a temporary table went with a transaction that failed.
func (w *world) gone(table string) bool {
	if !w.readsOwn || w.place.Text("SELECT to_regclass($1)", strings.ReplaceAll(table, "$S", w.place.Schema)) != "∅" {
		return false
	}
	w.add("%s is gone", table)
	return true
}

// connector opens connections to the target of now; they are the driver's own.
type connector struct {
	mutex  sync.Mutex
	target driver.Connector
}

func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	c.mutex.Lock()
	target := c.target
	c.mutex.Unlock()
	return target.Connect(ctx)
}

func (c *connector) Driver() driver.Driver { return stdlib.GetDefaultDriver() }

// switchTo lets new connections go to another DSN and closes the idle ones.
func (w *world) switchTo(dsn string) {
	w.t.Helper()
	w.connect.mutex.Lock()
	w.connect.target = w.connectorTo(dsn)
	w.connect.mutex.Unlock()
	w.pool.SetMaxIdleConns(0)
	w.pool.SetMaxIdleConns(2)
}

func (w *world) connectorTo(dsn string) driver.Connector {
	w.t.Helper()
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		w.t.Fatal(err)
	}
	w.wire.tap(config)
	return stdlib.GetConnector(*config)
}

package hostile_test

import (
	"database/sql"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// program is something that an application and its database's owner do.
type program struct {
	name  string
	setup string
	run   func(*world)
	// rows reads the rows afterwards; ids of new rows, which depend on how a heal
	// went, must be left out.
	rows string
	// calm programs have no drift: only their healthy runs are compared.
	calm bool
	// errors are what plain GORM gets on healthy data, too.
	errors bool
	// notice permits one incident on healthy data: that the table is not protected.
	notice bool
	// limit permits a healing run on drifted data to differ from the healthy one,
	// if it returns "" for it. docs/limits.md says what.
	limit    func(w *world) string
	options  []plugin.Option
	settings []setting // all
	config   gorm.Config
	dsn      map[string]string
	// before is done to GORM before the plugin is registered.
	before func(w *world)
	// wrap puts a pool of the application's around database/sql's.
	wrap func(*sql.DB) gorm.ConnPool
}

const usersSchema = `CREATE TABLE users (id bigserial PRIMARY KEY, name text);
INSERT INTO users SELECT g, 'old ' || g FROM generate_series(1, 20) g; SELECT setval('users_id_seq', 20);`

const usersRows = `SELECT CASE WHEN id <= 20 THEN id END, name FROM users ORDER BY 1, 2`

// sequencesOf reads the sequences of the program's own schemas.
const sequencesOf = `SELECT c.relname, pg_sequence_last_value(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND n.nspname ~ '^$S(_|$)' ORDER BY n.nspname, 1`

// open makes a world for a run.
func (p program) open(t *testing.T, s setting, drifted, healing bool) *world {
	t.Helper()
	w := &world{t: t, place: pgtest.New(t), setting: s, drifted: drifted, options: p.options}
	w.place.SQL.SetMaxIdleConns(4)
	setup := p.setup
	if setup == "" {
		setup = usersSchema
	}
	w.place.Exec(setup)
	dsn := map[string]string{}
	for name, value := range p.dsn {
		dsn[name] = strings.ReplaceAll(value, "$S", w.place.Schema)
	}
	w.connect = &connector{target: w.connectorTo(w.place.DSNFor(dsn))}
	w.pool = sql.OpenDB(w.connect)
	t.Cleanup(func() { _ = w.pool.Close() })
	w.pool.SetMaxOpenConns(s.connections)
	config := p.config
	config.SkipDefaultTransaction = s.skip
	if config.Logger == nil {
		config.Logger = logger.Discard
	}
	config.NowFunc = func() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }
	var conn gorm.ConnPool = w.pool
	if p.wrap != nil {
		conn = p.wrap(w.pool)
	}
	var err error
	if w.db, err = gorm.Open(postgres.New(postgres.Config{Conn: conn}), &config); err != nil {
		t.Fatal(err)
	}
	if p.before != nil {
		p.before(w)
	}
	if healing {
		w.healing = plugin.New(append([]plugin.Option{plugin.OnIncident(w.report)}, p.options...)...)
		if err := w.db.Use(w.healing); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// execute runs the program once.
func (p program) execute(t *testing.T, s setting, drifted, healing bool) *world {
	t.Helper()
	w := p.open(t, s, drifted, healing)
	if s.whole {
		pool := w.db
		err := pool.Transaction(func(tx *gorm.DB) error {
			w.db = tx
			p.run(w)
			return nil
		})
		w.db = pool
		w.add("the whole transaction: %v", err)
	} else {
		p.run(w)
	}
	if w.readsOwn {
		place := w.place.SQL
		w.place.SQL = w.pool
		defer func() { w.place.SQL = place }()
	}
	for _, fn := range w.finally {
		fn()
	}
	rows := p.rows
	if rows == "" {
		rows = usersRows
	}
	if !w.gone(w.in + "users") {
		for line := range strings.SplitSeq(w.place.Text(rows), "\n") {
			w.add("row %s", line)
		}
	}
	w.addExact("sequences %s", w.place.Text(sequencesOf))
	return w
}

// proveAll runs every program and cell on plain GORM on drifted data, too.
var proveAll = os.Getenv("SEQHEAL_PROVE") != ""

// beside runs a program on plain GORM and on seqheal in each setting.
func beside(t *testing.T, p program) {
	t.Helper()
	t.Run(p.name, func(t *testing.T) {
		t.Parallel()
		in := p.settings
		if in == nil {
			in = settings
		}
		for i, s := range in {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				p.compare(t, s, i == 0 || proveAll)
			})
		}
	})
}

// compare runs a program in one setting. prove checks that its drift hurts plain
// GORM, as it does in one setting at least.
func (p program) compare(t *testing.T, s setting, prove bool) {
	t.Helper()
	want := p.execute(t, s, false, false)
	if text := strings.Join(want.lines, "\n"); !p.calm && !p.errors && strings.Contains(text, "error ERROR") {
		t.Fatalf("plain GORM fails on healthy data: the test proves nothing\n%s", text)
	}
	t.Run("healthy", func(t *testing.T) {
		got := p.execute(t, s, false, true)
		differ(t, append(want.lines, want.exact...), append(got.lines, got.exact...))
		for n, i := range got.reported() {
			if !p.notice || n > 0 || i.Outcome != plugin.Refused {
				t.Errorf("incident on healthy data: %v", i)
			}
		}
	})
	if p.calm {
		return
	}
	t.Run("drifted", func(t *testing.T) {
		if prove && slices.Equal(p.execute(t, s, true, false).lines, want.lines) {
			t.Fatalf("the drift does not hurt plain GORM: the test proves nothing\n%s", strings.Join(want.lines, "\n"))
		}
		got := p.execute(t, s, true, true)
		if p.limit != nil {
			if complaint := p.limit(got); complaint != "" {
				t.Errorf("beyond the limit: %s\n%s\nincidents %v", complaint, strings.Join(got.lines, "\n"), got.reported())
			}
			return
		}
		differ(t, want.lines, got.lines)
		healed := 0
		for _, i := range got.reported() {
			if i.Outcome != plugin.Healed && i.Outcome != plugin.AlreadyHealed {
				t.Errorf("incident %v", i)
			}
			healed++
		}
		if healed == 0 {
			t.Error("no incident reported")
		}
	})
}

// differ reports the lines of two runs that are not equal.
func differ(t *testing.T, want, got []string) {
	t.Helper()
	if slices.Equal(want, got) {
		return
	}
	var b strings.Builder
	for i, line := range lacking(want, got) {
		fmt.Fprintf(&b, "want %s\n", line)
		if more := lacking(got, want); i < len(more) {
			fmt.Fprintf(&b, "got  %s\n", more[i])
		}
	}
	if more, fewer := lacking(got, want), len(lacking(want, got)); len(more) > fewer {
		fmt.Fprintf(&b, "more %s\n", strings.Join(more[fewer:], "\nmore "))
	}
	if b.Len() == 0 {
		b.WriteString("the order is another one")
	}
	t.Errorf("differs from plain GORM on healthy data:\n%s", b.String())
}

// lacking returns the lines of a that b does not have as often.
func lacking(a, b []string) (lines []string) {
	count := map[string]int{}
	for _, line := range b {
		count[line]++
	}
	for _, line := range a {
		if count[line]--; count[line] < 0 {
			lines = append(lines, line)
		}
	}
	return lines
}

package hostile_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// state is how the data stands when a statement comes. The rows are the same in the
// end: 1 to 20 are old, 21 to 30 imported with explicit ids.
type state string

const (
	healthy    state = "healthy"     // the sequence is at 30
	driftedNow state = "drifted"     // it is at 20
	openImport state = "open import" // it is at 20, and 21 to 30 are not committed
)

var matrixModes = []setting{
	{name: "no transaction", skip: true, connections: 3},
	{name: "GORM's transaction", connections: 3},
	{name: "caller's transaction", caller: true, connections: 2},
}

// matrix is a schema with one stand, used in one mode by plain GORM and by seqheal
// in turn.
type matrix struct {
	t     *testing.T
	place *pgtest.Place
	stand
	setting
	plain, healing *gorm.DB
	incidents
	once      int      // incidents of a limit that is reported once for a table
	untouched []string // the old rows
}

func newMatrix(t *testing.T, s stand, in setting, options ...plugin.Option) *matrix {
	t.Helper()
	m := &matrix{t: t, place: pgtest.New(t), stand: s, setting: in}
	m.place.SQL.SetMaxIdleConns(4)
	m.place.Exec("CREATE TABLE parents (id bigserial PRIMARY KEY, name text); CREATE TABLE log (what text);" + functions)
	if s.make == "" {
		s.make = itemsTable
	}
	m.place.Exec(s.make)
	table, id, _ := s.columns()
	m.place.Exec(`CREATE TABLE notes (id bigserial PRIMARY KEY, name text, item_id bigint REFERENCES ` + table + ` (` + id + `));
		CREATE TABLE links (parent_id bigint REFERENCES parents, item_id bigint REFERENCES ` + table + ` (` + id + `), PRIMARY KEY (parent_id, item_id))`)
	if s.ddl != "" {
		m.place.Exec(s.ddl)
	}
	dsn := m.place.DSN
	if s.role {
		role := m.place.Role()
		m.place.Exec("GRANT ALL ON ALL TABLES IN SCHEMA $S TO " + role + "; GRANT ALL ON ALL SEQUENCES IN SCHEMA $S TO " + role)
		dsn = m.place.DSNFor(map[string]string{"user": role})
	}
	m.plain, m.healing = m.connect(dsn), m.connect(dsn)
	if err := m.healing.Use(plugin.New(append(options, plugin.OnIncident(m.report))...)); err != nil {
		t.Fatal(err)
	}
	m.reset(healthy)
	var o outcome
	m.observe(&o, nil)
	m.untouched = o.old
	return m
}

func (m *matrix) connect(dsn string) *gorm.DB {
	m.t.Helper()
	db, err := gorm.Open(postgres.New(postgres.Config{DSN: dsn}), &gorm.Config{SkipDefaultTransaction: m.skip, Logger: logger.Discard})
	if err != nil {
		m.t.Fatal(err)
	}
	pool, err := db.DB()
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = pool.Close() })
	return db
}

// reset brings the data back, past every trigger.
func (m *matrix) reset(s state) {
	m.t.Helper()
	table, id, name := m.stand.columns()
	last, at := 30, 20
	if s == healthy {
		at = 30
	}
	if s == openImport {
		last = 20
	}
	m.place.Exec(fmt.Sprintf(`BEGIN; SET LOCAL session_replication_role = replica; SET LOCAL hostile.reset = 'on';
		DELETE FROM log; DELETE FROM links; DELETE FROM notes; DELETE FROM %[1]s; DELETE FROM parents;
		INSERT INTO parents SELECT g, 'old parent ' || g FROM generate_series(1, 3) g; SELECT setval('parents_id_seq', 3);
		INSERT INTO notes SELECT g, 'old note ' || g, g FROM generate_series(1, 3) g; SELECT setval('notes_id_seq', 3);
		INSERT INTO %[1]s (%[2]s, %[3]s, code, owner_id) SELECT g, 'old ' || g, 'c ' || g, 1 + g %% 3 FROM generate_series(1, 20) g;
		SELECT setval('%[1]s_%[2]s_seq', %[4]d); COMMIT`, table, id, name, at))
	if last > 20 {
		m.place.Exec("BEGIN; SET LOCAL session_replication_role = replica; SET LOCAL hostile.reset = 'on'; " + m.importing() + "; COMMIT")
	}
}

func (m *matrix) importing() string {
	table, id, name := m.stand.columns()
	return fmt.Sprintf("INSERT INTO %s (%s, %s, code, owner_id) SELECT g, 'imported ' || g, 'i ' || g, 1 + g %% 3 FROM generate_series(21, 30) g", table, id, name)
}

// outcome is all that can be seen of one run. Its lines leave out what depends on
// the sequence, which exact tells.
type outcome struct {
	lines, exact []string
	old          []string // the rows with ids to 20
	names        []string // of all rows
	failed       bool
}

// run runs a statement on one of the two.
func (m *matrix) run(db *gorm.DB, st statement, s state) (o outcome) {
	m.t.Helper()
	m.reset(s)
	m.forget()
	if pool, err := db.DB(); err == nil {
		pool.SetMaxOpenConns(map[bool]int{true: 1, false: m.connections}[s == healthy])
	}
	finish := func() {}
	if s == openImport {
		finish = m.openImport()
	}
	var items []*item
	within := func(tx *gorm.DB) error {
		var result *gorm.DB
		items, result = st.run(tx)
		o.lines = append(o.lines, fmt.Sprintf("%d rows, error %v", result.RowsAffected, result.Error))
		return result.Error
	}
	if m.caller {
		o.lines = append(o.lines, fmt.Sprintf("transaction %v", db.Transaction(within)))
	} else {
		_ = within(db)
	}
	finish()
	o.failed = strings.Contains(strings.Join(o.lines, "\n"), "ERROR")
	m.observe(&o, items)
	return o
}

// observe reads every row, what the triggers noted, and where the sequence is.
func (m *matrix) observe(o *outcome, items []*item) {
	m.t.Helper()
	table, id, name := m.stand.columns()
	all := m.place.Text(fmt.Sprintf(`SELECT 'item', i.%[2]s, i.%[3]s, i.code, p.name, i.stamp FROM %[1]s i LEFT JOIN parents p ON p.id = i.owner_id
		UNION ALL SELECT 'parent', id, name, NULL, NULL, NULL FROM parents
		UNION ALL SELECT 'note', n.id, n.name, i.%[3]s, NULL, NULL FROM notes n LEFT JOIN %[1]s i ON i.%[2]s = n.item_id
		UNION ALL SELECT 'link', NULL, p.name, i.%[3]s, NULL, NULL FROM links l JOIN parents p ON p.id = l.parent_id JOIN %[1]s i ON i.%[2]s = l.item_id
		UNION ALL SELECT 'log', NULL, what, NULL, NULL, NULL FROM log
		UNION ALL SELECT 'sequence', last_value, NULL, NULL, NULL, NULL FROM %[1]s_%[2]s_seq`, table, id, name))
	names := map[string]string{}
	var lines []string
	for line := range strings.SplitSeq(all, "\n") {
		f := strings.Split(line, "|")
		switch kind := f[0]; {
		case kind == "sequence":
			o.exact = append(o.exact, line)
			continue
		case kind == "item":
			names[f[1]] = f[2]
			o.names = append(o.names, f[2])
			if len(f[1]) < 2 || f[1] <= "20" {
				o.old = append(o.old, line)
			}
			if len(f[1]) > 2 || len(f[1]) == 2 && f[1] > "30" {
				f[1] = "+"
			}
		case kind == "parent" || kind == "note":
			if f[1] > "3" {
				f[1] = "+"
			}
		}
		lines = append(lines, strings.Join(f, "|"))
	}
	slices.Sort(lines)
	slices.Sort(o.old)
	for _, i := range items {
		o.lines = append(o.lines, fmt.Sprintf("struct %q holds the id of row %q", i.Name, names[fmt.Sprint(i.ID)]))
		text, _ := json.Marshal(i)
		o.exact = append(o.exact, string(text))
	}
	o.lines = append(o.lines, lines...)
}

// TestMatrix runs every statement on every stand in every mode and state. What plain
// GORM leaves on healthy data is what seqheal must leave in each state.
func TestMatrix(t *testing.T) {
	t.Parallel()
	for _, s := range stands {
		for _, mode := range matrixModes {
			t.Run(s.name+"/"+mode.name, func(t *testing.T) {
				t.Parallel()
				var options []plugin.Option
				if s.role {
					options = append(options, plugin.WithResyncDB(program{}.open(t, setting{connections: 2}, false, false).db))
				}
				m := newMatrix(t, s, mode, options...)
				for _, st := range statements {
					if !st.codes || s.codes {
						m.cells(t, st)
					}
				}
			})
		}
	}
}

func (m *matrix) cells(t *testing.T, st statement) {
	t.Helper()
	want := m.run(m.plain, st, healthy)
	t.Run(st.name+"/"+string(healthy), func(t *testing.T) {
		m.t = t
		got := m.run(m.healing, st, healthy)
		differ(t, append(want.lines, want.exact...), append(got.lines, got.exact...))
		for _, i := range m.reported() {
			if m.instead && m.once == 0 && i.Outcome == plugin.Refused {
				m.once++ // a view that is not protected may be said to be so at once
				continue
			}
			t.Errorf("incident on healthy data: %v", i)
		}
	})
	for _, s := range []state{driftedNow, openImport} {
		t.Run(st.name+"/"+string(s), func(t *testing.T) {
			m.t = t
			if (proveAll || m.caller) && !want.failed && !st.spared && slices.Equal(m.run(m.plain, st, s).lines, want.lines) {
				t.Fatalf("the drift does not hurt plain GORM: the cell proves nothing\n%s", strings.Join(want.lines, "\n"))
			}
			got := m.run(m.healing, st, s)
			if l := limitOf(m.stand, st, s); l != nil {
				if complaint := l.check(m, want, got); complaint != "" {
					differ(t, want.lines, got.lines)
					t.Errorf("%s, beyond the limit %q; incidents %v", complaint, l.text, m.reported())
				}
				return
			}
			differ(t, want.lines, got.lines)
			m.healed(t, want.failed || st.spared)
		})
	}
}

// healed checks that a drift was reported as healed, and nothing else. It may go
// unseen where the statement stores no row on healthy data either.
func (m *matrix) healed(t *testing.T, unseen bool) {
	t.Helper()
	all := m.reported()
	if len(all) == 0 && !unseen {
		t.Error("no incident reported")
	}
	for _, i := range all {
		if i.Outcome != plugin.Healed && i.Outcome != plugin.AlreadyHealed {
			t.Errorf("incident %v", i)
		}
	}
}

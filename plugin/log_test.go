package plugin_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

var update = flag.Bool("update", false, "write testdata/log.golden anew")

// scribe is a GORM logger that writes level and text, and no SQL.
type scribe struct {
	logger.Interface
	mutex sync.Mutex
	out   bytes.Buffer
}

func newScribe() *scribe { return &scribe{Interface: logger.Discard} }

func (s *scribe) write(level, format string, args ...any) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	fmt.Fprintf(&s.out, level+" "+format+"\n", args...)
}

func (s *scribe) LogMode(logger.LogLevel) logger.Interface { return s }

func (s *scribe) Warn(_ context.Context, format string, args ...any) {
	s.write("WARN", format, args...)
}

func (s *scribe) Error(_ context.Context, format string, args ...any) {
	s.write("ERROR", format, args...)
}

func (s *scribe) String() string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.out.String()
}

// telling is one kind of incident, as it is brought about.
type telling struct {
	name   string
	make   string
	config gorm.Config
	option plugin.Option
	// before prepares what needs the running plugin or another session.
	before func(t *testing.T, place *pgtest.Place)
	// meddle runs behind the first INSERT.
	meddle string
	insert func(db *gorm.DB) error
	lines  int
}

func newUser(db *gorm.DB) error { return db.Create(&user{Name: "new"}).Error }

var tellings = []telling{
	{name: "healed", make: drifted, insert: newUser, lines: 1},
	{name: "healed, without a transaction", make: drifted, config: gorm.Config{SkipDefaultTransaction: true}, insert: newUser, lines: 1},
	{name: "healed, silent otherwise", make: drifted, insert: func(db *gorm.DB) error {
		return db.Save(&[]user{{Name: "new"}, {Name: "newer"}}).Error
	}, lines: 1},
	{name: "healed, a shared sequence and a row at the end of the range", lines: 1, insert: newUser,
		make: `CREATE TABLE users (id serial PRIMARY KEY, name text); CREATE TABLE others (id integer PRIMARY KEY DEFAULT nextval('users_id_seq'));
			INSERT INTO users SELECT g, 'old' FROM generate_series(1, 20) g; INSERT INTO users VALUES (2147483640, 'sentinel'); INSERT INTO others VALUES (30)`},
	{name: "healed, and the insert fails for another reason", make: drifted + "; ALTER TABLE users ADD CHECK (name <> 'new' OR id < 20)", insert: newUser, lines: 1},
	{name: "healed, cause set_back", make: `CREATE TABLE users (id bigserial PRIMARY KEY, name text)`, lines: 1, insert: func(db *gorm.DB) error {
		_, _ = newUser(db), newUser(db)
		db.Exec("SELECT setval('users_id_seq', 1, false)")
		return newUser(db)
	}},
	{name: "healed, cause named_ids", make: `CREATE TABLE users (id bigserial PRIMARY KEY, name text)`, lines: 1, insert: func(db *gorm.DB) error {
		db.Create(&user{ID: 1, Name: "named"})
		return newUser(db)
	}},
	{name: "healed, cause replication", lines: 1, insert: newUser,
		make:   `CREATE TABLE users (id bigserial PRIMARY KEY, name text); INSERT INTO users VALUES (1, 'applied')`,
		before: func(t *testing.T, place *pgtest.Place) { subscribe(t, place, "users") }},
	{name: "healed, cause unknown", lines: 1, insert: newUser, make: `CREATE TABLE users (id bigserial PRIMARY KEY, name text); INSERT INTO users VALUES (1, 'by hand')`},
	{name: "already healed", make: drifted, config: gorm.Config{SkipDefaultTransaction: true}, insert: newUser, lines: 1,
		meddle: "SELECT setval('users_id_seq', 100)"},
	{name: "refused", make: strings.Replace(drifted, "bigserial", "bigint", 1) + "; CREATE SEQUENCE s CYCLE; ALTER TABLE users ALTER id SET DEFAULT nextval('s')",
		insert: newUser, lines: 1},
	{name: "refused three times", make: strings.Replace(drifted, "bigserial", "bigint", 1) + "; CREATE SEQUENCE s CYCLE; ALTER TABLE users ALTER id SET DEFAULT nextval('s')",
		lines: 2, insert: func(db *gorm.DB) error {
			_, _ = newUser(db), newUser(db)
			return newUser(db)
		}},
	{name: "failed", make: drifted, insert: newUser, lines: 1, option: plugin.WithResyncTimeout(300 * time.Millisecond),
		before: func(t *testing.T, place *pgtest.Place) {
			tx, err := place.SQL.Begin() // another healer that does not come to an end
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = tx.Rollback() })
			if _, err := tx.Exec("SELECT pg_advisory_xact_lock(x'73657168'::int, 'users_id_seq'::regclass::oid::int)"); err != nil {
				t.Fatal(err)
			}
		}},
}

// P8: what each outcome looks like in both logs. The names of the fields are
// stable: testdata/log.golden changes with the release notes.
func TestLogLines(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for _, c := range tellings {
		for _, kind := range []string{"GORM's logger", "slog"} {
			t.Run(c.name+"/"+kind, func(t *testing.T) {
				place := pgtest.New(t)
				place.Exec(c.make)
				if c.before != nil {
					c.before(t, place)
				}
				text := c.tell(t, place, kind)
				if got := strings.Count(text, "\n"); got != c.lines {
					t.Errorf("%d lines instead of %d:\n%s", got, c.lines, text)
				}
				fmt.Fprintf(&all, "== %s, %s\n%s", c.name, kind, text)
			})
		}
	}
	const golden = "testdata/log.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(all.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got := all.String(); got != string(want) {
		t.Errorf("the log changed (go test ./plugin -run TestLogLines -update):\n%s", got)
	}
}

// tell returns what the log says of the insert.
func (c telling) tell(t *testing.T, place *pgtest.Place, kind string) string {
	t.Helper()
	gormLog := newScribe()
	var slogLog bytes.Buffer
	options := []plugin.Option{plugin.WithMaxRounds(4)}
	if kind == "slog" {
		options = append(options, plugin.WithLogger(slog.New(slog.NewJSONHandler(&slogLog, nil))))
	}
	if c.option != nil {
		options = append(options, c.option)
	}
	inserted := false
	pool := tapped(t, place, func(_ *tappedConn, query string) error {
		if inserted && c.meddle != "" {
			inserted = false
			place.Exec(c.meddle)
		}
		inserted = inserted || strings.HasPrefix(query, "INSERT")
		return nil
	})
	config := c.config
	config.Logger = gormLog
	db := openOn(t, pool, &config)
	healing := plugin.New(options...)
	if err := db.Use(healing); err != nil {
		t.Fatal(err)
	}
	err := c.insert(db)
	if last := healing.Stats().Last; last == nil || (err == nil) != (last.Err == nil) {
		t.Fatalf("the insert's error %v, incident %v", err, last)
	}
	healing.Flush()
	if kind == "slog" {
		if text := gormLog.String(); text != "" {
			t.Errorf("written to GORM's logger too: %s", text)
		}
		return normal(place, slogLog.String())
	}
	return normal(place, gormLog.String())
}

var (
	anyCaller = regexp.MustCompile(`/[^ "]*/(plugin/[a-z_]+\.go):\d+`)

	anyTime = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)`)
	// The two limits end at the same moment.
	anyTimeout  = regexp.MustCompile(`canceling statement due to (?:lock|statement) timeout \(SQLSTATE (?:55P03|57014)\)`)
	anyDuration = regexp.MustCompile(`\b\d+(?:\.\d+)?(?:µs|ms|s)\b|("duration_ms":)\d+(?:\.\d+)?`)
)

// normal leaves out what differs from run to run.
func normal(place *pgtest.Place, text string) string {
	text = strings.ReplaceAll(text, place.Schema, "public")
	text = anyCaller.ReplaceAllString(text, "FOLDER/${1}:LINE")
	text = anyTime.ReplaceAllString(text, "TIME")
	text = anyTimeout.ReplaceAllString(text, "canceling statement due to TIMEOUT")
	return anyDuration.ReplaceAllString(text, "${1}DURATION")
}

// OnIncident is told each incident, in the order of the log, however few lines
// the log has, and Stats and Incidents say the same.
func TestRepeatsAreSummarised(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(drifted)
	log := newScribe()
	var seen incidents
	healing := plugin.New(seen.option())
	db := place.Open(&gorm.Config{Logger: log}, healing)
	const times = 7
	for range times {
		if err := newUser(db); err != nil {
			t.Fatal(err)
		}
		place.Exec("SELECT setval('users_id_seq', 1, false)")
	}
	if lines := strings.Count(log.String(), "\n"); lines != 1 {
		t.Errorf("%d lines before the minute is over: %s", lines, log)
	}
	healing.Flush()
	if text := log.String(); strings.Count(text, "\n") != 2 || !strings.Contains(text, "; the latest of 6 such incidents since 20") {
		t.Errorf("log %s", text)
	}
	all := seen.list()
	stats, latest := healing.Stats(), healing.Incidents()
	if len(all) != times || stats.Counts != (plugin.Counts{Healed: times}) || len(latest) != times || stats.TablesKnown != 1 {
		t.Fatalf("%d told, stats %+v, %d kept", len(all), stats, len(latest))
	}
	var spent time.Duration
	for n, i := range all {
		spent += i.Duration
		if latest[n] != i {
			t.Errorf("kept %v, told %v", latest[n], i)
		}
	}
	table := stats.Tables[all[0].Table]
	if len(stats.Tables) != 1 || table.Counts != stats.Counts || !table.Latest.Equal(all[times-1].Time) || table.Spent != spent || stats.Spent != spent {
		t.Errorf("by table %+v, in all %+v, spent %s", stats.Tables, stats.Counts, spent)
	}
	if *stats.Last != all[times-1] || stats.Last.Behind != 18+times {
		t.Errorf("last %v", stats.Last)
	}
	if got := place.Text("SELECT id, name FROM users ORDER BY id"); got != oldRows()+"\n21|new\n22|new\n23|new\n24|new\n25|new\n26|new\n27|new" {
		t.Errorf("stored\n%s", got)
	}
}

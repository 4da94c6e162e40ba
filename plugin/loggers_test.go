package plugin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log"
	"log/slog"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// share is a row of a table whose name is a trap for formats.
type share struct {
	ID   int64
	Name string
}

func (share) TableName() string { return "100%d %s shares" }

const shares = `CREATE TABLE "100%d %s shares" (id bigserial PRIMARY KEY, name text); INSERT INTO "100%d %s shares" VALUES (1, 'old')`

// jsonLines reads what a JSON handler has written.
func jsonLines(t *testing.T, out *bytes.Buffer) (lines []map[string]any) {
	t.Helper()
	for line := range strings.Lines(out.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		lines = append(lines, fields)
	}
	return lines
}

// GORM's own logger for slog has the text of an incident, a startup audit and a complaint
// as its message, whatever the text holds.
func TestLoggers_gormsSlog(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(drifted + ";" + shares)
	var out bytes.Buffer
	to := logger.NewSlogLogger(slog.New(slog.NewJSONHandler(&out, nil)), logger.Config{LogLevel: logger.Warn})
	panicking := plugin.OnIncident(incidentPanics)
	healing := plugin.New(panicking, plugin.WithStartupAudit(plugin.InSchemas(place.Schema)))
	db := place.Open(&gorm.Config{Logger: to}, healing)
	if err := newUser(db); err != nil {
		t.Fatal(err)
	}
	if err := db.Create(&share{Name: "new"}).Error; err != nil {
		t.Fatal(err)
	}
	want := []string{
		`seqheal: startup audit: behind: table "` + place.Schema + `"."100%d %s shares", column "id"`,
		`seqheal: startup audit: behind: table "` + place.Schema + `"."users"`,
		`seqheal: healed a drifted sequence: table "` + place.Schema + `"."users", column "id"`,
		`seqheal: a panic in OnIncident or the logger was caught: 100%d`,
		`seqheal: healed a drifted sequence: table "` + place.Schema + `"."100%d %s shares", column "id"`,
		`seqheal: a panic in OnIncident or the logger was caught: 100%d`,
	}
	lines := jsonLines(t, &out)
	if len(lines) != len(want) {
		t.Fatalf("%d lines: %s", len(lines), &out)
	}
	for n, line := range lines {
		if message, _ := line["msg"].(string); !strings.HasPrefix(message, want[n]) || line["data"] != nil {
			t.Errorf("line %d is %v instead of %s", n, line, want[n])
		}
	}
}

// notebook is a logger that keeps its lines in the database.
type notebook struct {
	logger.Interface
	place *pgtest.Place
	db    *gorm.DB
	lines int
}

func (n *notebook) LogMode(logger.LogLevel) logger.Interface { return n }

func (n *notebook) Info(ctx context.Context, line string, _ ...any) {
	if n.db == nil {
		return // GORM says that a callback is replaced
	}
	n.lines++
	if err := n.db.WithContext(ctx).Session(&gorm.Session{NewDB: true, Logger: logger.Discard}).Exec("INSERT INTO notes VALUES (?)", line).Error; err != nil {
		panic(err)
	}
}

// A logger may use the pool's only connection: what the plugin has to say of a statement is said
// once that has its result. One that panics takes nothing with it.
func TestLoggers_useTheDatabase(t *testing.T) {
	t.Parallel()
	for _, table := range []string{"notes", "nothing"} {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			place.Exec(drifted + "; CREATE TABLE " + table + " (line text); SELECT setval('users_id_seq', 1000)")
			to := &notebook{Interface: logger.Discard, place: place}
			to.db = place.Open(&gorm.Config{SkipDefaultTransaction: true, Logger: to}, plugin.New())
			pool, err := to.db.DB()
			if err != nil {
				t.Fatal(err)
			}
			pool.SetMaxOpenConns(1)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			users := []user{{ID: 900, Name: "named"}, {Name: "new"}}
			if err := to.db.WithContext(ctx).Save(&users).Error; err != nil {
				t.Fatal(err)
			}
			if to.lines == 0 || users[1].ID != 1001 || place.Int("SELECT count(*) FROM users WHERE (id, name) IN ((900, 'named'), (1001, 'new'))") != 2 {
				t.Errorf("%d lines; %v", to.lines, users)
			}
		})
	}
}

func incidentPanics(context.Context, plugin.Incident) { panic("100%d") }

// Loggers that take the text for a format write it as it is.
func TestLoggers_formats(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(shares)
	var out bytes.Buffer
	db := place.Open(&gorm.Config{Logger: logger.New(log.New(&out, "", 0), logger.Config{LogLevel: logger.Warn})}, plugin.New())
	if err := db.Create(&share{Name: "new"}).Error; err != nil {
		t.Fatal(err)
	}
	if text := out.String(); !strings.Contains(text, `table "`+place.Schema+`"."100%d %s shares", column "id"`) || strings.Contains(text, "%!") {
		t.Errorf("%s", text)
	}
}

// What GORM's level leaves out is lost there, and nowhere else.
func TestLoggers_levels(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name            string
		logger          func(*bytes.Buffer) logger.Interface
		healed, refused bool
	}{
		{"Warn", func(out *bytes.Buffer) logger.Interface {
			return logger.NewSlogLogger(slog.New(slog.NewJSONHandler(out, nil)), logger.Config{}).LogMode(logger.Warn)
		}, true, true},
		{"Error", func(out *bytes.Buffer) logger.Interface {
			return logger.NewSlogLogger(slog.New(slog.NewJSONHandler(out, nil)), logger.Config{}).LogMode(logger.Error)
		}, false, true},
		{"Silent", func(out *bytes.Buffer) logger.Interface {
			return logger.NewSlogLogger(slog.New(slog.NewJSONHandler(out, nil)), logger.Config{}).LogMode(logger.Silent)
		}, false, false},
		{"Discard", func(*bytes.Buffer) logger.Interface { return logger.Discard }, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, beside := range []bool{false, true} {
				place := pgtest.New(t)
				place.Exec(drifted + "; CREATE TABLE books (id bigint PRIMARY KEY, author_id bigint, title text); CREATE SEQUENCE s CYCLE; ALTER TABLE books ALTER id SET DEFAULT nextval('s'); INSERT INTO books VALUES (1)")
				var out, own bytes.Buffer
				var seen incidents
				options := []plugin.Option{seen.option()}
				if beside {
					options = append(options, plugin.WithLogger(slog.New(slog.NewJSONHandler(&own, nil))))
				}
				db := place.Open(&gorm.Config{Logger: test.logger(&out)}, plugin.New(options...))
				if err := newUser(db); err != nil {
					t.Fatal(err)
				}
				if err := db.Create(&book{Title: "new"}).Error; err == nil {
					t.Fatal("stored")
				}
				if len(seen.list()) != 2 {
					t.Errorf("%v", seen.list())
				}
				healed, refused := strings.Contains(out.String(), "seqheal: healed"), strings.Contains(out.String(), "seqheal: refused")
				if healed != (test.healed && !beside) || refused != (test.refused && !beside) {
					t.Errorf("WithLogger %t: healed %t, refused %t: %s", beside, healed, refused, &out)
				}
				if n := strings.Count(own.String(), "\n"); beside != (n == 2) {
					t.Errorf("WithLogger %t: %s", beside, &own)
				}
			}
		})
	}
}

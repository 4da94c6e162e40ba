package plugin_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

func TestStartupAudit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		options []plugin.AuditOption
		log     []string
		not     string
		next    int64 // what users' sequence gives afterwards
	}{
		{name: "of models", options: []plugin.AuditOption{plugin.OfModels(&user{})},
			log: []string{`[warn] seqheal: startup audit: behind: table "$S"."users", column "id", sequence "$S"."users_id_seq", last value 0, furthest id 20, 20 behind`, "[info] seqheal: startup audit: 1 column checked, 1 needs attention"}, not: "others", next: 1},
		{name: "of models, resync", options: []plugin.AuditOption{plugin.OfModels(&user{}), plugin.AndResync()},
			log: []string{`in_sync: table "$S"."users", column "id", sequence "$S"."users_id_seq", moved 1 → 20`}, not: "others", next: 21},
		{name: "of a schema", options: []plugin.AuditOption{plugin.InSchemas("$S")}, log: []string{`"$S"."users"`, `"$S"."others", column "id", sequence "$S"."others_id_seq", last value 30000, 91.55 % of its range used up, 2767 values left`, "3 columns checked, 2 need attention"}, not: `"fine"`, next: 1},
		{name: "of a table that is not there", options: []plugin.AuditOption{plugin.OfTables("nobody")}, log: []string{`unreadable: table "nobody": not found`}, next: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec(drifted + `; CREATE TABLE others (id smallserial PRIMARY KEY); SELECT setval('others_id_seq', 30000); CREATE TABLE fine (id serial PRIMARY KEY)`)
			if c.name == "of a schema" {
				c.options = []plugin.AuditOption{plugin.InSchemas(p.Schema)}
			}
			var out bytes.Buffer
			p.Open(&gorm.Config{Logger: logger.New(writer{&out}, logger.Config{LogLevel: logger.Info})}, plugin.New(plugin.WithStartupAudit(c.options...)))
			for _, text := range c.log {
				if text = strings.ReplaceAll(text, "$S", p.Schema); !strings.Contains(out.String(), text) {
					t.Errorf("no %q in\n%s", text, out.String())
				}
			}
			if c.not != "" && strings.Contains(out.String(), c.not) {
				t.Errorf("%q in\n%s", c.not, out.String())
			}
			if next := p.Int("SELECT nextval('users_id_seq')"); next != c.next {
				t.Errorf("the sequence gives %d, want %d", next, c.next)
			}
		})
	}
}

// With a structured logger each finding is a record.
func TestStartupAuditThroughSlog(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(drifted)
	var out bytes.Buffer
	p.Open(nil, plugin.New(plugin.WithLogger(slog.New(slog.NewJSONHandler(&out, nil))), plugin.WithStartupAudit(plugin.OfModels(user{}))))
	var line struct {
		Level   string
		Finding map[string]any
	}
	if err := json.NewDecoder(&out).Decode(&line); err != nil || line.Level != "WARN" || line.Finding["table"] != "users" || line.Finding["behind"] != 20.0 {
		t.Errorf("%v: %+v", err, line)
	}
}

// A flood is cut short, and counted.
func TestStartupAuditOfManyTables(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	p.Exec(`DO $$ BEGIN FOR i IN 1..30 LOOP EXECUTE format('CREATE TABLE t_%s (id serial PRIMARY KEY); INSERT INTO t_%s VALUES (5)', i, i); END LOOP; END $$`)
	var out bytes.Buffer
	p.Open(&gorm.Config{Logger: logger.New(writer{&out}, logger.Config{LogLevel: logger.Info})}, plugin.New(plugin.WithStartupAudit(plugin.InSchemas(p.Schema))))
	if got := out.String(); strings.Count(got, "5 behind") != 20 || !strings.Contains(got, "30 columns checked, 30 need attention") {
		t.Errorf("%s", got)
	}
}

// A database that is down does not keep the plugin from being registered, and nothing
// tells its password.
func TestStartupAuditWithoutADatabase(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	db, err := gorm.Open(postgres.Open("postgres://app:s3cret@127.0.0.1:1/db?sslmode=disable"), &gorm.Config{
		DisableAutomaticPing: true, Logger: logger.New(writer{&out}, logger.Config{LogLevel: logger.Info}),
	})
	if err != nil {
		t.Fatal(err)
	}
	healing := plugin.New(plugin.WithStartupAudit())
	if err := db.Use(healing); err != nil || db.Plugins[healing.Name()] != healing {
		t.Errorf("Use = %v", err)
	}
	if got := out.String(); !strings.Contains(got, "seqheal: startup audit: ") || !strings.Contains(got, "127.0.0.1:1") || strings.Contains(got, "s3cret") {
		t.Errorf("%s", got)
	}
}

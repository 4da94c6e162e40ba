package compat

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"strings"
	"sync"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// hooked counts its hooks.
type hooked struct {
	Row           account `gorm:"embedded"`
	Before, After int     `gorm:"-"`
}

func (hooked) TableName() string              { return "accounts" }
func (h *hooked) BeforeCreate(*gorm.DB) error { h.Before++; return nil }
func (h *hooked) AfterCreate(*gorm.DB) error  { h.After++; return nil }

// accountDo is what gorm.io/gen generates, without its fields: a session of its
// own with the model, on which every call builds.
type accountDo struct{ db *gorm.DB }

func newAccountDo(db *gorm.DB) accountDo {
	db = db.Session(&gorm.Session{})
	return accountDo{db.Session(new(gorm.Session)).Model(new(hooked)).Table("accounts")}
}

func (d accountDo) WithContext(ctx context.Context) accountDo {
	return accountDo{d.db.WithContext(ctx)}
}

func (d accountDo) Clauses(conditions ...clause.Expression) accountDo {
	return accountDo{d.db.Clauses(conditions...)}
}

func (d accountDo) Create(rows ...*hooked) error {
	return d.db.Session(&gorm.Session{}).Create(rows).Error
}

// P1, P4: drift heals in every kind of session, with the hooks it asks for.
func TestHealsInEverySession(t *testing.T) {
	t.Parallel()
	by := func(session gorm.Session) func(*gorm.DB, *hooked) error {
		return func(db *gorm.DB, row *hooked) error { return db.Session(&session).Create(row).Error }
	}
	for _, s := range []struct {
		name   string
		hooks  int
		insert func(*gorm.DB, *hooked) error
	}{
		{"Session", 1, by(gorm.Session{})},
		{"NewDB", 1, by(gorm.Session{NewDB: true})},
		{"SkipHooks", 0, by(gorm.Session{SkipHooks: true})},
		{"SkipDefaultTransaction", 1, by(gorm.Session{SkipDefaultTransaction: true})},
		{"CreateBatchSize", 1, by(gorm.Session{CreateBatchSize: 1})},
		{"DisableNestedTransaction", 1, by(gorm.Session{DisableNestedTransaction: true})},
		{"QueryFields and FullSaveAssociations", 1, by(gorm.Session{QueryFields: true, FullSaveAssociations: true})},
		{"WithContext", 1, func(db *gorm.DB, row *hooked) error {
			return db.WithContext(context.WithValue(context.Background(), contextKey{}, "mine")).Create(row).Error
		}},
		{"Debug", 1, func(db *gorm.DB, row *hooked) error { return db.Debug().Create(row).Error }},
		{"nested transaction", 1, func(db *gorm.DB, row *hooked) error {
			return db.Transaction(func(tx *gorm.DB) error {
				return tx.Transaction(func(tx *gorm.DB) error { return tx.Create(row).Error })
			})
		}},
		{"generics", 1, func(db *gorm.DB, row *hooked) error {
			return gorm.G[hooked](db).Create(context.Background(), row)
		}},
		{"gen", 1, func(db *gorm.DB, row *hooked) error {
			return newAccountDo(db).WithContext(context.Background()).Create(row)
		}},
		{"gen with clauses", 1, func(db *gorm.DB, row *hooked) error {
			return newAccountDo(db).Clauses(clause.Returning{Columns: []clause.Column{{Name: "id"}, {Name: "name"}}}).Create(row)
		}},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode) {
				p := pgtest.New(t)
				p.Exec(drifted)
				var seen incidents
				db := open(t, postgres.Open(p.DSN), m.config, seen.plugin())
				row := hooked{Row: newAccounts("new", 1)[0]}
				if err := m.within(db, func(tx *gorm.DB) error { return s.insert(tx, &row) }); err != nil {
					t.Fatal(err)
				}
				stored(t, p, "accounts", 20, row.Row)
				if row.Before != s.hooks || row.After != s.hooks {
					t.Errorf("hooks ran %d and %d times instead of %d", row.Before, row.After, s.hooks)
				}
				seen.healed(t, 1)
				if s.name == "WithContext" && seen.contexts[0].Value(contextKey{}) != "mine" {
					t.Error("OnIncident did not get the caller's context")
				}
			})
		})
	}
}

type contextKey struct{}

// P8: Debug writes the INSERT once, as one statement, beside the incident.
func TestDebugShowsOneStatementAndTheIncident(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode) {
		p := pgtest.New(t)
		p.Exec(drifted)
		var written bytes.Buffer
		m.config.Logger = logger.New(log.New(&written, "", 0), logger.Config{LogLevel: logger.Error})
		db := open(t, postgres.Open(p.DSN), m.config, plugin.New())
		if err := m.within(db, func(tx *gorm.DB) error { return create(tx.Debug(), newAccounts("new", 1)) }); err != nil {
			t.Fatal(err)
		}
		text := written.String()
		if strings.Count(text, "INSERT INTO") != 1 || !strings.Contains(text, "[rows:1]") ||
			strings.Count(text, "healed a drifted sequence") != 1 || strings.Contains(text, "pg_catalog") {
			t.Errorf("the log:\n%s", text)
		}
	})
}

// P1, P8: several databases in one program, a plugin each: every incident goes to
// the plugin of the database that it happened in.
func TestSeveralDatabasesInOneProgramKeepApart(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode) {
		for _, label := range []string{"first", "second", "third"} {
			p := pgtest.New(t)
			p.Exec(drifted)
			var seen incidents
			healing := seen.plugin()
			heals(t, p, open(t, postgres.Open(p.DSN), m.config, healing), m, 1, &seen)
			if stats := healing.Stats().Counts; stats != (plugin.Counts{Healed: 1}) {
				t.Errorf("%s: %+v", label, stats)
			}
			if table := seen.list()[0].Table; table != fmt.Sprintf(`"%s"."accounts"`, p.Schema) {
				t.Errorf("%s: the incident is on %s", label, table)
			}
		}
	})
}

// P1, P3: pools of several *gorm.DB on one drifted table lose nothing.
func TestSeveralDatabasesOnOneTableLoseNothing(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode) {
		p := pgtest.New(t)
		p.Exec(farDrifted)
		var seen incidents
		var pools []*gorm.DB
		for range 3 {
			db := open(t, postgres.Open(p.DSN), m.config, seen.plugin())
			poolOf(t, db).SetMaxOpenConns(4)
			pools = append(pools, db)
		}
		stored(t, p, "accounts", 1000, herd(t, pools, m, 8, 4)...)
		everyoneHealed(t, &seen)
	})
}

// herd lets goroutines insert at once, several rows one after the other, and
// returns what they stored.
func herd(t *testing.T, pools []*gorm.DB, m mode, goroutines, each int) []account {
	t.Helper()
	start := make(chan struct{})
	results := make([][]account, goroutines)
	var done sync.WaitGroup
	for g := range goroutines {
		results[g] = newAccounts(fmt.Sprintf("g%d", g), each)
		done.Go(func() {
			<-start
			for i := range results[g] {
				err := m.within(pools[g%len(pools)], func(tx *gorm.DB) error { return tx.Create(&results[g][i]).Error })
				if err != nil {
					t.Errorf("goroutine %d, row %d: %v", g, i, err)
				}
			}
		})
	}
	close(start)
	done.Wait()
	var all []account
	for _, rows := range results {
		all = append(all, rows...)
	}
	return all
}

// everyoneHealed checks that somebody healed and nobody failed.
func everyoneHealed(t *testing.T, seen *incidents) {
	t.Helper()
	healed := 0
	for _, incident := range seen.list() {
		switch incident.Outcome {
		case plugin.Healed:
			healed++
		case plugin.AlreadyHealed:
		default:
			t.Errorf("incident: %v", incident)
		}
	}
	if healed == 0 {
		t.Error("nobody healed")
	}
}

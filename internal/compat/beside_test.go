package compat

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/casbin/casbin/v3/model"
	gormadapter "github.com/casbin/gorm-adapter/v3"
	"gorm.io/datatypes"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/plugin/opentelemetry/tracing"
	"gorm.io/plugin/prometheus"

	"github.com/seqheal/seqheal/internal/compat/query"
	generated "github.com/seqheal/seqheal/internal/compat/query/model"
	"github.com/seqheal/seqheal/internal/pgtest"
)

// companion is something of GORM's world that an application uses beside seqheal. Its
// inserts end in table, whose rows are compared.
type companion struct {
	name string
	// plugin is registered beside seqheal; nil for none.
	plugin func() gorm.Plugin
	table  string
	// setup makes the table with twenty old rows, and rows are what of it is compared.
	setup, rows string
	inserts     []func(*gorm.DB) error
}

const accountRows = "email || '|' || name"

func doNothing(db *gorm.DB, rows *[]account) error {
	return db.Clauses(clause.OnConflict{DoNothing: true}).Create(rows).Error
}

// plainInserts are inserts of accounts by GORM itself.
var plainInserts = []func(*gorm.DB) error{
	func(db *gorm.DB) error { return create(db, newAccounts("one", 1)) },
	func(db *gorm.DB) error { return create(db, newAccounts("three", 3)) },
	func(db *gorm.DB) error { rows := newAccounts("nothing", 2); return doNothing(db, &rows) },
	func(db *gorm.DB) error { rows := newAccounts("save", 2); return db.Save(&rows).Error },
}

// document holds types of gorm.io/datatypes.
type document struct {
	ID   int64
	Data datatypes.JSON
	Tags datatypes.JSONSlice[string]
	Day  datatypes.Date
}

func documents(label string, count int) []document {
	rows := make([]document, count)
	for i := range rows {
		rows[i] = document{
			Data: datatypes.JSON(fmt.Sprintf(`{"label": "%s %d"}`, label, i)), Tags: datatypes.NewJSONSlice([]string{label, "b"}),
			Day: datatypes.Date(time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC)),
		}
	}
	return rows
}

var companions = []companion{
	{name: "opentelemetry", plugin: func() gorm.Plugin { return tracing.NewPlugin(tracing.WithoutMetrics()) }, inserts: plainInserts},
	{name: "prometheus", plugin: func() gorm.Plugin {
		return prometheus.New(prometheus.Config{DBName: "compat", RefreshInterval: 3600})
	}, inserts: plainInserts},
	{name: "the generics API", inserts: []func(*gorm.DB) error{
		func(db *gorm.DB) error {
			return gorm.G[account](db).Create(context.Background(), &newAccounts("one", 1)[0])
		},
		func(db *gorm.DB) error {
			rows := newAccounts("batches", 5)
			return gorm.G[account](db).CreateInBatches(context.Background(), &rows, 2)
		},
		func(db *gorm.DB) error {
			return gorm.G[account](db, clause.OnConflict{DoNothing: true}).Create(context.Background(), &newAccounts("nothing", 1)[0])
		},
	}},
	{name: "gorm.io/gen", inserts: []func(*gorm.DB) error{
		func(db *gorm.DB) error {
			return query.Use(db).Account.WithContext(context.Background()).Create(&generated.Account{Email: "one@example.com", Name: "one"})
		},
		func(db *gorm.DB) error {
			return query.Use(db).Account.WithContext(context.Background()).Create(&generated.Account{Email: "a@example.com", Name: "a"}, &generated.Account{Email: "b@example.com", Name: "b"})
		},
		func(db *gorm.DB) error {
			return query.Use(db).Account.WithContext(context.Background()).Clauses(clause.OnConflict{DoNothing: true}).Create(&generated.Account{Email: "c@example.com", Name: "c"})
		},
		func(db *gorm.DB) error {
			return query.Use(db).Account.WithContext(context.Background()).Save(&generated.Account{Email: "d@example.com", Name: "d"}, &generated.Account{Email: "e@example.com", Name: "e"})
		},
	}},
	{name: "gorm.io/datatypes", table: "documents", rows: "data::text || '|' || tags::text || '|' || day",
		setup: `CREATE TABLE documents (id bigserial PRIMARY KEY, data jsonb, tags json, day date);
			INSERT INTO documents SELECT g, json_build_object('old', g), '[]', '2026-01-01' FROM generate_series(1, 20) g`,
		inserts: []func(*gorm.DB) error{
			func(db *gorm.DB) error { rows := documents("one", 1); return db.Create(&rows[0]).Error },
			func(db *gorm.DB) error { rows := documents("two", 2); return db.Create(&rows).Error },
			func(db *gorm.DB) error { rows := documents("save", 2); return db.Save(&rows).Error },
		}},
	{name: "casbin's adapter", table: "casbin_rule", rows: "concat_ws('|', ptype, v0, v1, v2)",
		setup: `CREATE TABLE casbin_rule (id bigserial PRIMARY KEY, ptype varchar(100), v0 varchar(100), v1 varchar(100), v2 varchar(100), v3 varchar(100), v4 varchar(100), v5 varchar(100));
			INSERT INTO casbin_rule SELECT g, 'p', 'old ' || g, 'data', 'read' FROM generate_series(1, 20) g`,
		inserts: []func(*gorm.DB) error{
			func(db *gorm.DB) error {
				return adapt(db, func(a *gormadapter.Adapter) error { return a.AddPolicy("p", "p", []string{"alice", "data", "read"}) })
			},
			func(db *gorm.DB) error {
				return adapt(db, func(a *gormadapter.Adapter) error {
					return a.AddPolicies("p", "p", [][]string{{"bob", "data", "read"}, {"carol", "data", "write"}})
				})
			},
			func(db *gorm.DB) error {
				return adapt(db, func(a *gormadapter.Adapter) error {
					m, err := model.NewModelFromString("[request_definition]\nr = sub, obj, act\n[policy_definition]\np = sub, obj, act\n[policy_effect]\ne = some(where (p.eft == allow))\n[matchers]\nm = r.sub == p.sub")
					if err != nil {
						return err
					}
					return a.LoadPolicy(m)
				})
			},
		}},
}

// adapt does something with casbin's adapter on the table that is there.
func adapt(db *gorm.DB, do func(*gormadapter.Adapter) error) error {
	gormadapter.TurnOffAutoMigrate(db)
	a, err := gormadapter.NewAdapterByDB(db)
	if err != nil {
		return err
	}
	return do(a)
}

// use runs the companion's inserts, with seqheal or without it, registered before or after
// the companion. drift is sent before each.
func (c companion) use(t *testing.T, m mode, seen *incidents, first bool, drift bool) (p *pgtest.Place) {
	t.Helper()
	p = pgtest.New(t)
	setup := c.setup
	if setup == "" {
		setup, c.table = strings.TrimSuffix(drifted, ";"), "accounts"
	}
	p.Exec(setup + fmt.Sprintf("; SELECT setval('%s_id_seq', 20)", c.table))
	var plugins []gorm.Plugin
	if c.plugin != nil {
		plugins = append(plugins, c.plugin())
	}
	if seen != nil {
		plugins = append(plugins, seen.plugin())
	}
	if first {
		slices.Reverse(plugins)
	}
	db := open(t, postgres.Open(p.DSN), m.config, plugins...)
	for n, insert := range c.inserts {
		if drift {
			p.Exec(fmt.Sprintf("SELECT setval('%s_id_seq', 1)", c.table))
		}
		if err := m.within(db, func(tx *gorm.DB) error { return insert(tx) }); err != nil {
			t.Errorf("insert %d: %v", n, err)
		}
	}
	return p
}

// P1, P5: beside plugins, types and generated code of GORM's world, registered before and
// after them, a healthy program's rows are those of plain GORM, ids included, and a drifted
// one's are the same under other ids.
func TestBesideGORMsWorld(t *testing.T) {
	t.Parallel()
	for _, c := range companions {
		for _, first := range []bool{true, false} {
			if first && c.plugin == nil {
				continue // there is no order
			}
			t.Run(fmt.Sprintf("%s, seqheal first %t", c.name, first), func(t *testing.T) {
				t.Parallel()
				inModes(t, func(t *testing.T, m mode) {
					table, rows := c.table, c.rows
					if table == "" {
						table, rows = "accounts", accountRows
					}
					exact := "SELECT id || '|' || " + rows + " FROM " + table + " ORDER BY id"
					contents := "SELECT " + rows + " FROM " + table + " ORDER BY 1"
					var calm, seen incidents
					plain, healthy, healed := c.use(t, m, nil, first, false), c.use(t, m, &calm, first, false), c.use(t, m, &seen, first, true)
					if got, want := healthy.Text(exact), plain.Text(exact); got != want || len(calm.list()) > 0 {
						t.Errorf("healthy: %v, rows\n%s\ninstead of\n%s", calm.list(), got, want)
					}
					if got, want := healed.Text(contents), plain.Text(contents); got != want {
						t.Errorf("drifted: rows\n%s\ninstead of\n%s", got, want)
					}
					if len(seen.list()) == 0 {
						t.Error("nothing was healed")
					}
					seen.healed(t, len(seen.list()))
				})
			})
		}
	}
}

package plugin_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

const healthySchema = `
CREATE TABLE users (id bigserial PRIMARY KEY, name text);
CREATE TABLE accounts (id bigserial PRIMARY KEY, email text UNIQUE NOT NULL, plan text DEFAULT 'free',
  credit int DEFAULT 5 CHECK (credit >= 0), token text DEFAULT md5('x'), created_at timestamptz, updated_at timestamptz, deleted_at timestamptz);
CREATE TABLE logs (message text);
CREATE TABLE documents (id uuid PRIMARY KEY, title text);
CREATE TABLE counters (id bigserial PRIMARY KEY);
CREATE TABLE owners (id bigserial PRIMARY KEY, name text);
CREATE TABLE tags (id bigserial PRIMARY KEY, name text);
CREATE TABLE pets (id bigserial PRIMARY KEY, name text, owner_id bigint REFERENCES owners);
CREATE TABLE pet_tags (pet_id bigint REFERENCES pets, tag_id bigint REFERENCES tags, PRIMARY KEY (pet_id, tag_id));
CREATE TABLE filtered (id bigserial PRIMARY KEY, name text);
CREATE FUNCTION drop_secret() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.name = 'secret' THEN RETURN NULL; END IF; NEW.name := upper(NEW.name); RETURN NEW; END $$;
CREATE TRIGGER filter BEFORE INSERT ON filtered FOR EACH ROW EXECUTE FUNCTION drop_secret();
CREATE TABLE audited (id bigserial PRIMARY KEY, name text);
CREATE FUNCTION log_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO logs VALUES (TG_OP || ' ' || TG_LEVEL); RETURN NULL; END $$;
CREATE TRIGGER audit AFTER INSERT ON audited FOR EACH STATEMENT EXECUTE FUNCTION log_it();
CREATE TABLE ruled (id bigserial PRIMARY KEY, name text);
CREATE RULE also AS ON INSERT TO ruled DO ALSO INSERT INTO logs VALUES ('ruled');
CREATE TABLE numbered (id bigserial PRIMARY KEY, name text, number bigint);
CREATE FUNCTION next_number() RETURNS bigint LANGUAGE sql AS $$ INSERT INTO logs VALUES ('drawn'); SELECT count(*) FROM logs $$;
ALTER TABLE numbered ALTER number SET DEFAULT next_number();
CREATE TABLE keyed (tenant_id bigint, id bigserial, name text, PRIMARY KEY (tenant_id, id));
`

// healthyTables lists what is compared after each program.
var healthyTables = []string{"users", "accounts", "logs", "documents", "counters", "owners", "tags", "pets", "pet_tags",
	"filtered", "audited", "ruled", "numbered", "keyed"}

type account struct {
	gorm.Model
	Email  string
	Plan   string `gorm:"default:free"`
	Credit int    `gorm:"default:5"`
	Token  string `gorm:"default:md5('x')"`
}

type entry struct{ Message string }

func (entry) TableName() string { return "logs" }

type document struct {
	ID    string `gorm:"type:uuid;primaryKey"`
	Title string
}

type counterRow struct{ ID int64 }

func (counterRow) TableName() string { return "counters" }

type owner struct {
	ID   int64
	Name string
	Pets []pet
}

type pet struct {
	ID      int64
	Name    string
	OwnerID *int64
	Owner   *owner
	Tags    []tag `gorm:"many2many:pet_tags"`
}

type tag struct {
	ID   int64
	Name string
}

type hooked struct {
	ID    int64
	Name  string
	Calls string `gorm:"-"`
}

func (hooked) TableName() string { return "users" }

func (h *hooked) BeforeSave(*gorm.DB) error   { h.Calls += "bs,"; h.Name += "+"; return nil }
func (h *hooked) BeforeCreate(*gorm.DB) error { h.Calls += "bc,"; return nil }
func (h *hooked) AfterCreate(tx *gorm.DB) error {
	h.Calls += fmt.Sprintf("ac(%d,%d),", h.ID, tx.RowsAffected)
	return nil
}
func (h *hooked) AfterSave(*gorm.DB) error { h.Calls += "as,"; return nil }

// nameOfMax asks the database while the statement is built.
type nameOfMax struct{ calls *int }

func (n nameOfMax) GormValue(ctx context.Context, db *gorm.DB) clause.Expr {
	*n.calls++
	var count int64
	db.Session(&gorm.Session{NewDB: true}).Table("users").Count(&count)
	return clause.Expr{SQL: "?", Vars: []any{fmt.Sprintf("after %d rows, call %d", count, *n.calls)}}
}

func (nameOfMax) GormDataType() string { return "text" }

type computed struct {
	ID   int64
	Name nameOfMax `gorm:"->:false;<-"`
}

func (computed) TableName() string { return "users" }

// P5: on a healthy table everything is exactly as without the plugin. Each
// program runs twice, on plain GORM and with the plugin, and everything that the
// caller and the database can see is compared.
func TestHealthyTableIsAsWithoutThePlugin(t *testing.T) {
	t.Parallel()
	base := gorm.Config{NowFunc: func() time.Time { return noon }}
	for _, variant := range []struct {
		name    string
		change  func(*gorm.Config)
		setup   string
		options []plugin.Option
	}{
		{name: "default", change: func(*gorm.Config) {}},
		{name: "no transaction", change: func(c *gorm.Config) { c.SkipDefaultTransaction = true }},
		{name: "prepared and translated", change: func(c *gorm.Config) { c.PrepareStmt, c.TranslateError = true, true }},
		{name: "batches of two, full associations", change: func(c *gorm.Config) { c.CreateBatchSize, c.FullSaveAssociations = 2, true }},
		// The sequences are ahead of every id that a program names: there is nothing to prevent.
		{name: "prevention", change: func(*gorm.Config) {}, options: []plugin.Option{plugin.WithPrevention()},
			setup: "SELECT setval(oid::regclass, 1000000000) FROM pg_class WHERE relkind = 'S' AND relnamespace = '$S'::regnamespace"},
		{name: "no transaction, prevention", change: func(c *gorm.Config) { c.SkipDefaultTransaction = true }, options: []plugin.Option{plugin.WithPrevention()},
			setup: "SELECT setval(oid::regclass, 1000000000) FROM pg_class WHERE relkind = 'S' AND relnamespace = '$S'::regnamespace"},
	} {
		for _, guard := range []plugin.Guard{plugin.GuardAuto, plugin.GuardSavepoint, plugin.GuardOff} {
			if guard == plugin.GuardOff && variant.name != "default" {
				continue
			}
			for _, inTransaction := range []bool{false, true} {
				if inTransaction && strings.HasPrefix(variant.name, "no transaction") {
					continue
				}
				t.Run(fmt.Sprintf("%s, guard %d, caller's transaction %v", variant.name, guard, inTransaction), func(t *testing.T) {
					t.Parallel()
					config := base
					variant.change(&config)
					var seen incidents
					options := append([]plugin.Option{plugin.WithGuard(guard), seen.option()}, variant.options...)
					without := newObserver(t, config, inTransaction)
					with := newObserver(t, config, inTransaction, plugin.New(options...))
					for _, o := range []*observer{without, with} {
						if variant.setup != "" {
							o.place.Exec(variant.setup)
						}
					}
					for _, p := range slices.Concat(shapePrograms, otherPrograms) {
						want, got := without.observe(p), with.observe(p)
						if got != want {
							t.Errorf("%s, with the plugin:\n%s\nwithout:\n%s", p.name, got, want)
						}
					}
					seen.none(t)
				})
			}
		}
	}
}

// observer runs programs one after another in a place of its own.
type observer struct {
	place         *pgtest.Place
	db            *gorm.DB
	inTransaction bool
}

func newObserver(t *testing.T, config gorm.Config, inTransaction bool, plugins ...gorm.Plugin) *observer {
	t.Helper()
	place := pgtest.New(t)
	place.Exec(healthySchema)
	db := place.Open(&config, plugins...)
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	pool.SetMaxOpenConns(1) // nothing may need a second connection
	return &observer{place: place, db: db, inTransaction: inTransaction}
}

// observe runs a program and returns all that the caller and the database can see.
func (o *observer) observe(p program) string {
	r := &record{}
	run := func(tx *gorm.DB) error {
		defer func() {
			if cause := recover(); cause != nil { // some programs are too much for GORM
				r.add("panic %v", cause)
			}
		}()
		p.run(tx, r)
		return nil
	}
	if o.inTransaction {
		r.add("transaction %v", o.db.Transaction(run))
	} else {
		_ = run(o.db)
	}
	for _, table := range healthyTables {
		r.add("%s:\n%s", table, o.place.Text("SELECT * FROM "+table+" ORDER BY 1"))
	}
	for _, sequence := range []string{"users", "accounts", "pets", "owners", "tags", "filtered"} {
		r.add("%s", o.place.Text("SELECT last_value, is_called FROM "+sequence+"_id_seq"))
	}
	o.place.Exec("DELETE FROM pet_tags; DELETE FROM pets; DELETE FROM " + strings.Join(healthyTables, "; DELETE FROM "))
	return strings.Join(r.lines, "\n")
}

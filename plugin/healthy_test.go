package plugin_test

import (
	"context"
	"errors"
	"fmt"
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

// program is something that an application does on healthy tables.
type program struct {
	name string
	run  func(*gorm.DB, *record)
}

var healthyPrograms = []program{
	{"struct", func(db *gorm.DB, r *record) {
		u := user{Name: "a"}
		r.result(db.Create(&u))
		r.value("user", u)
	}},
	{"slice", func(db *gorm.DB, r *record) {
		us := []user{{Name: "a"}, {Name: "b"}, {Name: "c"}}
		r.result(db.Create(&us))
		r.value("users", us)
	}},
	{"slice of one", func(db *gorm.DB, r *record) {
		us := []user{{Name: "a"}}
		r.result(db.Create(&us))
		r.value("users", us)
	}},
	{"slice of pointers", func(db *gorm.DB, r *record) {
		us := []*user{{Name: "a"}, {Name: "b"}}
		first := us[0]
		r.result(db.Create(us))
		r.value("users", us)
		r.add("same pointer %v", first == us[0] && first.ID != 0)
	}},
	{"slice of one pointer", func(db *gorm.DB, r *record) {
		us := []*user{{Name: "a"}}
		first := us[0]
		r.result(db.Create(&us))
		r.add("same pointer %v %d", first == us[0], first.ID)
	}},
	{"array", func(db *gorm.DB, r *record) {
		us := [2]user{{Name: "a"}, {Name: "b"}}
		r.result(db.Create(&us))
		r.value("users", us)
	}},
	{"batches", func(db *gorm.DB, r *record) {
		us := make([]user, 7)
		for i := range us {
			us[i].Name = fmt.Sprint(i)
		}
		r.result(db.CreateInBatches(&us, 3))
		r.value("users", us)
	}},
	{"empty slice", func(db *gorm.DB, r *record) { r.result(db.Create(&[]user{})) }},
	{"nil in a slice", func(db *gorm.DB, r *record) { r.result(db.Create([]*user{{Name: "a"}, nil})) }},
	{"map with a model", func(db *gorm.DB, r *record) {
		m := map[string]any{"Name": "a"}
		r.result(db.Model(&user{}).Create(m))
		r.value("map", m)
	}},
	{"pointer to a map with a model", func(db *gorm.DB, r *record) {
		m := map[string]any{"name": "a"}
		r.result(db.Model(&user{}).Create(&m))
		r.value("map", m)
	}},
	{"maps with a model", func(db *gorm.DB, r *record) {
		m := []map[string]any{{"Name": "a"}, {"Name": "b"}}
		r.result(db.Model(&user{}).Create(m))
		r.value("maps", m)
	}},
	{"pointer to maps with a model", func(db *gorm.DB, r *record) {
		m := []map[string]any{{"Name": "a"}, {"Name": "b"}}
		r.result(db.Model(&user{}).Create(&m))
		r.value("maps", m)
	}},
	{"map without a model", func(db *gorm.DB, r *record) {
		m := map[string]any{"name": "a"}
		r.result(db.Table("users").Create(m))
		r.value("map", m)
	}},
	{"maps without a model", func(db *gorm.DB, r *record) {
		m := []map[string]any{{"name": "a"}, {"name": "b"}}
		r.result(db.Table("users").Create(&m))
		r.value("maps", m)
	}},
	{"map with an explicit id", func(db *gorm.DB, r *record) {
		m := map[string]any{"ID": 900, "Name": "a"}
		r.result(db.Model(&user{}).Create(m))
		r.value("map", m)
	}},
	{"Select leaves an explicit id out", func(db *gorm.DB, r *record) {
		u := user{ID: 7, Name: "a"}
		r.result(db.Select("Name").Create(&u))
		r.value("user", u)
	}},
	{"Omit leaves an explicit id out", func(db *gorm.DB, r *record) {
		u := user{ID: 7, Name: "a"}
		r.result(db.Omit("ID").Create(&u))
		r.value("user", u)
	}},
	{"explicit ids", func(db *gorm.DB, r *record) {
		us := []user{{ID: 100, Name: "a"}, {ID: 101, Name: "b"}}
		r.result(db.Create(&us))
		r.value("users", us)
	}},
	{"explicit and omitted ids", func(db *gorm.DB, r *record) {
		us := []user{{ID: 100, Name: "a"}, {Name: "b"}, {ID: 102, Name: "c"}}
		r.result(db.Create(&us))
		r.value("users", us)
	}},
	{"an explicit id that exists", func(db *gorm.DB, r *record) {
		r.result(db.Create(&user{ID: 100, Name: "a"}))
		r.result(db.Create(&user{ID: 100, Name: "b"}))
	}},
	{"explicit ids twice in one batch with an omitted one", func(db *gorm.DB, r *record) {
		us := []user{{ID: 100, Name: "a"}, {Name: "b"}, {ID: 100, Name: "c"}}
		r.result(db.Create(&us))
	}},
	{"an explicit id that exists beside an omitted one", func(db *gorm.DB, r *record) {
		r.result(db.Create(&user{ID: 100, Name: "a"}))
		us := []user{{Name: "b"}, {ID: 100, Name: "c"}}
		r.result(db.Create(&us))
	}},
	{"gorm.Model with several database defaults", func(db *gorm.DB, r *record) {
		as := []account{{Email: "a"}, {Email: "b", Plan: "gold", Credit: 7}, {Email: "c", Token: "t"}}
		r.result(db.Create(&as))
		r.value("accounts", as)
	}},
	{"one row with several database defaults", func(db *gorm.DB, r *record) {
		a := account{Email: "a"}
		r.result(db.Create(&a))
		r.value("account", a)
	}},
	{"database defaults given", func(db *gorm.DB, r *record) {
		a := account{Email: "a", Token: "mine"}
		r.result(db.Create(&a))
		r.value("account", a)
	}},
	{"e-mail taken", func(db *gorm.DB, r *record) {
		r.result(db.Create(&account{Email: "a"}))
		for range 3 {
			tx := db.Create(&account{Email: "a"})
			r.result(tx)
			r.add("translated %v", errors.Is(tx.Error, gorm.ErrDuplicatedKey))
			if db.Statement.ConnPool != nil && tx.Error != nil {
				r.add("then %v", db.Create(&account{Email: "z"}).Error)
			}
		}
	}},
	{"e-mail taken in a batch", func(db *gorm.DB, r *record) {
		r.result(db.Create(&[]account{{Email: "a"}, {Email: "a"}}))
		r.result(db.Create(&[]account{{Email: "a"}, {Email: "a"}}))
	}},
	{"check violated", func(db *gorm.DB, r *record) { r.result(db.Create(&account{Email: "a", Credit: -1})) }},
	{"foreign key violated", func(db *gorm.DB, r *record) {
		missing := int64(4711)
		tx := r.result(db.Create(&pet{Name: "p", OwnerID: &missing}))
		r.add("translated %v", errors.Is(tx.Error, gorm.ErrForeignKeyViolated))
	}},
	{"unknown column", func(db *gorm.DB, r *record) {
		r.result(db.Table("users").Create(map[string]any{"nonsense": 1}))
	}},
	{"unknown table", func(db *gorm.DB, r *record) {
		r.result(db.Table("nowhere").Create(map[string]any{"name": 1}))
	}},
	{"table without a primary key", func(db *gorm.DB, r *record) {
		r.result(db.Create(&entry{Message: "a"}))
		r.result(db.Create(&[]entry{{Message: "b"}, {Message: "c"}}))
	}},
	{"uuid key", func(db *gorm.DB, r *record) {
		d := document{ID: "6f0b3a3e-7d1c-4a51-9d8a-0a4c2b6f1d11", Title: "a"}
		r.result(db.Create(&d))
		r.result(db.Create(&d))
	}},
	{"only an id", func(db *gorm.DB, r *record) {
		var c counterRow
		r.result(db.Create(&c))
		r.value("counter", c)
		cs := []counterRow{{}, {}}
		r.result(db.Create(&cs))
		r.value("counters", cs)
	}},
	{"Save of a new struct", func(db *gorm.DB, r *record) {
		u := user{Name: "a"}
		r.result(db.Save(&u))
		u.Name = "b"
		r.result(db.Save(&u))
		r.value("user", u)
		missing := user{ID: 500, Name: "c"}
		r.result(db.Save(&missing))
		r.value("user", missing)
	}},
	{"Save of a slice", func(db *gorm.DB, r *record) {
		us := []user{{Name: "a"}, {Name: "b"}}
		r.result(db.Save(&us))
		us[0].Name = "c"
		us = append(us, user{Name: "d"})
		r.result(db.Save(&us))
		r.value("users", us)
	}},
	{"FirstOrCreate", func(db *gorm.DB, r *record) {
		var u user
		r.result(db.Where(user{Name: "a"}).FirstOrCreate(&u))
		var again user
		r.result(db.Where(user{Name: "a"}).FirstOrCreate(&again))
		r.value("users", []user{u, again})
	}},
	{"generics", func(db *gorm.DB, r *record) {
		u := user{Name: "a"}
		r.add("error %v", gorm.G[user](db).Create(context.Background(), &u))
		us := []user{{Name: "b"}, {Name: "c"}, {Name: "d"}}
		r.add("error %v", gorm.G[user](db).CreateInBatches(context.Background(), &us, 2))
		r.value("users", append(us, u))
	}},
	{"generics with a result", func(db *gorm.DB, r *record) {
		result := gorm.WithResult()
		a := account{Email: "a"}
		r.add("error %v", gorm.G[account](db, result).Create(context.Background(), &a))
		r.add("affected %d, %v", result.RowsAffected, result.Error)
		r.add("error %v", gorm.G[account](db, result).Create(context.Background(), &account{Email: "a"}))
		r.add("affected %d, %v", result.RowsAffected, result.Error)
	}},
	{"hooks", func(db *gorm.DB, r *record) {
		h := hooked{Name: "a"}
		r.result(db.Create(&h))
		r.add("calls %s id %d", h.Calls, h.ID)
		hs := []hooked{{Name: "a"}, {Name: "b"}}
		r.result(db.Create(&hs))
		r.add("calls %s %s", hs[0].Calls, hs[1].Calls)
		r.result(db.Session(&gorm.Session{SkipHooks: true}).Create(&h))
	}},
	{"GormValue that asks the database", func(db *gorm.DB, r *record) {
		calls := 0
		r.result(db.Create(&user{Name: "a"}))
		c := computed{Name: nameOfMax{&calls}}
		r.result(db.Create(&c))
		r.add("calls %d id %d", calls, c.ID)
	}},
	{"expressions as values", func(db *gorm.DB, r *record) {
		r.result(db.Model(&user{}).Create(map[string]any{"Name": gorm.Expr("upper(?)", "abc")}))
		r.result(db.Model(&user{}).Create(map[string]any{"Name": clause.Expr{SQL: "lower('X')"}, "ID": gorm.Expr("DEFAULT")}))
		r.result(db.Model(&user{}).Create(map[string]any{"Name": db.Session(&gorm.Session{NewDB: true}).Table("users").Select("max(name)")}))
	}},
	{"bare Returning", func(db *gorm.DB, r *record) {
		a := account{Email: "a"}
		r.result(db.Clauses(clause.Returning{}).Create(&a))
		r.value("account", a)
		as := []account{{Email: "b"}}
		r.result(db.Clauses(clause.Returning{}).Create(&as))
		r.value("accounts", as)
		as = []account{{Email: "c"}, {Email: "d"}}
		r.result(db.Clauses(clause.Returning{}).Create(&as))
		r.value("accounts", as)
	}},
	{"Returning of chosen columns", func(db *gorm.DB, r *record) {
		a := account{Email: "a"}
		r.result(db.Clauses(clause.Returning{Columns: []clause.Column{{Name: "plan"}}}).Create(&a))
		r.value("account", a)
	}},
	{"a reused chain", func(db *gorm.DB, r *record) {
		chain := db.Model(&user{}).Where("name <> ?", "nobody").Session(&gorm.Session{})
		u, v := user{Name: "a"}, user{Name: "b"}
		r.result(chain.Create(&u))
		r.result(chain.Create(&v))
		var count int64
		r.result(chain.Count(&count))
		r.value("all", []any{u, v, count})
	}},
	{"a chain used twice without a session", func(db *gorm.DB, r *record) {
		chain := db.Model(&user{}).Clauses(clause.OnConflict{DoNothing: true})
		u, v := user{Name: "a"}, user{Name: "b"}
		r.result(chain.Create(&u))
		r.result(chain.Create(&v))
		r.value("all", []any{u, v})
	}},
	{"ON CONFLICT of the caller's", func(db *gorm.DB, r *record) {
		r.result(db.Create(&account{Email: "a"}))
		a := account{Email: "a", Plan: "gold"}
		r.result(db.Clauses(clause.OnConflict{DoNothing: true}).Create(&a))
		r.value("account", a)
		r.result(db.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "email"}}, DoUpdates: clause.AssignmentColumns([]string{"plan"})}).Create(&a))
		r.value("account", a)
	}},
	{"modifier and table in clause.Insert", func(db *gorm.DB, r *record) {
		r.result(db.Clauses(clause.Insert{Table: clause.Table{Name: "users"}}).Create(&user{Name: "a"}))
		r.result(db.Clauses(clause.Insert{Modifier: "WRONG"}).Create(&user{Name: "a"}))
	}},
	{"associations", func(db *gorm.DB, r *record) {
		o := owner{Name: "o", Pets: []pet{{Name: "p", Tags: []tag{{Name: "t"}, {Name: "u"}}}, {Name: "q"}}}
		r.result(db.Create(&o))
		r.value("owner", o)
		p := pet{Name: "r", Owner: &owner{Name: "o2"}}
		r.result(db.Create(&p))
		r.value("pet", p)
		r.add("append %v", db.Model(&o).Association("Pets").Append(&pet{Name: "s"}))
		r.value("owner", o)
	}},
	{"a BEFORE trigger that drops and changes rows", func(db *gorm.DB, r *record) {
		for _, name := range []string{"a", "secret", "b"} {
			u := user{Name: name}
			r.result(db.Table("filtered").Create(&u))
			r.value("user", u)
		}
		us := []user{{Name: "c"}, {Name: "secret"}, {Name: "d"}}
		r.result(db.Table("filtered").Create(&us))
		r.value("users", us)
	}},
	{"a statement trigger", func(db *gorm.DB, r *record) {
		r.result(db.Table("audited").Create(&user{Name: "a"}))
		r.result(db.Table("audited").Create(&user{Name: "b"}))
	}},
	{"a rule", func(db *gorm.DB, r *record) {
		r.result(db.Table("ruled").Create(&user{Name: "a"}))
	}},
	{"a default with a side effect", func(db *gorm.DB, r *record) {
		r.result(db.Table("numbered").Create(&user{Name: "a"}))
		r.result(db.Table("numbered").Create(&user{Name: "b"}))
	}},
	{"a composite key", func(db *gorm.DB, r *record) {
		m := map[string]any{"tenant_id": 3, "name": "a"}
		r.result(db.Table("keyed").Create(m))
	}},
	{"DryRun and ToSQL", func(db *gorm.DB, r *record) {
		stmt := db.Session(&gorm.Session{DryRun: true}).Create(&user{Name: "a"}).Statement
		r.add("%s %v", stmt.SQL.String(), stmt.Vars)
		r.add("%s", db.ToSQL(func(tx *gorm.DB) *gorm.DB { return tx.Create(&[]user{{Name: "a"}, {ID: 4, Name: "b"}}) }))
	}},
	{"a cancelled context", func(db *gorm.DB, r *record) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		tx := db.WithContext(ctx).Create(&user{Name: "a"})
		r.add("canceled %v", errors.Is(tx.Error, context.Canceled))
	}},
	{"an error set before", func(db *gorm.DB, r *record) {
		tx := db.Session(&gorm.Session{})
		_ = tx.AddError(errors.New("before"))
		r.result(tx.Create(&user{Name: "a"}))
	}},
	{"RaiseErrorOnNotFound", func(db *gorm.DB, r *record) {
		tx := db.Model(&user{})
		tx.Statement.RaiseErrorOnNotFound = true
		r.result(tx.Create(&user{Name: "a"}))
	}},
	{"a savepoint of the caller's", func(db *gorm.DB, r *record) {
		_ = db.Transaction(func(tx *gorm.DB) error {
			r.result(tx.Create(&user{Name: "a"}))
			tx.SavePoint("mine")
			r.result(tx.Create(&user{Name: "b"}))
			tx.RollbackTo("mine")
			r.result(tx.Create(&user{Name: "c"}))
			return nil
		})
	}},
	{"a nested transaction that fails", func(db *gorm.DB, r *record) {
		r.add("%v", db.Transaction(func(tx *gorm.DB) error {
			r.result(tx.Create(&account{Email: "a"}))
			r.add("%v", tx.Transaction(func(tx *gorm.DB) error { return tx.Create(&account{Email: "a"}).Error }))
			r.result(tx.Create(&account{Email: "b"}))
			return nil
		}))
	}},
	{"work that goes on after a failure is lost", func(db *gorm.DB, r *record) {
		r.add("%v", db.Transaction(func(tx *gorm.DB) error {
			r.result(tx.Create(&account{Email: "a"}))
			r.result(tx.Create(&account{Email: "a"}))
			r.result(tx.Create(&account{Email: "b"}))
			return nil
		}))
	}},
}

// P5: on a healthy table everything is exactly as without the plugin. Each
// program runs twice, on plain GORM and with the plugin, and everything that the
// caller and the database can see is compared.
func TestHealthyTableIsAsWithoutThePlugin(t *testing.T) {
	t.Parallel()
	base := gorm.Config{NowFunc: func() time.Time { return noon }}
	for _, variant := range []struct {
		name   string
		change func(*gorm.Config)
	}{
		{"default", func(*gorm.Config) {}},
		{"no transaction", func(c *gorm.Config) { c.SkipDefaultTransaction = true }},
		{"prepared and translated", func(c *gorm.Config) { c.PrepareStmt, c.TranslateError = true, true }},
		{"batches of two, full associations", func(c *gorm.Config) { c.CreateBatchSize, c.FullSaveAssociations = 2, true }},
	} {
		for _, guard := range []plugin.Guard{plugin.GuardAuto, plugin.GuardSavepoint, plugin.GuardOff} {
			if guard == plugin.GuardOff && variant.name != "default" {
				continue
			}
			for _, inTransaction := range []bool{false, true} {
				if inTransaction && variant.name == "no transaction" {
					continue
				}
				t.Run(fmt.Sprintf("%s, guard %d, caller's transaction %v", variant.name, guard, inTransaction), func(t *testing.T) {
					t.Parallel()
					config := base
					variant.change(&config)
					var seen incidents
					without := newObserver(t, config, inTransaction)
					with := newObserver(t, config, inTransaction, plugin.New(plugin.WithGuard(guard), seen.option()))
					for _, p := range healthyPrograms {
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

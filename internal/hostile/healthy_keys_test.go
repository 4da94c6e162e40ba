package hostile_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// A second unique constraint over the key's columns that is deferrable: nothing may
// be added to a plain insert there (55000).
func TestHealthy_deferrableSecondConstraint(t *testing.T) {
	t.Parallel()
	for name, ddl := range map[string]string{
		"deferrable":         "ALTER TABLE users ADD CONSTRAINT second UNIQUE (id) DEFERRABLE",
		"initially deferred": "ALTER TABLE users ADD CONSTRAINT second UNIQUE (id) DEFERRABLE INITIALLY DEFERRED",
	} {
		beside(t, program{name: name + " from the start", setup: usersSchema + ddl, errors: true, settings: perStep, run: func(w *world) {
			w.useAll("after", "users", rewind)
		}})
		beside(t, program{name: name + " added later", errors: true, settings: perStep, rows: withoutSacrifice, run: func(w *world) {
			w.touch("users")
			w.ddl(ddl)
			w.sacrifice("users_id_seq", func(db *gorm.DB) *gorm.DB { return db.Create(&user{Name: "sacrifice"}) })
			w.useAll("after", "users", rewind)
		}})
	}
}

// regional is a row of a table that is partitioned by region.
type regional struct {
	ID     int64  `gorm:"primaryKey;autoIncrement"`
	Region string `gorm:"primaryKey"`
	Name   string
}

func (regional) TableName() string { return "users" }

const regionsSchema = `
CREATE TABLE users (id bigserial, region text, name text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE users_eu PARTITION OF users FOR VALUES IN ('eu');
CREATE TABLE redirected (id bigint, name text);
INSERT INTO users SELECT g, 'eu', 'old ' || g FROM generate_series(1, 20) g; SELECT setval('users_id_seq', 20);
CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.name LIKE ''% 0'' THEN RETURN NULL; END IF; RETURN NEW; END';
CREATE FUNCTION redirect() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO $S.redirected VALUES (NEW.id, NEW.name); RETURN NULL; END';
CREATE FUNCTION find() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN
	NEW.id := coalesce((SELECT max(id) FROM $S.users WHERE region = NEW.region), 100) + 1; RETURN NEW; END';
`

const regionsRows = `SELECT CASE WHEN id <= 20 THEN id END, region, name FROM users UNION ALL SELECT NULL, 'redirected', name FROM redirected ORDER BY 1, 2, 3`

// A trigger on one partition alone skips rows, sends them elsewhere or finds ids.
func TestHealthy_triggerOnOnePartition(t *testing.T) {
	t.Parallel()
	row := func(region string) func(string, int64) regional {
		return func(name string, id int64) regional { return regional{ID: id, Region: region, Name: name} }
	}
	for _, does := range []string{"skip", "redirect", "find"} {
		trigger := "CREATE TRIGGER does BEFORE INSERT ON users_us FOR EACH ROW EXECUTE FUNCTION " + does + "()"
		const attach = "CREATE TABLE users_us (id bigint NOT NULL, region text NOT NULL, name text, PRIMARY KEY (id, region)); "
		beside(t, program{name: does + ", from the start", calm: true, rows: regionsRows,
			setup: regionsSchema + "CREATE TABLE users_us PARTITION OF users FOR VALUES IN ('us'); " + trigger, run: func(w *world) {
				insertsOf(w, "eu", "", row("eu"))
				insertsOf(w, "us", "", row("us"))
			}})
		beside(t, program{name: does + ", attached", calm: true, rows: regionsRows, setup: regionsSchema, run: func(w *world) {
			insertsOf(w, "before", "", row("eu"))
			w.ddl(attach + trigger + "; ALTER TABLE users ATTACH PARTITION users_us FOR VALUES IN ('us')")
			insertsOf(w, "eu", "", row("eu"))
			insertsOf(w, "us", "", row("us"))
		}})
		beside(t, program{name: does + ", created later", calm: true, rows: regionsRows,
			setup: regionsSchema + "CREATE TABLE users_us PARTITION OF users FOR VALUES IN ('us')", run: func(w *world) {
				insertsOf(w, "before", "", row("us"))
				w.ddl(trigger)
				insertsOf(w, "after", "", row("us"))
			}})
		beside(t, program{name: does + ", drift on the other partition", rows: regionsRows,
			setup: regionsSchema + "CREATE TABLE users_us PARTITION OF users FOR VALUES IN ('us'); " + trigger, run: func(w *world) {
				insertsOf(w, "eu", rewind, row("eu"))
			}})
	}
}

// A BEFORE INSERT trigger that finds or rewrites ids.
func TestHealthy_triggerFindsIDs(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"the id of the same name":        "NEW.id := coalesce((SELECT id FROM $S.users WHERE name = NEW.name), NEW.id); RETURN NEW;",
		"a negative one":                 "NEW.id := -NEW.id; RETURN NEW;",
		"only where none is named":       "IF NEW.id > 20 THEN NEW.id := NEW.id + 100; END IF; RETURN NEW;",
		"skips one and renames the rest": "IF NEW.name LIKE '%1' THEN RETURN NULL; END IF; NEW.name := NEW.name || '+'; RETURN NEW;",
	} {
		beside(t, program{name: name, calm: true, rows: "SELECT * FROM users ORDER BY 1, 2",
			setup: usersSchema + "CREATE FUNCTION find() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN " + body + " END $$; CREATE TRIGGER find BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION find()",
			run: func(w *world) {
				w.useAll("first", "users", "")
				for _, u := range []user{{Name: "old 4"}, {ID: 9, Name: "old 4"}} {
					_ = w.step("old name", func(db *gorm.DB) *gorm.DB { return db.Save(&[]user{u, {Name: "another"}}) })
				}
			}})
	}
}

type priced struct {
	ID    int64   `gorm:"primaryKey;autoIncrement"`
	Price float64 `gorm:"primaryKey"`
	Name  string
}

func (priced) TableName() string { return "users" }

type dated struct {
	ID   int64     `gorm:"primaryKey;autoIncrement"`
	At   time.Time `gorm:"primaryKey"`
	Name string
}

func (dated) TableName() string { return "users" }

// The server rounds a column of the key: what was sent is not what is stored.
func TestHealthy_keysThatRound(t *testing.T) {
	t.Parallel()
	beside(t, program{name: "numeric(6,2)", setup: `CREATE TABLE users (id bigserial, price numeric(6,2), name text, PRIMARY KEY (id, price));
		INSERT INTO users SELECT g, 10.00, 'old ' || g FROM generate_series(1, 20) g; SELECT setval('users_id_seq', 20);`, run: func(w *world) {
		insertsOf(w, "rounded", rewind, func(name string, id int64) priced { return priced{ID: id, Price: 9.999, Name: name} })
	}})
	at := time.Date(2026, 11, 23, 11, 59, 59, 700_000_000, time.UTC)
	beside(t, program{name: "timestamptz(0)", setup: `CREATE TABLE users (id bigserial, at timestamptz(0), name text, PRIMARY KEY (id, at));
		INSERT INTO users SELECT g, '2026-11-23 12:00:00Z', 'old ' || g FROM generate_series(1, 20) g; SELECT setval('users_id_seq', 20);`, run: func(w *world) {
		insertsOf(w, "rounded", rewind, func(name string, id int64) dated { return dated{ID: id, At: at, Name: name} })
	}})
	beside(t, program{name: "char(4), padded", setup: `CREATE TABLE users (id bigserial, lang char(4), name text, PRIMARY KEY (id, lang));
		INSERT INTO users SELECT g, 'en', 'old ' || g FROM generate_series(1, 20) g; SELECT setval('users_id_seq', 20);`, run: func(w *world) {
		insertsOf(w, "padded", rewind, func(name string, id int64) translated { return translated{ID: id, Lang: "en", Name: name} })
	}})
}

// As many parameters as the protocol has room for: not one may be added.
func TestHealthy_asManyParametersAsThereAre(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]func(*gorm.DB, *[]user) *gorm.DB{
		"mixed Save":      func(db *gorm.DB, us *[]user) *gorm.DB { return db.Save(us) },
		"mixed DoNothing": func(db *gorm.DB, us *[]user) *gorm.DB { return doNothing(db, *us) },
		"mixed batch":     func(db *gorm.DB, us *[]user) *gorm.DB { return db.Create(us) },
		"upsert by the id": func(db *gorm.DB, us *[]user) *gorm.DB {
			return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(us)
		},
	} {
		beside(t, program{name: name, settings: []setting{noTx, gormTx, callerTx}, rows: "SELECT count(*), count(DISTINCT name), min(name), max(name) FROM users",
			run: func(w *world) {
				us := make([]user, 32768) // two parameters for each but the last one
				for i := range us {
					us[i] = user{ID: int64(100 + i), Name: fmt.Sprint("new ", i)}
				}
				us[len(us)-1].ID = 0
				w.drift("SELECT setval('users_id_seq', 1)")
				_ = w.step("as many as there are", func(db *gorm.DB) *gorm.DB { return run(db, &us) })
				w.addExact("%d", us[len(us)-1].ID)
			}})
	}
	beside(t, program{name: "mixed Save, key of two columns", settings: []setting{noTx, gormTx, callerTx}, rows: "SELECT count(*), count(DISTINCT name), min(name), max(name) FROM users",
		setup: `CREATE TABLE users (id bigserial, lang text, name text, PRIMARY KEY (id, lang));
			INSERT INTO users SELECT g, 'en', 'old ' || g FROM generate_series(1, 20) g; SELECT setval('users_id_seq', 20);`,
		run: func(w *world) {
			us := make([]translated, 21845) // three parameters for each but the last one
			for i := range us {
				us[i] = translated{ID: int64(100 + i), Lang: "en", Name: fmt.Sprint("new ", i)}
			}
			us[len(us)-1].ID = 0
			w.drift("SELECT setval('users_id_seq', 1)")
			_ = w.step("as many as there are", func(db *gorm.DB) *gorm.DB { return db.Save(&us) })
		}})
}

// A trigger that assigns ids which lie in front of the sequence is no drift.
func TestHealthy_triggerAssignsIDsInFrontOfTheSequence(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"one more than the furthest":   "NEW.id := (SELECT max(id) + 1 FROM $S.users); RETURN NEW;",
		"a taken one for every second": "IF NEW.name LIKE '%1' THEN NEW.id := 7; END IF; RETURN NEW;",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := func(plugins ...gorm.Plugin) (string, string) {
				place := pgtest.New(t)
				place.Exec(usersSchema + "CREATE FUNCTION find() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN " + body + " END $$; CREATE TRIGGER find BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION find()")
				db := place.Open(nil, plugins...)
				var errs []string
				for _, names := range [][]string{{"a 0"}, {"b 0", "b 1", "b 2"}, {"c 1"}} {
					for _, conflict := range []clause.OnConflict{{DoNothing: true}, {UpdateAll: true}} {
						us := make([]user, len(names))
						for i := range names {
							us[i].Name = names[i]
						}
						errs = append(errs, fmt.Sprint(db.Clauses(conflict).Create(&us).Error))
					}
				}
				return strings.Join(errs, "\n"), place.Text("SELECT name FROM users ORDER BY name")
			}
			plainErrors, plainRows := run()
			var seen incidents
			errors, rows := run(plugin.New(plugin.OnIncident(seen.report)))
			for _, incident := range seen.reported() {
				t.Errorf("reported: %v", incident)
			}
			if errors != plainErrors || rows != plainRows {
				t.Errorf("errors\n%s\nplain\n%s\nrows\n%s\nplain\n%s", errors, plainErrors, rows, plainRows)
			}
		})
	}
}

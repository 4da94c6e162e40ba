package plugin_test

import (
	"database/sql"
	"fmt"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// seat has an id that is a key by itself, and another unique index over more columns
// that begins with it or ends with it.
type seat struct {
	ID   int64 `gorm:"primaryKey;autoIncrement"`
	Room int64
	Name string
}

func (s seat) String() string { return fmt.Sprintf("%d|%d|%s", s.ID, s.Room, s.Name) }

const seats = `CREATE TABLE seats (id bigserial PRIMARY KEY, room bigint, name text);
	INSERT INTO seats SELECT g, 1, 'old ' || g FROM generate_series(1, 20) g;`

// An upsert that waits for a unique index over the key's column and others: a drawn id
// that exists meets it before the key, and changes or drops a row without an error.
func TestUpsertsByAnIndexWiderThanTheKey(t *testing.T) {
	t.Parallel()
	both := []clause.Column{{Name: "room"}, {Name: "id"}}
	update := clause.AssignmentColumns([]string{"name"})
	for name, index := range map[string]string{
		"a constraint":    "ALTER TABLE seats ADD CONSTRAINT seats_room UNIQUE (room, id)",
		"an index":        "CREATE UNIQUE INDEX seats_room ON seats (id, room)",
		"a partial index": "CREATE UNIQUE INDEX seats_room ON seats (room, id) WHERE room > 0",
		"and a trigger": `CREATE UNIQUE INDEX seats_room ON seats (room, id); CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
			CREATE TRIGGER stamp BEFORE INSERT ON seats FOR EACH ROW EXECUTE FUNCTION stamp()`,
	} {
		clauses := map[string]clause.OnConflict{
			"DO UPDATE":  {Columns: both, DoUpdates: update},
			"DO NOTHING": {Columns: both, DoNothing: true},
		}
		if name == "a constraint" {
			clauses["its name"] = clause.OnConflict{OnConstraint: "seats_room", DoUpdates: update}
		}
		for action, onConflict := range clauses {
			if name == "a partial index" {
				onConflict.TargetWhere = clause.Where{Exprs: []clause.Expression{clause.Expr{SQL: "room > 0"}}}
			}
			for _, named := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/named %v", name, action, named), func(t *testing.T) {
					inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
						place.Exec(seats + index)
						var seen incidents
						db := place.Open(&m.config, plugin.New(seen.option()))
						rows := []seat{{Room: 1, Name: "new 1"}, {Room: 1, Name: "new 2"}}
						if named {
							rows = append(rows, seat{ID: 7, Room: 1, Name: "old 7"})
						}
						if err := m.within(db, func(tx *gorm.DB) error { return tx.Clauses(onConflict).Create(&rows).Error }); err != nil {
							t.Fatalf("%v; %v", err, seen.list())
						}
						if got := place.Text("SELECT id, room, name FROM seats WHERE name <> 'old ' || id"); got != "21|1|new 1\n22|1|new 2" {
							t.Errorf("rows\n%s", got)
						}
						if i := seen.one(t); i.Outcome != plugin.Healed {
							t.Errorf("%v", i)
						}
					})
				})
			}
		}
	}
}

// Two keys that begin with different columns and share the one that a sequence feeds:
// each is looked at behind its own prefix.
func TestTwoKeysOfOneSequence(t *testing.T) {
	t.Parallel()
	for _, count := range []int{1, 2} {
		t.Run(fmt.Sprint(count, " rows"), func(t *testing.T) {
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				place.Exec(`CREATE TABLE places (town int, street int, id bigserial, name text, PRIMARY KEY (town, id), UNIQUE (street, id));
					INSERT INTO places SELECT 9, 2, g, 'old' FROM generate_series(1, 20) g`)
				var seen incidents
				db := place.Open(&m.config, plugin.New(seen.option()))
				type spot struct {
					Town, Street int64
					ID           int64 `gorm:"autoIncrement"`
					Name         string
				}
				rows := make([]spot, count)
				for i := range rows {
					rows[i] = spot{Town: 1, Street: 2, Name: "new"}
				}
				err := m.within(db, func(tx *gorm.DB) error {
					return tx.Table("places").Clauses(clause.OnConflict{DoNothing: true}).Create(&rows).Error
				})
				if err != nil {
					t.Fatalf("%v; %v", err, seen.list())
				}
				if got := place.Int("SELECT count(*) FROM places WHERE name = 'new' AND id > 20"); got != int64(count) {
					t.Errorf("%d new rows; %v", got, seen.list())
				}
				if i := seen.one(t); i.Outcome != plugin.Healed {
					t.Errorf("%v", i)
				}
			})
		})
	}
}

// A table and the one that its trigger inserts into have both drifted, to different ends:
// neither sequence is moved to the other's rows, and each has its incident.
func TestATableAndItsTriggersTableHaveBothDrifted(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ users, audit string }{
		"the table's ids are beyond the trigger's type": {"5000000000", "int"},
		"the trigger's are beyond":                      {"0", "bigint"},
	} {
		t.Run(name, func(t *testing.T) {
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				place.Exec(fmt.Sprintf(`CREATE TABLE users (id bigserial PRIMARY KEY, name text); CREATE TABLE audit (id %[2]s GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text);
					INSERT INTO users SELECT %[1]s + g, 'old' FROM generate_series(1, 20) g; INSERT INTO audit SELECT g, 'old' FROM generate_series(1, 40) g;
					SELECT setval('users_id_seq', %[1]s + 1);
					CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO $S.audit (name) VALUES (NEW.name); RETURN NULL; END';
					CREATE TRIGGER note AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION note()`, test.users, test.audit))
				var seen incidents
				db := place.Open(&m.config, plugin.New(seen.option(), plugin.WithGuard(plugin.GuardSavepoint)))
				u := user{Name: "new"}
				if err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&u).Error }); err != nil {
					t.Fatalf("%v; %v", err, seen.list())
				}
				if got := place.Text("SELECT u.id - " + test.users + ", a.id FROM users u JOIN audit a USING (name) WHERE name = 'new'"); got != "22|41" {
					t.Errorf("stored %s", got)
				}
				healed := map[string]bool{}
				for _, i := range seen.list() {
					_, table := i.SchemaAndTable()
					healed[string(i.Outcome)+" "+table] = true
				}
				if len(seen.list()) != 2 || !healed["healed users"] || !healed["healed audit"] {
					t.Errorf("incidents %v", seen.list())
				}
			})
		})
	}
}

// P5: what a trigger or a foreign key does with the rows of a healthy upsert is no sign of
// drift: the ids are those of plain GORM, and nothing is reported.
func TestHealthyUpsertsBesideTriggers(t *testing.T) {
	t.Parallel()
	const stamp = `CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
		CREATE TRIGGER stamp BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION stamp();`
	for name, setup := range map[string]string{
		"a child row": drifted + `; SELECT setval('users_id_seq', 20);` + stamp + `CREATE TABLE notes (user_id bigint REFERENCES users ON DELETE CASCADE, name text);
			CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO $S.notes VALUES (NEW.id, NEW.name); RETURN NULL; END';
			CREATE TRIGGER note AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION note()`,
		"a lock": drifted + `; SELECT setval('users_id_seq', 20);` + stamp + `CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
			'BEGIN PERFORM 1 FROM $S.users WHERE id = NEW.id FOR UPDATE; RETURN NULL; END';
			CREATE TRIGGER note AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION note()`,
		"an update": drifted + `; SELECT setval('users_id_seq', 20);` + stamp + `CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
			'BEGIN UPDATE $S.users SET name = name WHERE id = NEW.id; RETURN NULL; END';
			CREATE TRIGGER note AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION note()`,
		"a trigger that draws for some rows": `CREATE TABLE users (id bigint PRIMARY KEY, name text); CREATE SEQUENCE users_id_seq OWNED BY users.id;
			INSERT INTO users SELECT g, 'old' FROM generate_series(1, 20) g; SELECT setval('users_id_seq', 20);
			CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.name = 'new 1' THEN RETURN NULL; END IF;
				NEW.id := coalesce(NEW.id, nextval('$S.users_id_seq')); RETURN NEW; END $$;
			CREATE TRIGGER fill BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION fill()`,
	} {
		for action, onConflict := range map[string]clause.OnConflict{
			"by the key": {Columns: byID, DoUpdates: clause.AssignmentColumns([]string{"name"})}, "DO NOTHING": {DoNothing: true},
		} {
			t.Run(name+"/"+action, func(t *testing.T) {
				inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
					place.Exec(setup)
					run := func(config *gorm.Config, plugins ...gorm.Plugin) string {
						db := place.Open(config, plugins...)
						for i := range 3 {
							rows := []user{{Name: fmt.Sprint("new ", i)}, {Name: fmt.Sprint("newer ", i)}}
							if err := m.within(db, func(tx *gorm.DB) error { return tx.Clauses(onConflict).Create(&rows).Error }); err != nil {
								return err.Error()
							}
						}
						ids := place.Text("SELECT id, name FROM users WHERE name LIKE 'new%' ORDER BY name")
						place.Exec("DELETE FROM users WHERE name LIKE 'new%'; SELECT setval('users_id_seq', 20)")
						return ids
					}
					plain := run(&m.config)
					var seen incidents
					if healing := run(&m.config, plugin.New(seen.option())); healing != plain {
						t.Errorf("with the plugin\n%s\nwithout\n%s", healing, plain)
					}
					seen.none(t)
				})
			})
		}
	}
}

// A tenant's table, by search_path, is looked at from a second connection as the first one
// has resolved it.
func TestTenantsInSerializable(t *testing.T) {
	t.Parallel()
	const stamp = `CREATE FUNCTION $S_a.stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
		CREATE TRIGGER stamp BEFORE INSERT ON $S_a.users FOR EACH ROW EXECUTE FUNCTION $S_a.stamp()`
	update := clause.OnConflict{Columns: byID, DoUpdates: clause.AssignmentColumns([]string{"name"})}
	for name, public := range map[string]string{"alone": "", "beside a table of the name": "CREATE TABLE users (id bigserial PRIMARY KEY, name text); "} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			place.Exec("CREATE SCHEMA $S_a; " + public + `CREATE TABLE $S_a.users (id bigserial PRIMARY KEY, name text);
				INSERT INTO $S_a.users SELECT g, 'old ' || g FROM generate_series(1, 20) g; ` + stamp)
			t.Cleanup(func() { _, _ = place.SQL.Exec("DROP SCHEMA " + place.Schema + "_a CASCADE") })
			var seen incidents
			db := place.Open(nil, plugin.New(seen.option()))
			warm(t, db)
			err := db.Transaction(func(tx *gorm.DB) error {
				if err := tx.Exec("SET LOCAL search_path = " + place.Schema + "_a").Error; err != nil {
					return err
				}
				return tx.Clauses(update).Create(&[]user{{Name: "new"}, {Name: "newer"}}).Error
			}, &sql.TxOptions{Isolation: sql.LevelSerializable})
			if err != nil {
				t.Fatalf("%v; %v", err, seen.list())
			}
			if got := place.Text("SELECT id, name FROM $S_a.users WHERE name <> 'old ' || id ORDER BY id"); got != "21|new\n22|newer" {
				t.Errorf("rows\n%s", got)
			}
			if i := seen.one(t); i.Outcome != plugin.Healed {
				t.Errorf("%v", i)
			}
		})
	}
}

// invoiceBefore is an invoice as the program knows it, before a second key was added.
type invoiceBefore struct {
	ID   int64
	Name string
}

// A second key with a sequence of its own comes to a table under the running program. One
// statement that carries the guard of the first may be lost to its drift, and says so.
func TestASecondKeyUnderTheProgram(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec("CREATE TABLE invoices (id bigserial PRIMARY KEY, name text)")
		var seen incidents
		db := place.Open(&m.config, plugin.New(seen.option()))
		create := func() error {
			return m.within(db, func(tx *gorm.DB) error { return tx.Table("invoices").Create(&invoiceBefore{Name: "new"}).Error })
		}
		for range 3 {
			if err := create(); err != nil {
				t.Fatal(err)
			}
		}
		place.Exec("ALTER TABLE invoices ADD number bigserial UNIQUE; UPDATE invoices SET number = number + 10; SELECT setval('invoices_number_seq', 10)")
		if err := create(); err != nil && m.name == "no transaction" {
			t.Error(err)
		}
		if i := seen.one(t); i.Outcome != plugin.Healed || i.Column != `"number"` {
			t.Errorf("%v", i)
		}
		place.Exec("SELECT setval('invoices_number_seq', 10)")
		if err := create(); err != nil {
			t.Error(err)
		}
	})
}

// Under DO NOTHING the server names no index. A key that came under the running program keeps
// no row out.
func TestASecondKeyUnderTheProgramDropsNothing(t *testing.T) {
	t.Parallel()
	for _, rows := range []int{1, 2} {
		t.Run(fmt.Sprint(rows), func(t *testing.T) {
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				place.Exec("CREATE TABLE invoices (id bigserial PRIMARY KEY, name text)")
				var seen incidents
				db := place.Open(&m.config, plugin.New(seen.option()))
				create := func(name string) error {
					all := make([]invoiceBefore, rows)
					for i := range all {
						all[i].Name = name
					}
					return m.within(db, func(tx *gorm.DB) error {
						return tx.Table("invoices").Clauses(clause.OnConflict{DoNothing: true}).Create(&all).Error
					})
				}
				for range 3 {
					if err := create("old"); err != nil {
						t.Fatal(err)
					}
				}
				place.Exec("ALTER TABLE invoices ADD number bigserial UNIQUE; SELECT setval('invoices_number_seq', 1)")
				if err := create("new"); err != nil {
					t.Error(err)
				}
				if got := place.Int("SELECT count(*) FROM invoices WHERE name = 'new'"); got != int64(rows) {
					t.Errorf("%d of %d rows are stored", got, rows)
				}
				if i := seen.one(t); i.Outcome != plugin.Healed || i.Column != `"number"` || !i.Silent {
					t.Errorf("%v", i)
				}
			})
		})
	}
}

// The server names the first index that a row violates. An older one over the key's columns
// and more, or over the same in another order, comes before the key.
func TestAnOlderIndexIsNamedInsteadOfTheKey(t *testing.T) {
	t.Parallel()
	const filled = `INSERT INTO seats SELECT g, 1, 'old ' || g FROM generate_series(1, 20) g`
	for name, setup := range map[string]string{
		"wider": `CREATE TABLE seats (id bigserial, room bigint, name text); CREATE UNIQUE INDEX older ON seats (room, id);
			ALTER TABLE seats ADD PRIMARY KEY (id); ` + filled,
		"wider and partial": `CREATE TABLE seats (id bigserial, room bigint, name text); CREATE UNIQUE INDEX older ON seats (room, id) WHERE room > 0;
			ALTER TABLE seats ADD PRIMARY KEY (id); ` + filled,
		"another order": `CREATE TABLE seats (id bigserial, room bigint, name text); CREATE UNIQUE INDEX older ON seats (room, id);
			ALTER TABLE seats ADD PRIMARY KEY (id, room); ` + filled,
	} {
		for _, named := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/named %v", name, named), func(t *testing.T) {
				inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
					place.Exec(setup)
					var seen incidents
					db := place.Open(&m.config, plugin.New(seen.option()))
					rows := []seat{{Room: 1, Name: "new"}}
					if named {
						rows = append(rows, seat{ID: -5, Room: 1, Name: "named"})
					}
					if err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&rows).Error }); err != nil {
						t.Fatalf("%v; %v", err, seen.list())
					}
					if got := place.Text("SELECT id, room, name FROM seats WHERE name NOT LIKE 'old%' AND id > 0"); got != "21|1|new" {
						t.Errorf("rows\n%s", got)
					}
					if i := seen.one(t); i.Outcome != plugin.Healed || i.Column != `"id"` || !named && m.name == "no transaction" && i.Key != 1 {
						t.Errorf("%v", i)
					}
				})
			})
		}
	}
}

// R1: an older twin of the key is no second key: one row in a transaction has the conflict
// guard all the same.
func TestAnOlderTwinOfTheKey(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(`CREATE TABLE users (id bigserial UNIQUE, name text); ALTER TABLE users ADD PRIMARY KEY (id);
		INSERT INTO users SELECT g, 'old ' || g FROM generate_series(1, 20) g`)
	var seen incidents
	db := place.Open(nil, plugin.New(seen.option()))
	u := user{Name: "new"}
	if err := db.Create(&u).Error; err != nil || u.ID != 21 {
		t.Errorf("%v %v", u, err)
	}
	if i := seen.one(t); i.Guard != "conflict" {
		t.Errorf("%v", i)
	}
}

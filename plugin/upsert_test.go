package plugin_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgerr"
	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// The caller's own conflicts stay what they are, on a healthy table and on a
// drifted one: ignored or updated, without an incident.
func TestCallersOwnConflicts(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec(shopSchema)
		for _, table := range shopTables {
			place.Exec("SELECT setval('" + table + "_id_seq', 20)")
		}
		var seen incidents
		db := place.Open(&m.config, plugin.New(seen.option()))
		before := place.Text(shopRows)
		err := m.within(db, func(tx *gorm.DB) error {
			one := subscriber{Email: "old3@x", Name: "ignored"}
			several := []subscriber{{Email: "old4@x", Name: "ignored"}, {Email: "old5@x", Name: "ignored"}}
			ignore := tx.Clauses(clause.OnConflict{DoNothing: true}).Session(&gorm.Session{})
			return errors.Join(ignore.Create(&one).Error, ignore.Create(&several).Error)
		})
		if err != nil {
			t.Error(err)
		}
		if after := place.Text(shopRows); after != before {
			t.Errorf("rows changed:\n%s", after)
		}
		seen.none(t)
	})
}

// Where leaving the clause out, or healing, would be wrong, the statement goes
// out unchanged and does what it does without the plugin.
func TestUpsertsThatAreLeftAlone(t *testing.T) {
	t.Parallel()
	type row struct {
		ID   int64
		Name string
	}
	for _, c := range []struct {
		name, schema string
		run          func(*gorm.DB) error
	}{
		{"a ring buffer on a CYCLE sequence", `CREATE SEQUENCE ring MAXVALUE 3 CYCLE; CREATE TABLE rows (id bigint PRIMARY KEY DEFAULT nextval('ring'), name text)`,
			func(db *gorm.DB) error {
				for _, name := range []string{"a", "b", "c", "d", "e"} {
					if err := db.Session(&gorm.Session{}).Clauses(clause.OnConflict{UpdateAll: true}).Create(&row{Name: name}).Error; err != nil {
						return err
					}
				}
				return nil
			}},
		{"a trigger that finds ids", `CREATE TABLE rows (id bigserial PRIMARY KEY, name text); INSERT INTO rows VALUES (100, 'x');
			CREATE FUNCTION find() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			  NEW.id := coalesce((SELECT id FROM rows WHERE name = lower(NEW.name)), NEW.id); RETURN NEW; END $$;
			CREATE TRIGGER find BEFORE INSERT ON rows FOR EACH ROW EXECUTE FUNCTION find()`,
			func(db *gorm.DB) error {
				return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&[]row{{Name: "X"}, {Name: "y"}}).Error
			}},
		{"a statement trigger on UPDATE", `CREATE TABLE rows (id bigserial PRIMARY KEY, name text); CREATE TABLE log (t text);
			CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (TG_OP); RETURN NULL; END $$;
			CREATE TRIGGER log AFTER UPDATE ON rows FOR EACH STATEMENT EXECUTE FUNCTION log()`,
			func(db *gorm.DB) error {
				return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&row{Name: "y"}).Error
			}},
		{"explicit ids that exist", `CREATE TABLE rows (id bigserial PRIMARY KEY, name text); INSERT INTO rows VALUES (1, 'x'), (2, 'y')`,
			func(db *gorm.DB) error {
				return db.Save(&[]row{{ID: 1, Name: "x2"}, {ID: 3, Name: "z"}}).Error
			}},
		{"a text key", `CREATE TABLE rows (id text PRIMARY KEY, name text)`,
			func(db *gorm.DB) error {
				return db.Table("rows").Clauses(clause.OnConflict{DoNothing: true}).Create([]map[string]any{{"id": "a", "name": "x"}, {"id": "a", "name": "y"}}).Error
			}},
		{"a model whose key is not the table's", `CREATE TABLE rows (id bigint UNIQUE, name text PRIMARY KEY)`,
			func(db *gorm.DB) error {
				return db.Clauses(clause.OnConflict{Columns: byKey, UpdateAll: true}).Create(&[]row{{ID: 1, Name: "x"}, {ID: 1, Name: "y"}}).Error
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				place.Exec(c.schema)
				plain := pgtest.New(t)
				plain.Exec(c.schema)
				var seen incidents
				result := func(p *pgtest.Place, plugins ...gorm.Plugin) string {
					db := p.Open(&m.config, plugins...)
					err := m.within(db, c.run)
					text := p.Text("SELECT id::text, name FROM rows ORDER BY 1, 2")
					if strings.Contains(c.schema, "TABLE log") {
						text += p.Text("SELECT * FROM log")
					}
					if err != nil {
						text += strings.ReplaceAll(err.Error(), p.Schema, "S")
					}
					return text
				}
				want, got := result(plain), result(place, plugin.New(seen.option()))
				if got != want {
					t.Errorf("with the plugin:\n%s\nwithout:\n%s", got, want)
				}
				seen.none(t)
			})
		})
	}
}

// A drawn id that another row of the same upsert names is drift as well: both rows
// are stored, each under an id of its own.
func TestMixedUpsertThatDrawsItsOwnNamedID(t *testing.T) {
	t.Parallel()
	type item struct {
		TenantID int64 `gorm:"primaryKey;autoIncrement:false"`
		ID       int64 `gorm:"primaryKey;autoIncrement"`
		Name     string
	}
	for name, onConflict := range map[string]clause.OnConflict{
		"UpdateAll":         {UpdateAll: true},
		"DO NOTHING":        {DoNothing: true},
		"DO NOTHING by key": {Columns: byKey, DoNothing: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				place.Exec(drifted + "; SELECT setval('users_id_seq', 20)")
				var seen incidents
				db := place.Open(&m.config, plugin.New(seen.option()))
				err := m.within(db, func(tx *gorm.DB) error {
					return tx.Clauses(onConflict).Create(&[]user{{Name: "drawn"}, {ID: 22, Name: "named"}, {Name: "drawn too"}}).Error
				})
				if err != nil {
					t.Fatal(err)
				}
				if got := place.Text("SELECT * FROM users WHERE id > 20 ORDER BY name"); got != "23|drawn\n24|drawn too\n22|named" {
					t.Errorf("stored\n%s", got)
				}
				if i := seen.one(t); i.Outcome != plugin.Healed && i.Outcome != plugin.AlreadyHealed || !i.Silent {
					t.Errorf("incident %v", i)
				}
			})
		})
	}
	t.Run("of another tenant", func(t *testing.T) {
		t.Parallel()
		inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
			place.Exec("CREATE TABLE items (tenant_id bigint, id bigserial, name text, PRIMARY KEY (tenant_id, id))")
			var seen incidents
			db := place.Open(&m.config, plugin.New(seen.option()))
			create := func(items ...item) error {
				return m.within(db, func(tx *gorm.DB) error { return tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&items).Error })
			}
			if err := errors.Join(create(item{1, 0, "a"}, item{2, 2, "b"}), create(item{1, 0, "c"}, item{2, 3, "d"})); err != nil {
				t.Fatal(err)
			}
			seen.none(t)
			if err := create(item{1, 0, "e"}, item{1, 4, "f"}); err != nil {
				t.Fatal(err)
			}
			if got := place.Text("SELECT * FROM items ORDER BY name"); got != "1|1|a\n2|2|b\n1|2|c\n2|3|d\n1|5|e\n1|4|f" {
				t.Errorf("stored\n%s", got)
			}
			seen.one(t)
		})
	})
}

// A sequence that is set back behind the look may give an id that another row names: the
// statement meets its own row (21000). It is undone, healed and sent again. The same error of
// the caller's own stays.
func TestMixedUpsertThatMeetsItsOwnRow(t *testing.T) {
	t.Parallel()
	const doubled = `; CREATE FUNCTION same() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.name LIKE ''new%'' THEN NEW.id := 7; END IF; RETURN NEW; END';
		CREATE TRIGGER same BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION same()`
	const failing = `; CREATE TABLE log (id int PRIMARY KEY); CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN INSERT INTO log VALUES (1), (1) ON CONFLICT (id) DO UPDATE SET id = 1; RETURN NULL; END'; CREATE TRIGGER log AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION log()`
	for name, test := range map[string]struct {
		setup string
		rows  []user
		back  int
		want  string // the error's code
	}{
		"drawn first":                 {"", []user{{Name: "new"}, {ID: 7, Name: "changed"}}, 6, ""},
		"named first":                 {"", []user{{ID: 7, Name: "changed"}, {Name: "new"}}, 6, ""},
		"the second draw":             {"", []user{{Name: "new"}, {ID: 22, Name: "changed"}, {Name: "newer"}}, 20, ""},
		"named twice":                 {"", []user{{ID: 7, Name: "a"}, {ID: 7, Name: "b"}, {Name: "new"}}, 20, "21000"},
		"a trigger gives the same id": {doubled, []user{{ID: 7, Name: "a"}, {Name: "new"}}, 100, "21000"},
		"a trigger's own upsert":      {failing, []user{{ID: 7, Name: "a"}, {Name: "new"}}, 100, "21000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				place.Exec(drifted + "; SELECT setval('users_id_seq', 20)" + test.setup)
				var seen incidents
				back := false
				pool := tapped(t, place, func(_ *tappedConn, query string) error {
					if !back && strings.HasPrefix(query, `INSERT INTO "users"`) {
						back = true
						place.Exec("SELECT setval('users_id_seq', $1)", test.back)
					}
					return nil
				})
				db := openOn(t, pool, withPlugin(&m.config, seen.option()))
				rows := slices.Clone(test.rows)
				err := m.within(db, func(tx *gorm.DB) error { return tx.Save(&rows).Error })
				if test.want != "" {
					if !pgerr.Is(err, test.want) || place.Text("SELECT * FROM users ORDER BY id") != oldRows() {
						t.Errorf("%v; rows\n%s", err, place.Text("SELECT * FROM users ORDER BY id"))
					}
					seen.none(t)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				for _, row := range rows {
					if got := place.Text("SELECT name FROM users WHERE id = $1", row.ID); got != row.Name {
						t.Errorf("row %d is %q, want %q", row.ID, got, row.Name)
					}
				}
				if n := place.Int("SELECT count(*) FROM users WHERE name = 'old ' || id AND id <> 7"); n != 19 {
					t.Errorf("%d other old rows are as they were", n)
				}
				seen.one(t)
			})
		})
	}
}

// A composite key is compared whole: (2, 5) is not overwritten for (1, 5).
func TestMixedUpsertOnACompositeKey(t *testing.T) {
	t.Parallel()
	type item struct {
		TenantID int64 `gorm:"primaryKey;autoIncrement:false"`
		ID       int64 `gorm:"primaryKey;autoIncrement"`
		Name     string
	}
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec(`CREATE TABLE items (tenant_id bigint, id bigserial, name text, PRIMARY KEY (tenant_id, id));
			INSERT INTO items VALUES (1, 5, 'one five'), (2, 1, 'two one'), (2, 2, 'two two'), (2, 5, 'two five')`)
		db := place.Open(&m.config, plugin.New())
		items := []item{{TenantID: 1, ID: 5, Name: "renamed"}, {TenantID: 2, Name: "new"}}
		err := m.within(db, func(tx *gorm.DB) error {
			return tx.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "tenant_id"}, {Name: "id"}},
				DoUpdates: clause.AssignmentColumns([]string{"name"})}).Create(&items).Error
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := place.Text("SELECT * FROM items WHERE id <= 5 ORDER BY 1, 2"); got != "1|5|renamed\n2|1|two one\n2|2|two two\n2|5|two five" {
			t.Errorf("rows\n%s", got)
		}
		if got := place.Text("SELECT tenant_id, name FROM items WHERE id > 5"); got != "2|new" || items[1].ID <= 5 {
			t.Errorf("new rows %q, struct %+v", got, items[1])
		}
	})
}

// P1: rows that appear between the look ahead and the statement are met by it: what
// it did is undone, the sequence healed, and the statement sent again.
func TestMixedUpsert_healsRowsThatAppearBehindTheLook(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec(shopSchema + "; SELECT setval('members_id_seq', 20)")
		var once sync.Once
		pool := tapped(t, place, func(_ *tappedConn, query string) error {
			if strings.HasPrefix(query, `INSERT INTO "members"`) {
				once.Do(func() {
					place.Exec("INSERT INTO members SELECT g, 'import' || g, 'imported', 0 FROM generate_series(21, 30) g")
				})
			}
			return nil
		})
		var seen incidents
		db := openOn(t, pool, withPlugin(&m.config, seen.option()))
		ms := []subscriber{{Email: "a@x", Name: "A"}, {ID: 3, Email: "old3@x", Name: "renamed"}}
		err := m.within(db, func(tx *gorm.DB) error { return tx.Save(&ms).Error })
		if err != nil || ms[0].ID <= 30 || ms[1].ID != 3 {
			t.Errorf("error %v, %+v", err, ms)
		}
		if got := place.Text("SELECT count(*), count(*) FILTER (WHERE name = 'imported'), min(name) FILTER (WHERE id = 3) FROM members"); got != "31|10|renamed" {
			t.Errorf("rows %s", got)
		}
		if got := place.Text("SELECT id, name FROM members WHERE email = 'a@x'"); got != fmt.Sprintf("%d|A", ms[0].ID) {
			t.Errorf("the new row is %q, the struct %+v", got, ms[0])
		}
		if i := seen.one(t); i.Outcome != plugin.Healed || !i.Silent {
			t.Errorf("incident %v", i)
		}
	})
}

// An import that puts a row in front of every sending: when the rounds are spent the
// error is the plugin's own, no row was changed, and the transaction can only roll back.
func TestMixedUpsert_failsWhenTheRoundsAreSpent(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec(shopSchema + "; SELECT setval('members_id_seq', 20)")
		pool := tapped(t, place, func(_ *tappedConn, query string) error {
			if strings.HasPrefix(query, `INSERT INTO "members"`) {
				place.Exec("INSERT INTO members SELECT g, 'import' || g, 'imported', 0 FROM (SELECT last_value + 1 AS g FROM members_id_seq) s")
			}
			return nil
		})
		var seen incidents
		db := openOn(t, pool, withPlugin(&m.config, seen.option(), plugin.WithMaxRounds(2)))
		ms := []subscriber{{Email: "a@x", Name: "A"}, {ID: 3, Email: "old3@x", Name: "renamed"}}
		var later error
		err := m.within(db, func(tx *gorm.DB) error {
			err := tx.Save(&ms).Error
			later = tx.Session(&gorm.Session{NewDB: true}).Exec("SELECT 1").Error
			return err
		})
		if !errors.Is(err, plugin.ErrRowsMissing) {
			t.Errorf("error %v", err)
		}
		if m.name == "caller's transaction" && later == nil {
			t.Error("the transaction can go on")
		}
		if got := place.Text("SELECT count(*) FILTER (WHERE name IN ('A', 'renamed')), min(name) FILTER (WHERE id = 3) FROM members"); got != "0|old member 3" {
			t.Errorf("rows %s", got)
		}
		if i := seen.one(t); i.Outcome != plugin.Failed || i.Reason != plugin.ReasonRounds || i.Rounds != 2 {
			t.Errorf("incident %v", i)
		}
	})
}

// What a healthy upsert costs: how many statements reach the server beside the
// INSERT itself, once the table is known.
func TestFurtherStatementsOfAHealthyUpsert(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(shopSchema + "; SELECT setval('members_id_seq', 1000)")
	var mutex sync.Mutex
	var sent []string
	pool := tapped(t, place, func(_ *tappedConn, query string) error {
		mutex.Lock()
		defer mutex.Unlock()
		sent = append(sent, query)
		return nil
	})
	pool.SetMaxOpenConns(1)
	count := func(db *gorm.DB, run func(*gorm.DB) error) int {
		t.Helper()
		mutex.Lock()
		sent = nil
		mutex.Unlock()
		if err := run(db); err != nil {
			t.Error(err)
		}
		return len(sent)
	}
	fresh := func() string { return strings.Repeat("x", int(unique.Add(1))) + "@x" }
	cases := []struct {
		name    string
		further map[string]int // by mode
		run     func(*gorm.DB) error
	}{
		{"one row, UpdateAll", map[string]int{"transaction": 2}, func(db *gorm.DB) error {
			return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&subscriber{Email: fresh()}).Error
		}},
		{"one row, DoNothing", map[string]int{}, func(db *gorm.DB) error {
			return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&subscriber{Email: fresh()}).Error
		}},
		{"several rows, UpdateAll", map[string]int{"transaction": 2}, func(db *gorm.DB) error {
			return db.Save(&[]subscriber{{Email: fresh()}, {Email: fresh()}}).Error
		}},
		{"several rows, DoNothing", map[string]int{"transaction": 4, "none": 5}, func(db *gorm.DB) error {
			return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&[]subscriber{{Email: fresh()}, {Email: fresh()}}).Error
		}},
		{"mixed, UpdateAll", map[string]int{"transaction": 3, "none": 4}, func(db *gorm.DB) error {
			return db.Save(&[]subscriber{{Email: fresh()}, {ID: 3, Email: fresh()}}).Error
		}},
	}
	for _, skip := range []bool{false, true} {
		config := &gorm.Config{SkipDefaultTransaction: skip}
		plain, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), withoutPlugin(config))
		if err != nil {
			t.Fatal(err)
		}
		with, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), withPlugin(config))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cases {
			name := map[bool]string{true: "none", false: "transaction"}[skip]
			_ = count(with, c.run) // the table becomes known
			want := count(plain, c.run) + c.further[name]
			if got := count(with, c.run); got != want {
				t.Errorf("%s, %s: %d statements instead of %d: %s", c.name, name, got, want, sent)
			}
		}
	}
}

package plugin_test

import (
	"fmt"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

type order struct {
	ID   string `gorm:"primaryKey;default:(-)"`
	Name string
}

func (order) TableName() string { return "users" }

// P1, P4, P8: a sequence that must not be moved is not, the caller has
// PostgreSQL's own error, and the one incident says why and what to do.
func TestRefusesKeysThatMovingTheSequenceWouldRuin(t *testing.T) {
	t.Parallel()
	orders := rowsOf(func(i int) order { return order{Name: fmt.Sprint("new ", i)} }, func(o order) string { return o.ID })
	for _, c := range []struct {
		kind
		reason plugin.Reason
		advice string
	}{
		{kind{name: "nextval times 1000 plus 7", make: "CREATE SEQUENCE $Q; CREATE TABLE $T ($K bigint PRIMARY KEY DEFAULT nextval('$Q') * 1000 + 7, name text)",
			old: "SELECT g * 1000 + 7, 'old ' || g FROM generate_series(1, 20) g"}, plugin.ReasonUnsupported, "correct the sequence by hand"},
		{kind{name: "nextval in a text", make: "CREATE SEQUENCE $Q; CREATE TABLE $T ($K text PRIMARY KEY DEFAULT 'ORD-' || nextval('$Q'), name text)",
			old: "SELECT 'ORD-' || g, 'old ' || g FROM generate_series(1, 20) g", insert: orders}, plugin.ReasonUnsupported, "correct the sequence by hand"},
		{kind{name: "nextval of a sequence that a function chooses", make: "CREATE SEQUENCE $Q; CREATE TABLE $T ($K bigint PRIMARY KEY DEFAULT greatest(nextval('$Q'), 1), name text)"},
			plugin.ReasonUnsupported, "correct the sequence by hand"},
		{kind{name: "numeric that may hold fractions", make: "CREATE SEQUENCE $Q; CREATE TABLE $T ($K numeric PRIMARY KEY DEFAULT nextval('$Q'), name text)"},
			plugin.ReasonUnsupported, "not an integer"},
		{kind{name: "sequence at its end", make: "CREATE SEQUENCE $Q MAXVALUE 20; CREATE TABLE $T ($K bigint PRIMARY KEY DEFAULT nextval('$Q'), name text)"},
			plugin.ReasonExhausted, `ALTER SEQUENCE "$S"."users_id_seq" AS bigint`},
		{kind{name: "descending sequence at its end", make: "CREATE SEQUENCE $Q INCREMENT -1 MINVALUE -20; CREATE TABLE $T ($K bigint PRIMARY KEY DEFAULT nextval('$Q'), name text)",
			old: "SELECT -g, 'old ' || g FROM generate_series(1, 20) g"}, plugin.ReasonExhausted, `ALTER SEQUENCE "$S"."users_id_seq" AS bigint`},
		{kind{name: "integer column at its end", make: "CREATE SEQUENCE $Q START 2147483640; CREATE TABLE $T ($K integer PRIMARY KEY DEFAULT nextval('$Q'), name text)",
			old: "SELECT 2147483640 + g, 'old ' || g FROM generate_series(0, 7) g"}, plugin.ReasonExhausted, `ALTER TABLE "$S"."users" ALTER COLUMN "id" TYPE bigint`},
		{kind{name: "CYCLE", make: "CREATE SEQUENCE $Q MAXVALUE 1000 CYCLE; CREATE TABLE $T ($K bigint PRIMARY KEY DEFAULT nextval('$Q'), name text)"},
			plugin.ReasonCycle, `ALTER SEQUENCE "$S"."users_id_seq" NO CYCLE`},
	} {
		k := c.withDefaults()
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			for _, rows := range []int{1, 2} {
				t.Run(fmt.Sprintf("%d rows", rows), func(t *testing.T) {
					inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
						var seen incidents
						db := k.open(t, place, m, seen.option())
						all := k.sql("SELECT * FROM $T ORDER BY name")
						old := place.Text(all)
						before := readSequence(t, place, k.sql("$Q"))
						err := m.within(db, func(tx *gorm.DB) error { _, err := k.insert(tx, rows); return err })
						if err == nil || !strings.HasPrefix(err.Error(), `ERROR: duplicate key value violates unique constraint "users_pkey" (SQLSTATE 23505)`) {
							t.Errorf("error %v", err)
						}
						if now := place.Text(all); now != old {
							t.Errorf("rows\n%s", now)
						}
						// What the inserts themselves draw, twice at most, and one for the heal.
						after := readSequence(t, place, k.sql("$Q"))
						if moved := (after.last - before.last) * before.increment; moved < 0 || moved > int64(2*rows+1) {
							t.Errorf("the sequence moved from %d to %d", before.last, after.last)
						}
						advice := strings.ReplaceAll(c.advice, "$S", place.Schema)
						i := seen.one(t)
						if i.Outcome != plugin.Refused || i.Reason != c.reason || !strings.Contains(i.Err.Error(), advice) {
							t.Errorf("incident %v, want %s", i, advice)
						}
						if i.Table != `"`+place.Schema+`"."users"` || i.Sequence != `"`+place.Schema+`"."users_id_seq"` || i.Column != `"id"` {
							t.Errorf("incident names table %s, sequence %s, column %s", i.Table, i.Sequence, i.Column)
						}
					})
				})
			}
		})
	}
}

// P5: a column that merely owns a sequence is not fed by it. What goes wrong there
// is the caller's.
func TestOwnedSequenceWithoutDefaultIsNotApplicable(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec(drifted + "; ALTER TABLE users ALTER id DROP DEFAULT")
		var seen incidents
		db := place.Open(&m.config, plugin.New(seen.option()))
		for state, u := range map[string]user{"23502": {Name: "new"}, "23505": {ID: 5, Name: "new"}} {
			err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&u).Error })
			if err == nil || !strings.Contains(err.Error(), state) {
				t.Errorf("error %v, want %s", err, state)
			}
		}
		seen.none(t)
		if got := place.Text("SELECT last_value, is_called FROM users_id_seq"); got != "1|false" {
			t.Errorf("the owned sequence moved: %s", got)
		}
	})
}

// P3: where the owned sequence and the default's differ, the default's is moved and
// the owned one, which may number something else, is not.
func TestTheDefaultsSequenceWinsOverTheOwnedOne(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec(drifted + "; CREATE SEQUENCE numbers; ALTER TABLE users ALTER id SET DEFAULT nextval('numbers')")
		db := place.Open(&m.config, plugin.New())
		u := user{Name: "new"}
		if err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&u).Error }); err != nil || u.ID != 21 {
			t.Errorf("id %d, %v", u.ID, err)
		}
		if got := place.Text("SELECT last_value, is_called FROM users_id_seq"); got != "1|false" {
			t.Errorf("the owned sequence moved: %s", got)
		}
	})
}

// A key that is checked at COMMIT collides there when the insert is a transaction
// of its own, and is healed like any other.
func TestInitiallyDeferredKeyOutsideATransaction(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(drifted + "; ALTER TABLE users DROP CONSTRAINT users_pkey, ADD PRIMARY KEY (id) DEFERRABLE INITIALLY DEFERRED")
	var seen incidents
	db := place.Open(&modes[0].config, plugin.New(seen.option()))
	users := []user{{Name: "n0"}, {Name: "n1"}}
	if err := db.Create(&users).Error; err != nil {
		t.Fatal(err)
	}
	if stored := place.Text("SELECT * FROM users WHERE id > 20 ORDER BY id"); stored != "21|n0\n22|n1" || strings.Join(lines(users...), "\n") != stored {
		t.Errorf("stored\n%s\nheld %v", stored, users)
	}
	if i := seen.one(t); i.Outcome != plugin.Healed {
		t.Errorf("incident %v", i)
	}
}

// The look costs index descents, however the key's columns are ordered and however
// many rows there are.
func TestLookNeverScansALargeTable(t *testing.T) {
	t.Parallel()
	const rows = 200_000
	for _, columns := range []string{"id, tenant, region", "tenant, id, region", "region, tenant, id"} {
		t.Run(columns, func(t *testing.T) {
			t.Parallel()
			place, m := pgtest.New(t), modes[2]
			k := tenantRows("users", "", 0).withDefaults()
			// The setup itself reads no row by a scan, so that every one is the heal's.
			place.Exec(fmt.Sprintf(`CREATE TABLE users (tenant bigint, id bigserial, region text, name text, PRIMARY KEY (%s));
				INSERT INTO users SELECT g %% 2, g, 'eu', 'old' FROM generate_series(1, %d) g; ANALYZE users`, columns, rows))
			var seen incidents
			db := place.Open(&gorm.Config{NamingStrategy: names{table: "users", key: "id"}}, plugin.New(seen.option()))
			const scanned = "SELECT seq_tup_read FROM pg_stat_all_tables WHERE relid = 'users'::regclass"
			const indexScans = "SELECT sum(idx_scan) FROM pg_stat_all_tables WHERE relid = 'users'::regclass"
			if err := m.within(db, func(tx *gorm.DB) error { _, err := k.insert(tx, 2); return err }); err != nil {
				t.Fatal(err)
			}
			seen.one(t)
			pool, _ := db.DB()
			_ = pool.Close() // a session tells its statistics when it ends
			pgtest.Eventually(t, "the statistics of the heal", func() bool { return place.Int(indexScans) > 0 })
			if n := place.Int(scanned); n != 0 {
				t.Errorf("%d rows read by sequential scans", n)
			}
		})
	}
}

// One program that serves each tenant in a schema of its own, by search_path, heals
// each tenant's own sequence.
func TestTenantsBySearchPath(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		if m.name != "caller's transaction" {
			t.Skip("SET LOCAL needs a transaction")
		}
		for tenant, rows := range map[string]int{"a": 20, "b": 40} {
			place.Exec(fmt.Sprintf(`CREATE SCHEMA $S_%[1]s; CREATE TABLE $S_%[1]s.users (id bigserial PRIMARY KEY, name text);
				INSERT INTO $S_%[1]s.users SELECT g, 'old' FROM generate_series(1, %[2]d) g`, tenant, rows))
		}
		t.Cleanup(func() { place.Exec("DROP SCHEMA $S_a, $S_b CASCADE") })
		var seen incidents
		db := place.Open(&m.config, plugin.New(seen.option()))
		for round := range int64(2) {
			for tenant, first := range map[string]int64{"a": 21, "b": 41} {
				u := user{Name: "new"}
				err := db.Transaction(func(tx *gorm.DB) error {
					tx.Exec("SET LOCAL search_path = " + place.Schema + "_" + tenant)
					return tx.Create(&u).Error
				})
				if err != nil || u.ID != first+round {
					t.Errorf("tenant %s: id %d, %v", tenant, u.ID, err)
				}
			}
		}
		var healed []string
		for _, i := range seen.list() {
			healed = append(healed, i.Sequence)
		}
		if len(healed) != 2 || healed[0] == healed[1] {
			t.Errorf("healed %v", healed)
		}
	})
}

package plugin_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/cause"
	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// The tests share a slow machine: 5 ms are not always enough there for a look.
func init() { cause.Limit = time.Second }

const emptyUsers = `CREATE TABLE users (id bigserial PRIMARY KEY, name text)`

// subscribe puts a table into a subscription that connects to nothing.
func subscribe(t *testing.T, place *pgtest.Place, table string) {
	t.Helper()
	name := "sub_" + place.Schema
	place.Exec("CREATE SUBSCRIPTION " + name + " CONNECTION 'host=localhost dbname=none' PUBLICATION none WITH (connect = false)")
	t.Cleanup(func() {
		for _, statement := range []string{"ALTER SUBSCRIPTION " + name + " SET (slot_name = NONE)", "DROP SUBSCRIPTION " + name} {
			if _, err := place.SQL.Exec(statement); err != nil {
				t.Errorf("%s: %v", statement, err)
			}
		}
	})
	place.Exec("INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate, srsublsn) SELECT oid, '" + table + "'::regclass, 'r', '0/0' FROM pg_subscription WHERE subname = '" + name + "'")
}

// causesOf are the codes of the causes.
func causesOf(i plugin.Incident) string {
	var all []string
	for _, c := range i.Causes() {
		all = append(all, string(c.Kind))
	}
	return strings.Join(all, " ")
}

// Each cause is told in each mode, with the rows in front and the line that shows them.
func TestCauses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		// drift makes the sequence drift, in a program that runs.
		drift    func(t *testing.T, place *pgtest.Place, db *gorm.DB)
		kinds    string
		evidence []string
		front    string
		select1  string
	}{
		{
			name: "set back by setval",
			drift: func(t *testing.T, place *pgtest.Place, db *gorm.DB) {
				for range 3 {
					mustCreate(t, db, &user{Name: "drawn"})
				}
				place.Exec("SELECT setval('users_id_seq', 1)")
			},
			kinds: "set_back", evidence: []string{"seen the sequence at 3 at 20", "it was at 2 now", "setval"}, front: "2 3 2",
		},
		{
			name: "set back by RESTART",
			drift: func(t *testing.T, place *pgtest.Place, db *gorm.DB) {
				mustCreate(t, db, &[]user{{Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "d"}})
				place.Exec("ALTER SEQUENCE users_id_seq RESTART")
			},
			kinds: "set_back", evidence: []string{"seen the sequence at 4 at 20"}, front: "1 4 4",
		},
		{
			name: "ids named",
			drift: func(t *testing.T, _ *pgtest.Place, db *gorm.DB) {
				mustCreate(t, db, &[]user{{ID: 1, Name: "named"}, {ID: 2, Name: "named"}})
			},
			kinds: "named_ids", evidence: []string{"stored id 2,", "named at 20", "/plugin/cause_test.go:"}, front: "1 2 2",
		},
		{
			name: "an id named in a map",
			drift: func(t *testing.T, _ *pgtest.Place, db *gorm.DB) {
				if err := db.Table("users").Create(map[string]any{"id": 1, "name": "named"}).Error; err != nil {
					t.Fatal(err)
				}
			},
			kinds: "named_ids", evidence: []string{"stored id 1,"}, front: "1 1 1",
		},
		{
			name: "imported in one transaction",
			drift: func(_ *testing.T, place *pgtest.Place, _ *gorm.DB) {
				place.Exec("INSERT INTO users SELECT g, 'old' FROM generate_series(1, 20) g")
			},
			kinds: "bulk", evidence: []string{"20 rows, ids 1 to 20, came in 1 transaction"}, front: "1 20 20",
		},
		{
			name: "more than is counted",
			drift: func(_ *testing.T, place *pgtest.Place, _ *gorm.DB) {
				place.Exec("INSERT INTO users SELECT g, 'old' FROM generate_series(1, 1500) g")
			},
			kinds: "bulk", evidence: []string{"1000 of the first 1000 rows in front, ids 1 to 1000, came in 1 transaction"}, front: "1 1500 1000+",
		},
		{
			name: "exactly as many as are counted",
			drift: func(_ *testing.T, place *pgtest.Place, _ *gorm.DB) {
				place.Exec("INSERT INTO users SELECT g, 'old' FROM generate_series(1, 1000) g")
			},
			kinds: "bulk", evidence: []string{"ids 1 to 1000"}, front: "1 1000 1000",
		},
		{
			name: "replicated",
			drift: func(t *testing.T, place *pgtest.Place, _ *gorm.DB) {
				subscribe(t, place, "users")
				place.Exec("INSERT INTO users VALUES (1, 'applied')")
			},
			kinds: "replication", evidence: []string{`in subscription "sub_t`}, front: "1 1 1",
		},
		{
			name: "several",
			drift: func(t *testing.T, place *pgtest.Place, db *gorm.DB) {
				subscribe(t, place, "users")
				mustCreate(t, db, &user{Name: "drawn"})
				place.Exec("INSERT INTO users SELECT g, 'old' FROM generate_series(2, 20) g")
				mustCreate(t, db, &user{ID: 21, Name: "named"})
				place.Exec("SELECT setval('users_id_seq', 1, false)")
			},
			kinds: "named_ids replication bulk", evidence: []string{"stored id 21,"}, front: "1 21 21",
		},
		{
			name: "one row by hand",
			drift: func(_ *testing.T, place *pgtest.Place, _ *gorm.DB) {
				place.Exec("INSERT INTO users VALUES (1, 'by hand')")
			},
			kinds: "unknown", evidence: []string{"neither the rows in front"}, front: "1 1 1",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				place.Exec(emptyUsers)
				var seen incidents
				config := m.config
				db := place.Open(&config, plugin.New(seen.option()))
				test.drift(t, place, db)
				seen.none(t)
				if err := m.within(db, newUser); err != nil {
					t.Fatal(err)
				}
				i := seen.one(t)
				if got := causesOf(i); got != test.kinds {
					t.Errorf("causes %s: %v", got, i.Causes())
				}
				for _, part := range test.evidence {
					if !strings.Contains(i.Cause.Evidence, part) {
						t.Errorf("evidence %q without %q", i.Cause.Evidence, part)
					}
				}
				if got := frontText(i.Front); got != test.front {
					t.Errorf("in front %s instead of %s", got, test.front)
				}
				checkSelect(t, place, i.Front)
				checkCaller(t, i, "cause_test.go", "kit_test.go", "log_test.go")
			})
		})
	}
}

func mustCreate(t *testing.T, db *gorm.DB, value any) {
	t.Helper()
	if err := db.Create(value).Error; err != nil {
		t.Fatal(err)
	}
}

// frontText is the first id, the last id and the number of rows.
func frontText(f plugin.Front) string {
	more := ""
	if f.More {
		more = "+"
	}
	return fmt.Sprintf("%d %d %d%s", f.First, f.Last, f.Rows, more)
}

// checkSelect runs the statement that shows the rows in front.
func checkSelect(t *testing.T, place *pgtest.Place, f plugin.Front) {
	t.Helper()
	lines := strings.Split(place.Text(f.Select), "\n")
	first, last := lines[0]+"|", lines[len(lines)-1]+"|"
	if !strings.HasPrefix(first, fmt.Sprint(f.First, "|")) || !strings.HasPrefix(last, fmt.Sprint(f.Last, "|")) || !f.More && int64(len(lines)) != f.Rows {
		t.Errorf("%s: %d rows, from %s to %s", f.Select, len(lines), first, last)
	}
}

func checkCaller(t *testing.T, i plugin.Incident, files ...string) {
	t.Helper()
	for _, file := range files {
		if strings.Contains(i.Caller, "/plugin/"+file+":") {
			return
		}
	}
	t.Errorf("caller %q", i.Caller)
}

// The rows in front are found whatever holds them.
func TestCauses_kindsOfTables(t *testing.T) {
	t.Parallel()
	const many = "INSERT INTO users SELECT g, 'old' FROM generate_series(1, 20) g"
	for _, test := range []struct{ name, make, kinds, front string }{
		{"partitioned", `CREATE TABLE users (id bigserial PRIMARY KEY, name text) PARTITION BY RANGE (id);
			CREATE TABLE users_1 PARTITION OF users FOR VALUES FROM (0) TO (10); CREATE TABLE users_2 PARTITION OF users FOR VALUES FROM (10) TO (1000);` + many, "bulk", "1 20 20"},
		{"an identity column", "CREATE TABLE users (id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text);" + many, "bulk", "1 20 20"},
		{"a descending sequence", `CREATE SEQUENCE s INCREMENT -2; CREATE TABLE users (id bigint PRIMARY KEY DEFAULT nextval('s'), name text);
			INSERT INTO users SELECT -g, 'old' FROM generate_series(1, 20) g`, "bulk", "-1 -20 20"},
		{"an increment of 10", `CREATE SEQUENCE s INCREMENT 10; CREATE TABLE users (id bigint PRIMARY KEY DEFAULT nextval('s'), name text);` + many, "bulk", "1 20 20"},
		{"a numeric key", "CREATE SEQUENCE s; CREATE TABLE users (id numeric(12,0) PRIMARY KEY DEFAULT nextval('s'), name text);" + many, "bulk", "1 20 20"},
		{"a view", `CREATE TABLE people (id bigserial PRIMARY KEY, name text); CREATE VIEW users AS SELECT * FROM people;` + many, "bulk", "1 20 20"},
		{"inherited", `CREATE TABLE users (id bigserial PRIMARY KEY, name text); CREATE TABLE more () INHERITS (users);` + many, "bulk", "1 20 20"},
		{"a sequence of a cache", "CREATE SEQUENCE s CACHE 10; CREATE TABLE users (id bigint PRIMARY KEY DEFAULT nextval('s'), name text);" + many, "bulk", "1 20 20"},
		{"a row near the end of the range", "CREATE TABLE users (id serial PRIMARY KEY, name text);" + many + "; INSERT INTO users VALUES (2147483640, 'sentinel')", "bulk", "1 20 20"},
		{"a few large transactions and a few rows", "CREATE TABLE users (id bigserial PRIMARY KEY, name text);" + many + "; INSERT INTO users VALUES (21, 'one'); INSERT INTO users VALUES (22, 'two')", "bulk", "1 22 22"},
		{"a script that commits each row", "CREATE TABLE users (id bigserial PRIMARY KEY, name text)", "unknown", "1 15 15"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				place.Exec(test.make)
				for id := 1; id <= 15 && strings.HasPrefix(test.name, "a script"); id++ {
					place.Exec("INSERT INTO users VALUES ($1, 'one by one')", id)
				}
				var seen incidents
				config := m.config
				db := place.Open(&config, plugin.New(seen.option()))
				if err := m.within(db, newUser); err != nil {
					t.Fatal(err)
				}
				i := seen.list()[0]
				if got := causesOf(i); got != test.kinds || frontText(i.Front) != test.front {
					t.Errorf("%s, in front %s instead of %s: %v", got, frontText(i.Front), test.front, i)
				}
				checkSelect(t, place, i.Front)
			})
		})
	}
}

package plugin_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

var extension sync.Mutex // it is the whole database's

// farServer makes a server $S for foreign tables, which leads back to the place's own
// database.
func farServer(t *testing.T, place *pgtest.Place) {
	t.Helper()
	if place.Int("SELECT count(*) FROM pg_available_extensions WHERE name = 'postgres_fdw'") == 0 {
		t.Skip("these server programs have no postgres_fdw")
	}
	server, err := pgx.ParseConfig(place.DSN)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(server.Host, "/") {
		t.Skip("the server is not a test's own")
	}
	extension.Lock()
	place.Exec("CREATE EXTENSION IF NOT EXISTS postgres_fdw SCHEMA public")
	extension.Unlock()
	place.Exec(fmt.Sprintf(`CREATE SERVER $S FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '%s', port '%d', dbname '%s');
		CREATE USER MAPPING FOR CURRENT_USER SERVER $S OPTIONS (user '%s', password '%s')`,
		server.Host, server.Port, server.Database, server.User, server.Password))
	t.Cleanup(func() { _, _ = place.SQL.Exec("DROP SERVER " + place.Schema + " CASCADE") })
}

const (
	rows20 = `INSERT INTO events SELECT g, CASE WHEN g = 20 THEN 'near' ELSE 'far' END, 'old ' || g FROM generate_series(1, 20) g`
	parent = `CREATE TABLE events (id bigserial, region text, name text) PARTITION BY LIST (region);`
)

// shards are tables whose rows are on another server, all or some. Their sequence is here.
var shards = map[string]string{
	"a foreign table": `CREATE TABLE elsewhere (id bigint PRIMARY KEY, region text, name text UNIQUE);
		CREATE SEQUENCE events_id_seq;
		CREATE FOREIGN TABLE events (id bigint DEFAULT nextval('events_id_seq') NOT NULL, region text, name text)
			SERVER $S OPTIONS (schema_name '$S', table_name 'elsewhere')`,
	"foreign columns of another name": `CREATE TABLE elsewhere (number bigint PRIMARY KEY, place text, label text UNIQUE);
		CREATE SEQUENCE events_id_seq;
		CREATE FOREIGN TABLE events (id bigint OPTIONS (column_name 'number') DEFAULT nextval('events_id_seq') NOT NULL,
			region text OPTIONS (column_name 'place'), name text OPTIONS (column_name 'label'))
			SERVER $S OPTIONS (schema_name '$S', table_name 'elsewhere')`,
	"all partitions": parent + `CREATE TABLE elsewhere (id bigint PRIMARY KEY, region text, name text UNIQUE); CREATE TABLE further (LIKE elsewhere INCLUDING ALL);
		CREATE FOREIGN TABLE events_near PARTITION OF events FOR VALUES IN ('near') SERVER $S OPTIONS (schema_name '$S', table_name 'elsewhere');
		CREATE FOREIGN TABLE events_far PARTITION OF events FOR VALUES IN ('far') SERVER $S OPTIONS (schema_name '$S', table_name 'further')`,
	"a partition beside one with a key": parent + `CREATE TABLE elsewhere (id bigint PRIMARY KEY, region text, name text UNIQUE);
		CREATE TABLE events_near PARTITION OF events (PRIMARY KEY (id), UNIQUE (name)) FOR VALUES IN ('near');
		CREATE FOREIGN TABLE events_far PARTITION OF events FOR VALUES IN ('far') SERVER $S OPTIONS (schema_name '$S', table_name 'elsewhere')`,
}

var nothing = clause.OnConflict{DoNothing: true}

// farShapes are the inserts that such a table takes.
var farShapes = map[string]func(*gorm.DB, []event) error{
	"one row":                 func(tx *gorm.DB, e []event) error { return tx.Create(&e[0]).Error },
	"several rows":            func(tx *gorm.DB, e []event) error { return tx.Create(&e).Error },
	"one row, DO NOTHING":     func(tx *gorm.DB, e []event) error { return tx.Clauses(nothing).Create(&e[0]).Error },
	"several rows DO NOTHING": func(tx *gorm.DB, e []event) error { return tx.Clauses(nothing).Create(&e).Error },
}

// P1, P8: the other server's 23505 names neither table nor constraint, and its rows are
// seen through the table. The sequence, which is here, is moved past them, once.
func TestForeignTables_heal(t *testing.T) {
	t.Parallel()
	for name, setUp := range shards {
		for shape, create := range farShapes {
			t.Run(name+", "+shape, func(t *testing.T) {
				t.Parallel()
				inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
					var seen incidents
					db, before := openFar(t, m, place, setUp, seen.option())
					created := []event{{Region: "far", Name: "new 1"}, {Region: "far", Name: "new 2"}}
					if strings.HasPrefix(shape, "one") {
						created = created[:1]
					}
					if err := m.within(db, func(tx *gorm.DB) error { return create(tx, created) }); err != nil {
						t.Fatal(err)
					}
					want := before
					for _, e := range created {
						want += fmt.Sprintf("\n%d|far|%s", e.ID, e.Name)
					}
					if got := place.Text("SELECT * FROM events ORDER BY id"); got != want {
						t.Errorf("rows\n%s\ninstead of\n%s", got, want)
					}
					if i := seen.one(t); i.Outcome != plugin.Healed || i.Sequence != `"`+place.Schema+`"."events_id_seq"` || i.Rounds > 2 {
						t.Errorf("incident %v", i)
					}
				})
			})
		}
	}
}

// openFar makes the tables of a setup with twenty rows, which before holds, and opens GORM.
func openFar(t *testing.T, m mode, place *pgtest.Place, setUp string, options ...plugin.Option) (db *gorm.DB, before string) {
	t.Helper()
	farServer(t, place)
	place.Exec(setUp) // seen by the other server once it is committed
	place.Exec(rows20)
	return place.Open(&m.config, plugin.New(options...)), place.Text("SELECT * FROM events ORDER BY id")
}

// P5: on a healthy table every insert is as without the plugin, and a name that is taken
// is the caller's own.
func TestForeignTables_healthy(t *testing.T) {
	t.Parallel()
	for name, setUp := range shards {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				var seen incidents
				db, before := openFar(t, m, place, setUp, seen.option())
				place.Exec("SELECT setval('events_id_seq', 20)")
				taken := event{Region: "far", Name: "old 19"}
				if err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&taken).Error }); strings.Contains(setUp, "UNIQUE") && !isDuplicate(err) {
					t.Errorf("a name that is taken: %v", err)
				}
				if err := m.within(db, func(tx *gorm.DB) error {
					return tx.Clauses(nothing).Create(&event{Region: "far", Name: "old 19"}).Error
				}); err != nil {
					t.Error(err)
				}
				e := event{Region: "far", Name: "new"}
				err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&e).Error })
				id := int64(23)
				if name == "foreign columns of another name" && m.config.SkipDefaultTransaction {
					id++ // whose error the taken name was is known only after a second try
				}
				if got, want := place.Text("SELECT * FROM events ORDER BY id"), fmt.Sprintf("%s\n%d|far|new", before, id); err != nil || got != want || e.ID != id {
					t.Errorf("%v, %+v; rows\n%s", err, e, got)
				}
				seen.none(t)
			})
		})
	}
}

// bareParts has a partition here without an index, whose furthest id only a scan would find.
var bareParts = parent + `CREATE TABLE elsewhere (id bigint PRIMARY KEY, region text, name text UNIQUE);
		CREATE TABLE events_near PARTITION OF events FOR VALUES IN ('near');
		CREATE FOREIGN TABLE events_far PARTITION OF events FOR VALUES IN ('far') SERVER $S OPTIONS (schema_name '$S', table_name 'elsewhere')`

// P1, P8: plain inserts are healed by what the other server says of the id that collided.
// Several rows under DO NOTHING cannot be looked at, which is logged once with the next step.
func TestForeignTables_withoutAnIndexHere(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		var seen incidents
		var log bytes.Buffer
		db, before := openFar(t, m, place, bareParts, seen.option(), plugin.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		for range 2 {
			dropped := []event{{Region: "far", Name: "old 3"}, {Region: "far", Name: "old 4"}}
			if err := m.within(db, func(tx *gorm.DB) error { return tx.Clauses(nothing).Create(&dropped).Error }); err != nil {
				t.Fatal(err)
			}
		}
		if got := strings.Count(log.String(), "ADD PRIMARY KEY (\\\"id\\\")"); got != 1 {
			t.Errorf("said %d times:\n%s", got, log.String())
		}
		e := event{Region: "far", Name: "new"}
		err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&e).Error })
		if got, want := place.Text("SELECT * FROM events ORDER BY id"), fmt.Sprintf("%s\n%d|far|new", before, e.ID); err != nil || got != want {
			t.Errorf("%v; rows\n%s", err, got)
		}
		if i := seen.one(t); i.Outcome != plugin.Healed {
			t.Errorf("incident %v", i)
		}
	})
}

// P1: the other server shows a transaction what was there when it first asked. What was
// committed since is seen from a second connection.
func TestForeignTables_rowsOfMeanwhile(t *testing.T) {
	t.Parallel()
	for name, setUp := range shards {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			farServer(t, place)
			place.Exec(setUp)
			var seen incidents
			db := place.Open(nil, plugin.New(seen.option()))
			first, second := event{Region: "far", Name: "first"}, event{Region: "far", Name: "second"}
			err := db.Transaction(func(tx *gorm.DB) error {
				if err := tx.Create(&first).Error; err != nil {
					return err
				}
				place.Exec("INSERT INTO events SELECT g, 'far', 'old ' || g FROM generate_series(2, 500) g")
				return tx.Create(&second).Error
			})
			if err != nil || first.ID != 1 || second.ID != 501 {
				t.Errorf("%v: %+v, %+v", err, first, second)
			}
			if got := place.Text("SELECT count(*), min(name), max(id) FROM events"); got != "501|first|501" {
				t.Errorf("rows %s", got)
			}
			if i := seen.one(t); i.Outcome != plugin.Healed || i.Rounds != 1 {
				t.Errorf("incident %v", i)
			}
		})
	}
}

// P3: the audit reads such tables through their servers, and Resync moves their sequences.
func TestForeignTables_audit(t *testing.T) {
	t.Parallel()
	for name, setUp := range shards {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			farServer(t, place)
			place.Exec(setUp)
			place.Exec(rows20)
			db := place.Open(nil)
			findings, err := plugin.Audit(t.Context(), db, plugin.OfTables("events"))
			if err != nil || len(findings) != 1 || findings[0].State != plugin.StateBehind || findings[0].Furthest != 20 {
				t.Errorf("%v: %v", err, findings)
			}
			if _, err := plugin.Resync(t.Context(), db, "events"); err != nil || place.Int("SELECT nextval('events_id_seq')") != 21 {
				t.Error(err)
			}
		})
	}
}

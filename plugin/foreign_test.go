package plugin_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

type event struct {
	ID     int64
	Region string
	Name   string
}

// keysBelow are partitioned tables without a primary key, whose partitions have one
// each, and another unique index. Even ids are near, odd ones far.
var keysBelow = map[string]func(*testing.T, *pgtest.Place){
	"local": func(t *testing.T, place *pgtest.Place) {
		place.Exec(`CREATE TABLE events (id bigserial, region text, name text) PARTITION BY LIST (region);
			CREATE TABLE events_near PARTITION OF events (PRIMARY KEY (id), UNIQUE (name)) FOR VALUES IN ('near');
			CREATE TABLE events_far PARTITION OF events (PRIMARY KEY (id), UNIQUE (name)) FOR VALUES IN ('far')`)
	},
}

// P1, P8: a collision in a partition of a table that has no key itself is refused with the
// next step. That step works, and the audit reports it before. P5: a duplicate name is the
// caller's own.
func TestKeysOfPartitionsAlone(t *testing.T) {
	t.Parallel()
	for name, setUp := range keysBelow {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, region := range []string{"near", "far"} {
				for _, m := range modes {
					t.Run(region+", "+m.name, func(t *testing.T) {
						place := pgtest.New(t)
						setUp(t, place)
						place.Exec("INSERT INTO events SELECT g, CASE WHEN g % 2 = 0 THEN 'near' ELSE 'far' END, 'old ' || g FROM generate_series(1, 20) g")
						if region == "near" {
							place.Exec("SELECT nextval('events_id_seq')")
						}
						before := place.Text("SELECT * FROM events ORDER BY id")
						var seen incidents
						db := place.Open(&m.config, plugin.New(seen.option()))
						insert := func(name string) (event, error) {
							e := event{Region: region, Name: name}
							err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&e).Error })
							return e, err
						}
						findings, err := plugin.Audit(t.Context(), db, plugin.OfTables("events"))
						if err != nil || len(findings) != 1 || findings[0].State != plugin.StateBehind || findings[0].Furthest != 20 {
							t.Errorf("%v: %v", err, findings)
						}
						_, err = insert("new")
						if !isDuplicate(err) {
							t.Errorf("error %v", err)
						}
						i := seen.one(t)
						if i.Outcome != plugin.Refused || i.Reason != plugin.ReasonUnsupported || !strings.Contains(i.Err.Error(), "plugin.Resync") {
							t.Errorf("incident %v", i)
						}
						if _, err := plugin.Resync(t.Context(), db, "events"); err != nil {
							t.Error(err)
						}
						taken := map[string]string{"near": "old 2", "far": "old 1"}[region]
						if _, err := insert(taken); !isDuplicate(err) {
							t.Errorf("a name that is taken: %v", err)
						}
						seen.one(t)
						e, err := insert("new")
						if got, want := place.Text("SELECT * FROM events ORDER BY id"), fmt.Sprintf("%s\n%d|%s|new", before, e.ID, region); err != nil || got != want {
							t.Errorf("%v; rows\n%s", err, got)
						}
					})
				}
			}
		})
	}
}

func isDuplicate(err error) bool {
	var server *pgconn.PgError
	return errors.As(err, &server) && server.Code == "23505"
}

// P5: nor is one in a partition of a table whose key is refused for another reason.
func TestAnotherIndexOfAPartitionThatIsNeverHealed(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec(`CREATE TABLE events (id bigserial PRIMARY KEY, region text, name text) PARTITION BY RANGE (id); ALTER SEQUENCE events_id_seq CYCLE;
			CREATE TABLE events_1 PARTITION OF events (UNIQUE (name)) DEFAULT; INSERT INTO events VALUES (20, 'near', 'old')`)
		var seen incidents
		db := place.Open(&m.config, plugin.New(seen.option()))
		insert := func(name string) error {
			return m.within(db, func(tx *gorm.DB) error { return tx.Create(&event{Name: name}).Error })
		}
		if err := insert("old"); !isDuplicate(err) {
			t.Errorf("error %v", err)
		}
		seen.none(t)
		place.Exec("SELECT setval('events_id_seq', 19)")
		if err := insert("new"); !isDuplicate(err) {
			t.Errorf("error %v", err)
		}
		if i := seen.one(t); i.Outcome != plugin.Refused || i.Reason != plugin.ReasonCycle {
			t.Errorf("incident %v", i)
		}
	})
}

// P5: a 23505 of another index whose column the row leaves to its default is the caller's
// own, in a table and in a partition.
func TestAnotherIndexOverAColumnThatIsLeftOut(t *testing.T) {
	t.Parallel()
	for name, table := range map[string]string{
		"one column":  `CREATE TABLE events (id bigserial PRIMARY KEY, region text, name text UNIQUE DEFAULT 'old')`,
		"two columns": `CREATE TABLE events (id bigserial PRIMARY KEY, region text, name text DEFAULT 'old', UNIQUE (region, name))`,
		"a partition": `CREATE TABLE events (id bigserial PRIMARY KEY, region text, name text DEFAULT 'old') PARTITION BY RANGE (id);
			CREATE TABLE events_1 PARTITION OF events (UNIQUE (region, name)) DEFAULT`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				// The sequence is healthy for this row, and behind a later one.
				place.Exec(table + "; INSERT INTO events VALUES (1, 'near', 'old'), (50, 'far', 'other'); SELECT setval('events_id_seq', 1)")
				var seen incidents
				db := place.Open(&m.config, plugin.New(seen.option()))
				err := m.within(db, func(tx *gorm.DB) error { return tx.Omit("Name").Create(&event{Region: "near"}).Error })
				if !isDuplicate(err) {
					t.Errorf("error %v", err)
				}
				seen.none(t)
				if last := place.Int("SELECT last_value FROM events_id_seq"); last != 2 {
					t.Errorf("the sequence is at %d instead of 2", last)
				}
			})
		})
	}
}

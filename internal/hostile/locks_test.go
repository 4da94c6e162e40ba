package hostile_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
)

// tag is saved with DO NOTHING by a user that has some.
type tag struct {
	ID   int64
	Name string
}

type tagged struct {
	ID   int64
	Name string
	Tags []tag `gorm:"many2many:user_tags;joinForeignKey:user_id;joinReferences:tag_id"`
}

func (tagged) TableName() string { return "users" }

const beforeTrigger = `CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
	CREATE TRIGGER stamp BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION stamp();`

// locker is an insert that looks for drift beside what it sends.
type locker struct {
	name, setup string
	insert      func(*gorm.DB) error
}

func nothingOfTwo(db *gorm.DB) error {
	return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&[]user{{Name: "new 1"}, {Name: "new 2"}}).Error
}

func createTwo(db *gorm.DB) error { return db.Create(&[]user{{Name: "new 1"}, {Name: "new 2"}}).Error }

func saveTwo(db *gorm.DB) error { return db.Save(&[]user{{Name: "new 1"}, {Name: "new 2"}}).Error }

// besideMigration inserts while a transaction has sent the first statement, and sends the second once
// the insert waits for it. Both must succeed.
func (w *world) besideMigration(l locker, first, second string) {
	w.t.Helper()
	for range 2 { // the table is known, and the questions are prepared
		if err := l.insert(w.db); err != nil {
			w.t.Fatal(err)
		}
	}
	migration, err := w.place.SQL.Begin()
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := migration.Exec("SET LOCAL search_path = " + w.place.Schema + "; " + first); err != nil {
		w.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- l.insert(w.db) }()
	w.awaitLock()
	if _, err = migration.Exec(second); err == nil {
		err = migration.Commit()
	}
	if insert := <-done; err != nil || insert != nil {
		_ = migration.Rollback()
		w.t.Errorf("the migration: %v; the insert: %v", err, insert)
	}
}

// awaitLock waits until a connection of the program, whose application_name is the schema's, waits
// for a lock.
func (w *world) awaitLock() {
	w.t.Helper()
	pgtest.Eventually(w.t, "the program to wait", func() bool {
		return w.place.Int("SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock'", w.place.Schema) == 1
	})
}

// A migration that holds a lock which lets readers pass, and asks for a stronger one, waits for
// no statement that waits for it: what was looked at before the statement is not locked.
func TestLocks_besideAMigration(t *testing.T) {
	t.Parallel()
	for _, c := range []locker{
		{"several rows under DO NOTHING", "", nothingOfTwo},
		{"several rows", "", createTwo},
		{"an upsert", "", saveTwo},
		{"an upsert under a trigger", beforeTrigger, saveTwo},
		{"a mixed upsert", "", func(db *gorm.DB) error { return db.Save(&[]user{{ID: 3, Name: "new 1"}, {Name: "new 2"}}).Error }},
		{"with a foreign key to itself that is deferred", "ALTER TABLE users ADD parent bigint REFERENCES users DEFERRABLE INITIALLY DEFERRED;",
			func(db *gorm.DB) error { return db.Create(&user{Name: "new 1"}).Error }},
		{"many to many", "CREATE TABLE tags (id bigserial PRIMARY KEY, name text); CREATE TABLE user_tags (user_id bigint, tag_id bigint, PRIMARY KEY (user_id, tag_id));",
			func(db *gorm.DB) error {
				return db.Create(&tagged{Name: "new 1", Tags: []tag{{Name: "a"}, {Name: "b"}}}).Error
			}},
	} {
		for _, s := range []setting{noTx, gormTx} {
			t.Run(c.name+", "+s.name, func(t *testing.T) {
				t.Parallel()
				p := program{setup: usersSchema + c.setup, dsn: map[string]string{"application_name": "$S"}}
				w := p.open(t, s, false, true)
				table := "users"
				if strings.Contains(c.setup, "tags") {
					table = "tags"
				}
				w.besideMigration(c, fmt.Sprintf("CREATE INDEX ON %s (name)", table), fmt.Sprintf("ALTER TABLE %s ADD COLUMN extra text", table))
			})
		}
	}
}

// A migration that alters a table and then its sequence waits for no upsert that waits for it:
// the sequence is not locked before the table.
func TestLocks_theTableBeforeItsSequence(t *testing.T) {
	t.Parallel()
	for _, c := range []locker{
		{"several rows under DO NOTHING", "", nothingOfTwo},
		{"several rows under DO NOTHING, another unique index", "CREATE UNIQUE INDEX ON users (name, id);", nothingOfTwo},
		{"an upsert under a trigger", beforeTrigger, saveTwo},
		{"a mixed upsert", "", func(db *gorm.DB) error { return db.Save(&[]user{{ID: 3, Name: "new 1"}, {Name: "new 2"}}).Error }},
		{"by a constraint's name", "", func(db *gorm.DB) error {
			return db.Clauses(onConstraint).Create(&[]user{{Name: "new 1"}, {Name: "new 2"}}).Error
		}},
		{"a composite key under a trigger", "ALTER TABLE users DROP CONSTRAINT users_pkey, ADD PRIMARY KEY (name, id);" + beforeTrigger, func(db *gorm.DB) error {
			return db.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "id"}, {Name: "name"}}, UpdateAll: true}).Create(&[]user{{Name: "new 1"}, {Name: "new 2"}}).Error
		}},
		{"with CACHE", "ALTER SEQUENCE users_id_seq CACHE 20; CREATE UNIQUE INDEX ON users (name, id);", nothingOfTwo},
		{"an upsert", "", saveTwo},
		{"several rows", "", createTwo},
	} {
		for _, protocol := range []string{"cache_statement", "simple_protocol"} {
			t.Run(c.name+", "+protocol, func(t *testing.T) {
				t.Parallel()
				p := program{setup: usersSchema + c.setup, dsn: map[string]string{"application_name": "$S", "default_query_exec_mode": protocol}}
				w := p.open(t, gormTx, false, true)
				w.besideMigration(c, "ALTER TABLE users ADD extra int", "ALTER SEQUENCE users_id_seq RESTART 1000")
			})
		}
	}
}

// Work on one partition stops no statement whose rows go to another, and is not stopped by one
// whose transaction is still open.
func TestLocks_ofOtherPartitions(t *testing.T) {
	t.Parallel()
	const schema = `CREATE TABLE users (id bigserial, name text, born int NOT NULL DEFAULT 2, PRIMARY KEY (id, born)) PARTITION BY LIST (born);
		CREATE TABLE users_old PARTITION OF users FOR VALUES IN (1); CREATE TABLE users_new PARTITION OF users FOR VALUES IN (2);`
	byKey := []clause.Column{{Name: "id"}, {Name: "born"}}
	for name, insert := range map[string]func(*gorm.DB) error{
		"several rows under DO NOTHING": nothingOfTwo,
		"an upsert": func(db *gorm.DB) error {
			return db.Clauses(clause.OnConflict{Columns: byKey, DoUpdates: clause.AssignmentColumns([]string{"name"})}).Create(&[]user{{Name: "new 1"}, {Name: "new 2"}}).Error
		},
		"several rows": createTwo,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := program{setup: schema}.open(t, gormTx, false, true)
			for range 2 {
				if err := insert(w.db); err != nil {
					t.Fatal(err)
				}
			}
			work, err := w.place.SQL.Begin()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := work.Exec("LOCK TABLE " + w.place.Schema + ".users_old"); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if err := insert(w.db.WithContext(ctx)); err != nil {
				t.Errorf("beside work on the other partition: %v", err)
			}
			if err := work.Rollback(); err != nil {
				t.Fatal(err)
			}
			tx := w.db.Begin()
			defer tx.Rollback()
			if err := insert(tx); err != nil {
				t.Fatal(err)
			}
			if _, err := w.place.SQL.Exec("SET lock_timeout = 5000; TRUNCATE " + w.place.Schema + ".users_old"); err != nil {
				t.Errorf("work on the other partition beside an open transaction: %v", err)
			}
		})
	}
}

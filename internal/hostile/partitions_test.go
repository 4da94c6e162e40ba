package hostile_test

import (
	"context"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// Another session has locked a partition that no row goes to, as TRUNCATE, VACUUM FULL and ALTER
// TABLE do: a healthy statement does not wait for it, and locks no other partition than plain GORM.
func TestPartitions_thatOthersHaveLocked(t *testing.T) {
	t.Parallel()
	const parts = `CREATE TABLE users (id bigserial PRIMARY KEY, name text) PARTITION BY RANGE (id);
		CREATE TABLE users_old PARTITION OF users FOR VALUES FROM (MINVALUE) TO (10);
		CREATE TABLE users_new PARTITION OF users FOR VALUES FROM (10) TO (MAXVALUE);
		INSERT INTO users SELECT g, 'old ' || g FROM generate_series(1, 20) g; SELECT setval('users_id_seq', 20);`
	const trigger = `CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
		CREATE TRIGGER stamp BEFORE INSERT ON users_old FOR EACH ROW EXECUTE FUNCTION stamp();
		CREATE TRIGGER stamp BEFORE INSERT ON users_new FOR EACH ROW EXECUTE FUNCTION stamp();`
	for _, test := range []struct {
		name, setup string
		insert      func(*gorm.DB) error
	}{
		{"Save under a trigger", trigger, func(db *gorm.DB) error { return db.Save(&[]user{{}, {}}).Error }},
		{"own duplicate under DO NOTHING", "CREATE UNIQUE INDEX ON users_new (name);", func(db *gorm.DB) error {
			return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&user{Name: "old 15"}).Error
		}},
	} {
		for _, s := range []setting{noTx, callerTx} {
			t.Run(test.name+", "+s.name, func(t *testing.T) {
				t.Parallel()
				w := program{setup: parts + test.setup}.open(t, s, false, true)
				insert := func(limit time.Duration) (locks []string, err error) {
					ctx, cancel := context.WithTimeout(t.Context(), limit)
					defer cancel()
					err = w.within(func(db *gorm.DB) error {
						if err := test.insert(db.WithContext(ctx)); err != nil || s.name != callerTx.name {
							return err
						}
						return db.Raw("SELECT relation::regclass::text FROM pg_locks WHERE pid = pg_backend_pid() AND relation::regclass::text LIKE 'users_old%'").Scan(&locks).Error
					})
					return locks, err
				}
				locks, err := insert(time.Minute) // the table is known from here on
				if err != nil || len(locks) > 0 {
					t.Errorf("%v; locked %v", err, locks)
				}
				holder, err := w.place.SQL.Begin()
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = holder.Rollback() }()
				if _, err := holder.Exec("LOCK TABLE " + w.place.Schema + ".users_old IN ACCESS EXCLUSIVE MODE"); err != nil {
					t.Fatal(err)
				}
				if _, err := insert(5 * time.Second); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

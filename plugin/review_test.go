package plugin_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// A connection that the caller holds, however wrapped, may be inside a manual
// BEGIN: the plugin neither ends nor commits the caller's work there.
func TestBorrowedConnectionsInsideBegin(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(*sql.Conn) gorm.ConnPool{
		"bare":    func(c *sql.Conn) gorm.ConnPool { return c },
		"wrapped": func(c *sql.Conn) gorm.ConnPool { return struct{ *sql.Conn }{c} },
	} {
		for _, prepared := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, prepared %v", name, prepared), func(t *testing.T) {
				t.Parallel()
				place := pgtest.New(t)
				place.Exec(drifted + "; SELECT setval('users_id_seq', 100)")
				borrowed, err := place.SQL.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = borrowed.Close() }()
				config := withPlugin(&gorm.Config{SkipDefaultTransaction: true, PrepareStmt: prepared, DisableAutomaticPing: true})
				db, err := gorm.Open(postgres.New(postgres.Config{Conn: wrap(borrowed)}), config)
				if err != nil {
					t.Fatal(err)
				}
				ignore := clause.OnConflict{DoNothing: true}
				for _, err := range []error{
					db.Exec("BEGIN").Error,
					db.Exec("INSERT INTO users VALUES (500, 'own')").Error,
					db.Clauses(ignore).Create(&user{Name: "x"}).Error,
					db.Clauses(ignore).Create(&[]user{{Name: "y"}, {Name: "z"}}).Error,
				} {
					if err != nil {
						t.Fatal(err)
					}
				}
				if early := place.Int("SELECT count(*) FROM users WHERE id > 20"); early != 0 {
					t.Errorf("%d rows were committed early", early)
				}
				for _, savepoint := range []string{"seqheal", "seqheal_ahead"} {
					if err := db.Exec("ROLLBACK TO SAVEPOINT " + savepoint).Error; err == nil {
						t.Errorf("savepoint %s was left open", savepoint)
					}
				}
				if err := db.Exec("ROLLBACK").Error; err != nil {
					t.Error(err)
				}
				if rows := place.Text("SELECT * FROM users ORDER BY id"); rows != oldRows() {
					t.Errorf("rows after the rollback\n%s", rows)
				}
			})
		}
	}
}

// The caller's transaction outlives the context of one insert: nothing of the
// plugin's stays in it, and a failed insert leaves it aborted.
func TestContextOfOneInsertEnds(t *testing.T) {
	t.Parallel()
	for _, guard := range []plugin.Guard{plugin.GuardAuto, plugin.GuardSavepoint} {
		for _, at := range []string{"max(", "nextval", "advisory"} {
			t.Run(fmt.Sprintf("guard %d at %s", guard, at), func(t *testing.T) {
				t.Parallel()
				place := pgtest.New(t)
				place.Exec(drifted)
				ctx, cancel := context.WithCancel(context.Background())
				pool := tapped(t, place, func(_ *tappedConn, query string) error {
					if strings.Contains(query, at) && !strings.Contains(query, "has_sequence_privilege") {
						cancel()
					}
					return nil
				})
				db := openOn(t, pool, withPlugin(&gorm.Config{}, plugin.WithGuard(guard)))
				tx := db.Begin()
				earlier := tx.Create(&user{ID: 1000, Name: "earlier"}).Error
				failed := tx.WithContext(ctx).Create(&user{Name: "new"}).Error
				later := tx.Exec("SELECT 1").Error
				if earlier != nil || failed == nil {
					t.Fatalf("earlier %v, failed %v", earlier, failed)
				}
				if later == nil {
					t.Error("the transaction goes on after a failure")
				}
				if err := tx.Commit().Error; err == nil && place.Int("SELECT count(*) FROM users WHERE id > 20") != 0 {
					t.Error("a failure became a commit of the rest")
				}
				if locks := place.Int("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 'users_id_seq'::regclass::oid"); locks != 0 {
					t.Errorf("%d advisory locks left", locks)
				}
			})
		}
	}
}

// exprTenant is a key column that the server computes.
type exprTenant int64

func (e exprTenant) GormValue(context.Context, *gorm.DB) clause.Expr {
	return clause.Expr{SQL: "?::bigint", Vars: []any{int64(e)}}
}

// A mixed upsert whose keys cannot be named in a WHERE still looks first.
func TestMixedUpsertWithComputedKeys(t *testing.T) {
	t.Parallel()
	type item struct {
		TenantID exprTenant `gorm:"primaryKey;autoIncrement:false"`
		ID       int64      `gorm:"primaryKey;autoIncrement"`
		Name     string
	}
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec(`CREATE TABLE items (tenant_id bigint, id bigserial UNIQUE, name text, PRIMARY KEY (tenant_id, id));
			INSERT INTO items SELECT 1, g, 'old ' || g FROM generate_series(1, 20) g`)
		db := place.Open(&m.config, plugin.New())
		err := m.within(db, func(tx *gorm.DB) error {
			return tx.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "tenant_id"}, {Name: "id"}},
				DoUpdates: clause.AssignmentColumns([]string{"name"})}).Create(&[]item{{1, 5, "renamed"}, {1, 0, "new"}}).Error
		})
		got := place.Text("SELECT id, name FROM items WHERE name NOT LIKE 'old%' OR id > 20 ORDER BY id")
		if err != nil || !strings.HasPrefix(got, "5|renamed\n2") || !strings.HasSuffix(got, "|new") {
			t.Errorf("error %v, rows\n%s", err, got)
		}
	})
}

// A trigger may keep rows of an upsert from being updated; they are not missing.
func TestMixedUpsertUnderATriggerThatSkipsRows(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		place.Exec(drifted + `; SELECT setval('users_id_seq', 100);
			CREATE TRIGGER same BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()`)
		var seen incidents
		db := place.Open(&m.config, plugin.New(seen.option()))
		err := m.within(db, func(tx *gorm.DB) error { return tx.Save(&[]user{{ID: 3, Name: "old 3"}, {Name: "new"}}).Error })
		if got := place.Text("SELECT * FROM users WHERE id > 20"); err != nil || got != "101|new" {
			t.Errorf("error %v, rows %s", err, got)
		}
		seen.none(t)
	})
}

// Large upserts stay within what the protocol and the planner can take.
func TestLargeMixedUpserts(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec("CREATE TABLE users (id bigserial PRIMARY KEY, name text); SELECT setval('users_id_seq', 100000)")
	db := place.Open(nil, plugin.New())
	users := make([]user, 25_000)
	for i := range users {
		users[i] = user{ID: int64(i + 1), Name: "n"}
	}
	users[7].ID = 0
	if err := db.Save(&users).Error; err != nil {
		t.Error(err)
	}
	if n := place.Int("SELECT count(*) FROM users"); n != 25_000 {
		t.Errorf("%d rows", n)
	}
}

// A table that was not there, and advice that was taken, are seen without a restart.
func TestWhatIsKnownFollowsTheDatabase(t *testing.T) {
	t.Parallel()
	t.Run("a table that was missing", func(t *testing.T) {
		t.Parallel()
		place := pgtest.New(t)
		db := place.Open(nil, plugin.New())
		if db.Create(&user{Name: "too early"}).Error == nil {
			t.Fatal("no error without the table")
		}
		place.Exec(drifted)
		if err := db.Create(&user{Name: "new"}).Error; err != nil {
			t.Error(err)
		}
	})
	t.Run("CYCLE taken away", func(t *testing.T) {
		t.Parallel()
		place := pgtest.New(t)
		place.Exec(drifted + "; ALTER SEQUENCE users_id_seq CYCLE")
		db := place.Open(nil, plugin.New())
		if db.Create(&user{Name: "refused"}).Error == nil {
			t.Fatal("no error with CYCLE")
		}
		place.Exec("ALTER SEQUENCE users_id_seq NO CYCLE")
		if err := db.Create(&user{Name: "new"}).Error; err != nil {
			t.Error(err)
		}
	})
	t.Run("a role without SELECT costs one transaction, once", func(t *testing.T) {
		t.Parallel()
		place := pgtest.New(t)
		role := place.Role()
		place.Exec(drifted + "; SELECT setval('users_id_seq', 100); GRANT INSERT ON users TO " + role + "; GRANT ALL ON SEQUENCE users_id_seq TO " + role)
		db := place.Open(nil, plugin.New())
		asRole := func() error {
			return db.Transaction(func(tx *gorm.DB) error {
				tx.Exec("SET LOCAL ROLE " + role)
				return tx.Table("users").Create(map[string]any{"name": "as role"}).Error
			})
		}
		_ = db.Create(&user{Name: "as superuser"})
		_ = asRole()
		place.Exec("SELECT setval('users_id_seq', 101, false)")
		_ = db.Create(&user{Name: "healed as superuser"}) // reads the table again
		if err := asRole(); err != nil {
			t.Errorf("the second time: %v", err)
		}
	})
}

// A trigger that inserts an id of its own choosing into another table makes the
// caller's error, not drift, however far that table's sequence has come.
func TestTriggerThatNamesItsIds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, sequence string
		most           int64
	}{{"before it was drawn", "1, false", 1}, {"after it was drawn", "100, true", 110}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
				place.Exec(drifted + `; SELECT setval('users_id_seq', 100); CREATE TABLE latest (id bigserial PRIMARY KEY); INSERT INTO latest VALUES (7), (100);
					SELECT setval('latest_id_seq', ` + test.sequence + `);
					CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO latest VALUES (7); RETURN NULL; END $$;
					CREATE TRIGGER note AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION note()`)
				var seen incidents
				db := place.Open(&m.config, plugin.New(seen.option()))
				err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&user{Name: "new"}).Error })
				if err == nil || !strings.Contains(err.Error(), "latest_pkey") {
					t.Errorf("error %v", err)
				}
				if last := place.Int("SELECT last_value FROM latest_id_seq"); last > test.most {
					t.Errorf("the sequence was moved to %d", last)
				}
				seen.none(t)
			})
		})
	}
}

// A nil pointer in a key column is the server's to refuse, not a panic.
func TestNilInAKeyColumn(t *testing.T) {
	t.Parallel()
	type item struct {
		TenantID *sql.NullInt64 `gorm:"primaryKey"`
		ID       int64          `gorm:"primaryKey;autoIncrement"`
	}
	place := pgtest.New(t)
	place.Exec(`CREATE TABLE items (tenant_id bigint, id bigserial, PRIMARY KEY (tenant_id, id))`)
	db := place.Open(nil, plugin.New())
	err := db.Clauses(clause.OnConflict{DoNothing: true}).Create(&[]item{{}, {}}).Error
	if err == nil || !strings.Contains(err.Error(), "23502") {
		t.Errorf("error %v", err)
	}
}

// Cached values of the application's session do not keep an admin's heal from
// working.
func TestCacheAndResyncDB(t *testing.T) {
	t.Parallel()
	inModes(t, func(t *testing.T, m mode, place *pgtest.Place) {
		role := place.Role()
		place.Exec(`CREATE SEQUENCE s CACHE 50; CREATE TABLE users (id bigint PRIMARY KEY DEFAULT nextval('s'), name text);
			INSERT INTO users SELECT g, 'old ' || g FROM generate_series(1, 20) g; ALTER TABLE users ENABLE ROW LEVEL SECURITY;
			CREATE POLICY own ON users USING (name LIKE 'new%'); GRANT ALL ON users, s TO ` + role)
		var seen incidents
		db := place.OpenDSN(place.DSNFor(map[string]string{"user": role}), &m.config,
			plugin.New(plugin.WithResyncDB(place.Open(nil)), seen.option()))
		u := user{Name: "new"}
		if err := m.within(db, func(tx *gorm.DB) error { return tx.Create(&u).Error }); err != nil || u.ID <= 20 {
			t.Errorf("id %d, %v, %v", u.ID, err, seen.list())
		}
	})
}

// An error of Scan's, after the server has taken the row, is as without the
// plugin, and no savepoint stays open.
func TestScanFails(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec("CREATE TABLE users (id bigserial PRIMARY KEY, name text); SELECT setval('users_id_seq', 5000000000)")
	type narrow struct {
		ID   int32
		Name string
	}
	db := place.Open(nil, plugin.New(plugin.WithGuard(plugin.GuardSavepoint)))
	err := db.Transaction(func(tx *gorm.DB) error {
		created := tx.Table("users").Create(&narrow{Name: "new"}).Error
		if created == nil {
			return errors.New("no error from Scan")
		}
		if tx.Exec("ROLLBACK TO SAVEPOINT seqheal").Error == nil {
			return errors.New("the savepoint stayed open")
		}
		return nil
	})
	if err == nil || strings.Contains(err.Error(), "stayed") || strings.Contains(err.Error(), "no error") {
		t.Error(err)
	}
}

package hostile_test

import (
	"fmt"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// severalRows are statements of several rows that drift would let overwrite or drop rows
// without an error.
var severalRows = []struct {
	name   string
	insert func(db *gorm.DB, rows []user) error
}{
	{"Save", func(db *gorm.DB, rows []user) error { return db.Save(&rows).Error }},
	{"UpdateAll", func(db *gorm.DB, rows []user) error {
		return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&rows).Error
	}},
	{"DoNothing", func(db *gorm.DB, rows []user) error {
		return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&rows).Error
	}},
}

// The sequence is set back between the look at the next values and the draws, as
// pg_restore does beside a running program. The last draw is free, the others are not.
func TestUpserts_sequenceSetBackUnderTheStatement(t *testing.T) {
	t.Parallel()
	for _, prepare := range []bool{false, true} {
		for _, c := range severalRows {
			t.Run(fmt.Sprintf("%s, PrepareStmt %v", c.name, prepare), func(t *testing.T) {
				t.Parallel()
				p := pgtest.New(t)
				p.Exec(`CREATE TABLE users (id bigserial PRIMARY KEY, name text);
					INSERT INTO users SELECT g, 'old ' || g FROM generate_series(1, 19) g; SELECT setval('users_id_seq', 20);
					CREATE SEQUENCE runs;
					CREATE FUNCTION set_back() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
						IF nextval('$S.runs') = 1 THEN PERFORM setval('$S.users_id_seq', 17); END IF; RETURN NULL; END $$;
					CREATE TRIGGER set_back BEFORE INSERT OR UPDATE ON users FOR EACH STATEMENT EXECUTE FUNCTION set_back();
					CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
					CREATE TRIGGER stamp BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION stamp()`)
				db := p.Open(&gorm.Config{PrepareStmt: prepare}, plugin.New())
				rows := []user{{Name: "new 1"}, {Name: "new 2"}, {Name: "new 3"}}
				if err := c.insert(db, rows); err != nil {
					t.Fatal(err)
				}
				if kept := p.Int("SELECT count(*) FROM users WHERE name = 'old ' || id"); kept != 19 {
					t.Errorf("%d of 19 old rows are as they were:\n%s", kept, p.Text("SELECT id, name FROM users ORDER BY id"))
				}
				for _, r := range rows {
					if n := p.Int("SELECT count(*) FROM users WHERE id = $1 AND name = $2", r.ID, r.Name); n != 1 {
						t.Errorf("row %+v is stored %d times", r, n)
					}
				}
			})
		}
	}
}

// Another session stores rows before a statement draws and after it has drawn. Nothing
// has drifted, and nothing is reported.
func TestUpserts_othersInsertMeanwhileOnAHealthyTable(t *testing.T) {
	t.Parallel()
	const around = `CREATE TRIGGER before_all BEFORE INSERT ON users FOR EACH STATEMENT EXECUTE FUNCTION wait(3);
		CREATE TRIGGER after_all AFTER INSERT ON users FOR EACH STATEMENT EXECUTE FUNCTION wait(4)`
	for name, more := range map[string]string{"row triggers": "", "triggers that may lock rows": around} {
		for _, c := range severalRows {
			t.Run(c.name+", "+name, func(t *testing.T) {
				t.Parallel()
				p := pgtest.New(t)
				p.Exec(`CREATE TABLE users (id bigserial PRIMARY KEY, name text);
				INSERT INTO users (name) SELECT 'old' FROM generate_series(1, 5);
				CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
					IF current_setting('application_name') = 'program' THEN PERFORM pg_advisory_xact_lock(TG_ARGV[0]::int, hashtext('$S')); END IF; RETURN NEW; END $$;
				CREATE TRIGGER before_row_1 BEFORE INSERT ON users FOR EACH ROW WHEN (NEW.name = 'new 1') EXECUTE FUNCTION wait(1);
				CREATE TRIGGER before_row_2 BEFORE INSERT ON users FOR EACH ROW WHEN (NEW.name = 'new 2') EXECUTE FUNCTION wait(2);` + more)
				var seen incidents
				db := p.OpenDSN(p.DSNFor(map[string]string{"application_name": "program"}), &gorm.Config{}, plugin.New(plugin.OnIncident(seen.report)))
				held := [2]*gorm.DB{}
				for i := range held {
					held[i] = p.Open(nil).Begin()
					defer held[i].Rollback()
					if err := held[i].Exec("SELECT pg_advisory_xact_lock(?, hashtext(?))", i+1, p.Schema).Error; err != nil {
						t.Fatal(err)
					}
				}
				rows := []user{{Name: "new 1"}, {Name: "new 2"}}
				done := make(chan error, 1)
				go func() { done <- c.insert(db, rows) }()
				for i := range held {
					pgtest.Eventually(t, "the statement to wait", func() bool {
						return p.Int("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND classid = $1 AND objid = hashtext($2)::oid", i+1, p.Schema) == 1
					})
					p.Exec("INSERT INTO users (name) VALUES ('of another session')")
					held[i].Rollback()
				}
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				if all := seen.reported(); len(all) != 0 {
					t.Errorf("incidents on a healthy table: %v", all)
				}
				if n := p.Int("SELECT count(*) FROM users"); n != 9 {
					t.Errorf("%d rows, want 9:\n%s", n, p.Text("SELECT id, name FROM users ORDER BY id"))
				}
			})
		}
	}
}

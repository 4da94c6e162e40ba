package hostile_test

import (
	"context"
	"database/sql"
	"fmt"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/plugin"
)

// onConstraint cannot have a tripwire.
var onConstraint = clause.OnConflict{OnConstraint: "users_pkey", DoUpdates: clause.AssignmentColumns([]string{"name"})}

// leavesAll is a WHERE of DO UPDATE that leaves every row as it is.
var leavesAll = clause.Where{Exprs: []clause.Expression{gorm.Expr("users.name = 'nobody'")}}

// overwritten are the rows of the program's setup that are not as they were.
func (w *world) overwritten() string {
	return w.place.Text("SELECT string_agg(u::text, ' ' ORDER BY n) FROM generate_series(1, 20) n LEFT JOIN users u ON u.id = n AND u.name <> 'old ' || n WHERE u.id IS NOT NULL OR NOT EXISTS (SELECT FROM users WHERE id = n)")
}

// added are the rows beyond the setup's.
func (w *world) added() string {
	return w.place.Text("SELECT string_agg(name, ' ' ORDER BY id) FROM users WHERE id > 20")
}

// A row that an upsert meets by a drawn id is left as it is, also where other transactions have
// locked it: a transaction that stores a foreign key locks the row that it refers to.
func TestOthers_lockTheRowThatIsMet(t *testing.T) {
	t.Parallel()
	const children = "CREATE TABLE visits (user_id bigint REFERENCES users); "
	for name, c := range map[string]struct {
		setup string
		on    clause.OnConflict
	}{
		"under a trigger":                            {beforeTrigger, clause.OnConflict{UpdateAll: true}},
		"by a constraint's name":                     {"", onConstraint},
		"by a constraint's name, the row left alone": {"", clause.OnConflict{OnConstraint: "users_pkey", DoUpdates: clause.AssignmentColumns([]string{"name"}), Where: leavesAll}},
	} {
		for _, l := range []struct {
			statement string
			own       bool // it is sent in the upsert's own transaction
		}{
			{"INSERT INTO visits VALUES (1), (2)", false},
			{"INSERT INTO visits VALUES (1), (2)", true},
			{"SELECT FROM users WHERE id < 4 FOR KEY SHARE", false},
			{"SELECT FROM users WHERE id < 4 FOR KEY SHARE", true},
			{"SELECT FROM users WHERE id < 4 FOR SHARE", true},
		} {
			t.Run(fmt.Sprint(name, ", ", l.statement, ", own ", l.own), func(t *testing.T) {
				t.Parallel()
				w := program{setup: usersSchema + children + c.setup + rewind}.open(t, gormTx, true, true)
				other, err := w.place.SQL.Begin()
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = other.Rollback() }()
				if !l.own {
					if _, err := other.Exec("SET LOCAL search_path = " + w.place.Schema + "; " + l.statement); err != nil {
						t.Fatal(err)
					}
				}
				err = w.db.Transaction(func(tx *gorm.DB) error {
					if l.own {
						if err := tx.Exec(l.statement).Error; err != nil {
							return err
						}
					}
					return tx.Clauses(c.on).Create(&[]user{{Name: "new1"}, {Name: "new2"}}).Error
				})
				if err != nil || w.overwritten() != "∅" || w.added() != "new1 new2" {
					t.Errorf("error %v; overwritten %s; added %s", err, w.overwritten(), w.added())
				}
			})
		}
	}
}

// The row that is met may be one that the transaction has stored itself, before the sequence was set
// back: no other connection sees it.
func TestOthers_ownRowsAreMet(t *testing.T) {
	t.Parallel()
	for kind, on := range upsertsUnasked {
		if on.DoNothing {
			continue // it is meant to leave the transaction's rows alone
		}
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := program{setup: usersSchema + beforeTrigger}.open(t, gormTx, true, true)
			err := w.db.Transaction(func(tx *gorm.DB) error {
				if err := tx.Create(&user{Name: "own"}).Error; err != nil {
					return err
				}
				w.place.Exec("SELECT setval('users_id_seq', 20)")
				return tx.Clauses(on).Create(&[]user{{Name: "new"}, {ID: 900, Name: "named"}}).Error
			})
			if err != nil || w.added() != "own named new" || len(w.reported()) != 1 {
				t.Errorf("error %v; added %s; reported %v", err, w.added(), w.reported())
			}
		})
	}
}

// A row that an upsert meets by a drawn id and that its WHERE leaves as it is keeps a new row out:
// that is stored all the same.
func TestOthers_keepARowOut(t *testing.T) {
	t.Parallel()
	for name, setup := range map[string]string{"under a trigger": beforeTrigger, "with none": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := program{setup: usersSchema + setup + rewind}.open(t, gormTx, true, true)
			left := onConstraint
			left.Where = leavesAll
			err := w.db.Clauses(left).Create(&[]user{{Name: "new1"}, {Name: "new2"}}).Error
			if err != nil || w.overwritten() != "∅" || w.added() != "new1 new2" {
				t.Errorf("error %v; overwritten %s; added %s", err, w.overwritten(), w.added())
			}
		})
	}
}

// A row that another session stores by a value drawn in between is none that the statement has
// met, also where a third one has locked it: nothing is undone and nothing reported.
func TestOthers_storeAndLockRowsInBetween(t *testing.T) {
	t.Parallel()
	const schema = usersSchema + `CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
			'BEGIN IF NEW.name = ''second'' THEN PERFORM pg_advisory_xact_lock_shared(hashtext(current_schema())); END IF; RETURN NEW; END';
		CREATE TRIGGER wait BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION wait();`
	changed := clause.Where{Exprs: []clause.Expression{gorm.Expr("users.name IS DISTINCT FROM excluded.name")}}
	for name, c := range map[string]struct {
		on   clause.OnConflict
		more []user
		// end ends the transaction that has locked the row, before the upsert goes on.
		end string
	}{
		"every row is new": {clause.OnConflict{UpdateAll: true}, nil, ""},
		"a WHERE leaves a row as it is": {clause.OnConflict{Columns: byID, DoUpdates: clause.AssignmentColumns([]string{"name"}), Where: changed},
			[]user{{ID: 3, Name: "old 3"}}, "COMMIT"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := program{setup: schema, dsn: map[string]string{"application_name": "$S"}}.open(t, gormTx, false, true)
			upsert := func() error {
				rows := append([]user{{Name: "first"}, {Name: "second"}, {Name: "third"}}, c.more...)
				return w.db.Clauses(c.on).Create(&rows).Error
			}
			if err := upsert(); err != nil {
				t.Fatal(err)
			}
			others := make([]*sql.Conn, 2)
			for i := range others {
				c, err := w.place.SQL.Conn(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = c.Close() }()
				others[i] = c
			}
			exec := func(c *sql.Conn, statement string) {
				if _, err := c.ExecContext(context.Background(), statement); err != nil {
					t.Fatal(err)
				}
			}
			in := "SET search_path = " + w.place.Schema + "; "
			exec(others[0], in+"SELECT pg_advisory_lock(hashtext(current_schema()))")
			done := make(chan error, 1)
			go func() { done <- upsert() }()
			w.awaitLock()
			exec(others[0], "INSERT INTO users (name) VALUES ('in between')")
			exec(others[1], in+"BEGIN; SELECT FROM users WHERE name = 'in between' FOR KEY SHARE; "+c.end)
			exec(others[0], "SELECT pg_advisory_unlock_all()")
			err := <-done
			exec(others[1], "ROLLBACK")
			if want := "first second third first second in between third"; err != nil || w.added() != want || w.overwritten() != "∅" || len(w.reported()) != 0 {
				t.Errorf("error %v; rows %s, want %s; reported %v", err, w.added(), want, w.reported())
			}
			if last := w.place.Int("SELECT last_value FROM users_id_seq"); last != 27 {
				t.Errorf("the sequence is at %d, want 27", last)
			}
		})
	}
}

// upsertsUnasked are upserts that have no tripwire on a table with a BEFORE INSERT row trigger.
var upsertsUnasked = map[string]clause.OnConflict{
	"DO UPDATE":                 {Columns: byID, DoUpdates: clause.AssignmentColumns([]string{"name"})},
	"DO UPDATE by a constraint": onConstraint,
	"DO NOTHING":                {DoNothing: true},
}

// A default that the statement does not take may fail: it is neither planned nor asked for.
func TestOthers_defaultsThatFail(t *testing.T) {
	t.Parallel()
	for name, setup := range map[string]string{
		"too long":      "ALTER TABLE users ADD other varchar(10); ALTER TABLE users ALTER other SET DEFAULT 'a text of more than ten characters';",
		"no number":     "ALTER TABLE users ADD other text; ALTER TABLE users ALTER other SET DEFAULT (1/0)::text;",
		"must be given": "CREATE FUNCTION must() RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RAISE EXCEPTION ''must be given''; END'; ALTER TABLE users ADD other text; ALTER TABLE users ALTER other SET DEFAULT must();",
		"of a domain":   "CREATE DOMAIN given AS text NOT NULL CHECK (VALUE <> ''); ALTER TABLE users ADD other given DEFAULT 'x';",
		"that succeeds": "ALTER TABLE users ADD other text DEFAULT 'x' NOT NULL;",
	} {
		for kind, on := range upsertsUnasked {
			for _, drifted := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %s, drifted %v", name, kind, drifted), func(t *testing.T) {
					t.Parallel()
					p := program{setup: usersSchema + beforeTrigger}
					if drifted {
						p.setup += rewind
					}
					w := p.open(t, gormTx, drifted, true)
					w.place.Exec(setup)
					rows := []map[string]any{{"name": "new1", "other": "y"}, {"name": "new2", "other": "y"}}
					err := w.db.Table("users").Clauses(on).Create(rows).Error
					if err != nil || w.overwritten() != "∅" || w.added() != "new1 new2" || len(w.reported()) > 0 != drifted {
						t.Errorf("error %v; overwritten %s; added %s; reported %v", err, w.overwritten(), w.added(), w.reported())
					}
					if last := w.place.Int("SELECT last_value FROM users_id_seq"); last != 22 {
						t.Errorf("the sequence is at %d, want 22", last)
					}
				})
			}
		}
	}
}

// A statement's own rows may be locked by a foreign key of the table to itself, or by a trigger:
// they are none that it has met.
func TestOthers_ownRowsAreLocked(t *testing.T) {
	t.Parallel()
	const function = "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN %s; RETURN NEW; END'; CREATE TRIGGER stamp BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION stamp();"
	const root = "ALTER TABLE users ADD root bigint REFERENCES users; "
	for name, setup := range map[string]string{
		"each is its own root":                root + fmt.Sprintf(function, "NEW.root := coalesce(NEW.root, NEW.id)"),
		"each is its own root, by a default":  root + "ALTER TABLE users ALTER root SET DEFAULT currval('users_id_seq');",
		"the last row is locked":              fmt.Sprintf(function, "PERFORM FROM users WHERE id = (SELECT max(id) FROM users) FOR UPDATE"),
		"the last row is locked, and updated": fmt.Sprintf(function, "PERFORM FROM users WHERE id = (SELECT max(id) FROM users) FOR UPDATE; UPDATE users SET name = name WHERE id = (SELECT max(id) FROM users)"),
	} {
		for kind, on := range upsertsUnasked {
			for _, mixed := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %s, mixed %v", name, kind, mixed), func(t *testing.T) {
					t.Parallel()
					w := program{setup: usersSchema + setup}.open(t, gormTx, false, true)
					for range 2 {
						rows := []user{{Name: "new1"}, {Name: "new2"}}
						if mixed {
							rows = append(rows, user{ID: 3, Name: "old 3"})
						}
						if err := w.db.Clauses(on).Create(&rows).Error; err != nil {
							t.Error(err)
						}
					}
					if w.overwritten() != "∅" || w.added() != "new1 new2 new1 new2" || len(w.reported()) > 0 {
						t.Errorf("overwritten %s; added %s; reported %v", w.overwritten(), w.added(), w.reported())
					}
				})
			}
		}
	}
}

// A row that names its id draws for another column all the same.
func TestOthers_columnsDrawFromTheSequence(t *testing.T) {
	t.Parallel()
	w := program{setup: usersSchema + "ALTER TABLE users ADD rev bigint DEFAULT nextval('users_id_seq'); UPDATE users SET rev = 0; INSERT INTO users SELECT n, 'imported ' || n, 0 FROM generate_series(60, 200) n; SELECT setval('users_id_seq', 20);"}.
		open(t, gormTx, true, true)
	var rows []user
	for id := range int64(60) {
		rows = append(rows, user{ID: 60 + id, Name: "named"})
	}
	rows = append(rows, user{Name: "new"})
	left := clause.OnConflict{Columns: byID, DoUpdates: clause.AssignmentColumns([]string{"name"}), Where: leavesAll}
	err := w.db.Clauses(left).Create(&rows).Error
	changed := w.place.Int("SELECT count(*) FROM users WHERE id BETWEEN 60 AND 200 AND name <> 'imported ' || id")
	if stored := w.place.Int("SELECT count(*) FROM users WHERE name = 'new' AND id > 200"); err != nil || changed != 0 || stored != 1 {
		t.Errorf("error %v; %d rows changed, %d stored; reported %v", err, changed, stored, w.reported())
	}
}

// In SERIALIZABLE the rows are read from a second connection, which has cached other values than
// the statement's. They say nothing.
func TestOthers_cacheValuesThatAreTaken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		setup string
		on    clause.OnConflict
	}{
		"by a constraint's name": {"", onConstraint},
		"under a trigger":        {beforeTrigger, clause.OnConflict{UpdateAll: true}},
		"DO NOTHING":             {"CREATE UNIQUE INDEX ON users (name);", clause.OnConflict{DoNothing: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := program{setup: usersSchema + "ALTER SEQUENCE users_id_seq CACHE 1000; " + c.setup}.open(t, setting{connections: 2}, false, true)
			w.pool.SetMaxIdleConns(2)
			ctx := context.Background()
			var held []*sql.Conn
			for range 2 {
				one, err := w.pool.Conn(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := one.ExecContext(ctx, "SELECT nextval('users_id_seq')"); err != nil {
					t.Fatal(err)
				}
				held = append(held, one)
			}
			w.place.Exec("INSERT INTO users SELECT n, 'imported ' || n FROM generate_series(21, 2020) n; SELECT setval('users_id_seq', 3000)")
			// The first connection has used up what it had cached.
			if _, err := held[0].ExecContext(ctx, "SELECT count(nextval('users_id_seq')) FROM generate_series(1, 1100)"); err != nil {
				t.Fatal(err)
			}
			before := w.place.Int("SELECT last_value FROM users_id_seq")
			_, _ = held[1].Close(), held[0].Close()
			for n := range 5 {
				err := w.db.Transaction(func(tx *gorm.DB) error {
					return tx.Clauses(c.on).Create(&[]user{{Name: fmt.Sprint("new ", n)}, {Name: fmt.Sprint("also ", n)}}).Error
				}, &sql.TxOptions{Isolation: sql.LevelSerializable})
				if err != nil {
					t.Error(err)
				}
			}
			if after := w.place.Int("SELECT last_value FROM users_id_seq"); after != before {
				t.Errorf("the sequence went from %d to %d", before, after)
			}
			if changed := w.place.Int("SELECT count(*) FROM users WHERE id BETWEEN 21 AND 2020 AND name <> 'imported ' || id"); changed != 0 {
				t.Errorf("%d rows changed", changed)
			}
			for _, i := range w.reported() {
				if i.Outcome == plugin.Failed {
					t.Errorf("reported: %v", i)
				}
			}
		})
	}
}

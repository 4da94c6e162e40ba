package hostile_test

import (
	"fmt"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/plugin"
)

// triggers make trouble on users. Where the drift is in the trigger's own insert, or
// the trigger decides by itself, only the healthy runs are compared.
var triggers = []struct {
	name, ddl string
	calm      bool
	rows      string
	dsn       map[string]string
}{
	{name: "raises for some rows", ddl: "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.name LIKE '% 1' THEN RAISE 'not this one'; END IF; RETURN NEW; END $$; CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION f()", calm: true},
	{name: "raises 23505 of its own", calm: true,
		ddl: "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE unique_violation USING MESSAGE = 'mine'; END $$; CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW WHEN (NEW.name LIKE '% 0') EXECUTE FUNCTION f()"},
	{name: "inserts into the same table", ddl: `CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF NEW.name NOT LIKE 'copy%' THEN INSERT INTO $S.users (name) VALUES ('copy of ' || NEW.name); END IF; RETURN NULL; END $$;
			CREATE TRIGGER t AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION f()`},
	{name: "inserts into the same table before", calm: true, ddl: `CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF NEW.name NOT LIKE 'copy%' THEN INSERT INTO $S.users (name) VALUES ('copy of ' || NEW.name); END IF; RETURN NEW; END $$;
			CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION f()`},
	{name: "an audit table that collides by itself", calm: true, ddl: `CREATE TABLE audit (id bigserial PRIMARY KEY, name text); INSERT INTO audit SELECT g, 'x' FROM generate_series(1, 5) g;
			CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO $S.audit (id, name) VALUES (1, NEW.name); RETURN NULL; END $$;
			CREATE TRIGGER t AFTER INSERT ON users FOR EACH ROW WHEN (NEW.name LIKE '% 0') EXECUTE FUNCTION f()`},
	{name: "sleeps before the row", ddl: "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.002); RETURN NEW; END $$; CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION f()"},
	{name: "skips every row", calm: true, ddl: "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION f()"},
	{name: "sends rows to a table of its own", calm: true, rows: "SELECT NULL, name FROM users UNION ALL SELECT 1, name FROM own WHERE name <> 'sacrifice' ORDER BY 1, 2", ddl: `CREATE TABLE own (name text);
			CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO $S.own VALUES (NEW.name); RETURN NULL; END'; CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION f()`},
	{name: "a DO ALSO rule", calm: true, ddl: "CREATE TABLE also (name text); CREATE RULE also AS ON INSERT TO users DO ALSO INSERT INTO also VALUES (NEW.name)"},
	{name: "a DO INSTEAD rule", calm: true, ddl: "CREATE TABLE other (name text); CREATE RULE other AS ON INSERT TO users DO INSTEAD INSERT INTO other VALUES (NEW.name) RETURNING 1::bigint, name"},
	{name: "ALWAYS trigger in a replica session", dsn: map[string]string{"session_replication_role": "replica"}, ddl: `CREATE TABLE seen (name text); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO $S.seen VALUES (NEW.name); RETURN NEW; END';
			CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION f(); ALTER TABLE users ENABLE ALWAYS TRIGGER t`},
	{name: "REPLICA trigger in a replica session", dsn: map[string]string{"session_replication_role": "replica"}, calm: true, ddl: `CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
			CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION f(); ALTER TABLE users ENABLE REPLICA TRIGGER t`},
	{name: "ordinary trigger in a replica session", dsn: map[string]string{"session_replication_role": "replica"}, ddl: `CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
			CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION f()`},
	{name: "a default that calls a function", ddl: "CREATE TABLE called (n int); CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'INSERT INTO $S.called VALUES (1) RETURNING ''x'''; ALTER TABLE users ADD extra text DEFAULT f()"},
	{name: "a generated column", ddl: "ALTER TABLE users ADD twice bigint GENERATED ALWAYS AS (id * 2) STORED"},
	{name: "a check on the id", ddl: "ALTER TABLE users ADD CHECK (id < 1000000)"},
	{name: "two columns of one sequence", ddl: "ALTER TABLE users ADD ord bigint DEFAULT nextval('users_id_seq')"},
	{name: "two columns of one sequence, the other one first", ddl: "ALTER TABLE users RENAME TO x; CREATE TABLE users (ord bigint DEFAULT nextval('users_id_seq'), id bigint DEFAULT nextval('users_id_seq') PRIMARY KEY, name text); INSERT INTO users (id, name) SELECT id, name FROM x"},
	{name: "a child table by inheritance", ddl: "CREATE TABLE child (PRIMARY KEY (id)) INHERITS (users)"},
}

// Triggers and the like that make trouble do to a program what they do to it on
// plain GORM.
func TestTrouble_onTheTable(t *testing.T) {
	t.Parallel()
	for _, c := range triggers {
		beside(t, program{name: c.name, setup: usersSchema + c.ddl, calm: c.calm, rows: c.rows, dsn: c.dsn, settings: perStep, run: func(w *world) {
			w.useAll("first", "users", "")
			w.useAll("second", "users", rewind)
		}})
		rows := c.rows
		if rows == "" {
			rows = `SELECT CASE WHEN id <= 20 THEN id END, name FROM users WHERE name NOT LIKE '%sacrifice' ORDER BY 1, 2`
		}
		beside(t, program{name: c.name + ", put there later", calm: true, rows: rows, dsn: c.dsn, settings: perStep, run: func(w *world) {
			w.touch("users")
			w.ddl(c.ddl)
			w.sacrifice("users_id_seq", func(db *gorm.DB) *gorm.DB { return db.Create(&user{Name: "sacrifice"}) })
			w.useAll("after", "users", "")
		}})
	}
}

// Which triggers fire depends on session_replication_role. What was seen under one serves
// under another.
func TestTrouble_whoseSessionsChangeTheirReplicationRole(t *testing.T) {
	t.Parallel()
	const seen = "CREATE TABLE seen (name text);"
	note := func(trigger string) string {
		return seen + `CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO $S.seen VALUES (NEW.name); RETURN NEW; END';
			CREATE TRIGGER t ` + trigger + ` ON users FOR EACH ROW EXECUTE FUNCTION f();`
	}
	for name, ddl := range map[string]string{
		"an ordinary trigger":           note("BEFORE INSERT"),
		"a trigger that skips":          seen + "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.name LIKE ''origin%1'' THEN RETURN NULL; END IF; RETURN NEW; END'; CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION f();",
		"a REPLICA trigger":             note("BEFORE INSERT") + "ALTER TABLE users ENABLE REPLICA TRIGGER t",
		"an audit trigger":              note("AFTER INSERT OR UPDATE"),
		"a REPLICA trigger on UPDATE":   note("BEFORE UPDATE") + "ALTER TABLE users ENABLE REPLICA TRIGGER t",
		"a disabled trigger beside one": note("BEFORE INSERT") + "CREATE TRIGGER off BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION f(); ALTER TABLE users DISABLE TRIGGER off",
	} {
		for _, first := range []string{"origin", "replica"} {
			beside(t, program{name: name + ", first as " + first, setup: usersSchema + ddl, settings: []setting{callerTx},
				rows: "SELECT CASE WHEN id <= 20 THEN id END, name FROM users UNION ALL SELECT -1, name FROM seen ORDER BY 1, 2", run: func(w *world) {
					second := map[string]string{"origin": "replica", "replica": "origin"}[first]
					for turn, role := range []string{first, second, first} {
						w.enter = "SET LOCAL session_replication_role = " + role
						w.useAll(fmt.Sprint(role, " ", turn), "users", rewind)
					}
				}})
		}
	}
}

type oddlyKeyed struct {
	ID   int64 `gorm:"primaryKey;column:Order $seqheal$ id"`
	Name string
}

func (oddlyKeyed) TableName() string { return "users" }

// Ends of ranges: what is free is used, and the errors are PostgreSQL's.
func TestTrouble_endOfTheRange(t *testing.T) {
	t.Parallel()
	const small = `CREATE TABLE users (id smallserial PRIMARY KEY, name text); INSERT INTO users SELECT g, 'old ' || g FROM generate_series(1, 20) g;`
	beside(t, program{name: "smallint with a few ids left", setup: small + "INSERT INTO users SELECT g, 'old ' || g FROM unnest(ARRAY[32761, 32762, 32767]) g; SELECT setval('users_id_seq', 32762);",
		rows: "SELECT CASE WHEN name LIKE 'old%' THEN id END, name FROM users ORDER BY 1, 2", run: func(w *world) {
			w.drift("SELECT setval('users_id_seq', 32760)")
			w.use(uses[0], "near the end", "users")
			w.use(uses[2], "near the end", "users")
		}})
	for _, u := range uses {
		beside(t, program{name: "exhausted, " + u.name, calm: true, setup: small + "SELECT setval('users_id_seq', 32767);", settings: perStep, run: func(w *world) {
			if w.healing == nil {
				w.use(u, "exhausted", "users")
				return
			}
			w.use(u, "exhausted", "users")
			if len(w.reported()) == 0 || w.reported()[0].Reason != plugin.ReasonExhausted {
				w.t.Errorf("an insert into an exhausted sequence is reported as %v", w.reported())
			}
			w.forget()
		}})
	}
	// In a transaction the conflict guard has used the last value up.
	beside(t, program{name: "the last value is taken", calm: true, settings: perStep, setup: small + "INSERT INTO users VALUES (32767, 'old 32767'); SELECT setval('users_id_seq', 32766);", run: func(w *world) {
		w.use(uses[0], "the last", "users")
		if all := w.reported(); w.healing != nil && (len(all) == 0 || all[0].Reason != plugin.ReasonExhausted) {
			w.t.Errorf("reported as %v", all)
		}
		w.forget()
	}})
	const odd = `CREATE TABLE users ("Order $seqheal$ id" smallserial CONSTRAINT "the $seqheal$ Key" PRIMARY KEY, name text); INSERT INTO users VALUES (32767, 'old 32767'); SELECT setval('"users_Order $seqheal$ id_seq"', 32766);`
	beside(t, program{name: "the last value is taken, odd names", calm: true, settings: []setting{callerTx}, setup: odd, rows: `SELECT 1, name FROM users ORDER BY 1, 2`, run: func(w *world) {
		_ = w.step("the last", func(db *gorm.DB) *gorm.DB { return db.Create(&oddlyKeyed{Name: "new"}) })
		w.forget()
	}})
}

// What is reported says what happened.
func TestReport_saysWhoMovedTheSequence(t *testing.T) {
	t.Parallel()
	for _, u := range uses {
		for _, s := range perStep {
			t.Run(u.name+", "+s.name, func(t *testing.T) {
				t.Parallel()
				p := program{run: func(w *world) {
					// One row with an explicit id, then the first insert.
					w.place.Exec("INSERT INTO users VALUES (21, 'explicit')")
					w.use(u, "behind by one", "users")
				}}
				w := p.execute(t, s, true, true)
				all := w.reported()
				if len(all) != 1 || all[0].Outcome != plugin.Healed {
					t.Errorf("one healed drift is reported as %v", all)
				}
				if text := strings.Join(w.lines, "\n"); strings.Contains(text, "ERROR") || !strings.Contains(text, "21|explicit") && !strings.Contains(text, "∅|explicit") {
					t.Error(text)
				}
			})
		}
	}
	t.Run("CACHE on healthy data", func(t *testing.T) {
		t.Parallel()
		for _, s := range perStep {
			p := program{setup: usersSchema + "ALTER SEQUENCE users_id_seq CACHE 20", run: func(w *world) {
				for i := range 3 {
					for _, u := range uses {
						w.use(u, fmt.Sprint("cached ", i), "users")
					}
				}
			}}
			w := p.execute(t, s, false, true)
			for _, i := range w.reported() {
				t.Errorf("%s: incident on healthy data: %v", s.name, i)
			}
		}
	})
}

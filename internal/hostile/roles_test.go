package hostile_test

import (
	"fmt"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/plugin"
)

// become lets the next steps run as a role, or as the pool's own role again.
func (w *world) become(role string) {
	switch {
	case w.caller || w.whole:
		w.enter = "SET LOCAL ROLE " + role
	default:
		w.enter = "SET ROLE " + role
	}
}

// What a role that sees less has found out binds no other role.
func TestSetRole_anotherRoleSawTheTableFirst(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, grants string
		// uses that the role may make on plain GORM.
		uses []use
	}{
		{"rights on everything", "GRANT ALL ON users, users_id_seq TO $R", uses},
		{"INSERT and SELECT of the key alone", "GRANT INSERT, SELECT (id) ON users TO $R; GRANT USAGE ON SEQUENCE users_id_seq TO $R", uses[:4]},
		{"no right to move the sequence", "GRANT ALL ON users TO $R; GRANT USAGE ON SEQUENCE users_id_seq TO $R", uses},
		{"row-level security", `GRANT ALL ON users, users_id_seq TO $R; ALTER TABLE users ENABLE ROW LEVEL SECURITY;
			CREATE POLICY some_rows ON users TO $R USING (name NOT LIKE 'old%') WITH CHECK (true)`, uses[:2]},
	} {
		role := func(w *world) string {
			r := w.place.Role()
			w.place.Exec(strings.ReplaceAll(c.grants, "$R", r))
			return r
		}
		beside(t, program{name: c.name + ", the role first", settings: tenantSettings, run: func(w *world) {
			r := role(w)
			w.become(r)
			for _, u := range c.uses {
				w.use(u, "as the role", "users")
			}
			w.become("NONE")
			w.useAll("as the owner", "users", rewind)
		}})
		beside(t, program{name: c.name + ", the role between", settings: tenantSettings, run: func(w *world) {
			r := role(w)
			for i := range 2 {
				w.become("NONE")
				w.useAll(fmt.Sprintf("as the owner %d", i), "users", rewind)
				w.become(r)
				for _, u := range c.uses {
					w.use(u, fmt.Sprintf("as the role %d", i), "users")
				}
			}
		}})
	}
}

// A role that may draw from the sequence and not read it is healed although another role saw
// the table first: it is read anew, and asked as the rights allow.
func TestSetRole_withoutTheRightToReadTheSequence(t *testing.T) {
	t.Parallel()
	const passing = `CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
		CREATE TRIGGER pass BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION pass();`
	for name, setup := range map[string]string{"no trigger": usersSchema, "a trigger": usersSchema + passing} {
		for _, u := range uses { // each is the role's first statement
			beside(t, program{name: u.name + ", " + name, setup: setup, settings: []setting{tenantSettings[0], tenantSettings[2]}, run: func(w *world) {
				r := w.place.Role()
				w.place.Exec("GRANT ALL ON users TO " + r + "; GRANT USAGE ON SEQUENCE users_id_seq TO " + r)
				w.touch("users")
				w.become(r)
				for i := range 2 {
					w.drift(rewind)
					w.use(u, fmt.Sprint("as the role ", i), "users")
				}
			}})
		}
	}
}

// A right to the sequence that is taken away under the program has the table read anew.
func TestRole_losesTheRightToReadTheSequence(t *testing.T) {
	t.Parallel()
	for _, u := range uses { // each is the first statement after
		beside(t, program{name: u.name, settings: []setting{noTx, callerTx}, run: func(w *world) {
			r := w.place.Role()
			w.place.Exec("GRANT ALL ON users, users_id_seq TO " + r)
			w.switchTo(w.place.DSNFor(map[string]string{"user": r}))
			w.touch("users")
			w.place.Exec("REVOKE SELECT ON SEQUENCE users_id_seq FROM " + r)
			for i := range 2 {
				w.drift(rewind)
				w.use(u, fmt.Sprint("without the right ", i), "users")
			}
		}})
	}
}

// A row-level security policy hides rows from the role: with a second connection
// that sees them, drift is healed for it, too, whoever saw the table first.
func TestSetRole_rowSecurityAfterTheOwner(t *testing.T) {
	t.Parallel()
	for _, s := range tenantSettings {
		if strings.HasPrefix(s.name, "one transaction") {
			continue // a transaction that lost a statement is lost whole
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			admin := program{}.open(t, setting{connections: 2}, false, false)
			p := program{options: []plugin.Option{plugin.WithResyncDB(admin.db)}, run: func(w *world) {
				r := w.place.Role()
				w.place.Exec(strings.ReplaceAll(`GRANT ALL ON users, users_id_seq TO $R; ALTER TABLE users ENABLE ROW LEVEL SECURITY;
					CREATE POLICY some_rows ON users TO $R USING (name NOT LIKE 'old%') WITH CHECK (true)`, "$R", r))
				w.become("NONE")
				w.touch("users")
				w.become(r)
				for _, u := range uses[:2] {
					w.place.Exec(rewind)
					w.use(u, "as the role", "users")
				}
			}}
			w := p.execute(t, s, false, true)
			// The first statement of the other role may be lost to the conflict guard, and is
			// reported; what follows goes out in a savepoint.
			lost := 0
			for _, i := range w.reported() {
				if i.Reason == plugin.ReasonGuardRejected {
					lost++
				}
			}
			text := strings.Join(w.lines, "\n")
			if failed := strings.Count(text, " 0 rows, error ERROR"); failed > lost || lost > 1 || len(w.reported()) == 0 {
				t.Errorf("%d lost, %d failed\n%s\n%v", lost, failed, text, w.reported())
			}
		})
	}
}

// A refusal names a GRANT; once it is given, the sequence is moved.
func TestGrant_givenLaterEndsTheRefusal(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, before, later string }{
		{"SELECT on the table", "GRANT INSERT, SELECT (name) ON users TO $R; GRANT USAGE ON SEQUENCE users_id_seq TO $R", "GRANT ALL ON users TO $R"},
		{"identity, rights on the sequence", `ALTER TABLE users ALTER id DROP DEFAULT; DROP SEQUENCE users_id_seq; ALTER TABLE users ALTER id ADD GENERATED BY DEFAULT AS IDENTITY;
			GRANT ALL ON users TO $R`, "GRANT ALL ON SEQUENCE users_id_seq TO $R"},
	} {
		for _, s := range perStep {
			t.Run(c.name+", "+s.name, func(t *testing.T) {
				t.Parallel()
				w := program{}.open(t, setting{name: s.name, connections: s.connections, caller: s.caller, skip: s.skip}, true, true)
				role := w.place.Role()
				w.place.Exec(strings.ReplaceAll(c.before, "$R", role) + "; " + rewind)
				w.switchTo(w.place.DSNFor(map[string]string{"user": role}))
				for range 2 {
					// Without RETURNING, which needs SELECT.
					err := w.step("refused", func(db *gorm.DB) *gorm.DB { return db.Table("users").Create(map[string]any{"name": "refused"}) })
					switch all := w.reported(); {
					case err != nil && (len(all) == 0 || all[len(all)-1].Outcome != plugin.Refused):
						t.Errorf("the insert fails with %v; reported %v", err, all)
					case err == nil && w.place.Int("SELECT count(*) FROM users WHERE name = 'refused'") == 0:
						t.Error("a row is lost without an error")
					}
				}
				w.place.Exec(strings.ReplaceAll(c.later, "$R", role) + "; DELETE FROM users WHERE name = 'refused'")
				w.forget()
				for _, u := range uses {
					w.place.Exec(rewind)
					users := []user{{Name: u.name + " 0"}, {Name: u.name + " 1", ID: u.named}, {Name: u.name + " 2"}}[:u.rows]
					if strings.HasPrefix(c.name, "identity") || u.name == "Create" || u.name == "batch" {
						if err := w.step(u.name, func(db *gorm.DB) *gorm.DB { return u.run(db, users) }); err != nil {
							t.Errorf("%s after the GRANT: %v; reported %v", u.name, err, w.reported())
						}
						if got := w.place.Text("SELECT name FROM users WHERE id = $1", users[0].ID); got != users[0].Name {
							t.Errorf("%s holds the id of row %q", u.name, got)
						}
					}
				}
				if got := w.place.Text("SELECT count(*) FROM users WHERE name = 'old ' || id AND id NOT IN (3, 5)"); got != "18" {
					t.Errorf("%s of 18 old rows are as they were", got)
				}
			})
		}
	}
}

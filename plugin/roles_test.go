package plugin_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

const (
	identityUsers = `CREATE TABLE users (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text);
		INSERT INTO users OVERRIDING SYSTEM VALUE SELECT g, 'old ' || g FROM generate_series(1, 20) g;`
	sharedUsers = `CREATE SEQUENCE users_id_seq; CREATE TABLE users (id bigint PRIMARY KEY DEFAULT nextval('users_id_seq'), name text);
		CREATE TABLE others (id bigint PRIMARY KEY DEFAULT nextval('users_id_seq'));
		INSERT INTO users SELECT g, 'old ' || g FROM generate_series(1, 20) g; INSERT INTO others SELECT generate_series(10, 50);
		GRANT SELECT, INSERT ON users TO $R; GRANT USAGE ON SEQUENCE users_id_seq TO $R;`
	rowSecurity = `GRANT SELECT, INSERT ON users TO $R; GRANT ALL ON SEQUENCE users_id_seq TO $R; ALTER TABLE users ENABLE ROW LEVEL SECURITY;
		CREATE POLICY see ON users FOR SELECT USING (name LIKE 'new%'); CREATE POLICY add ON users FOR INSERT WITH CHECK (true)`
)

// P1, P8: what the application's role may do decides how a sequence is moved; where
// it cannot be, the incident names the GRANT or the option, and the caller has
// PostgreSQL's own error.
func TestRoles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		make string
		dsn  string // a parameter, name=value
		// admin gives WithResyncDB the superuser's connection.
		admin bool
		// plain inserts ask for no id back, which would need SELECT.
		plain bool
		want  int64  // the new row's id; 0 when the insert fails
		state string // the SQLSTATE with which it fails
		// reason and advice of the one incident; none when the error is not drift's.
		reason plugin.Reason
		advice string
	}{
		{name: "USAGE alone, near", want: 21,
			make: drifted + "; GRANT SELECT, INSERT ON users TO $R; GRANT USAGE ON SEQUENCE users_id_seq TO $R"},
		{name: "USAGE alone, far", want: 1200001,
			make: drifted + "; INSERT INTO users VALUES (1200000, 'old 1200000'); GRANT SELECT, INSERT ON users TO $R; GRANT USAGE ON SEQUENCE users_id_seq TO $R"},
		{name: "USAGE alone, too far to walk", state: "23505", reason: plugin.ReasonPermission, advice: `GRANT UPDATE ON SEQUENCE "$S"."users_id_seq" TO "$R"`,
			make: drifted + "; INSERT INTO users VALUES (20000000, 'old 20000000'); GRANT SELECT, INSERT ON users TO $R; GRANT USAGE ON SEQUENCE users_id_seq TO $R"},
		{name: "USAGE alone, too far to walk, WithResyncDB", admin: true, want: 20000001,
			make: drifted + "; INSERT INTO users VALUES (20000000, 'old 20000000'); GRANT SELECT, INSERT ON users TO $R; GRANT USAGE ON SEQUENCE users_id_seq TO $R"},
		{name: "SELECT on the key alone", want: 21,
			make: drifted + "; GRANT SELECT (id), INSERT ON users TO $R; GRANT USAGE ON SEQUENCE users_id_seq TO $R"},
		{name: "identity, no right on the sequence", state: "23505", reason: plugin.ReasonPermission, advice: `GRANT USAGE ON SEQUENCE "$S"."users_id_seq" TO "$R"`,
			make: identityUsers + "GRANT SELECT, INSERT ON users TO $R"},
		{name: "identity, no right on the sequence, WithResyncDB", admin: true, want: 21,
			make: identityUsers + "GRANT SELECT, INSERT ON users TO $R"},
		{name: "serial, no right on the sequence", state: "42501", make: drifted + "; GRANT SELECT, INSERT ON users TO $R"},
		{name: "no INSERT on the table", state: "42501", make: drifted + "; GRANT SELECT ON users TO $R; GRANT ALL ON SEQUENCE users_id_seq TO $R"},
		{name: "no SELECT on the table", plain: true, state: "23505", reason: plugin.ReasonPermission, advice: `GRANT SELECT ("id") ON "$S"."users" TO "$R"`,
			make: drifted + "; GRANT INSERT ON users TO $R; GRANT ALL ON SEQUENCE users_id_seq TO $R"},
		{name: "no SELECT on the table, WithResyncDB", plain: true, admin: true, want: 21,
			make: drifted + "; GRANT INSERT ON users TO $R; GRANT USAGE ON SEQUENCE users_id_seq TO $R"},
		{name: "row-level security", state: "23505", reason: plugin.ReasonRowSecurity, advice: "plugin.WithResyncDB", make: drifted + "; " + rowSecurity},
		{name: "row-level security, WithResyncDB", admin: true, want: 21, make: drifted + "; " + rowSecurity},
		{name: "shared sequence, a sister out of sight", want: 21, make: sharedUsers},
		{name: "shared sequence, a sister in sight", want: 51, make: sharedUsers + "GRANT SELECT ON others TO $R"},
		{name: "read-only session", dsn: "default_transaction_read_only=on", state: "25006",
			make: drifted + "; GRANT SELECT, INSERT ON users TO $R; GRANT ALL ON SEQUENCE users_id_seq TO $R"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, m := range []mode{modes[0], modes[2]} {
				t.Run(m.name, func(t *testing.T) {
					place := pgtest.New(t)
					role := place.Role()
					place.Exec(strings.ReplaceAll(c.make, "$R", role))
					old := place.Text("SELECT * FROM users ORDER BY id")
					var seen incidents
					options := []plugin.Option{seen.option()}
					if c.admin {
						options = append(options, plugin.WithResyncDB(place.Open(nil)))
					}
					parameters := map[string]string{"user": role}
					if name, value, ok := strings.Cut(c.dsn, "="); ok {
						parameters[name] = value
					}
					db := place.OpenDSN(place.DSNFor(parameters), &m.config, plugin.New(options...))
					var next error
					err := m.within(db, func(tx *gorm.DB) (err error) {
						if c.plain {
							err = tx.Table("users").Create(map[string]any{"name": "new"}).Error
						} else {
							err = tx.Create(&user{Name: "new"}).Error
						}
						next = tx.Exec("SELECT 1").Error
						return err
					})
					if now := place.Text("SELECT * FROM users WHERE name LIKE 'old%' ORDER BY id"); now != old {
						t.Errorf("old rows changed:\n%s", now)
					}
					if c.want > 0 {
						if err != nil || place.Text("SELECT name FROM users WHERE id = $1", c.want) != "new" {
							t.Errorf("%v, rows\n%s", err, place.Text("SELECT * FROM users WHERE id > 20"))
						}
						if i := seen.one(t); i.Outcome != plugin.Healed || i.To != c.want-1 {
							t.Errorf("incident %v", i)
						}
						return
					}
					if err == nil || !strings.Contains(err.Error(), c.state) || place.Text("SELECT * FROM users ORDER BY id") != old {
						t.Errorf("error %v, rows\n%s", err, place.Text("SELECT * FROM users WHERE id > 20"))
					}
					if aborted := next != nil && strings.Contains(next.Error(), "25P02"); aborted == m.config.SkipDefaultTransaction {
						t.Errorf("the statement after: %v", next)
					}
					if last := place.Int("SELECT last_value FROM users_id_seq"); last > 5 {
						t.Errorf("the sequence moved to %d", last)
					}
					if c.reason == "" {
						seen.none(t)
						return
					}
					advice := strings.NewReplacer("$S", place.Schema, "$R", role).Replace(c.advice)
					if i := seen.one(t); i.Outcome != plugin.Refused || i.Reason != c.reason || !strings.Contains(i.Err.Error(), advice) {
						t.Errorf("incident %v, want %s", i, advice)
					}
				})
			}
		})
	}
}

// P8: an upsert of a role that may not read the key is sent without a look, which is logged
// once with the GRANT.
func TestRoles_unprotectedUpsertIsLoggedOnce(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	role := place.Role()
	place.Exec(drifted + "; SELECT setval('users_id_seq', 20); GRANT INSERT, UPDATE, SELECT (name) ON users TO " + role + "; GRANT ALL ON SEQUENCE users_id_seq TO " + role)
	var log bytes.Buffer
	db := place.OpenDSN(place.DSNFor(map[string]string{"user": role}), nil, plugin.New(plugin.WithLogger(slog.New(slog.NewTextHandler(&log, nil)))))
	for range 2 {
		rows := []map[string]any{{"name": "new 1"}, {"name": "new 2"}}
		if err := db.Table("users").Clauses(clause.OnConflict{DoNothing: true}).Create(rows).Error; err != nil {
			t.Fatal(err)
		}
	}
	if got := place.Int("SELECT count(*) FROM users WHERE name LIKE 'new%'"); got != 4 || strings.Count(log.String(), "GRANT SELECT") != 1 {
		t.Errorf("%d rows; log:\n%s", got, log.String())
	}
}

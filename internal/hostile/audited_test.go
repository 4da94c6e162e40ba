package hostile_test

import (
	"fmt"
	"testing"

	"gorm.io/gorm"
)

// A trigger inserts into an audit table whose sequence has drifted: statements with ON CONFLICT are
// healed as plain ones are.
func TestAudited_upserts(t *testing.T) {
	t.Parallel()
	const setup = usersSchema + `CREATE TABLE audit (id bigserial PRIMARY KEY, name text); INSERT INTO audit SELECT g, 'import' FROM generate_series(1, 50) g;
		CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO audit (name) VALUES (NEW.name); RETURN NEW; END';`
	for _, when := range []string{"BEFORE", "AFTER"} {
		for _, s := range []setting{noTx, callerTx} {
			for _, u := range uses {
				if when == "AFTER" && s.name == callerTx.name && u.name == "Create" {
					continue // docs/limits.md, a trigger's insert into another table
				}
				t.Run(fmt.Sprint(when, ", ", s.name, ", ", u.name), func(t *testing.T) {
					t.Parallel()
					w := program{setup: setup + "CREATE TRIGGER note " + when + " INSERT ON users FOR EACH ROW EXECUTE FUNCTION note();"}.open(t, s, true, true)
					us := make([]user, u.rows)
					for i := range us {
						us[i].Name = fmt.Sprint("new ", i)
					}
					if err := w.within(func(db *gorm.DB) error { return u.run(db, us).Error }); err != nil {
						t.Errorf("%v; incidents %v", err, w.reported())
					}
					if n := w.place.Int("SELECT count(*) FROM users WHERE name LIKE 'new%'"); n != int64(u.rows) {
						t.Errorf("%d of %d rows", n, u.rows)
					}
				})
			}
		}
	}
}

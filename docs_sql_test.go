package seqheal_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// Every SQL snippet runs on a database with the tables of the documentation.
func TestDocs_everySQLSnippetRuns(t *testing.T) {
	t.Parallel()
	for _, p := range pages(t) {
		for n, snippet := range p.blocks("sql") {
			t.Run(fmt.Sprint(p.path, " ", n+1), func(t *testing.T) {
				t.Parallel()
				place := pgtest.New(t)
				role := place.Role()
				place.Exec(`CREATE TABLE users (id serial PRIMARY KEY, name text, email text UNIQUE); CREATE TABLE orders (id bigserial PRIMARY KEY, item text, user_id bigint);
					INSERT INTO users SELECT n, 'imported ' || n, n || '@example.com' FROM generate_series(1, 20) n`)
				place.Exec(ofTheDocs(place, role, snippet))
			})
		}
	}
}

// ofTheDocs replaces the schema shop and the role app of a snippet with those of a test.
func ofTheDocs(place *pgtest.Place, role, snippet string) string {
	return strings.NewReplacer(" app;", " "+role+";", " app ", " "+role+" ", "shop.", place.Schema+".", "SCHEMA shop", "SCHEMA "+place.Schema).Replace(snippet)
}

// The rights of docs/operations.md are enough, with USAGE alone of a sequence as well, and the
// owner needs none.
func TestDocs_theRightsAreEnough(t *testing.T) {
	t.Parallel()
	const table = `CREATE TABLE users (id bigserial PRIMARY KEY, name text); INSERT INTO users SELECT n, 'imported' FROM generate_series(1, 20) n;`
	grants := (page{"docs/operations.md", read(t, "docs/operations.md")}).blocks("sql")[0]
	for name, prepare := range map[string]func(p *pgtest.Place, role string){
		"the snippet":       func(p *pgtest.Place, role string) { p.Exec(table + ofTheDocs(p, role, grants)) },
		"for later objects": func(p *pgtest.Place, role string) { p.Exec(ofTheDocs(p, role, grants) + table) },
		"USAGE alone": func(p *pgtest.Place, role string) {
			p.Exec(table + "GRANT SELECT, INSERT ON users TO " + role + "; GRANT USAGE ON SEQUENCE users_id_seq TO " + role)
		},
		"the owner": func(p *pgtest.Place, role string) {
			p.Exec("GRANT CREATE ON SCHEMA $S TO " + role + "; SET ROLE " + role + "; " + table + "RESET ROLE")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			role := place.Role()
			prepare(place, role)
			db := place.OpenDSN(place.DSNFor(map[string]string{"user": role}), nil, plugin.New())
			user := struct {
				ID   int64
				Name string
			}{Name: "new"}
			if err := db.Table("users").Create(&user).Error; err != nil || place.Text("SELECT id, name FROM users WHERE id > 20") != "21|new" {
				t.Errorf("%v, %+v", err, user)
			}
		})
	}
}

// What the FAQ gives to end it by hand ends it, is no harm a second time, and never moves the
// sequence backwards.
func TestDocs_theRemedyByHand(t *testing.T) {
	t.Parallel()
	remedy := (page{"docs/faq.md", read(t, "docs/faq.md")}).blocks("sql")[0]
	for name, test := range map[string]struct {
		before string
		next   int64
	}{
		"never drawn from": {"SELECT 1", 21},
		"behind":           {"SELECT setval('users_id_seq', 7)", 22},
		"in sync":          {"SELECT setval('users_id_seq', 20)", 22},
		"ahead":            {"SELECT setval('users_id_seq', 500)", 501},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			place.Exec(`CREATE TABLE users (id bigserial PRIMARY KEY); INSERT INTO users SELECT generate_series(1, 20); ` + test.before)
			place.Exec(remedy)
			if id := place.Int("INSERT INTO users DEFAULT VALUES RETURNING id"); id != test.next {
				t.Errorf("the next row gets %d, want %d", id, test.next)
			}
			place.Exec(remedy)
			if id := place.Int("INSERT INTO users DEFAULT VALUES RETURNING id"); id <= test.next {
				t.Errorf("after a second time the next row gets %d", id)
			}
		})
	}
}

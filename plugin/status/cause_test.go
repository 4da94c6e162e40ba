package status_test

import (
	"html"
	"strings"
	"testing"
	"time"

	"github.com/seqheal/seqheal/internal/cause"
	"github.com/seqheal/seqheal/plugin"
	"github.com/seqheal/seqheal/plugin/status"
)

// The tests share a slow machine: 5 ms are not always enough there for a look.
func init() { cause.Limit = time.Second }

// The page and the JSON show who met drift, what caused it and what lies in front, and of
// the sequences that are behind where they are asked to.
func TestPage_causes(t *testing.T) {
	t.Parallel()
	const tables = `CREATE TABLE users (id bigserial PRIMARY KEY, name text); INSERT INTO users SELECT g, 'old' FROM generate_series(1, 20) g;
		CREATE TABLE "<b>" (id bigserial PRIMARY KEY); INSERT INTO "<b>" SELECT generate_series(1, 30)`
	for _, explained := range []bool{false, true} {
		var options []status.Option
		if explained {
			options = append(options, status.WithAudit(plugin.WithCauses()))
		}
		s := serve(t, tables, options...)
		if err := s.db.Table("users").Create(map[string]any{"name": "new"}).Error; err != nil {
			t.Fatal(err)
		}
		page := html.UnescapeString(s.page())
		for part, want := range map[string]bool{
			"Cause <b>bulk</b>: 20 rows, ids 1 to 20, came in 1 transaction":                                                true,
			"/plugin/status/cause_test.go:":                                                                                 true,
			`SELECT * FROM "` + s.place.Schema + `"."users" WHERE "id" BETWEEN 1 AND 20 ORDER BY "id"`:                      true,
			"Cause <b>bulk</b>: 30 rows, ids 1 to 30, came in 1 transaction":                                                explained,
			`SELECT * FROM "` + s.place.Schema + `"."<b>" WHERE "id" BETWEEN 1 AND 30 ORDER BY "id"</code></pre></details>`: explained,
		} {
			if strings.Contains(page, part) != want {
				t.Errorf("explained %t: %q is %t", explained, part, !want)
			}
		}
		if strings.Contains(s.page(), "<b>\".") || strings.Contains(s.page(), `."<b>"`) {
			t.Error("a name that is not escaped")
		}
		i := s.json().Incidents[0]
		if caller, _ := i["caller"].(string); i["cause"] != "bulk" || i["front_rows"] != 20.0 || !strings.Contains(caller, "cause_test.go:") {
			t.Errorf("%v", i)
		}
	}
}

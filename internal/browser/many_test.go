package browser

import (
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin/status"
)

// manyTables makes so many thousand tables, of which every thousandth is behind.
func manyTables(place *pgtest.Place, thousands int) {
	for n := range thousands {
		place.Exec(fmt.Sprintf(`DO $$ BEGIN FOR i IN %d..%d LOOP
			EXECUTE format('CREATE TABLE tenant_%%s (id bigserial PRIMARY KEY, name text)', lpad(i::text, 5, '0')); END LOOP; END $$`, n*1000, n*1000+999))
		place.Exec(fmt.Sprintf("INSERT INTO tenant_%05d VALUES (20, 'imported')", n*1000+500))
	}
}

// Ten thousand tables are read in steps, with a progress that goes on by itself, and
// every request answers soon.
func TestTenThousandTables(t *testing.T) { // not beside the others: a step of 2 s that reads nothing ends an audit
	place := pgtest.New(t)
	manyTables(place, 10)
	s := serveAs(t, place, place.DSN, status.WithAuditTimeout(2*time.Second))
	b := open(t, "127.0.0.1")
	began := time.Now()
	b.do(chromedp.Navigate(s.at("127.0.0.1")))
	t.Logf("the first answer took %s", time.Since(began).Round(time.Millisecond))
	const read = "document.querySelector('h1')?.textContent === '10 sequences are behind'" // on a busy machine not in the first 2 s
	b.eventually("the progress", "document.querySelector('progress')?.max === 10000 || "+read)
	t.Log(evaluate[string](b, "document.querySelector('h1').textContent + '; ' + (document.querySelector('.progress')?.innerText ?? '')"))
	for _, part := range []string{"2000", "4000", "6000", "8000"} { // a busy machine takes its time
		b.eventually(part+" to be read", "document.querySelector('progress')?.value >= "+part+" || "+read)
	}
	b.eventually("all to be read", read)
	t.Logf("all were read after %s", time.Since(began).Round(time.Millisecond))
	for what, expression := range map[string]string{
		"the headline":               read,
		"the count":                  "document.querySelector('.states').innerText.includes('10,000 columns draw from a sequence')",
		"the first rows":             "document.querySelectorAll('#findings tbody tr.behind').length === 10 && document.querySelectorAll('#findings tbody th').length === 300",
		"that these are not all":     "document.querySelector('#findings').innerText.includes('The first 300 of 10,000')",
		"a link to those in trouble": "document.querySelector('.states a.behind').search === '?state=behind'",
	} {
		if !evaluate[bool](b, expression) {
			t.Errorf("the page lacks %s", what)
		}
	}
	b.do(chromedp.Focus("#filter-text"), chromedp.KeyEvent("tenant_07777"))
	b.eventually("the one that is looked for", rowTables+" === 'tenant_07777'")
}

// The headline and the chart count every incident, not the latest hundred alone, and
// what goes on is not calm.
func TestEveryIncidentCounts(t *testing.T) {
	t.Parallel()
	s := serve(t, "CREATE TABLE users (id bigserial PRIMARY KEY, name text)")
	const incidents = 130
	for range incidents {
		s.place.Exec("INSERT INTO users SELECT last_value + g, 'imported' FROM users_id_seq, generate_series(1, 5) g")
		err := s.db.Transaction(func(tx *gorm.DB) error {
			return tx.Table("users").Create([]map[string]any{{"name": "new"}, {"name": "newer"}}).Error
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	b := open(t, "127.0.0.1")
	b.do(chromedp.Navigate(s.at("127.0.0.1")))
	want := fmt.Sprintf("All sequences are in sync; %d healed in the last 10 minutes, still happening", incidents)
	if got := evaluate[string](b, "document.querySelector('#headline.warn h1').textContent"); got != want {
		t.Errorf("the headline is %q, want %q", got, want)
	}
	if got := evaluate[string](b, "document.querySelector('#chart-text').textContent"); got != fmt.Sprintf("%d healed", incidents) {
		t.Errorf("the chart counts %s", got)
	}
	heights := evaluate[float64](b, "[...document.querySelectorAll('#over-time rect.healed')].reduce((sum, r) => sum + Number(r.getAttribute('height')), 0)")
	scale := evaluate[float64](b, "Number(document.querySelector('.scale').textContent)")
	if sum := heights / 100 * scale; sum < incidents-1 || sum > incidents+1 {
		t.Errorf("the bars stand for %g incidents", sum)
	}
}

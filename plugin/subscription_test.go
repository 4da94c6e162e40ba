package plugin_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgserver"
	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// replica is a publisher and a subscriber, two databases of one server.
type replica struct {
	t           *testing.T
	server      *pgserver.Server
	there, here *sql.DB
}

func (p replica) dsn(name string) string { return p.server.With(map[string]string{"dbname": name}) }

func (p replica) number(on *sql.DB, query string) (n int64) {
	p.t.Helper()
	if err := on.QueryRow(query).Scan(&n); err != nil {
		p.t.Fatalf("%s: %v", query, err)
	}
	return n
}

// replicate makes the table on both sides, and a subscription to it here.
func replicate(t *testing.T, table string) replica {
	t.Helper()
	server, err := pgserver.StartOwn("wal_level=logical", "max_wal_senders=10", "max_replication_slots=10")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	p := replica{t: t, server: server}
	mustExec(t, openSQL(t, p.dsn("postgres")), "CREATE DATABASE there", "CREATE DATABASE here")
	p.there, p.here = openSQL(t, p.dsn("there")), openSQL(t, p.dsn("here"))
	mustExec(t, p.there, table, "CREATE PUBLICATION everything FOR ALL TABLES", "SELECT pg_create_logical_replication_slot('slot', 'pgoutput')")
	mustExec(t, p.here, table, fmt.Sprintf("CREATE SUBSCRIPTION s CONNECTION '%s' PUBLICATION everything WITH (create_slot = false, slot_name = 'slot')", p.dsn("there")))
	t.Cleanup(func() {
		_, _ = p.here.Exec("ALTER SUBSCRIPTION s DISABLE; ALTER SUBSCRIPTION s SET (slot_name = NONE)")
		_, _ = p.here.Exec("DROP SUBSCRIPTION s")
	})
	return p
}

func (p replica) gorm(name string, plugins ...gorm.Plugin) *gorm.DB {
	p.t.Helper()
	return pgtest.Open(p.t, p.dsn(name), nil, plugins...)
}

const subscribed = "CREATE TABLE users (id bigserial PRIMARY KEY, name text)"

// P8: the audit says that a subscription writes into a table, and how the ids are kept apart:
// a row of this side's takes an id that comes from the publisher next, and the subscription
// stops.
func TestLimit_aSubscriberThatInsertsToo(t *testing.T) {
	t.Parallel()
	p := replicate(t, subscribed)
	here := p.gorm("here", plugin.New())
	audit := func() plugin.Finding {
		findings, err := plugin.Audit(t.Context(), here)
		if err != nil || len(findings) != 1 || !findings[0].Subscribed {
			t.Fatalf("%v: %v", err, findings)
		}
		return findings[0]
	}
	if text := audit().String(); !strings.Contains(text, `ALTER SEQUENCE "public"."users_id_seq" INCREMENT BY 2`) {
		t.Error(text)
	}
	if err := here.Create(&user{Name: "here"}).Error; err != nil {
		t.Fatal(err)
	}
	mustExec(t, p.there, "INSERT INTO users (name) VALUES ('there')")
	if p.number(p.here, "SELECT count(*) FROM pg_class WHERE relname = 'pg_stat_subscription_stats'") > 0 { // since 15
		pgtest.Eventually(t, "the subscription to fail", func() bool {
			return p.number(p.here, "SELECT sum(apply_error_count + sync_error_count) FROM pg_stat_subscription_stats") > 0
		})
	}
	if got := p.number(p.here, "SELECT count(*) FROM users WHERE name = 'here' AND id = 1"); got != 1 {
		t.Error("this side's row changed")
	}
	mustExec(t, p.here, "ALTER SEQUENCE users_id_seq INCREMENT BY 2")
	if text := audit().String(); strings.Contains(text, "subscription") {
		t.Error(text)
	}
}

// With odd and even ids heals on both sides disturb nothing: the steps of a sequence are kept.
func TestASubscriberWithIDsOfItsOwn(t *testing.T) {
	t.Parallel()
	p := replicate(t, subscribed)
	mustExec(t, p.there, "ALTER SEQUENCE users_id_seq INCREMENT BY 2 RESTART 1")
	mustExec(t, p.here, "ALTER SEQUENCE users_id_seq INCREMENT BY 2 RESTART 2")
	var seen incidents
	there, here := p.gorm("there", plugin.New(seen.option())), p.gorm("here", plugin.New(seen.option()))
	mustExec(t, p.here, "INSERT INTO users SELECT g * 2, 'old here' FROM generate_series(1, 10) g")
	mustExec(t, p.there, "INSERT INTO users SELECT g * 2 - 1, 'old there' FROM generate_series(1, 10) g")
	for n := range 5 {
		for _, side := range []struct {
			db   *gorm.DB
			name string
		}{{there, "there"}, {here, "here"}} {
			if err := side.db.Create(&user{Name: fmt.Sprintf("%s %d", side.name, n)}).Error; err != nil {
				t.Fatal(err)
			}
		}
	}
	pgtest.Eventually(t, "the publisher's rows", func() bool {
		return p.number(p.here, "SELECT count(*) FROM users WHERE id % 2 = 1 AND name LIKE '%there%'") == 15
	})
	if got := p.number(p.here, "SELECT count(*) FROM users WHERE id % 2 = 0 AND name LIKE '%here%'"); got != 15 {
		t.Errorf("%d of this side's 15 rows", got)
	}
	if len(seen.all) != 2 {
		t.Errorf("incidents %v", seen.all)
	}
}

package fault_test

import (
	"database/sql"
	"testing"

	"github.com/seqheal/seqheal/internal/pgserver"
	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/internal/proof/proxy"
)

// ownServer starts a server with the drifted table.
func ownServer(t *testing.T) *pgserver.Server {
	t.Helper()
	server, err := pgserver.StartOwn()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	db := dial(t, server)
	for _, statements := range []string{drifted, rewind} {
		if _, err := db.Exec(statements); err != nil {
			t.Fatal(err)
		}
	}
	return server
}

func dial(t *testing.T, server *pgserver.Server) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", server.DSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func ask(t *testing.T, db *sql.DB, query string) (answer string) {
	t.Helper()
	if err := db.QueryRow(query).Scan(&answer); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return answer
}

// crashes is how often the server crashes; phase is how many rows are acknowledged
// between two events.
func crashes() (times, phase int) {
	if long {
		return 10, 2_000
	}
	return 2, 200
}

// A server that crashes and recovers under inserts that meet drift: no
// acknowledged row is lost, no id is given twice, no row comes of an insert that
// the server refused, and afterwards inserts succeed (P3, P4).
func TestTheServerCrashesAndResumes(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	traffic, stop := startTraffic(t, server.DSN())
	times, phase := crashes()
	for range times {
		traffic.more(phase)
		if err := server.Crash(); err != nil {
			t.Fatal(err)
		}
		if err := server.Resume(); err != nil {
			t.Fatal(err)
		}
	}
	traffic.more(phase)
	stop()
	db := dial(t, server)
	traffic.check(t, db)
	traffic.checkNext(t, db)
}

// The primary is lost under inserts that meet drift, its synchronous standby is
// promoted, and the application reconnects to that: the same holds. A promoted
// standby's sequences may be up to 32 values ahead, as after a crash; behind the
// rows they are only where the importer left them, and the inserts heal that.
func TestAStandbyIsPromoted(t *testing.T) {
	t.Parallel()
	primary := ownServer(t)
	standby, err := primary.Standby()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(standby.Stop)
	db := dial(t, primary)
	if _, err := db.Exec("ALTER SYSTEM SET synchronous_standby_names = 'standby'"); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("SELECT pg_reload_conf()"); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, "the standby to be synchronous", func() bool {
		return ask(t, db, "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'standby' AND sync_state = 'sync'") == "1"
	})
	p, through, err := proxy.StartFor(primary.DSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	target, err := proxy.Target(standby.DSN())
	if err != nil {
		t.Fatal(err)
	}
	traffic, stop := startTraffic(t, through)
	_, phase := crashes()
	traffic.more(phase)
	if err := primary.Crash(); err != nil {
		t.Fatal(err)
	}
	before := traffic.count()
	p.SetTarget(target)
	p.CutAll()
	promoted := dial(t, standby)
	if ask(t, promoted, "SELECT pg_promote(true, 60)::text") != "true" {
		t.Fatal("the standby was not promoted")
	}
	traffic.more(phase)
	stop()
	if traffic.count() < before+phase {
		t.Errorf("%d rows acknowledged before the promotion, %d in all", before, traffic.count())
	}
	traffic.check(t, promoted)
	traffic.checkNext(t, promoted)
}

package plugin_test

import (
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"testing"

	"github.com/seqheal/seqheal/internal/pgserver"
	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// On a server with real replication and commit timestamps: a table that a worker feeds, a
// script that commits each row, an import with its time, and a role that may not read the
// catalog of subscriptions.
func TestCauses_onAServerOfItsOwn(t *testing.T) {
	t.Parallel()
	server, err := pgserver.StartOwn("wal_level=logical", "track_commit_timestamp=on")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	root := openSQL(t, server.DSN())
	mustExec(t, root, "CREATE DATABASE pub")
	mustExec(t, root, "CREATE DATABASE sub")
	mustExec(t, root, "CREATE ROLE app LOGIN")
	pub := openSQL(t, server.With(map[string]string{"dbname": "pub"}))
	sub := openSQL(t, server.With(map[string]string{"dbname": "sub"}))
	const table = "CREATE TABLE users (id bigserial PRIMARY KEY, name text)"
	mustExec(t, pub, table, "CREATE PUBLICATION p FOR TABLE users", "SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
	mustExec(t, sub, table, "CREATE TABLE scripted (id bigserial PRIMARY KEY, name text)", "CREATE TABLE imported (id bigserial PRIMARY KEY, name text)",
		fmt.Sprintf("CREATE SUBSCRIPTION s CONNECTION '%s' PUBLICATION p WITH (create_slot = false, slot_name = 's')", server.With(map[string]string{"dbname": "pub"})),
		"GRANT ALL ON ALL TABLES IN SCHEMA public TO app", "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app")
	t.Cleanup(func() {
		// With its slot DROP SUBSCRIPTION would ask the publisher, this very server, which on 12 waits
		// for the lock of the DROP.
		mustExec(t, sub, "ALTER SUBSCRIPTION s DISABLE", "ALTER SUBSCRIPTION s SET (slot_name = NONE)", "DROP SUBSCRIPTION s")
	})
	for id := 1; id <= 12; id++ {
		mustExec(t, pub, fmt.Sprintf("INSERT INTO users VALUES (%d, 'replicated')", id))
		mustExec(t, sub, fmt.Sprintf("INSERT INTO scripted VALUES (%d, 'scripted')", id))
	}
	mustExec(t, sub, "INSERT INTO imported SELECT g, 'imported' FROM generate_series(1, 30) g")
	pgtest.Eventually(t, "twelve rows to be replicated", func() bool {
		var n int
		return sub.QueryRow("SELECT count(*) FROM users").Scan(&n) == nil && n == 12
	})
	healing := plugin.New()
	db := pgtest.Open(t, server.With(map[string]string{"dbname": "sub", "user": "app"}), nil, healing)
	for _, test := range []struct{ table, before, kinds, evidence string }{
		{"users", "", "replication bulk", `^the table is in subscription "s": `},
		{"scripted", "", "bulk", `^12 rows, ids 1 to 12, were committed within 10 seconds at 20\d\d-`},
		{"imported", "", "bulk", `^30 rows, ids 1 to 30, came in 1 transaction at 20\d\d-`},
		{"users", "REVOKE SELECT ON pg_subscription_rel FROM PUBLIC", "set_back bulk", `seen the sequence at 12 at `},
		{"imported", "DELETE FROM imported WHERE id > 1", "unknown", `^pg_subscription_rel could not be read: the role has no right to$`},
	} {
		if test.before != "" {
			mustExec(t, sub, test.before)
		}
		mustExec(t, sub, fmt.Sprintf("SELECT setval('%s_id_seq', 1, false)", test.table), fmt.Sprintf("DELETE FROM %s WHERE name = 'new'", test.table))
		if err := db.Table(test.table).Create(map[string]any{"name": "new"}).Error; err != nil {
			t.Fatal(err)
		}
		i := *healing.Stats().Last
		if got := causesOf(i); got != test.kinds || !regexp.MustCompile(test.evidence).MatchString(i.Cause.Evidence) {
			t.Errorf("%s: %s: %v", test.table, got, i.Causes())
		}
	}
}

func openSQL(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func mustExec(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(errors.New(statement), err)
		}
	}
}

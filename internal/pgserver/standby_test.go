//go:build unix

package pgserver

import (
	"database/sql"
	"testing"
)

func startOwn(t *testing.T) *Server {
	t.Helper()
	needsPrograms(t)
	server, err := StartOwn()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return server
}

// keep stores a row that must not be lost.
func keep(t *testing.T, server *Server) {
	t.Helper()
	db, err := sql.Open("pgx", server.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.Exec("CREATE TABLE kept AS SELECT 'kept' AS word"); err != nil {
		t.Fatal(err)
	}
}

func TestACrashedServerResumesWithItsDataAndIsStillWatched(t *testing.T) {
	t.Parallel()
	server := startOwn(t)
	keep(t, server)
	if err := server.Crash(); err != nil {
		t.Fatal(err)
	}
	if listens(t, server.DSN()) || gone(server.dir) {
		t.Error("after the crash the server listens, or its folder is gone")
	}
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	if word := ask(t, server.DSN(), "SELECT word FROM kept"); word != "kept" {
		t.Errorf("the table holds %q", word)
	}
	server.Stop()
	if !gone(server.dir) || listens(t, server.DSN()) {
		t.Error("Stop left the folder or the resumed server")
	}
	if left := processes(t, server.dir); len(left) != 0 {
		t.Errorf("Stop left processes: %q", left)
	}
}

func TestACrashedServerIsRemovedByStop(t *testing.T) {
	t.Parallel()
	server := startOwn(t)
	if err := server.Crash(); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	if !gone(server.dir) {
		t.Error("Stop left the folder")
	}
}

func TestAStandbyFollowsAndIsPromoted(t *testing.T) {
	t.Parallel()
	primary := startOwn(t)
	standby, err := primary.Standby()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(standby.Stop)
	keep(t, primary)
	eventually(t, "the standby to have the table", func() bool {
		return ask(t, standby.DSN(), "SELECT (to_regclass('kept') IS NOT NULL)::text") == "true"
	})
	if err := primary.Crash(); err != nil {
		t.Fatal(err)
	}
	if ask(t, standby.DSN(), "SELECT pg_promote(true, 30)::text") != "true" {
		t.Error("it was not promoted")
	}
	if ask(t, standby.DSN(), "INSERT INTO kept VALUES ('written') RETURNING word") != "written" {
		t.Error("it does not take writes")
	}
}

func TestOnlyAStartedServerCanBeCrashed(t *testing.T) {
	t.Parallel()
	named := &Server{dsn: "postgres://example.invalid", stop: func() {}}
	if err := named.Crash(); err == nil {
		t.Error("somebody else's server was stopped")
	}
	if _, err := named.Standby(); err == nil {
		t.Error("somebody else's server got a standby")
	}
}

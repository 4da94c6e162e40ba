package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/seqheal/seqheal/plugin"
)

// statements are the ones that a run prints to be run.
func statements(text string) []string {
	var all []string
	for _, match := range regexp.MustCompile(`(?m)^  ((?:GRANT|ALTER ROLE) .*;)$`).FindAllStringSubmatch(text, -1) {
		all = append(all, match[1])
	}
	return all
}

// A role with few rights gets one summary; what it is told to run gives all that is
// missing, in every schema.
func TestARoleWithFewRights(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, fine+users+billing+`CREATE SCHEMA "My Books"; CREATE TABLE "My Books".pages (id serial PRIMARY KEY);
		CREATE TABLE secrets (id serial PRIMARY KEY); INSERT INTO secrets VALUES (5); ALTER TABLE secrets ENABLE ROW LEVEL SECURITY`)
	role := d.role()
	d.exec("GRANT SELECT ON fine TO " + role + "; GRANT SELECT ON SEQUENCE fine_id_seq TO " + role)
	run := func(arguments ...string) result {
		return runIn(t, nil, append([]string{"-dsn", d.as(role)}, arguments...)...)
	}

	got := run()
	if got.code != 3 || strings.Contains(got.out, "behind") {
		t.Errorf("%+v", got)
	}
	if d.number("SELECT current_setting('server_version_num')::int") >= readAllRole {
		d.golden(t, "few_rights", got)
	}
	if n := len(statements(got.out)); n < 1 || n > 4 {
		t.Errorf("%d statements in\n%s", n, got.out)
	}
	if got := run("-schema", "public", "-table", "fine"); got.code != 0 {
		t.Errorf("what it may read: %+v", got)
	}
	if got := run("-quiet"); got.code != 3 || !strings.Contains(got.out, "GRANT") || strings.Contains(got.out, "public.fine") {
		t.Errorf("-quiet: %+v", got)
	}
	if got := run("-only", "unreadable"); !strings.Contains(got.out, "billing.invoices") || !strings.Contains(got.out, "a right is missing, see below") {
		t.Errorf("-only: %+v", got)
	}
	if got := run("-json"); got.code != 3 || !strings.Contains(got.out, `GRANT USAGE ON SCHEMA \"billing\"`) || !strings.Contains(got.out, "audit as a role that has BYPASSRLS") {
		t.Errorf("-json: %+v", got)
	}
	if got := run("sql"); got.code != 3 || !strings.Contains(got.out, `-- not moved: "public"."Users"."id", unreadable: a right is missing, see below`) || !strings.Contains(got.out, "--   GRANT ") {
		t.Errorf("sql: %+v", got)
	}
	for _, statement := range statements(got.out) {
		d.exec(statement)
	}
	if got = run(); got.code != 1 || !strings.Contains(got.out, "5 columns checked: 3 behind, 2 in sync") || strings.Contains(got.out, "GRANT") {
		t.Errorf("after the statements: %+v", got)
	}
	// It may read everything now, and move nothing.
	if got := run("fix", "-csv"); got.code != 1 || !strings.Contains(got.out, "GRANT USAGE ON SEQUENCE") {
		t.Errorf("-csv: %+v", got)
	}
	got = run("fix")
	if d.number("SELECT current_setting('server_version_num')::int") >= readAllRole {
		d.golden(t, "few_rights_fix", got)
	}
	if n := len(statements(got.out)); got.code != 1 || n != 1 || !strings.Contains(got.out, "not moved: a right is missing, see below") {
		t.Errorf("%d statements, %+v", n, got)
	}
	for _, statement := range statements(got.out) {
		d.exec(statement)
	}
	if got = run("fix"); got.code != 0 || !strings.Contains(got.out, "moved 3 sequences") {
		t.Errorf("after all statements: %+v", got)
	}
}

// PostgreSQL 13 has no role that may read everything: three statements do it.
func TestRightsBeforePostgreSQL14(t *testing.T) {
	t.Parallel()
	s := session{server: server{Role: `a"b`, VersionNumber: 13_00_12}}
	missing := func(schema string, reason plugin.Reason) graded {
		return graded{plugin.Finding{Schema: schema, Table: "t", State: plugin.StateUnreadable, Reason: reason, Err: errors.New("x")}, unreadable}
	}
	got := statements(s.rights([]graded{missing("b", plugin.ReasonPermission), missing("a", plugin.ReasonPermission), missing("b", plugin.ReasonPermission)}))
	want := []string{`GRANT USAGE ON SCHEMA "a", "b" TO "a""b";`, `GRANT SELECT ON ALL TABLES IN SCHEMA "a", "b" TO "a""b";`, `GRANT SELECT ON ALL SEQUENCES IN SCHEMA "a", "b" TO "a""b";`}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

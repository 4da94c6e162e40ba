package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/seqheal/seqheal/internal/pgtest"
)

var anyCheck = regexp.MustCompile(`seqheal_check_\d+_\d+`)

// tables counts those that checks have made.
func (d *database) tables() int64 {
	return d.number("SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'seqheal\\_check%'")
}

// It says in a few lines what heals, and leaves nothing behind.
func TestCheck(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, users)
	got := d.run(t, "check", "-yes")
	got.out = anyCheck.ReplaceAllString(got.out, "seqheal_check_1")
	d.golden(t, "check", got)
	if d.tables() != 0 || d.number(`SELECT last_value FROM "Users_id_seq"`) != 1 {
		t.Error("something was left behind or touched")
	}
}

// It asks first, and takes nothing but y or yes for a yes.
func TestCheck_asks(t *testing.T) {
	t.Parallel()
	for answer, agrees := range map[string]bool{"y\n": true, " YES \n": true, "n\n": false, "": false, "yesterday\n": false} {
		t.Run(fmt.Sprintf("%q", answer), func(t *testing.T) {
			t.Parallel()
			d := newDatabase(t, "")
			c := command(t, nil, "-dsn", d.dsn, "check")
			c.Stdin = strings.NewReader(answer)
			out, _ := c.CombinedOutput()
			text, code := string(out), c.ProcessState.ExitCode()
			if !strings.Contains(text, "creates table") || agrees != strings.Contains(text, "heal here") || agrees != (code == 0) {
				t.Errorf("exit code %d:\n%s", code, text)
			}
			if !agrees && (code != 2 || !strings.Contains(text, "nothing was created; answer y, or give -yes")) {
				t.Errorf("exit code %d:\n%s", code, text)
			}
			if d.tables() != 0 {
				t.Error("a table was left behind")
			}
		})
	}
}

// What does not heal is named with the reason, and the exit code is 1.
func TestCheck_whatDoesNotHeal(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, `CREATE FUNCTION cycle() RETURNS event_trigger LANGUAGE plpgsql AS $$ DECLARE name text; BEGIN
		SELECT object_identity INTO name FROM pg_event_trigger_ddl_commands() WHERE object_type = 'sequence' LIMIT 1;
		EXECUTE 'ALTER SEQUENCE ' || name || ' CYCLE'; END $$;
		CREATE EVENT TRIGGER cycle ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION cycle()`)
	got := d.run(t, "check", "-yes")
	if got.code != 1 || !strings.Contains(got.out, "one row: fails") || !strings.Contains(got.out, "is declared CYCLE") ||
		!strings.Contains(got.out, "of 15 kinds of insert heal here") || d.tables() != 0 {
		t.Errorf("%+v", got)
	}
}

// For a role without the right to create tables the error names the GRANT.
func TestCheck_withoutTheRight(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, "REVOKE CREATE ON SCHEMA public FROM public")
	got := runIn(t, nil, "check", "-yes", "-dsn", d.as(d.role()))
	if got.code != 2 || !strings.Contains(got.diagnostics, `GRANT CREATE ON SCHEMA "public"`) {
		t.Errorf("%+v", got)
	}
}

// A check that is killed leaves one table behind. The next one names and drops it; one that
// no check has made, and one of a check that is running, are not touched.
func TestCheck_killed(t *testing.T) {
	t.Parallel()
	d := newDatabase(t, "CREATE TABLE seqheal_check_1_1 (id int)")
	c := command(t, nil, "-dsn", d.dsn, "check", "-yes")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var name string
	pgtest.Eventually(t, "the check's table", func() bool {
		return d.QueryRow("SELECT relname FROM pg_class WHERE relname ~ '^seqheal_check_\\d{5,}_\\d+$'").Scan(&name) == nil
	})
	tx, err := d.Begin() // from here on it waits
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec("LOCK TABLE " + name); err != nil {
		t.Fatal(err)
	}
	if got := d.run(t, "check", "-yes"); got.code != 0 || !strings.Contains(got.out, `"`+name+`" belongs to a check that is running`) {
		t.Errorf("beside another: %+v", got)
	}
	_ = c.Process.Kill()
	_ = c.Wait()
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, "the killed check's sessions to end", func() bool {
		return d.number("SELECT count(*) FROM pg_stat_activity WHERE application_name = '"+name+"'") == 0
	})
	if d.tables() != 2 {
		t.Errorf("%d tables instead of two", d.tables())
	}
	got := d.run(t, "check", "-yes")
	if got.code != 0 || !strings.Contains(got.out, `table "public"."`+name+`" was left behind by a check that was killed: this one drops it`) {
		t.Errorf("%+v", got)
	}
	if d.tables() != 1 || d.number("SELECT count(*) FROM seqheal_check_1_1") != 0 {
		t.Error("the wrong table was dropped")
	}
}

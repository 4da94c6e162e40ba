package conn_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgtest"
)

// inside runs fn in a transaction of db and rolls it back.
func inside(t *testing.T, db *gorm.DB, fn func(context.Context, *conn.Conn, *gorm.DB)) {
	t.Helper()
	tx := db.Begin()
	if tx.Error != nil {
		t.Fatal(tx.Error)
	}
	defer tx.Rollback()
	fn(t.Context(), conn.In(tx, tx.Statement.ConnPool), tx)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// number reads one number through c.
func number(t *testing.T, c *conn.Conn, query string, args ...any) (n int64) {
	t.Helper()
	must(t, c.Row(t.Context(), query, args, &n))
	return n
}

func TestQueriesStayInTheTransaction(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]gorm.Config{"plain": {}, "PrepareStmt": {PrepareStmt: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec("CREATE TABLE t (n bigint)")
			inside(t, p.Open(&config), func(ctx context.Context, c *conn.Conn, tx *gorm.DB) {
				must(t, tx.Exec("INSERT INTO t VALUES (1)").Error)
				if n := number(t, c, "SELECT count(*) FROM t"); n != 1 {
					t.Errorf("%d rows are seen: another connection was asked", n)
				}
				must(t, c.Exec(ctx, "INSERT INTO t VALUES (2); INSERT INTO t VALUES (3)"))
			})
			if n := p.Int("SELECT count(*) FROM t"); n != 0 {
				t.Errorf("%d rows outlived the rollback", n)
			}
		})
	}
}

func TestQueriesLeaveNothingPrepared(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]gorm.Config{"plain": {}, "PrepareStmt": {PrepareStmt: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t).Open(&config)
			inside(t, db, func(ctx context.Context, c *conn.Conn, tx *gorm.DB) {
				before := cached(db)
				for i := range int64(3) {
					if n := number(t, c, "SELECT $1::int8 + $2::int8", i, int64(1)); n != i+1 {
						t.Errorf("the query answered %d, want %d", n, i+1)
					}
				}
				must(t, c.Savepoint(ctx))
				must(t, c.RollBack(ctx))
				if _, err := conn.ReadSession(ctx, c); err != nil {
					t.Error(err)
				}
				if n := number(t, c, "SELECT count(*) FROM pg_prepared_statements"); n != 0 {
					t.Errorf("%d statements are left on the server", n)
				}
				if after := cached(db); after != before {
					t.Errorf("GORM's cache went from %d to %d statements", before, after)
				}
			})
		})
	}
}

// cached is the number of statements in GORM's cache.
func cached(db *gorm.DB) int {
	if prepared, ok := db.ConnPool.(*gorm.PreparedStmtDB); ok {
		return len(prepared.Stmts.Keys())
	}
	return 0
}

// Values of the plugin's own queries arrive as they are, whether pgx puts them into the text or not.
func TestValuesArriveAsTheyAre(t *testing.T) {
	t.Parallel()
	values := []string{"", "'", `"`, `\`, `\'; SELECT 1/0 --`, "$1", "$$", "E'", "/*", "--", "ä日本", "a\tb\nc"}
	for name, setting := range map[string]string{
		"in the text":                  "SET application_name = 'seqheal'",
		"backslashes escape":           "SET standard_conforming_strings = off",
		"a client that is not in UTF8": "SET client_encoding = SQL_ASCII",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inside(t, pgtest.New(t).Open(nil), func(ctx context.Context, c *conn.Conn, _ *gorm.DB) {
				must(t, c.Exec(ctx, setting))
				for _, value := range values {
					var text string
					var number int64
					must(t, c.Row(ctx, `SELECT $2::pg_catalog.text AS "$1", 0-$1::pg_catalog.int8`, []any{int64(-7), value}, &text, &number))
					if text != value || number != 7 {
						t.Errorf("%q arrived as %q, and -7 as %d", value, text, -number)
					}
				}
			})
		})
	}
}

func TestAPoolServesASingleQuery(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]gorm.Config{"plain": {}, "PrepareStmt": {PrepareStmt: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t).Open(&config)
			if n := number(t, conn.In(db, db.Statement.ConnPool), "SELECT $1::int8", int64(7)); n != 7 {
				t.Errorf("the query answered %d", n)
			}
			if n := cached(db); n != 0 {
				t.Errorf("%d statements in GORM's cache", n)
			}
		})
	}
}

func TestInTransactionServesATransactionOfDatabaseSQL(t *testing.T) {
	t.Parallel()
	p := pgtest.New(t)
	tx, err := p.SQL.Begin()
	must(t, err)
	defer func() { _ = tx.Rollback() }()
	c := conn.InTransaction(p.SQL, tx)
	if n := number(t, c, "SELECT $1::int8", int64(7)); n != 7 {
		t.Errorf("the query answered %d", n)
	}
	if n := number(t, c, "SELECT count(*) FROM pg_prepared_statements"); n != 0 {
		t.Errorf("%d statements are left on the server", n)
	}
}

func TestRowWithoutARow(t *testing.T) {
	t.Parallel()
	inside(t, pgtest.New(t).Open(nil), func(ctx context.Context, c *conn.Conn, _ *gorm.DB) {
		var n int64
		if err := c.Row(ctx, "SELECT 1 WHERE false", nil, &n); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("Row = %v, want sql.ErrNoRows", err)
		}
	})
}

func TestAFailureWhileScanningLeavesTheConnectionUsable(t *testing.T) {
	t.Parallel()
	inside(t, pgtest.New(t).Open(nil), func(ctx context.Context, c *conn.Conn, _ *gorm.DB) {
		stop := errors.New("stop")
		calls := 0
		err := c.Query(ctx, "SELECT generate_series(1, 1000)", nil, func(*sql.Rows) error {
			calls++
			return stop
		})
		if !errors.Is(err, stop) || calls != 1 {
			t.Errorf("Query = %v after %d rows", err, calls)
		}
		if n := number(t, c, "SELECT 7"); n != 7 {
			t.Errorf("the next query answered %d", n)
		}
	})
}

func TestAFailureInTheMiddleOfTheRowsIsReported(t *testing.T) {
	t.Parallel()
	inside(t, pgtest.New(t).Open(nil), func(ctx context.Context, c *conn.Conn, _ *gorm.DB) {
		rows := 0
		err := c.Query(ctx, "SELECT 1 / (5000 - g) FROM generate_series(1, 10000) g", nil, func(*sql.Rows) error {
			rows++
			return nil
		})
		if err == nil {
			t.Errorf("no error after %d rows", rows)
		}
	})
}

// What two sessions read of the catalog is the same only when their names are
// searched in the same places and neither has changed anything.
func TestASessionTellsWhatMakesItsSightItsOwn(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, statement  string
		wrote, elsewhere bool
	}{
		{"it has read", "SELECT count(*) FROM t", false, false},
		{"it has written", "INSERT INTO t DEFAULT VALUES", true, false},
		{"it has changed the table", "CREATE RULE r AS ON INSERT TO t DO ALSO NOTHING", true, false},
		{"it has taken that back", "SAVEPOINT x; INSERT INTO t DEFAULT VALUES; ROLLBACK TO x", true, false},
		{"another search_path", "SET LOCAL search_path = pg_temp, pg_catalog", false, true},
		{"a temporary table", "CREATE TEMPORARY TABLE t (n int)", true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := pgtest.New(t)
			p.Exec("CREATE TABLE t (n int)")
			inside(t, p.Open(nil), func(ctx context.Context, c *conn.Conn, _ *gorm.DB) {
				before, err := conn.ReadSession(ctx, c)
				must(t, err)
				must(t, c.Exec(ctx, test.statement))
				after, err := conn.ReadSession(ctx, c)
				must(t, err)
				if before.Wrote || after.Wrote != test.wrote {
					t.Errorf("Wrote = %v, then %v, want %v", before.Wrote, after.Wrote, test.wrote)
				}
				if elsewhere := before.SearchPath != after.SearchPath; elsewhere != test.elsewhere {
					t.Errorf("SearchPath = %q, then %q", before.SearchPath, after.SearchPath)
				}
			})
		})
	}
}

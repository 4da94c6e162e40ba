package plugin_test

import (
	"fmt"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// No SQL is built from an unquoted name: whatever schema, table, column and
// sequence are called, the heal works and nothing else is executed.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	hostile := []string{
		`"`, `""`, `a"b`, `"a"`, `\`, `a\"b`, `'`, `a'b`, `''`, `E'\''`, `;`, `a;b`,
		`x"; DROP TABLE canary; --`, `x'; DROP TABLE canary; --`, `x); DROP TABLE canary; --`, `x"); DELETE FROM canary; --`,
		`'::regclass); DROP TABLE canary; --`, `--`, `/*`, `*/ DROP TABLE canary /*`, `$1`, `$2::text`, `$$`, `$a$`, `%s`, `%[1]s%d%%`, `%!s(MISSING)`,
		`?`, `@id`, `:id`, `{}`, `.`, `a.b`, `a"."b`, ` `, ` lead`, `trail `, "a\nb", "a\tb", `*`, `now()`, `null`, `DEFAULT`, `id`, `🐘`, `Ǆ`,
		strings.Repeat("é", 30), strings.Repeat(`"`, 40),
	}
	for _, name := range hostile {
		t.Run(fmt.Sprintf("%q", name), func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			schema := place.Schema + name
			if len(schema) > 63 {
				schema = strings.ToValidUTF8(schema[:63], "")
			}
			quotedSchema, table, column := catalog.Quote(schema), catalog.Quote(schema, name), catalog.Quote(name)
			sequence := catalog.Quote(schema, name+"_s")
			place.Exec("CREATE TABLE canary AS SELECT 1; CREATE SCHEMA " + quotedSchema)
			t.Cleanup(func() { place.Exec("DROP SCHEMA " + quotedSchema + " CASCADE") })
			place.Exec("CREATE SEQUENCE " + sequence + "; CREATE TABLE " + table + " (" + column + " bigint DEFAULT nextval('" + strings.ReplaceAll(sequence, "'", "''") +
				"') PRIMARY KEY, label text, tenant int DEFAULT 1); INSERT INTO " + table + " SELECT g, 'old' FROM generate_series(1, 20) g")
			objects := "SELECT string_agg(relname, ',' ORDER BY oid) FROM pg_class WHERE relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname LIKE '" + place.Schema + "%')"
			before := place.Text(objects)
			for _, m := range []mode{modes[0], modes[2]} {
				for _, guard := range []plugin.Guard{plugin.GuardAuto, plugin.GuardSavepoint} {
					if m.config.SkipDefaultTransaction && guard == plugin.GuardSavepoint {
						continue // no guard outside a transaction
					}
					place.Exec("TRUNCATE " + table + "; ALTER SEQUENCE " + sequence + " RESTART; INSERT INTO " + table + " SELECT g, 'old' FROM generate_series(1, 20) g")
					var seen incidents
					db := place.Open(&m.config, plugin.New(seen.option(), plugin.WithGuard(guard)))
					err := m.within(db, func(tx *gorm.DB) error {
						// A name with a space is an expression to GORM, which quotes nothing in it.
						return tx.Table(table + " ").Create(map[string]any{"label": "new"}).Error
					})
					if err != nil {
						t.Fatal(err, seen.list())
					}
					if got := place.Text("SELECT * FROM " + table + " WHERE label = 'new'"); got != "21|new|1" {
						t.Errorf("stored %s", got)
					}
					i := seen.one(t)
					if i.Outcome != plugin.Healed || i.Table != table || i.Sequence != sequence || i.Column != column {
						t.Errorf("incident %v", i)
					}
					if pool, err := db.DB(); err == nil {
						_ = pool.Close()
					}
				}
			}
			if after := place.Text(objects); after != before || place.Text("SELECT * FROM canary") != "1" {
				t.Errorf("objects %s\nwere %s", after, before)
			}
		})
	}
}

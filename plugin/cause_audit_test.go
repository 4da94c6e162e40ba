package plugin_test

import (
	"database/sql"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// An audit that is asked to says what made each sequence drift that is behind, and what
// lies in front of it; without the option it looks at no row.
func TestAudit_withCauses(t *testing.T) {
	t.Parallel()
	place := pgtest.New(t)
	place.Exec(emptyUsers + `; CREATE TABLE a_imported (id bigserial PRIMARY KEY); INSERT INTO a_imported SELECT generate_series(1, 1500);
		CREATE TABLE "b ""odd""" ("Id" serial PRIMARY KEY); INSERT INTO "b ""odd""" VALUES (7), (9);
		CREATE TABLE c_down (id bigint PRIMARY KEY); CREATE SEQUENCE c_seq INCREMENT -1 OWNED BY c_down.id; ALTER TABLE c_down ALTER id SET DEFAULT nextval('c_seq'); INSERT INTO c_down VALUES (-3), (-5);
		CREATE TABLE d_bare (id bigserial); INSERT INTO d_bare VALUES (5);
		CREATE TABLE e_fine (id bigserial PRIMARY KEY); INSERT INTO e_fine DEFAULT VALUES`)
	db := place.Open(nil, plugin.New())
	mustCreate(t, db, &[]user{{Name: "a"}, {Name: "b"}})
	place.Exec("SELECT setval('users_id_seq', 1, false)")
	plain, err := plugin.Audit(t.Context(), db, plugin.InSchemas(place.Schema))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range plain {
		if f.Cause.Kind != "" || f.Front != (plugin.Front{}) || f.Causes() != nil {
			t.Errorf("not asked for: %v", f)
		}
	}
	want := map[string]string{
		"a_imported": "bulk 1 1500 1000+", `b "odd"`: "unknown 7 9 2", "c_down": "unknown -3 -5 2", "d_bare": "unknown 0 0 0", "e_fine": " 0 0 0", "users": "set_back 1 2 2",
	}
	findings, err := plugin.Audit(t.Context(), db, plugin.InSchemas(place.Schema), plugin.WithCauses(), plugin.AndResync())
	if err != nil || len(findings) != len(want) {
		t.Fatalf("%d findings, %v", len(findings), err)
	}
	for _, f := range findings {
		if got := string(f.Cause.Kind) + " " + frontText(f.Front); got != want[f.Table] {
			t.Errorf("%s instead of %s: %v", got, want[f.Table], f)
		}
		if f.Front.Rows > 0 {
			checkSelect(t, place, f.Front)
		}
		text, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		var again plugin.Finding
		if err := json.Unmarshal(text, &again); err != nil || again.Front != f.Front || again.Cause != f.Cause || !reflect.DeepEqual(again.Causes(), f.Causes()) {
			t.Errorf("%v: %+v after JSON, %+v before", err, again, f)
		}
		if f.Moved == (f.Table == "e_fine") {
			t.Errorf("moved or not: %v", f)
		}
	}
}

// In a transaction of the caller's the look is in a savepoint, and in SERIALIZABLE there is
// none.
func TestAudit_withCausesInATransaction(t *testing.T) {
	t.Parallel()
	for level, want := range map[sql.IsolationLevel]string{
		sql.LevelReadCommitted: "20 rows, ids 1 to 20, came in 1 transaction", sql.LevelSerializable: "the rows in front are not looked at in SERIALIZABLE",
	} {
		t.Run(level.String(), func(t *testing.T) {
			t.Parallel()
			place := pgtest.New(t)
			place.Exec(drifted)
			db := place.Open(nil)
			if err := db.Transaction(func(tx *gorm.DB) error {
				findings, err := plugin.Audit(t.Context(), tx, plugin.OfTables("users"), plugin.WithCauses())
				if err == nil && !strings.HasPrefix(findings[0].Cause.Evidence, want) {
					t.Errorf("%v", findings)
				}
				return err
			}, &sql.TxOptions{Isolation: level}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

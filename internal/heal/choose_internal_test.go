package heal

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/facts"
	"github.com/seqheal/seqheal/internal/statement"
)

type person struct {
	ID    int64
	Email string
}

// silent is a reporter that keeps nothing.
type silent struct{}

func (silent) Report(context.Context, logger.Interface, Incident) {}
func (silent) Note(context.Context, logger.Interface, string)     {}
func (silent) Complain(context.Context, logger.Interface, string) {}

// prepared hands fn the insert of each statement that create sends, as it is inside a
// transaction, with the table known. No server is asked.
func prepared(t *testing.T, table *catalog.Table, settings Settings, create func(*gorm.DB), fn func(*insert)) {
	t.Helper()
	pool, err := sql.Open("pgx", "host=localhost")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}),
		&gorm.Config{DisableAutomaticPing: true, SkipDefaultTransaction: true, Logger: logger.Discard})
	if err != nil {
		t.Fatal(err)
	}
	callbacks := db.Callback().Create()
	original, called := callbacks.Get("gorm:create"), false
	err = callbacks.Replace("gorm:create", func(db *gorm.DB) {
		called = true
		in := &insert{Healer: New(settings, original, silent{}), tables: facts.New(), inside: true}
		if in.stmt = statement.Prepare(db, original); in.stmt == nil {
			t.Fatal(db.Error)
		}
		if table != nil {
			in.tables.Put(in.stmt.Target, table)
		}
		fn(in)
	})
	if err != nil {
		t.Fatal(err)
	}
	create(db)
	if !called {
		t.Fatal("nothing was created")
	}
}

// people is a table that qualifies for the conflict guard, changed by change.
func people(change func(*catalog.Table)) *catalog.Table {
	t := &catalog.Table{
		OID: 1, Schema: "s", Name: "people", Own: true, Constraint: "people_pkey", Key: []catalog.Column{{Name: "id", Type: "int8"}},
		Sequence: catalog.Sequence{OID: 2, Increment: 1, Min: 1, Max: 1 << 40, Cache: 1, CanUse: true, CanRead: true, CanAsk: true},
		Uniques: []catalog.UniqueIndex{
			{Table: 1, Name: "people_pkey", Columns: []string{"id"}, Primary: true, Immediate: true}, {Table: 1, Name: "people_email_key", Columns: []string{"email"}, Immediate: true},
		},
		Indexed: true, Selectable: true, CanInsert: true,
	}
	if change != nil {
		change(t)
	}
	return t
}

func TestChoose(t *testing.T) {
	t.Parallel()
	one := func(db *gorm.DB) { db.Create(&person{Email: "a"}) }
	two := func(db *gorm.DB) { db.Create(&[]person{{Email: "a"}, {Email: "b"}}) }
	named := func(db *gorm.DB) { db.Create(&person{ID: 7}) }
	mixedRows := func(db *gorm.DB) { db.Save(&[]person{{ID: 7}, {Email: "b"}}) }
	on := func(c clause.OnConflict, rows int) func(*gorm.DB) {
		return func(db *gorm.DB) { us := make([]person, rows); db.Clauses(c).Create(&us) }
	}
	nothing, all := clause.OnConflict{DoNothing: true}, clause.OnConflict{UpdateAll: true}
	byEmail := clause.OnConflict{Columns: []clause.Column{{Name: "email"}}, DoNothing: true}
	notGuardable := func(t *catalog.Table) { t.NotGuardable = "something" }
	for _, test := range []struct {
		name   string
		table  *catalog.Table
		guard  GuardMode
		create func(*gorm.DB)
		want   string
	}{
		{"one row", people(nil), GuardAuto, one, "heal.conflict"},
		{"one row, always a savepoint", people(nil), GuardSavepoint, one, "*heal.savepoint"},
		{"one row, nothing", people(nil), GuardOff, one, "heal.passthrough"},
		{"several rows", people(nil), GuardAuto, two, "*heal.savepoint"},
		{"a table that does not qualify", people(notGuardable), GuardAuto, one, "*heal.savepoint"},
		{"facts that serve one statement", people(func(t *catalog.Table) { t.Snapshot = true }), GuardAuto, one, "*heal.savepoint"},
		{"no sequence", people(func(t *catalog.Table) { t.Column = -1 }), GuardAuto, one, "*heal.savepoint"},
		{"every id named", people(nil), GuardAuto, named, "heal.passthrough"},
		{"a deferred key", people(func(t *catalog.Table) { t.InitiallyDeferred = true }), GuardAuto, one, "*heal.preflight"},
		{"DO NOTHING of one row", people(nil), GuardAuto, on(nothing, 1), "*heal.dropped"},
		{"DO NOTHING of one row under a trigger that may skip it", people(func(t *catalog.Table) { t.Triggers.BeforeInsertRow = true }), GuardAuto, on(nothing, 1), "*heal.droppedRows"},
		{"DO NOTHING of one row under a statement trigger", people(func(t *catalog.Table) { t.Triggers.InsertStatement = true }), GuardAuto, on(nothing, 1), "*heal.droppedRows"},
		{"DO NOTHING of several rows", people(nil), GuardAuto, on(nothing, 2), "*heal.droppedRows"},
		{"UpdateAll", people(nil), GuardAuto, on(all, 1), "*heal.savepoint"},
		{"by another index", people(nil), GuardAuto, on(byEmail, 1), "*heal.savepoint"},
		{"some ids named", people(nil), GuardAuto, mixedRows, "*heal.preflight"},
		{"DO NOTHING by the key", people(nil), GuardAuto, on(clause.OnConflict{Columns: []clause.Column{{Name: "id"}}, DoNothing: true}, 2), "*heal.droppedRows"},
		{"an upsert under a trigger that gives ids", people(func(t *catalog.Table) { t.Triggers.BeforeInsertRow = true }), GuardAuto, on(all, 1), "*heal.preflight"},
		{"an upsert of a sequence that cycles", people(func(t *catalog.Table) { t.Sequence.Cycle = true }), GuardAuto, on(all, 1), "*heal.preflight"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			prepared(t, test.table, Settings{Guard: test.guard}, test.create, func(in *insert) {
				got := ""
				if in.stmt.Insert.OnConflict != nil {
					got = fmt.Sprintf("%T", in.chooseUpsert(context.Background(), false))
				} else {
					got = fmt.Sprintf("%T", in.choosePlain(context.Background()))
				}
				if got != test.want {
					t.Errorf("chose %s, want %s", got, test.want)
				}
			})
		})
	}
}

// A tripwire stands in DO UPDATE where only the sequence can give an id, and the ids of the
// other rows are known.
func TestWithTripwire(t *testing.T) {
	t.Parallel()
	drawn := func(db *gorm.DB) { db.Save(&[]person{{Email: "a"}, {Email: "b"}}) }
	named := func(db *gorm.DB) { db.Save(&[]person{{ID: 7}, {Email: "b"}}) }
	const wire = `(excluded."id"::pg_catalog.text OPERATOR(pg_catalog.||) ' exists (seqheal)')::pg_catalog.bool IS NULL`
	for name, test := range map[string]struct {
		change func(*catalog.Table)
		create func(*gorm.DB)
		want   string
	}{
		"every row draws":                 {nil, drawn, "CASE WHEN " + wire + " THEN (true\n) ELSE false END"},
		"a row names its id":              {nil, named, `CASE WHEN excluded."id" = ANY ($4::pg_catalog.int8[]) THEN (true` + "\n) ELSE " + wire + " END"},
		"a WHERE of the caller's":         {nil, func(db *gorm.DB) { db.Clauses(where).Create(&person{}) }, "CASE WHEN " + wire + ` THEN ("people"."email" = $2 ` + "\n) ELSE false END"},
		"an UPDATE trigger, each row":     {func(t *catalog.Table) { t.Triggers.AfterRow = true }, named, `CASE WHEN excluded."id" = ANY ($4::pg_catalog.int8[]) THEN (true` + "\n) ELSE " + wire + " END"},
		"row-level security":              {func(t *catalog.Table) { t.TreeRowSecurity = true }, drawn, "CASE WHEN " + wire + " THEN (true\n) ELSE false END"},
		"two columns, every row draws":    {twoColumns, drawn, "CASE WHEN " + wire + " THEN (true\n) ELSE false END"},
		"two columns, a row names its id": {twoColumns, named, ""},
		"a domain, a row names its id":    {func(t *catalog.Table) { t.Key[0].Domain = true }, named, ""},
		"numeric, a row names its id":     {func(t *catalog.Table) { t.Key[0].Type = "numeric" }, named, ""},
		"a BEFORE INSERT row trigger":     {func(t *catalog.Table) { t.Triggers.BeforeInsertRow = true }, drawn, ""},
		"a trigger INSTEAD OF":            {func(t *catalog.Table) { t.Triggers.InsteadOf = true }, drawn, ""},
		"a rule":                          {func(t *catalog.Table) { t.Rules = true }, drawn, ""},
		"by the constraint's name": {nil, func(db *gorm.DB) {
			db.Clauses(clause.OnConflict{OnConstraint: "people_pkey", UpdateAll: true}).Create(&person{})
		}, ""},
		"a table of the name of the new row": {nil, func(db *gorm.DB) { db.Table("excluded").Clauses(clause.OnConflict{UpdateAll: true}).Create(&person{}) }, ""},
	} {
		prepared(t, people(test.change), Settings{}, test.create, func(in *insert) {
			text, ok := in.withTripwire(people(test.change))
			got := ""
			if ok {
				_, after, _ := strings.Cut(text.SQL, "DO UPDATE SET ")
				_, after, _ = strings.Cut(after, " WHERE ")
				got, _, _ = strings.Cut(after, "  RETURNING")
			}
			if got != test.want {
				t.Errorf("%s: %q, want %q", name, got, test.want)
			}
		})
	}
}

// where is an upsert with a WHERE of the caller's own.
var where = clause.OnConflict{UpdateAll: true, Where: clause.Where{Exprs: []clause.Expression{clause.Eq{Column: clause.Column{Table: "people", Name: "email"}, Value: "a"}}}}

func twoColumns(t *catalog.Table) { t.Key = append(t.Key, catalog.Column{Name: "email", Type: "text"}) }

func TestCollided(t *testing.T) {
	t.Parallel()
	view := people(func(t *catalog.Table) {
		t.View = &catalog.View{Columns: map[string]string{"email": "id", "id": "other"}}
	})
	for _, test := range []struct {
		name   string
		table  *catalog.Table
		err    error
		create func(*gorm.DB)
		want   bool
	}{
		{"the key, left out", people(nil), unique("(id)=(7)"), nil, true},
		{"the key, of a table that is not known", nil, unique("(id)=(7)"), nil, true},
		{"the key, named", people(nil), unique("(id)=(7)"), func(db *gorm.DB) { db.Create(&person{ID: 7}) }, false},
		{"another column, named", people(nil), unique("(email)=(a)"), nil, false},
		{"two columns, one left out", people(nil), unique("(email, id)=(a, 7)"), nil, true},
		{"a name in quotes", people(nil), unique(`("Order id")=(7)`), nil, true},
		{"an expression", people(nil), unique("(lower(email))=(a)"), nil, false},
		{"the detail withheld", people(nil), &pgconn.PgError{Code: "23505"}, nil, true},
		{"a view shows the key under the name of a column that is named", view, unique("(id)=(7)"), nil, false},
		{"another error", people(nil), &pgconn.PgError{Code: "23503", Detail: "Key (id)=(7) is not present."}, nil, false},
		{"no error of the server", people(nil), context.Canceled, nil, false},
		{"none", people(nil), nil, nil, false},
	} {
		create := test.create
		if create == nil {
			create = func(db *gorm.DB) { db.Create(&person{Email: "a"}) }
		}
		prepared(t, test.table, Settings{}, create, func(in *insert) {
			if got := in.collided(test.err) != nil; got != test.want {
				t.Errorf("%s: %v, want %v", test.name, got, test.want)
			}
		})
	}
}

func unique(detail string) error {
	return fmt.Errorf("insert: %w", &pgconn.PgError{Code: "23505", Detail: "Key " + detail + " already exists."})
}

// The key of a collision is known by the columns in the detail, and by the constraint's
// name, as the catalog has it now, where the detail was withheld.
func TestCollision_isOfAKey(t *testing.T) {
	t.Parallel()
	table := people(func(t *catalog.Table) { t.Violated.Constraint = "people_pkey" })
	number := people(func(t *catalog.Table) {
		t.Constraint, t.Key, t.Sequence.OID = "people_number", []catalog.Column{{Name: "number", Type: "int8"}}, 3
	})
	table.Keys = []*catalog.Table{table, number}
	number.Keys = table.Keys
	for name, test := range map[string]struct {
		err  *pgconn.PgError
		want *catalog.Table
	}{
		"by its columns":                   {&pgconn.PgError{Code: "23505", Detail: "Key (id)=(7) already exists.", ConstraintName: "people_pkey"}, table},
		"another key by its columns":       {&pgconn.PgError{Code: "23505", Detail: "Key (number)=(7) already exists.", ConstraintName: "people_pkey"}, number},
		"another key, withheld":            {&pgconn.PgError{Code: "23505", ConstraintName: "people_number"}, number},
		"under another name":               {&pgconn.PgError{Code: "23505", Detail: "Key (id)=(7) already exists.", ConstraintName: "people_pkey_ccnew"}, table},
		"under the key's name":             {&pgconn.PgError{Code: "23505", Detail: "Key (email)=(a) already exists.", ConstraintName: "people_pkey"}, nil},
		"more columns, a wider index":      {&pgconn.PgError{Code: "23505", Detail: "Key (id, email)=(7, a) already exists."}, table},
		"withheld, by its name":            {&pgconn.PgError{Code: "23505", ConstraintName: "people_pkey"}, table},
		"withheld, under the other's name": {&pgconn.PgError{Code: "23505", ConstraintName: "people_email"}, nil},
	} {
		prepared(t, table, Settings{}, func(db *gorm.DB) { db.Create(&person{Email: "a"}) }, func(in *insert) {
			if got := in.mustCollide(t, test.err).by(table); got != test.want {
				t.Errorf("%s: %v, want %v", name, got, test.want)
			}
		})
	}
}

func (in *insert) mustCollide(t *testing.T, err *pgconn.PgError) *collision {
	t.Helper()
	if c := in.collided(err); c != nil {
		return c
	}
	c := collision{err: err}
	c.server.Detail, c.server.Constraint = err.Detail, err.ConstraintName
	return &c
}

package plugin_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// kind is one way in which a sequence feeds a key. An empty field has the
// default that is written beside it.
type kind struct {
	name string
	// make creates the table; $T, $K and $Q stand for table, key and sequence,
	// quoted, and $S for the schema.
	make  string
	table string // users
	key   string // id
	// columns are those that the old rows fill: $K, name.
	columns string
	// old selects the old rows, twenty with ids from 1.
	old      string
	more     string // what else has to be there
	sequence string // <table>_<key>_seq
	// reported and column are the table and column in the incident, where they
	// are not the table and the key.
	reported, column string
	first            int64 // 21: the first new id
	// gaps is true where other draws of the same sequence fall between.
	gaps bool
	left int64 // what the incident must say of an outlier
	// insert sends rows named new 0, new 1, …: user structs.
	insert func(db *gorm.DB, rows int) (held []string, err error)
	// stored reads the new rows as insert tells them: id|name.
	stored string
	// temporary tables live on GORM's only connection.
	temporary bool
	qualified bool // the model's TableName names the schema
	config    gorm.Config
	dsn       map[string]string
}

func (k kind) withDefaults() kind {
	fill := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	fill(&k.table, "users")
	fill(&k.key, "id")
	fill(&k.columns, "$K, name")
	fill(&k.old, "SELECT g, 'old ' || g FROM generate_series(1, 20) g")
	fill(&k.sequence, k.table+"_"+k.key+"_seq")
	fill(&k.reported, k.table)
	fill(&k.column, k.key)
	fill(&k.stored, "SELECT $K, name FROM $T WHERE name LIKE 'new%' ORDER BY name")
	if k.first == 0 {
		k.first = 21
	}
	if k.insert == nil {
		k.insert = rowsOf(func(i int) user { return user{Name: fmt.Sprint("new ", i)} },
			func(u user) string { return fmt.Sprintf("%d|%s", u.ID, u.Name) })
	}
	return k
}

// sql fills the kind's names into a text.
func (k kind) sql(text string) string {
	return strings.NewReplacer("$T", catalog.Quote(k.table), "$K", catalog.Quote(k.key), "$Q", catalog.Quote(k.sequence)).Replace(text)
}

// rowsOf inserts one struct, or a slice of several, and tells what they hold.
func rowsOf[T any](row func(i int) T, held func(T) string) func(*gorm.DB, int) ([]string, error) {
	return func(db *gorm.DB, count int) (lines []string, err error) {
		all := make([]T, count)
		for i := range all {
			all[i] = row(i)
		}
		if count == 1 {
			err = db.Create(&all[0]).Error
		} else {
			err = db.Create(&all).Error
		}
		for _, one := range all {
			lines = append(lines, held(one))
		}
		return lines, err
	}
}

// names gives every model one table and every field ID one column.
type names struct {
	schema.NamingStrategy
	table, key string
}

func (n names) TableName(string) string { return n.table }

func (n names) ColumnName(table, field string) string {
	if field == "ID" {
		return n.key
	}
	return n.NamingStrategy.ColumnName(table, field)
}

// sequenceState is a sequence's definition and last value.
type sequenceState struct{ start, min, max, increment, last int64 }

func readSequence(t *testing.T, place *pgtest.Place, name string) (s sequenceState) {
	t.Helper()
	err := place.SQL.QueryRow(`SELECT seqstart, seqmin, seqmax, seqincrement, last_value
		FROM pg_sequence, `+name+` WHERE seqrelid = $1::regclass`, name).Scan(&s.start, &s.min, &s.max, &s.increment, &s.last)
	if err != nil {
		t.Fatalf("sequence %s: %v", name, err)
	}
	return s
}

// open makes the kind's tables and opens GORM on them.
func (k kind) open(t *testing.T, place *pgtest.Place, m mode, options ...plugin.Option) *gorm.DB {
	t.Helper()
	config := k.config
	config.SkipDefaultTransaction = m.config.SkipDefaultTransaction
	if config.NamingStrategy == nil {
		config.NamingStrategy = names{table: k.table, key: k.key}
	}
	if k.qualified {
		config.NamingStrategy = names{table: place.Schema + "." + k.table, key: k.key}
	}
	dsn := map[string]string{}
	for name, value := range k.dsn {
		dsn[name] = strings.ReplaceAll(value, "$S", place.Schema)
	}
	db := place.OpenDSN(place.DSNFor(dsn), &config, plugin.New(options...))
	if k.temporary {
		pool, _ := db.DB()
		pool.SetMaxOpenConns(1)
		onPool(t, place, pool)
	}
	place.Exec(k.sql(k.make))
	place.Exec(k.sql("INSERT INTO $T (" + k.columns + ") OVERRIDING SYSTEM VALUE " + k.old))
	if k.more != "" {
		place.Exec(k.sql(k.more))
	}
	return db
}

// onPool lets the test look at the tables through GORM's own connection.
func onPool(t *testing.T, place *pgtest.Place, pool *sql.DB) {
	own := place.SQL
	place.SQL = pool
	t.Cleanup(func() { place.SQL = own })
}

// insertDrifted inserts on the drifted table, and checks everything that a heal
// promises.
func (k kind) insertDrifted(t *testing.T, place *pgtest.Place, m mode, rows int) {
	t.Helper()
	var seen incidents
	db := k.open(t, place, m, seen.option())
	allOld := k.sql("SELECT * FROM $T WHERE name LIKE 'old%' ORDER BY name, $K")
	old := place.Text(allOld)
	sequence := catalog.Quote(k.sequence)
	before := readSequence(t, place, sequence)
	var held []string
	err := m.within(db, func(tx *gorm.DB) (err error) {
		held, err = k.insert(tx, rows)
		return err
	})
	if err != nil {
		t.Fatalf("%v; %v", err, seen.list())
	}
	if stored := place.Text(k.sql(k.stored)); stored != strings.Join(held, "\n") {
		t.Errorf("stored\n%s\nheld\n%s", stored, strings.Join(held, "\n"))
	}
	if now := place.Text(allOld); now != old {
		t.Errorf("old rows changed:\n%s", now)
	}
	after := readSequence(t, place, sequence)
	k.checkIDs(t, held, before, after)
	i := seen.one(t)
	if i.Outcome != plugin.Healed || i.Rounds != 1 || i.Err != nil || i.Left != k.left || i.Silent {
		t.Errorf("incident %v", i)
	}
	if !strings.HasSuffix(i.Table, "."+catalog.Quote(k.reported)) || !strings.HasSuffix(i.Sequence, "."+sequence) || i.Column != catalog.Quote(k.column) {
		t.Errorf("incident names table %s, sequence %s, column %s", i.Table, i.Sequence, i.Column)
	}
	if (i.To-i.From)*before.increment <= 0 {
		t.Errorf("incident: %d → %d", i.From, i.To)
	}
	// The sequence is past every row: nothing is left to heal.
	place.Exec(k.sql("UPDATE $T SET name = 'healed' WHERE name LIKE 'new%'"))
	if err := m.within(db, func(tx *gorm.DB) error { _, err := k.insert(tx, rows); return err }); err != nil {
		t.Errorf("the next insert: %v", err)
	}
	seen.one(t)
}

// checkIDs checks that the new ids are the sequence's own next ones, within its
// bounds and in its phase, and that it never stepped back.
func (k kind) checkIDs(t *testing.T, held []string, before, after sequenceState) {
	t.Helper()
	want := k.first
	for _, line := range held {
		var id int64
		if _, err := fmt.Sscanf(line, "%d|", &id); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if (id-after.start)%after.increment != 0 || id < after.min || id > after.max {
			t.Errorf("id %d is not one of the sequence's %+v", id, after)
		}
		if id != want && !k.gaps || (id-want)*after.increment < 0 {
			t.Errorf("id %d, want %d", id, want)
		}
		want = id + after.increment
	}
	if (after.last-before.last)*after.increment < 0 || (after.last-want+after.increment)*after.increment < 0 {
		t.Errorf("sequence from %d to %d with ids before %d", before.last, after.last, want)
	}
}

package catalog_test

import (
	"context"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgtest"
)

// facts is what a test expects of a table. Its zero value is the most usual
// case: the statement's own ordinary table, with an index, that qualifies for
// the conflict guard. $S stands for the schema.
type facts struct {
	name       string // the table described, when it is not the one asked for
	constraint string
	key        string // column:type in the order of the index
	column     string // the one that is fed
	sequence   string

	unsupported, notGuardable string

	foreign, unindexed, rowSecurity, trigger, rowTrigger, partitioned, deferred, unreadable bool
}

func factsOf(t *catalog.Table, asked string) facts {
	f := facts{
		constraint: t.Constraint, unsupported: t.Unsupported, notGuardable: t.NotGuardable,
		foreign: !t.Own, unindexed: !t.Indexed, rowSecurity: t.RowSecurity, trigger: t.Triggers.BeforeInsertRow || t.Triggers.InsertStatement, rowTrigger: t.Triggers.BeforeInsertRow,
		partitioned: t.Partitioned, deferred: t.InitiallyDeferred, unreadable: !t.Selectable,
	}
	if t.Name != asked {
		f.name = t.Name
	}
	columns := make([]string, len(t.Key))
	for i, column := range t.Key {
		columns[i] = column.Name + ":" + column.Type
	}
	f.key = strings.Join(columns, ",")
	if t.Fed() {
		f.column, f.sequence = t.FedColumn(), t.Sequence.Name
	}
	return f
}

// serial are the facts of a healthy table with this key.
func serial(table, typname string) facts {
	return facts{constraint: table + "_pkey", key: "id:" + typname, column: "id", sequence: table + "_id_seq"}
}

// reading runs fn on the connection of a transaction, as the plugin does.
func reading(t *testing.T, db *gorm.DB, fn func(context.Context, *conn.Conn)) {
	t.Helper()
	tx := db.Begin()
	if tx.Error != nil {
		t.Fatal(tx.Error)
	}
	defer tx.Rollback()
	fn(t.Context(), conn.In(tx, tx.Statement.ConnPool))
}

func read(t *testing.T, db *gorm.DB, target, violated catalog.Name) *catalog.Table {
	t.Helper()
	var table *catalog.Table
	reading(t, db, func(ctx context.Context, c *conn.Conn) {
		var err error
		if table, err = catalog.Read(ctx, c, target, violated); err != nil {
			t.Fatal(err)
		}
	})
	return table
}

// check reads a table and compares what the catalog says.
func check(t *testing.T, db *gorm.DB, target, violated catalog.Name, want facts) *catalog.Table {
	t.Helper()
	table := read(t, db, target, violated)
	if got := factsOf(table, target.Table); got != want {
		t.Errorf("read %v, violated %v:\n got %+v\nwant %+v", target, violated, got, want)
	}
	return table
}

// asRole opens the place as a role that may use the schema and what grants say;
// $R stands for the role.
func asRole(t *testing.T, p *pgtest.Place, grants string) *gorm.DB {
	t.Helper()
	role := p.Role()
	p.Exec(strings.ReplaceAll(grants, "$R", role))
	return p.OpenDSN(p.DSNFor(map[string]string{"user": role}), nil)
}

package facts

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/statement"
)

// A name is read out of a statement's text, which would stay in memory with it.
func TestTables_doNotKeepTheStatementThatMadeATableKnown(t *testing.T) {
	const tables, megabyte = 64, 1 << 20
	known := New()
	before := heap()
	for i := range tables {
		text := fmt.Sprintf(`INSERT INTO "table_%d" ("name") VALUES `, i) + strings.Repeat("($1),", megabyte/5)
		name, ok := statement.TargetOf(text)
		if !ok {
			t.Fatal(text[:50])
		}
		known.Put(name, &catalog.Table{Own: true, Name: strings.Clone(name.Table), Column: -1})
		known.Unguard(name)
	}
	if grown := heap() - before; grown > tables*megabyte/4 {
		t.Errorf("the heap grew by %d bytes with %d tables", grown, tables)
	}
	if k := known.Get(catalog.Name{Table: "table_7"}); k == nil || k.Table.Name != "table_7" {
		t.Errorf("table_7 is not known: %v", k)
	}
}

func heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// users is a table that qualifies for the conflict guard.
func users(change func(*catalog.Table)) *catalog.Table {
	t := &catalog.Table{Own: true, Schema: "public", Name: "users", Key: []catalog.Column{{Name: "id", Type: "int8"}}}
	t.Identity = catalog.Identity{Named: 1, Database: "db", Role: "app", SearchPath: "public"}
	if change != nil {
		change(t)
	}
	return t
}

var usersName = catalog.Name{Table: "users"}

// A name that stood for two tables, or for one under two roles or databases, is sent in
// a savepoint from then on, also once the first table is read again.
func TestTables_takeTheGuardFromAnAmbiguousName(t *testing.T) {
	for name, change := range map[string]func(*catalog.Table){
		"another table":    func(t *catalog.Table) { t.Identity.Named = 2 },
		"another role":     func(t *catalog.Table) { t.Identity.Role = "other" },
		"another database": func(t *catalog.Table) { t.Identity.Database = "other" },
	} {
		known := New()
		if e := known.Put(usersName, users(nil)); e.Guard == "" || e.Ambiguous {
			t.Errorf("%s: the first entry is %+v", name, e)
		}
		for _, next := range []func(*catalog.Table){change, nil, change} {
			if e := known.Put(usersName, users(next)); e.Guard != "" || !e.Ambiguous || known.Get(usersName) != e {
				t.Errorf("%s: once it is ambiguous %+v", name, e)
			}
		}
	}
	known := New()
	known.Put(usersName, users(nil))
	if e := known.Put(usersName, users(nil)); e.Guard == "" || e.Ambiguous {
		t.Errorf("the same table read again is %+v", e)
	}
	known.Forget(usersName, users(nil))
	if e := known.Put(usersName, users(nil)); e.Guard != "" || !e.Ambiguous {
		t.Errorf("a name that was forgotten keeps its guard: %+v", e)
	}
}

// What serves one statement has no guard, and displaces nothing that is good for more.
func TestTables_keepFactsFromProvisionalOnes(t *testing.T) {
	for name, once := range map[string]func(*catalog.Table){
		"a snapshot":         func(t *catalog.Table) { t.Snapshot = true },
		"rows not committed": func(t *catalog.Table) { t.Uncommitted = true },
	} {
		known := New()
		if e := known.Put(usersName, users(once)); e.Guard != "" || !known.Get(usersName).Table.Provisional() {
			t.Errorf("%s: first %+v", name, e)
		}
		good := known.Put(usersName, users(nil))
		if good.Guard == "" || known.Get(usersName) != good {
			t.Errorf("%s: what is good for more is not remembered: %+v", name, good)
		}
		if e := known.Put(usersName, users(once)); e == good || e.Guard != "" || !e.Table.Provisional() {
			t.Errorf("%s: the statement gets %+v", name, e)
		}
		if e := known.Get(usersName); e != good {
			t.Errorf("%s: it displaced what was known: %+v", name, e)
		}
	}
}

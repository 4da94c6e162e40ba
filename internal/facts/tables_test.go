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

package plugin_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/pgtest"
	"github.com/seqheal/seqheal/plugin"
)

// articleScript is the article's second method: a query that writes the queries.
const articleScript = `SELECT 'SELECT SETVAL(' ||
       quote_literal(quote_ident(PGT.schemaname) || '.' || quote_ident(S.relname)) ||
       ', COALESCE(MAX(' ||quote_ident(C.attname)|| '), 1) ) FROM ' ||
       quote_ident(PGT.schemaname)|| '.'||quote_ident(T.relname)|| ';'
FROM pg_class AS S, pg_depend AS D, pg_class AS T, pg_attribute AS C, pg_tables AS PGT
WHERE S.relkind = 'S' AND S.oid = D.objid AND D.refobjid = T.oid AND D.refobjid = C.attrelid
  AND D.refobjsubid = C.attnum AND T.relname = PGT.tablename
ORDER BY S.relname;`

const manyTables = 10_000

// manyDatabase makes a database of tables that are all 20 rows behind.
func manyDatabase(b *testing.B) (dsn string) {
	b.Helper()
	p := pgtest.New(b)
	name := p.Schema + "_many"
	p.Exec("CREATE DATABASE " + name)
	b.Cleanup(func() { p.Exec("DROP DATABASE " + name + " WITH (FORCE)") })
	dsn = strings.Replace(p.DSNFor(map[string]string{"dbname": name, "search_path": ""}), "search_path=&", "", 1) // psql does not know it
	db := open(b, dsn)
	for from := 0; from < manyTables; from += 500 {
		err := db.Exec(`DO $$ BEGIN FOR i IN ? .. ? LOOP
			EXECUTE format('CREATE TABLE t_%s (id serial PRIMARY KEY, name text)', i);
			EXECUTE format('INSERT INTO t_%s SELECT generate_series(1, 20)', i); END LOOP; END $$`, gorm.Expr(strconv.Itoa(from)), gorm.Expr(strconv.Itoa(from+499))).Error
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := db.Exec("VACUUM ANALYZE").Error; err != nil {
		b.Fatal(err)
	}
	return dsn
}

// BenchmarkAuditOfTenThousandSequences reports, of one run: seconds of an audit, of a
// resync of all, of the article's script with psql, and the audit's further memory.
func BenchmarkAuditOfTenThousandSequences(b *testing.B) {
	dsn := manyDatabase(b)
	db := open(b, dsn)
	rewind := func() {
		if err := db.Exec(`SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'`).Error; err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		var findings []plugin.Finding
		var err error
		memory := peakMemory(func() {
			start := time.Now()
			findings, err = plugin.Audit(b.Context(), db)
			b.ReportMetric(time.Since(start).Seconds(), "audit-s")
		})
		if err != nil || len(findings) != manyTables || findings[0].State != plugin.StateBehind {
			b.Fatalf("%d findings, %v", len(findings), err)
		}
		memory = max(memory, peakMemory(func() {
			start := time.Now()
			findings, err = plugin.Resync(b.Context(), db)
			b.ReportMetric(time.Since(start).Seconds(), "resync-s")
		}))
		if err != nil || len(findings) != manyTables || !findings[0].Moved || findings[0].State != plugin.StateInSync {
			b.Fatalf("%d findings, %v", len(findings), err)
		}
		b.ReportMetric(memory/(1<<20), "MB")
		rewind()
		start := time.Now()
		runArticleScript(b, dsn)
		b.ReportMetric(time.Since(start).Seconds(), "script-s")
		rewind()
	}
	b.ReportMetric(0, "ns/op")
}

// peakMemory is how much the heap grew at most while fn ran, in bytes.
func peakMemory(fn func()) float64 {
	heap := func() int64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapInuse)
	}
	runtime.GC()
	before := heap()
	var peak atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				peak.Store(max(peak.Load(), heap()))
			case <-stop:
				return
			}
		}
	}()
	fn()
	close(stop)
	<-stopped
	return float64(max(0, peak.Load()-before))
}

func runArticleScript(b *testing.B, dsn string) {
	b.Helper()
	dir := b.TempDir()
	script, temp := filepath.Join(dir, "fix_sequences.sql"), filepath.Join(dir, "temp")
	if err := os.WriteFile(script, []byte(articleScript), 0o600); err != nil {
		b.Fatal(err)
	}
	for _, arguments := range [][]string{{"-Atq", "-f", script, "-o", temp}, {"-q", "-o", os.DevNull, "-f", temp}} {
		if out, err := exec.Command("psql", append([]string{"-X", "-v", "ON_ERROR_STOP=1", dsn}, arguments...)...).CombinedOutput(); err != nil {
			b.Fatalf("psql: %v: %s", err, out)
		}
	}
}

func open(b *testing.B, dsn string) *gorm.DB {
	b.Helper()
	db, err := gorm.Open(postgres.Open(dsn), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if pool, err := db.DB(); err == nil {
			_ = pool.Close()
		}
	})
	return db
}

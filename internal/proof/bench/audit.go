package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"gorm.io/gorm"

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

const (
	auditedTables = 10_000
	auditRounds   = 5
)

// audits measures an audit and a resync of a database whose tables are all 20 rows in
// front of their sequences, in turns with the article's script run by psql.
func audits(ctx context.Context, b *bench) error {
	db, err := b.manyTables(ctx)
	if err != nil {
		return err
	}
	var audit, resync, script []time.Duration
	var most int64
	for range auditRounds {
		var findings []plugin.Finding
		start := time.Now()
		memory := grown(func() { findings, err = plugin.Audit(ctx, db) })
		audit = append(audit, time.Since(start))
		if err != nil || len(findings) != auditedTables || findings[0].State != plugin.StateBehind {
			return fmt.Errorf("audit: %d findings, %w", len(findings), err)
		}
		start = time.Now()
		memory = max(memory, grown(func() { findings, err = plugin.Resync(ctx, db) }))
		resync = append(resync, time.Since(start))
		if err != nil || len(findings) != auditedTables || !findings[0].Moved {
			return fmt.Errorf("resync: %d findings, %w", len(findings), err)
		}
		most = max(most, memory)
		if err := b.rewind(db); err != nil {
			return err
		}
		start = time.Now()
		if err := b.runArticleScript(ctx); err != nil {
			return err
		}
		script = append(script, time.Since(start))
		if err := b.rewind(db); err != nil {
			return err
		}
	}
	seconds := func(of []time.Duration) string { return fmt.Sprintf("%.1f", quantile(of, 0.5).Seconds()) }
	t := newTable(fmt.Sprintf("%d sequences, all behind, medians of %d rounds in turns", auditedTables, auditRounds), "", "seconds")
	t.add("plugin.Audit", seconds(audit))
	t.add("plugin.Resync (audits, then moves)", seconds(resync))
	t.add("the article's script, psql", seconds(script))
	t.add("heap that the audit and the resync needed at the most", fmt.Sprintf("%.0f MB", float64(most)/1e6))
	t.print()
	return nil
}

const manyDatabase = "many"

// manyTables makes a database of its own, for the article's script takes all of one.
func (b *bench) manyTables(ctx context.Context) (*gorm.DB, error) {
	if err := b.exec(ctx, "CREATE DATABASE "+manyDatabase); err != nil {
		return nil, err
	}
	pool, err := sql.Open("pgx", b.server.With(map[string]string{"dbname": manyDatabase}))
	if err != nil {
		return nil, err
	}
	db, err := open(pool, gorm.Config{})
	if err != nil {
		return nil, err
	}
	for from := 0; from < auditedTables; from += 500 {
		if _, err := pool.ExecContext(ctx, fmt.Sprintf(`DO $$ BEGIN FOR i IN %d .. %d LOOP
			EXECUTE format('CREATE TABLE t_%%s (id serial PRIMARY KEY, name text)', i);
			EXECUTE format('INSERT INTO t_%%s SELECT generate_series(1, 20)', i); END LOOP; END $$`, from, from+499)); err != nil {
			return nil, err
		}
	}
	_, err = pool.ExecContext(ctx, "VACUUM ANALYZE")
	return db, err
}

func (b *bench) rewind(db *gorm.DB) error {
	return db.Exec(`SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'`).Error
}

// runArticleScript does what the article says: psql writes the queries to a file, and
// runs the file.
func (b *bench) runArticleScript(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "seqheal-script-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	script, temp := filepath.Join(dir, "fix_sequences.sql"), filepath.Join(dir, "temp")
	if err := os.WriteFile(script, []byte(articleScript), 0o600); err != nil {
		return err
	}
	dsn := b.server.With(map[string]string{"dbname": manyDatabase})
	for _, arguments := range [][]string{{"-Atq", "-f", script, "-o", temp}, {"-q", "-o", os.DevNull, "-f", temp}} {
		arguments = append([]string{"-X", "-v", "ON_ERROR_STOP=1", dsn}, arguments...)
		if out, err := exec.CommandContext(ctx, "psql", arguments...).CombinedOutput(); err != nil {
			return fmt.Errorf("psql: %w: %s", err, out)
		}
	}
	return nil
}

// grown is by how much the heap grew at the most while fn ran, in bytes.
func grown(fn func()) int64 {
	inUse := func() int64 {
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapInuse)
	}
	runtime.GC()
	before := inUse()
	var most atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				most.Store(max(most.Load(), inUse()))
			case <-stop:
				return
			}
		}
	}()
	fn()
	close(stop)
	<-stopped
	return max(0, most.Load()-before)
}

// importedUser is a row of the article's table.
type importedUser struct {
	ID                             int64
	Name, Surname, Email, Password string
}

func (importedUser) TableName() string { return "Users" }

// imports measures 100,000 rows with explicit ids in batches of 1,000, in GORM's
// transaction, with the plugin as it is and with prevention, in turns.
func imports(ctx context.Context, b *bench) error {
	const rows, batch, rounds = 100_000, 1_000, 15
	if err := b.exec(ctx, `CREATE TABLE "Users" (id bigserial PRIMARY KEY, name text, surname text, email text UNIQUE, password text)`); err != nil {
		return err
	}
	pools := make([]*gorm.DB, 2)
	for i, options := range [][]plugin.Option{{}, {plugin.WithPrevention()}} {
		pool, err := sql.Open("pgx", b.server.DSN())
		if err != nil {
			return err
		}
		defer func() { _ = pool.Close() }()
		if pools[i], err = open(pool, gorm.Config{}, plugin.New(options...)); err != nil {
			return err
		}
	}
	from := int64(0)
	load := func(db *gorm.DB) (time.Duration, error) {
		users := make([]importedUser, rows)
		for i := range users {
			id := from + int64(i) + 1
			users[i] = importedUser{id, "Jennifer", "Jones", fmt.Sprintf("jennifer%d@example.com", id), "pBHxe*cWnC2ZJKHw"}
		}
		from += rows
		runtime.GC()
		start := time.Now()
		err := db.WithContext(ctx).CreateInBatches(users, batch).Error
		spent := time.Since(start)
		if err == nil {
			err = b.exec(ctx, `TRUNCATE "Users"`)
		}
		return spent, err
	}
	times := make([][]time.Duration, len(pools))
	for range rounds {
		for i, db := range pools {
			spent, err := load(db)
			if err != nil {
				return err
			}
			times[i] = append(times[i], spent)
		}
	}
	t := newTable("An import of 100,000 rows with explicit ids in batches of 1,000", "", "seconds", "× without prevention")
	t.add("seqheal", fmt.Sprintf("%.2f", quantile(times[0], 0.5).Seconds()), "1")
	t.add("seqheal, WithPrevention", fmt.Sprintf("%.2f", quantile(times[1], 0.5).Seconds()), ratioTo(times[1], times[0]).String())
	t.print()
	return nil
}

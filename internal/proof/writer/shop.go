package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/pgserver"
	"github.com/seqheal/seqheal/plugin"
)

// shop is the database of the application, what is in front of it, and the
// database that dumps are taken from.
type shop struct {
	server   *pgserver.Server
	bouncer  *pgserver.Pooler
	dir      string // for dumps
	database string // where the tables are now
	plain    bool

	admin, source *sql.DB // superusers
	// direct are the pools that connect to the database themselves, pooled those
	// that go through PgBouncer, for as long as the program runs.
	direct, pooled []pool
	journal        *journal
	crew           *crew
	imports        int
	margin         int // of the next import, in front of the sequences
	cutOvers       int
	poolSize       int
}

const sourceDatabase = "source"

func open(plain bool) (s *shop, err error) {
	s = &shop{plain: plain, journal: newJournal(), poolSize: 5, margin: 4 * leastMargin}
	s.crew = &crew{journal: s.journal}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.dir, err = os.MkdirTemp("", "seqheal-writer-"); err != nil {
		return s, err
	}
	if s.server, err = pgserver.StartOwn("max_connections=120"); err != nil {
		return s, err
	}
	if err := s.createDatabases(); err != nil {
		return s, err
	}
	if s.bouncer, err = pgserver.StartPooler(s.bouncerFile()); err != nil {
		return s, err
	}
	dsn := fmt.Sprintf("postgres://app@%s/app?sslmode=disable&default_query_exec_mode=exec", s.bouncer.Address())
	through, err := s.openPool("PgBouncer", dsn, &gorm.Config{})
	if err != nil {
		return s, err
	}
	s.pooled = []pool{through}
	return s, s.openDirect()
}

func (s *shop) createDatabases() (err error) {
	first, err := sql.Open("pgx", s.server.DSN())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, first.Close()) }()
	for _, statement := range []string{"CREATE ROLE app LOGIN", "CREATE DATABASE shop", "CREATE DATABASE " + sourceDatabase} {
		if _, err := first.Exec(statement); err != nil {
			return err
		}
	}
	if s.source, err = sql.Open("pgx", s.dsn("postgres", sourceDatabase)); err != nil {
		return err
	}
	if _, err := s.source.Exec(createTables); err != nil {
		return err
	}
	s.database = "shop"
	if s.admin, err = sql.Open("pgx", s.dsn("postgres", s.database)); err != nil {
		return err
	}
	_, err = s.admin.Exec(createTables + createTriggers)
	return err
}

func (s *shop) dsn(user, database string) string {
	return s.server.With(map[string]string{"user": user, "dbname": database})
}

// bouncerFile are the lines of PgBouncer's two sections.
func (s *shop) bouncerFile() (databases, settings string) {
	u, _ := url.Parse(s.server.DSN()) // that of a server that pgserver started
	return fmt.Sprintf("app = host=%s port=%s dbname=%s user=app", u.Hostname(), u.Port(), s.database),
		// It would wait 15 seconds after a server connection that PAUSE has cut off.
		fmt.Sprintf("pool_mode = transaction\nserver_login_retry = 0.1\ndefault_pool_size = %d", s.poolSize)
}

// openDirect opens the pools that go to the database as it is called now.
func (s *shop) openDirect() error {
	for name, config := range map[string]*gorm.Config{"direct": {}, "PrepareStmt": {PrepareStmt: true}} {
		p, err := s.openPool(name, s.dsn("app", s.database), config)
		if err != nil {
			return err
		}
		s.direct = append(s.direct, p)
	}
	return nil
}

// pool is a GORM and how it connects.
type pool struct {
	name string
	db   *gorm.DB
}

// openPool opens one, with the plugin unless this is about plain GORM.
func (s *shop) openPool(name, dsn string, config *gorm.Config) (pool, error) {
	config.Logger = logger.Discard
	db, err := gorm.Open(postgres.New(postgres.Config{DSN: dsn}), config)
	if err != nil {
		return pool{}, err
	}
	p := pool{name, db}
	connections, err := db.DB()
	if err != nil {
		return p, err
	}
	connections.SetMaxOpenConns(workers + 2)
	connections.SetMaxIdleConns(workers + 2)
	if s.plain {
		return p, nil
	}
	return p, db.Use(plugin.New(plugin.OnIncident(hear)))
}

func closePools(pools []pool) error {
	var broken []error
	for _, p := range pools {
		connections, err := p.db.DB()
		if err == nil {
			err = connections.Close()
		}
		broken = append(broken, err)
	}
	return errors.Join(broken...)
}

// follow opens what goes to the database by its name anew, after a cut-over.
func (s *shop) follow() (err error) {
	err = errors.Join(closePools(s.direct), s.admin.Close())
	s.direct, s.admin = nil, nil
	if err != nil {
		return err
	}
	if s.admin, err = sql.Open("pgx", s.dsn("postgres", s.database)); err != nil {
		return err
	}
	return s.openDirect()
}

func (s *shop) close() error {
	broken := []error{closePools(s.direct), closePools(s.pooled)}
	for _, db := range []*sql.DB{s.admin, s.source} {
		if db != nil {
			broken = append(broken, db.Close())
		}
	}
	if s.bouncer != nil {
		s.bouncer.Stop()
	}
	if s.server != nil {
		s.server.Stop()
	}
	return errors.Join(append(broken, os.RemoveAll(s.dir))...)
}

// straighten puts every sequence in front of its rows, so that each turn begins
// without drift.
func (s *shop) straighten() error {
	for _, table := range append([]string{cleanedTable}, keptTables...) {
		_, err := s.admin.Exec(fmt.Sprintf("SELECT setval('%s', greatest(last_value, (SELECT max(id) FROM %s))) FROM %[1]s", sequenceOf(table), table))
		if err != nil {
			return err
		}
	}
	return nil
}

// check holds the tables, and what their triggers wrote, against the journal, while
// nothing runs.
func (s *shop) check(ctx context.Context) (f faults, err error) {
	for _, table := range append([]string{cleanedTable}, keptTables...) {
		found, err := s.read(ctx, s.admin, table)
		if err != nil {
			return f, err
		}
		f.add(s.journal.compare(table, found))
	}
	for _, question := range []struct{ what, sql string }{
		{"rows without one audit each, or audits without a row", `SELECT count(*) FROM
			(SELECT 'owners' AS of, id FROM owners UNION ALL SELECT 'pets', id FROM pets) r
			FULL JOIN (SELECT of, row_id, count(*) AS audits FROM audit GROUP BY of, row_id) a ON (a.of, a.row_id) = (r.of, r.id)
			WHERE a.audits IS DISTINCT FROM 1 OR r.id IS NULL`},
		{"rows that were not stamped", "SELECT count(*) FROM stamped_rows WHERE changed_at IS NULL"},
		{"advisory locks that are left", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"},
	} {
		var n int
		if err := s.admin.QueryRowContext(ctx, question.sql).Scan(&n); err != nil {
			return f, err
		}
		if n != 0 {
			f.damaged = append(f.damaged, fmt.Sprintf("%d %s", n, question.what))
		}
	}
	var counted int
	err = s.admin.QueryRowContext(ctx, "SELECT count(*) FROM statements").Scan(&counted)
	if told := s.journal.statements[countedTable]; err == nil && counted != told {
		f.damaged = append(f.damaged, fmt.Sprintf("a statement trigger ran %d times for %d statements", counted, told))
		s.journal.statements[countedTable] = counted
	}
	return f, err
}

// read reads the rows of a table.
func (s *shop) read(ctx context.Context, db *sql.DB, table string) (found []entry, err error) {
	rows, err := db.QueryContext(ctx, fmt.Sprintf("SELECT id, name, %s FROM %s", contentOf(table), table))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		e := entry{table: table}
		if err := rows.Scan(&e.id, &e.name, &e.content); err != nil {
			return nil, err
		}
		found = append(found, e)
	}
	return found, rows.Err()
}

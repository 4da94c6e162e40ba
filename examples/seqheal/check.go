package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/plugin"
)

const (
	// checkPrefix begins the name of every table that a check makes; the time in seconds
	// and the process follow.
	checkPrefix = "seqheal_check_"
	// checkMark is the comment on such a table. Without it none is dropped.
	checkMark = "made by seqheal check; may be dropped"
	// checkLimit is the time limit of a check, and checkOld the age of a table that no
	// running check can have made.
	checkLimit = 2 * time.Minute
	checkOld   = 3 * time.Minute
	// cleanLimit is the time limit for dropping the table, also after Ctrl-C.
	cleanLimit = 10 * time.Second
)

// check tries on a table of its own what is healed on this server, as this role and through
// whatever stands before the server. Its pool is like an application's: the connection
// string decides how statements are prepared.
func (s *session) check(ctx context.Context) (code int, err error) {
	ctx, stop := context.WithTimeout(ctx, checkLimit)
	defer stop()
	table := fmt.Sprintf("%s%d_%d", checkPrefix, time.Now().Unix(), os.Getpid())
	seen := &witness{}
	db, closePool, err := openAsApplication(ctx, s.dsn, table, seen)
	if err != nil {
		return failure, err
	}
	defer closePool()
	if s.server, err = readServer(ctx, db); err != nil {
		return failure, errors.New(firstLine(err))
	}
	c := checker{session: s, db: db, name: table, seen: seen}
	if err := c.schemaAndLeftovers(ctx); err != nil {
		return failure, err
	}
	s.sayf("%s", s.server)
	if ok, err := c.agreed(); err != nil || !ok {
		return failure, err
	}
	return c.run(ctx)
}

func (s *session) sayf(format string, args ...any) {
	_, _ = fmt.Fprintln(s.out, shown(fmt.Sprintf(format, args...)))
}

// openAsApplication connects as a GORM application with the plugin does. The sessions carry
// the table's name, by which another check knows that this one is running.
func openAsApplication(ctx context.Context, dsn, name string, seen *witness) (db *gorm.DB, closePool func(), err error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, nil, err
	}
	config.RuntimeParams["application_name"] = name
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = patience
	}
	pool := stdlib.OpenDB(*config)
	pool.SetMaxOpenConns(4)
	closePool = func() { _ = pool.Close() }
	if err = pool.PingContext(ctx); err != nil {
		err = foreignParameter(err)
	} else if db, err = gorm.Open(postgres.New(postgres.Config{Conn: pool}), &gorm.Config{Logger: logger.Discard, DisableAutomaticPing: true}); err == nil {
		err = db.Use(plugin.New(plugin.WithLogger(seen.logger()), plugin.OnIncident(seen.incident)))
	}
	if err != nil {
		closePool()
		return nil, nil, err
	}
	return db, closePool, nil
}

// checker is one check.
type checker struct {
	*session
	db     *gorm.DB
	schema string
	name   string
	seen   *witness
	// leftovers are tables of earlier checks that were killed.
	leftovers []string
}

func (c *checker) quoted(name string) string { return catalog.Quote(c.schema, name) }

// findLeftovers lists the tables of earlier checks in the schema that new tables go into.
//
// $1  the pattern of their names   $2  their comment   $3  the oldest time of a name, in seconds, that may be in use
//
//	schema   null when the search_path leads nowhere
//	table    null when there is none
//	running  a session has its name, and it is not old
const findLeftovers = `SELECT s.schema, t.relname, coalesce(t.running, false) AS running
FROM (SELECT pg_catalog.current_schema()::pg_catalog.text AS schema) s LEFT JOIN (
  SELECT n.nspname::pg_catalog.text AS nspname, c.relname::pg_catalog.text AS relname,
    pg_catalog.split_part(c.relname::pg_catalog.text, '_', 3)::pg_catalog.int8 >= $3::pg_catalog.int8
      AND EXISTS (SELECT 1 FROM pg_catalog.pg_stat_activity a WHERE a.application_name = c.relname::pg_catalog.text) AS running
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind = 'r' AND c.relname::pg_catalog.text ~ $1::pg_catalog.text AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
    AND pg_catalog.obj_description(c.oid, 'pg_class') = $2::pg_catalog.text) t ON t.nspname = s.schema
ORDER BY t.relname`

// schemaAndLeftovers finds where the table goes and what earlier checks have left there.
func (c *checker) schemaAndLeftovers(ctx context.Context) error {
	var found []struct {
		Schema, Relname *string
		Running         bool
	}
	oldest := time.Now().Add(-checkOld).Unix()
	err := c.db.WithContext(ctx).Raw(findLeftovers, "^"+checkPrefix+`\d{1,12}_\d{1,12}$`, checkMark, oldest).Scan(&found).Error
	switch {
	case err != nil:
		return fmt.Errorf("look for tables of earlier checks: %s", firstLine(err))
	case len(found) == 0 || found[0].Schema == nil:
		return errors.New("no schema of the search_path exists, so there is none for the check's table: add search_path= to the connection string")
	}
	c.schema = *found[0].Schema
	for _, f := range found {
		switch {
		case f.Relname == nil:
		case f.Running:
			c.sayf("table %s belongs to a check that is running", c.quoted(*f.Relname))
		default:
			c.leftovers = append(c.leftovers, *f.Relname)
		}
	}
	return nil
}

// agreed asks before anything is created or dropped.
func (c *checker) agreed() (bool, error) {
	for _, name := range c.leftovers {
		c.sayf("table %s was left behind by a check that was killed: this one drops it", c.quoted(name))
	}
	plan := fmt.Sprintf("creates table %s, fills it with a few rows many times, and drops it", c.quoted(c.name))
	if c.yes {
		return true, nil
	}
	_, _ = fmt.Fprintf(c.diagnostics, "seqheal check %s. Go on? [y/N] ", shown(plan))
	answer, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true, nil
	case "":
		_, _ = fmt.Fprintln(c.diagnostics)
	}
	return false, errors.New("nothing was created; answer y, or give -yes")
}

// run makes the table, tries everything, and drops it.
func (c *checker) run(ctx context.Context) (code int, err error) {
	for _, name := range c.leftovers {
		if err := c.drop(ctx, name); err != nil {
			return failure, err
		}
	}
	// One message and so one transaction: no table is there without its comment.
	create := fmt.Sprintf("CREATE TABLE %[1]s (id bigserial PRIMARY KEY, name text); COMMENT ON TABLE %[1]s IS %[2]s",
		c.quoted(c.name), catalog.Literal(checkMark))
	defer func() {
		// A table that was made although the answer was lost is dropped too.
		clean, stop := context.WithTimeout(context.WithoutCancel(ctx), cleanLimit)
		defer stop()
		if left := c.drop(clean, c.name); left != nil {
			code, err = failure, errors.Join(err, left)
		}
	}()
	if err := c.exec(ctx, create); err != nil {
		return failure, fmt.Errorf("create table %s: %w; GRANT CREATE ON SCHEMA %s to the role, or name another schema with search_path= in the connection string",
			c.quoted(c.name), err, catalog.Quote(c.schema))
	}
	return c.report(ctx)
}

// exec sends statements without values, several in one message.
func (c *checker) exec(ctx context.Context, statements string) error {
	pool, err := c.db.DB()
	if err != nil {
		return err
	}
	borrowed, err := pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = borrowed.Close() }()
	return borrowed.Raw(func(raw any) error {
		_, err := raw.(*stdlib.Conn).Conn().PgConn().Exec(ctx, statements).ReadAll()
		return err
	})
}

// drop drops a table of a check's.
func (c *checker) drop(ctx context.Context, name string) error {
	if err := c.exec(ctx, "DROP TABLE IF EXISTS "+c.quoted(name)); err != nil {
		return fmt.Errorf("table %s was left behind: %w; DROP TABLE %[1]s, or run seqheal check again", c.quoted(name), err)
	}
	return nil
}

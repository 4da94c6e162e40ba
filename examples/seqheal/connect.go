package main

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// patience limits the time to connect when the connection string does not.
const patience = 15 * time.Second

// open connects. The connection string may be empty: the variables of psql then say where.
func open(ctx context.Context, dsn string) (db *gorm.DB, close func(), err error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, nil, err
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "seqheal"
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = patience
	}
	if !strings.Contains(dsn, "default_query_exec_mode") {
		config.DefaultQueryExecMode = pgx.QueryExecModeExec // nothing is prepared: PgBouncer
	}
	pool := stdlib.OpenDB(*config)
	pool.SetMaxOpenConns(1)
	close = func() { _ = pool.Close() }
	if err := pool.PingContext(ctx); err != nil {
		close()
		return nil, nil, foreignParameter(err)
	}
	db, err = gorm.Open(postgres.New(postgres.Config{Conn: pool}), &gorm.Config{Logger: logger.Discard, DisableAutomaticPing: true})
	if err != nil {
		close()
		return nil, nil, err
	}
	return db, close, nil
}

var unknownParameter = regexp.MustCompile(`unrecognized configuration parameter "([^"]*)"`)

// foreignParameter says what to do about a connection string that was written for another
// driver, such as one with ?schema=public or ?pgbouncer=true.
func foreignParameter(err error) error {
	if found := unknownParameter.FindStringSubmatch(err.Error()); found != nil {
		return fmt.Errorf("%w; take %s= out of the connection string: it is another driver's", err, found[1])
	}
	return err
}

// server is what is looked at, and as whom.
type server struct {
	Database, Role, Version string
	VersionNumber           int
	Standby                 bool
	at                      string
}

// askServer answers one row.
//
//	database, role, version
//	version_number  150008 for 15.8
//	standby         it is in recovery
const askServer = `SELECT pg_catalog.current_database()::pg_catalog.text AS database, current_user::pg_catalog.text AS role,
  pg_catalog.current_setting('server_version') AS version,
  pg_catalog.current_setting('server_version_num')::pg_catalog.int4 AS version_number,
  pg_catalog.pg_is_in_recovery() AS standby`

func readServer(ctx context.Context, db *gorm.DB) (server, error) {
	var s server
	if err := db.WithContext(ctx).Raw(askServer).Scan(&s).Error; err != nil {
		return s, err
	}
	pool, err := db.DB()
	if err != nil {
		return s, err
	}
	s.at, err = address(ctx, pool)
	return s, err
}

// address is where the connection in fact goes to: a connection string may name several
// hosts.
func address(ctx context.Context, pool *sql.DB) (at string, err error) {
	borrowed, err := pool.Conn(ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = borrowed.Close() }()
	err = borrowed.Raw(func(raw any) error {
		conn := raw.(*stdlib.Conn).Conn()
		config := conn.Config()
		at = net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port)))
		if strings.HasPrefix(config.Host, "/") {
			at = fmt.Sprintf("%s:%d", config.Host, config.Port)
		}
		for _, other := range config.Fallbacks {
			if other.Host != config.Host || other.Port != config.Port {
				at = conn.PgConn().Conn().RemoteAddr().String()
			}
		}
		return nil
	})
	return at, err
}

// String says what is looked at.
func (s server) String() string {
	text := fmt.Sprintf("database %s on %s as role %s, PostgreSQL %s", shown(s.Database), shown(s.at), shown(s.Role), shortVersion(s.Version))
	if s.Standby {
		text += ", a standby"
	}
	return text
}

// shortVersion is the version without what its packager adds.
func shortVersion(version string) string {
	short, _, _ := strings.Cut(version, " ")
	return short
}

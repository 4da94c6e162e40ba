package conn

import (
	"context"
	"time"
)

// Isolation levels as transaction_isolation names them.
const (
	ReadCommitted  = "read committed"
	RepeatableRead = "repeatable read"
	Serializable   = "serializable"
)

// Session is what the server says of the connection and its transaction.
type Session struct {
	Isolation string
	ReadOnly  bool // also on a standby
	// StatementTimeout and LockTimeout are the session's own settings, 0 for none.
	StatementTimeout, LockTimeout time.Duration
	// Database tells databases apart across servers that one program uses.
	Database string
	Role     string
	// SearchPath is what unqualified names are searched in, the session's own
	// temporary schema included.
	SearchPath string
	// Wrote is true when the transaction has an id of its own: it may have changed
	// what others do not see yet.
	Wrote bool
}

// readSession answers one row:
//
//	isolation          transaction_isolation of the current transaction
//	read_only          it may not write, or the server is a standby
//	statement_timeout  milliseconds, 0 for none
//	lock_timeout       milliseconds, 0 for none
//	database           the database's oid and the server's start, to the microsecond
//	role               current_user
//	search_path        the setting, and the oid of the session's temporary schema, 0 without one
//	wrote              the transaction has an id, which reading and most draws of a sequence do not need
const readSession = `
SELECT pg_catalog.current_setting('transaction_isolation') AS isolation,
  pg_catalog.current_setting('transaction_read_only') = 'on' OR pg_catalog.pg_is_in_recovery() AS read_only,
  (EXTRACT(epoch FROM pg_catalog.current_setting('statement_timeout')::pg_catalog.interval) * 1000)::pg_catalog.int8 AS statement_timeout,
  (EXTRACT(epoch FROM pg_catalog.current_setting('lock_timeout')::pg_catalog.interval) * 1000)::pg_catalog.int8 AS lock_timeout,
  (SELECT d.oid::pg_catalog.text FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
    || '@' || EXTRACT(epoch FROM pg_catalog.pg_postmaster_start_time())::pg_catalog.text AS database,
  current_user::pg_catalog.text AS role,
  pg_catalog.current_setting('search_path') || '/' || pg_catalog.pg_my_temp_schema()::pg_catalog.text AS search_path,
  pg_catalog.txid_current_if_assigned() IS NOT NULL AS wrote`

// ReadSession asks for the session's state in one query.
func ReadSession(ctx context.Context, c *Conn) (Session, error) {
	var s Session
	var statement, lock int64
	err := c.Row(ctx, readSession, nil, &s.Isolation, &s.ReadOnly, &statement, &lock, &s.Database, &s.Role, &s.SearchPath, &s.Wrote)
	s.StatementTimeout = time.Duration(statement) * time.Millisecond
	s.LockTimeout = time.Duration(lock) * time.Millisecond
	return s, err
}

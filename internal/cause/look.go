package cause

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/seqheal/seqheal/internal/catalog"
	"github.com/seqheal/seqheal/internal/conn"
	"github.com/seqheal/seqheal/internal/pgerr"
)

const (
	// MaxRows is how many rows in front are looked at.
	MaxRows = 1000
	// leastBulk is how many rows a transaction of an import holds at least.
	leastBulk = 10
	// atOnce is within how many seconds the rows of an import are committed, where the
	// server tracks that and each came in a transaction of its own.
	atOnce = 10
)

// Limit is what the server may spend on each statement of a look after an insert, and wait
// for a lock. It is a variable for tests, which share a slow machine.
var Limit = 5 * time.Millisecond

// limited bounds the statements of a look. Undone with the savepoint or the transaction.
// statement_timeout comes last, because it would bind what follows it.
const limited = "SET LOCAL jit = off; SET LOCAL lock_timeout = %[1]d; SET LOCAL statement_timeout = %[1]d"

// Limits is what to send before a look, in a savepoint or a transaction of its own.
func (q Question) Limits() string { return fmt.Sprintf(limited, max(1, q.Limit.Milliseconds())) }

// rowsInFront looks at the first 1,000 rows in front, by index. It answers one row:
//
//	rows, first, last   how many there are, the lowest id and the highest
//	since, until        when the first and the last of them were committed, in seconds; null where
//	                    the server does not track that
//	bulk, low, high     the same of those that came in transactions of at least $5 rows
//	transactions, at    how many these are, and when the last of them was committed
//	given, named        whether rows hold the ids $3 and $4
//	path                the search_path that the connection began with
//
//	%[1]s table   %[2]s column   %[3]s DESC for a descending sequence
const rowsInFront = `
SELECT coalesce(pg_catalog.sum(g.rows), 0)::pg_catalog.int8, coalesce(pg_catalog.min(g.first), 0), coalesce(pg_catalog.max(g.last), 0),
  EXTRACT(epoch FROM pg_catalog.min(g.committed))::pg_catalog.float8, EXTRACT(epoch FROM pg_catalog.max(g.committed))::pg_catalog.float8,
  coalesce(pg_catalog.sum(g.rows) FILTER (WHERE g.rows >= $5::pg_catalog.int8), 0)::pg_catalog.int8,
  coalesce(pg_catalog.min(g.first) FILTER (WHERE g.rows >= $5::pg_catalog.int8), 0),
  coalesce(pg_catalog.max(g.last) FILTER (WHERE g.rows >= $5::pg_catalog.int8), 0),
  pg_catalog.count(*) FILTER (WHERE g.rows >= $5::pg_catalog.int8),
  EXTRACT(epoch FROM pg_catalog.max(g.committed) FILTER (WHERE g.rows >= $5::pg_catalog.int8))::pg_catalog.float8,
  EXISTS (SELECT 1 FROM %[1]s t WHERE t.%[2]s = $3::pg_catalog.int8), EXISTS (SELECT 1 FROM %[1]s t WHERE t.%[2]s = $4::pg_catalog.int8),
  coalesce((SELECT s.reset_val FROM pg_catalog.pg_settings s WHERE s.name = 'search_path'), '')
FROM (
  SELECT pg_catalog.count(*) AS rows, pg_catalog.min(f.id) AS first, pg_catalog.max(f.id) AS last, pg_catalog.max(f.committed) AS committed
  FROM (
    SELECT t.%[2]s::pg_catalog.int8 AS id, t.xmin::pg_catalog.text AS xmin,
      CASE WHEN pg_catalog.current_setting('track_commit_timestamp') = 'on' THEN pg_catalog.pg_xact_commit_timestamp(t.xmin) END AS committed
    FROM %[1]s t WHERE t.%[2]s BETWEEN $1::pg_catalog.int8 AND $2::pg_catalog.int8 ORDER BY t.%[2]s%[3]s LIMIT 1000) f
  GROUP BY f.xmin) g`

// subscription answers the name of a subscription that the table with oid $1 is in, no row
// where it is in none, and null for a name that is not known.
const subscription = `
SELECT s.subname::pg_catalog.text FROM pg_catalog.pg_subscription_rel r LEFT JOIN pg_catalog.pg_stat_subscription s ON s.subid = r.srsubid
WHERE r.srrelid = $1::pg_catalog.int8::pg_catalog.oid ORDER BY 1 LIMIT 1`

// Seen is what a look has seen. The zero value is of one that has seen nothing.
type Seen struct {
	rows, first, last int64
	since, until      sql.NullFloat64
	// bulk are those of the rows that came in large transactions.
	bulk struct {
		rows, first, last, transactions int64
		at                              sql.NullFloat64
	}
	given, named bool
	path         string
	subscribed   bool
	subscription string
}

// Look reads the rows in front and whether the table is in a subscription, in two
// statements. c is in a savepoint or a transaction that is rolled back afterwards, with
// its Limits set. Its error says what could not be read, for a log line.
func (q Question) Look(ctx context.Context, c *conn.Conn) (seen Seen, err error) {
	t := q.Table
	named := q.To
	if q.Named != nil {
		named = q.Named.Highest
	}
	desc := ""
	if t.Sequence.Descending() {
		desc = " DESC"
	}
	text := fmt.Sprintf(rowsInFront, t.QuotedName(), catalog.Quote(t.FedColumn()), desc)
	var found Seen
	bulk := &found.bulk
	err = c.Row(ctx, text, []any{q.low(), q.high(), q.Given, named, int64(leastBulk)},
		&found.rows, &found.first, &found.last, &found.since, &found.until,
		&bulk.rows, &bulk.first, &bulk.last, &bulk.transactions, &bulk.at, &found.given, &found.named, &found.path)
	if err != nil {
		return Seen{}, &notSeen{"the rows in front", q.Limit, err}
	}
	if t.Sequence.Descending() {
		found.first, found.last = found.last, found.first
	}
	var name sql.NullString
	switch err := c.Row(ctx, subscription, []any{t.OID}, &name); {
	case err == nil:
		found.subscribed, found.subscription = true, name.String
	case !errors.Is(err, sql.ErrNoRows):
		return found, &notSeen{"pg_subscription_rel", q.Limit, err}
	}
	return found, nil
}

// notSeen says what could not be read and why.
type notSeen struct {
	what  string
	limit time.Duration
	err   error
}

func (n *notSeen) Error() string {
	why := n.err.Error()
	switch {
	case pgerr.Is(n.err, pgerr.QueryCanceled):
		why = fmt.Sprintf("it takes longer than %s", n.limit)
	case pgerr.Is(n.err, pgerr.LockNotAvailable):
		why = "the table is locked"
	case pgerr.Is(n.err, pgerr.InsufficientPrivilege):
		why = "the role has no right to"
	}
	return n.what + " could not be read: " + why
}

func (n *notSeen) Unwrap() error { return n.err }

// Readable says why the rows in front must not be looked at, empty where they may.
func Readable(t *catalog.Table) string {
	switch {
	case t.RowSecurity:
		return "the rows in front were not looked at: policies hide rows from the role"
	case !t.Selectable:
		return "the rows in front were not looked at: the role has no right to"
	case !t.Indexed:
		return "the rows in front were not looked at: no index begins with the column"
	case t.Foreign || t.Partitions.Foreign > 0:
		return "the rows in front were not looked at: they are in a foreign table"
	}
	return ""
}

// together says how the rows came all at once, empty when most of them did not.
func (s Seen) together() string {
	bulk := s.bulk
	switch {
	case s.rows < leastBulk:
		return ""
	case 2*bulk.rows >= s.rows:
		return fmt.Sprintf("%s came in %s%s, as an import or a restore does",
			s.which(bulk.rows, bulk.first, bulk.last), count(bulk.transactions, "transaction"), at(bulk.at))
	case s.since.Valid && s.until.Valid && s.until.Float64-s.since.Float64 <= atOnce:
		return fmt.Sprintf("%s were committed within %d seconds%s, as those of a script are",
			s.which(s.rows, s.first, s.last), atOnce, at(s.until))
	}
	return ""
}

func (s Seen) which(rows, first, last int64) string {
	which := count(rows, "row")
	if s.rows == MaxRows {
		which = fmt.Sprintf("%d of the first %d rows in front", rows, MaxRows)
	}
	return fmt.Sprintf("%s, ids %d to %d,", which, min(first, last), max(first, last))
}

// at is a time of the server's, empty where it does not track it.
func at(seconds sql.NullFloat64) string {
	if !seconds.Valid {
		return ""
	}
	return " at " + stamp(time.UnixMicro(int64(seconds.Float64*1e6)))
}

func count(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

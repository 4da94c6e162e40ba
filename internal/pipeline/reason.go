package pipeline

import "fmt"

// Cause is why a statement does not go out in one round trip.
type Cause int

// Causes that hold for a pool or a connection.
const (
	CauseNone           Cause = iota
	CauseDriver               // not pgx v5's database/sql driver, or wrapped
	CauseConnPool             // a gorm.ConnPool that is not database/sql's or GORM's
	CauseExecMode             // an exec mode that cannot be pipelined
	CauseStatementCache       // cache_statement mode with the cache switched off
	CauseTracer               // it would see a query that fails
	CauseNoConnection         // none was free to prove it on; asked again later
	CauseValues               // this pgx, or this Go, hands over other values than this package
	CauseProof                // the proof failed otherwise
	CauseUnproven             // another insert is proving it right now
)

// Causes that hold for one statement.
const (
	CauseOutside    Cause = 100 + iota // a savepoint was wanted, and there is no transaction
	CauseInside                        // no savepoint was wanted, and there is a transaction
	CauseParameters                    // more than the protocol can count
	CauseText                          // Exec without arguments, which pgx sends as a simple query
	CauseUsed                          // the Sending has had its statement
)

var causeText = map[Cause]string{
	CauseDriver:         "the driver is %s",
	CauseConnPool:       "the connection pool is %s",
	CauseExecMode:       "the exec mode is %s",
	CauseStatementCache: "the statement cache is off",
	CauseTracer:         "a tracer is set",
	CauseNoConnection:   "no connection was free",
	CauseValues:         "values differ from those of pgx: %s",
	CauseProof:          "the proof failed: %s",
	CauseUnproven:       "it is being proven",
	CauseOutside:        "the connection is not in a transaction",
	CauseInside:         "the connection is in a transaction",
	CauseParameters:     "there are more than 65535 parameters",
	CauseText:           "the statement has no parameters",
	CauseUsed:           "the statement was sent before",
}

// Reason is a cause with its detail. The zero value is no reason at all.
type Reason struct {
	Cause  Cause
	Detail string // the driver's type, the mode's name, an error's text
}

// String is a sentence without a full stop, such as "the driver is *pq.Driver".
func (r Reason) String() string {
	text := causeText[r.Cause]
	if r.Detail == "" {
		return text
	}
	return fmt.Sprintf(text, r.Detail)
}

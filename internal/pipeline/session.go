package pipeline

import (
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

const (
	// maxStatements bounds the INSERTs that are prepared on one connection, as pgx bounds
	// its own statement cache unless it is told otherwise.
	maxStatements = 512
	// maxQuestions bounds the questions, of which one takes the server up to 130 kB
	// (measured).
	maxQuestions = 32
)

// session is what this package keeps with a connection. It is used under database/sql's
// lock of the connection.
type session struct {
	// tracer and unfit are why the connection takes no pipeline: always, and unless
	// GORM prepares the statement.
	tracer, unfit Reason
	mode          pgx.QueryExecMode
	// prepared are statements that exist on the server, described are descriptions
	// alone. questions have no parameters; they are without a name until they are asked
	// a second time, and prepared then.
	prepared, described, questions cache
	// closing are names of prepared statements that the next pipeline closes.
	closing []string
	serial  int
}

const sessionKey = "github.com/seqheal/seqheal/internal/pipeline"

// sessionOf returns the connection's session. Its configuration is read once: it cannot
// change while the connection lives.
func sessionOf(conn *pgx.Conn) *session {
	data := conn.PgConn().CustomData()
	if s, ok := data[sessionKey].(*session); ok {
		return s
	}
	config := conn.Config()
	capacity := config.StatementCacheCapacity
	if capacity <= 0 || capacity > maxStatements {
		capacity = maxStatements
	}
	s := &session{mode: config.DefaultQueryExecMode, unfit: unfit(config), prepared: newCache(capacity), described: newCache(capacity), questions: newCache(maxQuestions)}
	if config.Tracer != nil {
		s.tracer = Reason{Cause: CauseTracer}
	}
	if data != nil {
		data[sessionKey] = s
	}
	return s
}

// unfit is why statements that GORM does not prepare cannot be pipelined.
func unfit(config *pgx.ConnConfig) Reason {
	switch config.DefaultQueryExecMode {
	case pgx.QueryExecModeCacheStatement:
		if config.StatementCacheCapacity <= 0 {
			return Reason{Cause: CauseStatementCache}
		}
	case pgx.QueryExecModeCacheDescribe:
		if config.DescriptionCacheCapacity <= 0 {
			return Reason{Cause: CauseStatementCache}
		}
	case pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec:
	default: // simple_protocol writes the values into the text, with code that pgx does not export
		return Reason{CauseExecMode, config.DefaultQueryExecMode.String()}
	}
	return Reason{}
}

// statement is a text that the server has described.
type statement struct {
	text string
	in   *cache                       // where it is kept, nil for nowhere
	sd   *pgconn.StatementDescription // without a name when it is not prepared
}

// binary are the types that pgx's database/sql driver wants in binary format.
var binary = map[uint32]bool{
	pgtype.BoolOID: true, pgtype.ByteaOID: true, pgtype.CIDOID: true, pgtype.DateOID: true, pgtype.Float4OID: true,
	pgtype.Float8OID: true, pgtype.Int2OID: true, pgtype.Int4OID: true, pgtype.Int8OID: true, pgtype.OIDOID: true,
	pgtype.TimestampOID: true, pgtype.TimestamptzOID: true, pgtype.XIDOID: true,
}

// formats are the formats of the result's columns.
func (s *statement) formats() []int16 {
	formats := make([]int16, len(s.sd.Fields))
	for i, field := range s.sd.Fields {
		if binary[field.DataTypeOID] {
			formats[i] = pgtype.BinaryFormatCode
		}
	}
	return formats
}

// cacheOf is where a mode's statements are kept, nil for describe_exec.
func (s *session) cacheOf(mode pgx.QueryExecMode) *cache {
	switch mode {
	case pgx.QueryExecModeCacheStatement:
		return &s.prepared
	case pgx.QueryExecModeCacheDescribe:
		return &s.described
	}
	return nil
}

func (s *session) find(mode pgx.QueryExecMode, text string) *statement {
	if c := s.cacheOf(mode); c != nil {
		return c.get(text)
	}
	return nil
}

// keep remembers a description. The statement that it displaces is closed by the next
// pipeline.
func (s *session) keep(described *statement) {
	if described.in != nil {
		s.close(described.in.put(described))
	}
}

// question is the statement of a question that may be prepared, nil where it is to be sent as
// text: where the connection prepares nothing, and at the first time, for many are not asked
// again. When it reports true the next pipeline prepares it.
func (s *session) question(mode pgx.QueryExecMode, text string) (question *statement, prepare bool) {
	if mode != pgx.QueryExecModeCacheStatement {
		return nil, false
	}
	known := s.questions.get(text)
	if known != nil && known.sd.Name != "" {
		return known, false
	}
	question = &statement{text: text, in: &s.questions, sd: &pgconn.StatementDescription{SQL: text}}
	if known == nil {
		s.keep(question)
		return nil, false
	}
	question.sd.Name = s.name(mode, text)
	return question, true
}

// name is a new name for a statement to prepare, empty for the unnamed one. The text's
// digest is part of it: behind a pooler another client's statement must never be taken
// for this one. The number keeps a text apart from its predecessor, which may still
// have to be closed. The server keeps 63 bytes.
func (s *session) name(mode pgx.QueryExecMode, text string) string {
	if mode != pgx.QueryExecModeCacheStatement {
		return ""
	}
	s.serial++
	digest := sha256.Sum256([]byte(text))
	return fmt.Sprintf("seqheal_%s_%d", hex.EncodeToString(digest[:16]), s.serial)
}

// close has the next pipeline close a prepared statement. One that does not exist is no
// error.
func (s *session) close(name string) {
	if name != "" {
		s.closing = append(s.closing, name)
	}
}

// failed forgets a text whose error may be about an outdated description. A violated
// constraint (class 23), the transaction's state (25) and a conflict with another
// transaction (40) are not.
func (s *session) failed(text string, err error) {
	var e *pgconn.PgError
	if !errors.As(err, &e) || len(e.Code) < 2 {
		return
	}
	switch e.Code[:2] {
	case "23", "25", "40":
		return
	}
	s.close(s.prepared.remove(text))
	s.described.remove(text)
}

// outdated reports whether the error is about what this package remembers of a statement
// and nothing else. A statement that the server no longer has was deallocated with all
// others.
func (s *session) outdated(err error) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	case "26000": // invalid_sql_statement_name; a trigger can raise it as well
		gone := strings.Contains(e.Message, "seqheal_")
		if gone {
			for _, name := range append(s.prepared.clear(), s.questions.clear()...) {
				s.close(name)
			}
		}
		return gone
	case "0A000": // cached plan must not change result type
		return e.Routine == "RevalidateCachedQuery"
	case "08P01": // bind message has 2 result formats but query has 3 columns
		return e.Routine == "PortalSetResultFormat"
	}
	return false
}

// cache holds statements by their text, the least recently used last.
type cache struct {
	capacity int
	byText   map[string]*list.Element
	order    *list.List
}

func newCache(capacity int) cache {
	return cache{capacity: capacity, byText: map[string]*list.Element{}, order: list.New()}
}

func (c *cache) get(text string) *statement {
	e, ok := c.byText[text]
	if !ok {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*statement)
}

// put returns the name of the statement that it displaces.
func (c *cache) put(s *statement) (displaced string) {
	displaced = c.remove(s.text)
	c.byText[s.text] = c.order.PushFront(s)
	if c.order.Len() > c.capacity {
		displaced = c.remove(c.order.Back().Value.(*statement).text)
	}
	return displaced
}

// remove returns the statement's name, empty when it has none.
func (c *cache) remove(text string) (name string) {
	e, ok := c.byText[text]
	if !ok {
		return ""
	}
	delete(c.byText, text)
	return c.order.Remove(e).(*statement).sd.Name
}

// clear returns the names of all statements.
func (c *cache) clear() (names []string) {
	for text := range c.byText {
		names = append(names, c.remove(text))
	}
	return names
}

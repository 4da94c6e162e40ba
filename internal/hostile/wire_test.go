package hostile_test

import (
	"context"
	"encoding/binary"
	"net"
	"regexp"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
)

// wire records every statement that a pool executes, as the server receives it:
// beneath the driver, which therefore stays unwrapped.
type wire struct {
	mutex sync.Mutex
	sent  []string
	trips int
}

// catalogRead matches a statement that reads the catalog's tables, question one that asks
// about a table by a check: it counts unique indexes at the most, and is no read.
var catalogRead = regexp.MustCompile(`\bpg_(class|attribute|attrdef|index|constraint|depend|trigger|rewrite|inherits|sequence)\b`)

var question = regexp.MustCompile(`SELECT (1 / CASE|pg_catalog\.ln\(|NOT \(CASE)`)

// mark is a position in what was recorded.
type mark struct{ sent, trips int }

func (w *wire) mark() mark {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return mark{len(w.sent), w.trips}
}

// since returns the statements executed and the round trips made since a mark.
func (w *wire) since(m mark) (sent []string, trips int) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return append([]string(nil), w.sent[m.sent:]...), w.trips - m.trips
}

// catalogReads returns those of the statements that read the catalog.
func catalogReads(sent []string) (reads []string) {
	for _, sql := range sent {
		if catalogRead.MatchString(sql) && !question.MatchString(sql) {
			reads = append(reads, sql)
		}
	}
	return reads
}

// tap makes the connections of a configuration record on the wire.
func (w *wire) tap(config *pgx.ConnConfig) {
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &wireConn{Conn: conn, wire: w, prepared: map[string]string{}}, nil
	}
}

// wireConn parses the frontend's messages (PostgreSQL manual, 55.7).
type wireConn struct {
	net.Conn
	wire     *wire
	started  bool
	rest     []byte
	prepared map[string]string
}

func (c *wireConn) Write(b []byte) (int, error) {
	c.rest = append(c.rest, b...)
	var texts []string
	trip := false
	for {
		header := 5
		if !c.started {
			header = 4
		}
		if len(c.rest) < header {
			break
		}
		length := int(binary.BigEndian.Uint32(c.rest[header-4:header])) + header - 4
		if len(c.rest) < length {
			break
		}
		if c.started {
			body := c.rest[5:length]
			switch c.rest[0] {
			case 'Q':
				texts, trip = append(texts, text(body)), true
			case 'P':
				name := text(body)
				c.prepared[name] = text(body[len(name)+1:])
			case 'B':
				portal := text(body)
				texts = append(texts, c.prepared[text(body[len(portal)+1:])])
			case 'S', 'H':
				trip = true
			}
		}
		c.started = true
		c.rest = c.rest[length:]
	}
	c.wire.mutex.Lock()
	c.wire.sent = append(c.wire.sent, texts...)
	if trip {
		c.wire.trips++
	}
	c.wire.mutex.Unlock()
	return c.Conn.Write(b)
}

// text reads a string that ends with a zero byte.
func text(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

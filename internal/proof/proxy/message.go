package proxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Messages that decide something here (PostgreSQL manual 55.7). The first byte is
// the type, the next four the length without it.
const (
	query         = 'Q'
	parse         = 'P'
	bind          = 'B'
	describe      = 'D'
	execute       = 'E'
	closing       = 'C'
	syncing       = 'S'
	functionCall  = 'F'
	flush         = 'H'
	terminate     = 'X'
	readyForQuery = 'Z'

	sslRequest = 80877103
	gssRequest = 80877104

	// longest is more than any message of a test.
	longest = 1 << 28
)

// readMessage reads one whole message with its header and appends it to bytes.
func readMessage(in *bufio.Reader, bytes []byte) (all, message []byte, err error) {
	header, err := in.Peek(5)
	if err != nil {
		return bytes, nil, err
	}
	return readWhole(in, bytes, 1+int64(binary.BigEndian.Uint32(header[1:])))
}

// readStartup reads the first message of a connection, which has no type.
func readStartup(in *bufio.Reader) ([]byte, error) {
	header, err := in.Peek(8)
	if err != nil {
		return nil, err
	}
	message, _, err := readWhole(in, nil, int64(binary.BigEndian.Uint32(header)))
	return message, err
}

func readWhole(in *bufio.Reader, bytes []byte, size int64) (all, message []byte, err error) {
	if size < 5 || size > longest {
		return bytes, nil, fmt.Errorf("a message of %d bytes is not one of PostgreSQL's protocol", size)
	}
	before := len(bytes)
	bytes = slices.Grow(bytes, int(size))[:before+int(size)]
	_, err = io.ReadFull(in, bytes[before:])
	return bytes, bytes[before:], err
}

func asksForEncryption(startup []byte) bool {
	code := binary.BigEndian.Uint32(startup[4:])
	return code == sslRequest || code == gssRequest
}

// batch is the messages of one statement as they come.
type batch struct {
	begun, ended bool
	runs         bool
	texts        []string
	// prepared are the texts of the connection's prepared statements by name; the
	// unnamed one is among them.
	prepared map[string]string
}

// take looks at the client's next message.
func (b *batch) take(message []byte) {
	body := message[5:]
	switch message[0] {
	case query:
		b.begun, b.ended, b.runs = true, true, true
		b.texts = append(b.texts, text(&body))
	case functionCall:
		b.begun, b.ended, b.runs = true, true, true
	case parse:
		b.begun = true
		name := text(&body)
		if b.prepared == nil {
			b.prepared = map[string]string{}
		}
		b.prepared[name] = text(&body)
		b.texts = append(b.texts, b.prepared[name])
	case bind:
		b.begun = true
		text(&body) // the portal
		if sent := b.prepared[text(&body)]; len(b.texts) == 0 || b.texts[len(b.texts)-1] != sent {
			b.texts = append(b.texts, sent)
		}
	case execute:
		b.begun, b.runs = true, true
	case describe, closing:
		b.begun = true
	case syncing:
		b.ended = true
	}
}

func (b *batch) statement() Statement {
	return Statement{Text: strings.Join(b.texts, "; "), Runs: b.runs}
}

func (b *batch) reset() { *b = batch{prepared: b.prepared} }

// text reads a string that ends with a zero byte, and moves on behind it.
func text(body *[]byte) string {
	read, rest, _ := bytes.Cut(*body, []byte{0})
	*body = rest
	return string(read)
}

package pipeline

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// wire is a connection while a rewriter uses it.
type wire struct {
	conn    *pgx.Conn
	session *session
	mode    pgx.QueryExecMode // how pgx would send the INSERT
}

// message is a question or the INSERT on its way to the server.
type message struct {
	step  Step
	index int // of a question
	sql   string
	args  []any
	// kept is a question that may be prepared.
	kept bool
	// prepare has the server prepare it in the same trip.
	prepare bool
	// describe asks the server for the statement's parameters and columns and runs
	// nothing.
	describe  bool
	statement *statement // nil when the text itself is sent
	encoded   pgx.ExtendedQueryBuilder
	formats   []int16
	read      func(*wire, *pgconn.ResultReader) error
}

// prepare parses the INSERT, unless that was done before, and returns pgx's own error. In
// a transaction that error aborts it. The connection stays usable. In exec mode there is
// no statement.
func (w *wire) prepare(ctx context.Context, text string) (*statement, error) {
	if w.mode == pgx.QueryExecModeExec {
		return nil, nil
	}
	if known := w.session.find(w.mode, text); known != nil {
		return known, nil
	}
	name := w.session.name(w.mode, text)
	sd, err := w.conn.PgConn().Prepare(ctx, name, text, nil)
	if err != nil {
		var failed *pgconn.PrepareError
		if errors.As(err, &failed) && failed.ParseComplete {
			w.session.close(name) // it exists: only its description failed
		}
		return nil, err
	}
	s := &statement{text: text, in: w.session.cacheOf(w.mode), sd: sd}
	w.session.keep(s)
	return s, nil
}

// unknown finds each message's statement and returns what has to be described first.
func (w *wire) unknown(messages []*message) []*message {
	var missing []*message
	for _, m := range messages {
		if m.statement != nil || w.mode == pgx.QueryExecModeExec {
			continue
		}
		if m.kept {
			m.statement, m.prepare = w.session.question(w.mode, m.sql)
		}
		if m.step == StepQuestion {
			continue // it has no parameters, and its result is read as text
		}
		if m.statement = w.session.find(w.mode, m.sql); m.statement != nil {
			continue
		}
		m.statement = &statement{text: m.sql, in: w.session.cacheOf(w.mode), sd: &pgconn.StatementDescription{Name: w.session.name(w.mode, m.sql), SQL: m.sql}}
		missing = append(missing, &message{step: m.step, index: m.index, sql: m.sql, describe: true, statement: m.statement})
	}
	return missing
}

// encode fills the message's parameters and formats. Nothing is sent.
func (m *message) encode(w *wire) error {
	if m.step == StepQuestion {
		return nil
	}
	if m.statement == nil { // exec mode: everything is text
		return m.encoded.Build(w.conn.TypeMap(), nil, m.args)
	}
	m.formats = m.statement.formats()
	return m.encoded.Build(w.conn.TypeMap(), m.statement.sd, m.args)
}

// trip is what goes out up to one Sync, and the answers to it.
type trip struct {
	wire *wire
	pipe *pgconn.Pipeline
	legs []leg
}

// leg is one answer that is expected.
type leg struct {
	step  Step
	index int
	read  func(result any) error
}

// start opens a pipeline with the Closes of statements that are no longer wanted.
func (w *wire) start(ctx context.Context) *trip {
	t := &trip{wire: w, pipe: w.conn.PgConn().StartPipeline(ctx), legs: make([]leg, 0, 4)}
	for _, name := range w.session.closing {
		t.pipe.SendDeallocate(name)
		t.legs = append(t.legs, leg{step: StepSavepoint, read: func(any) error {
			w.session.closing = w.session.closing[1:]
			return nil
		}})
	}
	return t
}

// statement sends a statement without parameters.
func (t *trip) statement(step Step, sql string, done func(*pgconn.ResultReader) error) {
	t.pipe.SendQueryParams(sql, nil, nil, nil, nil)
	t.legs = append(t.legs, leg{step: step, read: t.result(func(_ *wire, reader *pgconn.ResultReader) error {
		if _, err := reader.Close(); err != nil {
			return err
		}
		return done(reader)
	})})
}

// message sends a question, the INSERT, or a request to describe one of them.
func (t *trip) message(m *message) {
	if m.describe || m.prepare {
		t.pipe.SendPrepare(m.statement.sd.Name, m.sql, nil)
		t.legs = append(t.legs, leg{step: m.step, index: m.index, read: func(result any) error { return t.described(m, result) }})
	}
	switch {
	case m.describe:
		return
	case m.prepare: // its columns are not known yet
		t.pipe.SendQueryPrepared(m.statement.sd.Name, m.encoded.ParamValues, m.encoded.ParamFormats, m.formats)
	case m.statement == nil:
		t.pipe.SendQueryParams(m.sql, m.encoded.ParamValues, nil, m.encoded.ParamFormats, nil)
	case m.statement.sd.Name != "":
		t.pipe.SendQueryStatement(m.statement.sd, m.encoded.ParamValues, m.encoded.ParamFormats, m.formats)
	default:
		t.pipe.SendQueryParams(m.sql, m.encoded.ParamValues, m.statement.sd.ParamOIDs, m.encoded.ParamFormats, m.formats)
	}
	t.legs = append(t.legs, leg{step: m.step, index: m.index, read: t.result(m.read)})
}

func (t *trip) described(m *message, result any) error {
	sd, ok := result.(*pgconn.StatementDescription)
	if !ok {
		return fmt.Errorf("pipeline: unexpected answer %T", result)
	}
	m.statement.sd.ParamOIDs, m.statement.sd.Fields = sd.ParamOIDs, sd.Fields
	t.wire.session.keep(m.statement)
	return nil
}

func (t *trip) result(read func(*wire, *pgconn.ResultReader) error) func(any) error {
	return func(result any) error {
		reader, ok := result.(*pgconn.ResultReader)
		if !ok {
			return fmt.Errorf("pipeline: unexpected answer %T", result)
		}
		return read(t.wire, reader)
	}
}

// run sends everything, reads every answer up to the first error, and leaves the
// connection ready for the next statement, or closed. last is the step that an error
// after all answers belongs to.
func (t *trip) run(last Step) (failed leg, err error) {
	if err := t.pipe.Sync(); err != nil {
		return t.legs[0], err
	}
	for _, next := range t.legs {
		result, err := t.pipe.GetResults()
		if err == nil {
			err = next.read(result)
		}
		if err != nil {
			_ = t.pipe.Close() // reads on to the end; the first error counts
			return next, err
		}
	}
	return leg{step: last}, t.pipe.Close()
}

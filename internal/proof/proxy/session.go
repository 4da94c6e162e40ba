package proxy

import (
	"bufio"
	"net"
	"sync"
	"time"
)

// packet is bytes on their way to one side.
type packet struct {
	bytes []byte
	due   time.Time // zero is at once
	// strike happens before the bytes are delivered.
	strike *strike
}

// session is one client's connection and the server's that belongs to it.
type session struct {
	proxy          *Proxy
	client, server net.Conn
	// left is closed when the client says goodbye or is gone, closed when both connections
	// are closed.
	left, closed chan struct{}
	once         sync.Once

	mutex      sync.Mutex
	unanswered []numbered
}

func newSession(p *Proxy, client, server net.Conn) *session {
	return &session{
		proxy: p, client: client, server: server,
		left: make(chan struct{}), closed: make(chan struct{}),
	}
}

// end closes both connections.
func (s *session) end() {
	s.once.Do(func() {
		close(s.closed)
		_ = s.client.Close()
		_ = s.server.Close()
	})
}

// queued is how many packets may be on their way to one side: enough that a delay
// does not limit throughput.
const queued = 4096

// carry runs the session to its end. Each way has a reader, which never waits for
// a delay, and a writer, which does.
func (s *session) carry() {
	toServer, toClient := make(chan packet, queued), make(chan packet, queued)
	var work sync.WaitGroup
	work.Go(func() {
		s.readClient(toServer)
		close(s.left)
		close(toServer)
	})
	work.Go(func() {
		s.readServer(toClient)
		close(toClient)
	})
	work.Go(func() { s.deliver(s.server, toServer) })
	work.Go(func() { s.deliver(s.client, toClient) })
	work.Wait()
}

// deliver writes what comes until one side has ended, and then ends the other:
// what was sent before, such as Terminate or a FATAL error, has arrived by then.
func (s *session) deliver(to net.Conn, packets <-chan packet) {
	defer s.end()
	for p := range packets {
		if !s.wait(p.due) || p.strike != nil && !s.suffer(p.strike) {
			return
		}
		if _, err := to.Write(p.bytes); err != nil {
			return
		}
	}
}

// suffer lets a fault happen. It reports whether the session goes on.
func (s *session) suffer(f *strike) bool {
	close(f.hit) // before the client can see anything of it
	switch f.Effect {
	case Cut:
		s.end()
		return false
	case Delay:
		return s.wait(time.Now().Add(f.For))
	}
	select {
	case <-f.released:
		return true
	case <-s.left:
	case <-s.closed:
	}
	return false
}

// coarse is how much too late a timer may fire: the runtime's wait for the
// network counts in milliseconds.
const coarse = 1500 * time.Microsecond

// wait returns at a time, or reports false when the session has ended before.
func (s *session) wait(until time.Time) bool {
	if until.IsZero() {
		return true
	}
	if left := time.Until(until) - coarse; left > 0 {
		timer := time.NewTimer(left)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-s.closed:
			return false
		}
	}
	for left := time.Until(until); left > 0; left = time.Until(until) {
		sleep(left)
	}
	return true
}

// push hands a packet to a writer, unless the session has ended.
func (s *session) push(to chan<- packet, p packet) bool {
	p.due = s.proxy.due()
	select {
	case to <- p:
		return true
	case <-s.closed:
		return false
	}
}

// readClient reads the client's messages and sends on what belongs together.
func (s *session) readClient(to chan<- packet) {
	in := bufio.NewReaderSize(s.client, 64<<10)
	if !s.readStart(in, to) {
		return
	}
	var batch batch
	var bytes, message []byte
	var err error
	for {
		if bytes, message, err = readMessage(in, bytes); err != nil {
			return
		}
		if message[0] == terminate { // the client waits for the server to close
			s.push(to, packet{bytes: bytes})
			return
		}
		batch.take(message)
		var suffers *strike
		switch {
		case batch.ended:
			n := s.proxy.count(batch.statement())
			s.ask(n)
			suffers = s.proxy.take(n, Before)
			batch.reset()
		case batch.begun && message[0] != flush:
			continue // until its end
		}
		if !s.push(to, packet{bytes: bytes, strike: suffers}) {
			return
		}
		bytes = nil
	}
}

// readStart passes the startup message on. Encryption is declined, as a server
// without it does.
func (s *session) readStart(in *bufio.Reader, to chan<- packet) bool {
	for {
		message, err := readStartup(in)
		if err != nil {
			return false
		}
		if asksForEncryption(message) {
			if _, err := s.client.Write([]byte{'N'}); err != nil {
				return false
			}
			continue
		}
		s.ask(numbered{})
		return s.push(to, packet{bytes: message})
	}
}

// readServer reads the server's messages and sends them on as soon as there are no
// more at once, or, where a fault is to happen after the answer, at its end.
func (s *session) readServer(to chan<- packet) {
	in := bufio.NewReaderSize(s.server, 64<<10)
	var bytes, message []byte
	var err error
	var answering numbered // what the messages are about, once it is known
	var suffers *strike
	for {
		if bytes, message, err = readMessage(in, bytes); err != nil {
			return
		}
		if answering.number == 0 {
			answering = s.answering()
			suffers = s.proxy.take(answering, After)
		}
		if message[0] == readyForQuery {
			s.answered()
			answering = numbered{}
		} else if suffers != nil || in.Buffered() > 0 && len(bytes) < 64<<10 {
			continue
		}
		if !s.push(to, packet{bytes: bytes, strike: suffers}) {
			return
		}
		bytes, suffers = nil, nil
	}
}

// ask notes that the server owes an answer.
func (s *session) ask(n numbered) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.unanswered = append(s.unanswered, n)
}

// answering is the statement that the server's next messages are about.
func (s *session) answering() numbered {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if len(s.unanswered) == 0 {
		return numbered{} // a notice, between statements
	}
	return s.unanswered[0]
}

// answered notes that an answer has come to its end.
func (s *session) answered() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if len(s.unanswered) > 0 {
		s.unanswered = s.unanswered[1:]
	}
}

package server

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxConns and maxConnsOf bound the connections of all clients and of one address. Loopback is one
	// address for many tasks, hence the generous second.
	maxConns   = 1000
	maxConnsOf = 250
	// idleTimeout is how long a connection may take for its next message, from the end of the one before
	// (RFC 7766, section 6.2.3 asks for seconds).
	idleTimeout = 10 * time.Second
	// maxPipelined is how many forwarded questions of one connection may be under way; the next message is
	// read when one is done.
	maxPipelined = 64
	// acceptPause is waited after a failed accept, which is mostly a lack of file descriptors.
	acceptPause = 50 * time.Millisecond
)

// serveTCP accepts a listener's connections until it is closed.
func (s *Server) serveTCP(l *listener) {
	for {
		c, err := l.tcp.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.cfg.Log.Warn("DNS connection not accepted", "addr", l.addr, "err", err)
			select {
			case <-time.After(acceptPause):
			case <-s.ctx.Done():
			}
			continue
		}
		source := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
		if !s.conns.take(source) {
			s.counters.refused.Add(1)
			c.Close()
			continue
		}
		l.running.Go(func() {
			defer s.conns.giveBack(source)
			defer c.Close()
			if l.add(c) {
				defer l.remove(c)
				s.serveConn(c, source)
			}
		})
	}
}

// serveConn answers the messages of one connection. Replies to forwarded questions are sent as they come,
// not in the order of the questions (RFC 7766, section 6.2.1.1).
func (s *Server) serveConn(c *net.TCPConn, source netip.Addr) {
	local := c.LocalAddr().(*net.TCPAddr).AddrPort().Addr()
	from := origin{source: source, client: clientOf(source, local), stream: true}
	w := &stream{conn: c}
	slots := make(chan struct{}, maxPipelined)
	var waiting sync.WaitGroup
	defer waiting.Wait()
	for {
		c.SetReadDeadline(time.Now().Add(idleTimeout))
		msg, err := readMessage(c)
		if err != nil {
			return
		}
		s.counters.tcp.Add(1)
		out := s.handle(msg, from)
		switch {
		case out.wait != nil && s.startResolving():
			slots <- struct{}{}
			waiting.Go(func() {
				defer func() { <-slots }()
				defer s.endResolving()
				w.send(s.finish(s.ctx, out))
			})
		case out.wait != nil:
			w.send(s.finish(overloaded, out))
		default:
			w.send(out.reply)
			s.sent(out)
		}
	}
}

var errTooLong = errors.New("message longer than any query")

// readMessage reads a message and the two octets of its length before it (RFC 1035, section 4.2.2).
func readMessage(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint16(length[:])
	if n > maxQuery {
		return nil, errTooLong
	}
	msg := make([]byte, n)
	_, err := io.ReadFull(r, msg)
	return msg, err
}

// stream writes the replies of a connection, one at a time.
type stream struct {
	mu   sync.Mutex
	conn *net.TCPConn
}

// send writes a reply, if there is one. A client that does not take it in time, or that waits for a reply
// that there is none of, loses the connection, which ends its reader too.
func (w *stream) send(reply []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if reply == nil {
		w.conn.Close()
		return
	}
	framed := append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(reply)), uint16(len(reply))), reply...)
	w.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := w.conn.Write(framed); err != nil {
		w.conn.Close()
	}
}

// connLimit counts connections.
type connLimit struct {
	mu  sync.Mutex
	all int
	of  map[netip.Addr]int
}

func (c *connLimit) take(source netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all >= maxConns || c.of[source] >= maxConnsOf {
		return false
	}
	if c.of == nil {
		c.of = map[netip.Addr]int{}
	}
	c.all++
	c.of[source]++
	return true
}

func (c *connLimit) giveBack(source netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if c.of[source]--; c.of[source] == 0 {
		delete(c.of, source)
	}
}

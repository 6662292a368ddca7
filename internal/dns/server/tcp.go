package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxConns and maxConnsPerAddr are the maximum numbers of connections in total and from one address. Many tasks
	// share one loopback address, so the second limit is generous.
	maxConns        = 1000
	maxConnsPerAddr = 250
	// idleTimeout is the longest time between the end of one message and the end of the next one on a connection (RFC
	// 7766, section 6.2.3 recommends a few seconds).
	idleTimeout = 10 * time.Second
	// maxPipelined is the maximum number of questions of one connection that are forwarded at the same time. The server
	// reads no further message until one of them is done.
	maxPipelined = 64
	// acceptRetryDelay is the delay after a failed accept, which usually means that no file descriptor is free.
	acceptRetryDelay = 50 * time.Millisecond
)

// serveTCP accepts the connections of a listener until it is closed.
func (s *Server) serveTCP(l *listener) {
	for {
		c, err := l.tcp.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.cfg.Log.Warn("cannot accept a DNS connection; retrying", "addr", l.addr, "err", err)
			select {
			case <-time.After(acceptRetryDelay):
			case <-s.ctx.Done():
			}
			continue
		}
		source := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
		if !s.conns.acquire(source) {
			s.counters.refused.Add(1)
			_ = c.Close()
			continue
		}
		l.running.Go(func() {
			defer s.conns.release(source)
			defer func() { _ = c.Close() }()
			if l.addConn(c) {
				defer l.removeConn(c)
				s.serveConn(c, source)
			}
		})
	}
}

// serveConn answers the messages of one connection. It sends replies to forwarded questions as soon as they are
// available, not in the order of the questions (RFC 7766, section 6.2.1.1).
func (s *Server) serveConn(c *net.TCPConn, source netip.Addr) {
	local := c.LocalAddr().(*net.TCPAddr).AddrPort().Addr()
	from := origin{source: source, client: clientOf(source, local), tcp: true}
	w := &replyWriter{conn: c}
	slots := make(chan struct{}, maxPipelined)
	var forwarded sync.WaitGroup
	defer forwarded.Wait()
	for {
		_ = c.SetReadDeadline(time.Now().Add(idleTimeout))
		msg, err := readMessage(c)
		if err != nil {
			return
		}
		s.counters.tcp.Add(1)
		out := s.handle(msg, from)
		switch {
		case out.resolve != nil && s.startResolving():
			slots <- struct{}{}
			forwarded.Go(func() {
				defer func() { <-slots }()
				defer s.endResolving()
				w.send(s.resolve(s.ctx, out))
			})
		case out.resolve != nil:
			w.send(s.resolve(overloaded, out))
		default:
			w.send(out.reply)
			s.markSent(out)
		}
	}
}

var errTooLong = fmt.Errorf("message longer than %d octets", maxQuery)

// readMessage reads the two octets of a message's length, and then the message (RFC 1035, section 4.2.2).
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

// replyWriter writes the replies of a connection, one at a time.
type replyWriter struct {
	mu   sync.Mutex
	conn *net.TCPConn
}

// send writes a reply. It closes the connection, which also ends serveConn, if the client does not accept the reply in
// time, or if reply is nil, since the client would wait for a reply in vain.
func (w *replyWriter) send(reply []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if reply == nil {
		_ = w.conn.Close()
		return
	}
	framed := append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(reply)), uint16(len(reply))), reply...)
	_ = w.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := w.conn.Write(framed); err != nil {
		_ = w.conn.Close()
	}
}

// connLimit limits the number of connections.
type connLimit struct {
	mu     sync.Mutex
	total  int
	byAddr map[netip.Addr]int
}

// acquire counts a connection from an address. It returns false if a limit is reached.
func (c *connLimit) acquire(source netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.total >= maxConns || c.byAddr[source] >= maxConnsPerAddr {
		return false
	}
	if c.byAddr == nil {
		c.byAddr = map[netip.Addr]int{}
	}
	c.total++
	c.byAddr[source]++
	return true
}

func (c *connLimit) release(source netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total--
	if c.byAddr[source]--; c.byAddr[source] == 0 {
		delete(c.byAddr, source)
	}
}

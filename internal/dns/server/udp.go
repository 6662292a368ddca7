package server

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

// serveUDP answers the datagrams of a listener until it is closed. Forwarded questions wait on at most maxResolving
// separate goroutines.
func (s *Server) serveUDP(l *listener) {
	buf := make([]byte, maxQuery)
	dest := newDestination(l)
	for {
		n, oobn, _, source, err := l.udp.ReadMsgUDPAddrPort(buf, dest.oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // the error concerns one datagram; the socket remains usable until it is closed
		}
		s.counters.udp.Add(1)
		local := dest.parse(oobn)
		from := origin{source: source.Addr(), client: clientOf(source.Addr(), local)}
		out := s.handle(buf[:n], from)
		if out.resolve == nil {
			s.sendUDP(l, out.reply, local, source)
			s.markSent(out)
			continue
		}
		if !s.startResolving() {
			s.sendUDP(l, s.resolve(overloaded, out), local, source)
			continue
		}
		l.running.Go(func() {
			defer s.endResolving()
			s.sendUDP(l, s.resolve(s.ctx, out), local, source)
		})
	}
}

// sendUDP sends a reply from the address to which the query was sent. It does nothing if the reply is nil. It ignores
// errors: a client retries after a lost datagram.
func (s *Server) sendUDP(l *listener, reply []byte, local netip.Addr, to netip.AddrPort) {
	if reply == nil {
		return
	}
	_ = l.udp.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, _, _ = l.udp.WriteMsgUDPAddrPort(reply, sourceControl(l, local), to)
}

// startResolving reserves a slot for a forwarded question. It returns false if maxResolving questions are being
// forwarded.
func (s *Server) startResolving() bool {
	select {
	case s.resolving <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s *Server) endResolving() { <-s.resolving }

// overloaded is the context of questions for which no slot is free. It is canceled, so that the forwarder answers from
// its cache only.
var overloaded = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

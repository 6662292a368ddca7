package server

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

// serveUDP answers the datagrams of a listener until it is closed. What is forwarded waits in goroutines of
// its own, at most maxResolving of them.
func (s *Server) serveUDP(l *listener) {
	buf := make([]byte, maxQuery)
	dest := newDestination(l)
	for {
		n, oobn, _, source, err := l.udp.ReadMsgUDPAddrPort(buf, dest.oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // of one datagram: the socket is good as long as it is open
		}
		s.counters.udp.Add(1)
		local := dest.of(oobn)
		from := origin{source: source.Addr(), client: clientOf(source.Addr(), local)}
		out := s.handle(buf[:n], from)
		if out.wait == nil {
			s.sendUDP(l, out.reply, local, source)
			s.sent(out)
			continue
		}
		if !s.startResolving() {
			s.sendUDP(l, s.finish(overloaded, out), local, source)
			continue
		}
		l.running.Go(func() {
			defer s.endResolving()
			s.sendUDP(l, s.finish(s.ctx, out), local, source)
		})
	}
}

// sendUDP sends a reply, if there is one, from the address that was asked. A reply that cannot be sent is
// lost, as any datagram may be: the client asks again.
func (s *Server) sendUDP(l *listener, reply []byte, local netip.Addr, to netip.AddrPort) {
	if reply == nil {
		return
	}
	l.udp.SetWriteDeadline(time.Now().Add(writeTimeout))
	l.udp.WriteMsgUDPAddrPort(reply, sourceControl(l, local), to)
}

// startResolving takes one of the slots for forwarded questions, if one is free.
func (s *Server) startResolving() bool {
	select {
	case s.resolving <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s *Server) endResolving() { <-s.resolving }

// overloaded is the context of questions for which no slot is free: it is over, so that the forwarder
// answers them from its cache only.
var overloaded = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

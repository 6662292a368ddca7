package dnstest

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/miekg/dns"
)

// Upstream is a resolver on a loopback address, for tests of code that queries a resolver. Its handler can be changed
// while it runs.
type Upstream struct {
	Addr     netip.AddrPort
	handler  atomic.Pointer[dns.HandlerFunc]
	received atomic.Int64
}

// NewUpstream starts a resolver that stops when the test ends.
func NewUpstream(tb testing.TB, handler dns.HandlerFunc) *Upstream {
	tb.Helper()
	udp, tcp := listen(tb)
	u := &Upstream{Addr: udp.LocalAddr().(*net.UDPAddr).AddrPort()}
	u.Handle(handler)
	serve := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		u.received.Add(1)
		(*u.handler.Load())(w, q)
	})
	for _, s := range []*dns.Server{{PacketConn: udp, Handler: serve}, {Listener: tcp, Handler: serve}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { _ = s.ActivateAndServe() }() // ends with an error when the test shuts it down
		<-started
		tb.Cleanup(func() { _ = s.Shutdown() })
	}
	return u
}

// listen opens one port of the loopback address over UDP and TCP. A port that is free over UDP may be in use over TCP
// by any connection of the machine; in that case listen tries another port.
func listen(tb testing.TB) (net.PacketConn, net.Listener) {
	tb.Helper()
	for attempt := 1; ; attempt++ {
		udp, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		tcp, err := net.Listen("tcp", udp.LocalAddr().String())
		if err == nil {
			return udp, tcp
		}
		_ = udp.Close()
		if attempt == 16 || !errors.Is(err, syscall.EADDRINUSE) {
			tb.Fatal(err)
		}
	}
}

// Handle replaces the handler.
func (u *Upstream) Handle(h dns.HandlerFunc) { u.handler.Store(&h) }

// Received returns the number of messages received over UDP and TCP.
func (u *Upstream) Received() int { return int(u.received.Load()) }

// Answer returns a handler that replies with a response code and with records in zone-file notation.
func Answer(rcode int, records ...string) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(Reply(q, rcode, records...)) }
}

// Reply returns a reply to q with SOA records in the authority section and all other records in the answer section.
func Reply(q *dns.Msg, rcode int, records ...string) *dns.Msg {
	m := new(dns.Msg).SetRcode(q, rcode)
	m.RecursionAvailable = true
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(err)
		}
		if rr.Header().Rrtype == dns.TypeSOA {
			m.Ns = append(m.Ns, rr)
		} else {
			m.Answer = append(m.Answer, rr)
		}
	}
	return m
}

// Silent is a handler that never replies to a query.
func Silent(dns.ResponseWriter, *dns.Msg) {}

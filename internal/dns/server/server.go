// Package server answers DNS messages over UDP and TCP. It decodes a message into a query for dns/answer, and encodes
// the reply.
//
// A [Server] listens on any number of addresses, on each over UDP and TCP. [Server.Listen] and [Server.Close] add and
// remove addresses while it runs, because each task of the process runtime has its own address. The path of a message:
//
//	udp.go, tcp.go   read the message, and determine its sender
//	handle.go        check the message, and answer it (dns/answer) or forward it (dns/forward)
//	encode.go        encode the reply within the size that the client accepts
//
// Every well-formed query receives exactly one reply. A malformed one receives FORMERR or nothing. No input makes the
// process crash, hang, or grow without bound; the constants of this package are the limits. The goroutine that has read
// a query answers it from the directory without waiting; only forwarded queries wait, on other goroutines.
//
// The package knows sockets and messages. dns/answer decides which records a name has, and [Config] decides which
// clients may resolve names outside our zones.
package server

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/bakingclouds/rollcall/internal/dns/answer"
	"github.com/bakingclouds/rollcall/internal/dns/forward"
)

const (
	// maxQuery is the size of the longest message that the server reads, many times that of a question with EDNS
	// options. A longer message over UDP is cut off, so it is malformed. Over TCP it ends the connection.
	maxQuery = 4096
	// maxResolving is the maximum number of questions that are forwarded at the same time. Further ones are answered
	// from the cache or with SERVFAIL.
	maxResolving = 1000
	// writeTimeout is the longest time that sending a reply may take.
	writeTimeout = 2 * time.Second
)

// Config configures a [Server].
type Config struct {
	Authority *answer.Authority
	// Forward configures the upstream resolvers for names outside our zones. If it is nil, the server refuses such
	// names. New sets its Own function.
	Forward *forward.Config
	// MayRecurse reports whether the server resolves names outside our zones for a client. If it is nil, the server
	// does so for clients on loopback addresses.
	MayRecurse func(client netip.Addr) bool
	// OnAnswer, if set, is called with each reply of dns/answer before it is sent. It must not block or keep the reply.
	OnAnswer func(client netip.Addr, r *answer.Reply)
	// Stale, if set, reports whether the directory may be out of date, so that answers get a short TTL. It must not
	// block.
	Stale func() bool
	Log   *slog.Logger // nil means slog.Default()
}

// Server is a DNS server. It is safe for concurrent use.
type Server struct {
	cfg       Config
	forwarder *forward.Forwarder // nil if the server refuses names outside our zones
	cookies   cookies
	resolving chan struct{} // contains one element for each question that is being forwarded
	replies   sync.Pool     // of *answer.Reply
	counters  counters
	conns     connLimit

	ctx  context.Context
	stop context.CancelFunc

	mu        sync.Mutex
	listeners map[netip.AddrPort]*listener
	stopped   bool
}

// New returns a server that does not listen on any address yet.
func New(cfg Config) *Server {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.MayRecurse == nil {
		cfg.MayRecurse = netip.Addr.IsLoopback
	}
	s := &Server{cfg: cfg, resolving: make(chan struct{}, maxResolving), listeners: map[netip.AddrPort]*listener{}}
	rand.Read(s.cookies.secret[:]) // never fails
	s.replies.New = func() any { return new(answer.Reply) }
	s.ctx, s.stop = context.WithCancel(context.Background())
	if cfg.Forward != nil {
		f := *cfg.Forward
		f.Own = s.owns
		s.forwarder = forward.New(f)
	}
	return s
}

// Listen starts to answer on an address over UDP and TCP. addr is host:port, where host is an IP address or empty, and
// port 0 means any free port. Listen returns the address with the actual port. If another process uses the address, the
// error names it where possible.
func (s *Server) Listen(addr string) (netip.AddrPort, error) {
	l, err := bind(addr)
	if err != nil {
		return netip.AddrPort{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		l.close()
		return netip.AddrPort{}, net.ErrClosed
	}
	s.listeners[l.addr] = l
	l.running.Go(func() { s.serveUDP(l) })
	l.running.Go(func() { s.serveTCP(l) })
	return l.addr, nil
}

// Close stops answering on an address that Listen has returned. When Close returns, the address is free, and the server
// sends nothing more from it. Close ignores an address on which the server does not listen.
func (s *Server) Close(addr netip.AddrPort) {
	s.mu.Lock()
	l := s.listeners[addr]
	delete(s.listeners, addr)
	s.mu.Unlock()
	if l != nil {
		l.close()
	}
}

// Shutdown stops answering on all addresses, and cancels forwarded questions.
func (s *Server) Shutdown() {
	s.mu.Lock()
	s.stopped = true
	all := s.listeners
	s.listeners = map[netip.AddrPort]*listener{}
	s.mu.Unlock()
	s.stop()
	if s.forwarder != nil {
		s.forwarder.Close()
	}
	for _, l := range all {
		l.close()
	}
}

// Addrs returns the addresses on which the server listens, sorted.
func (s *Server) Addrs() []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	addrs := make([]netip.AddrPort, 0, len(s.listeners))
	for a := range s.listeners {
		addrs = append(addrs, a)
	}
	slices.SortFunc(addrs, netip.AddrPort.Compare)
	return addrs
}

// Upstreams returns the resolvers to which the server currently forwards names outside our zones, or an error with the
// reason why it forwards none.
func (s *Server) Upstreams() ([]netip.AddrPort, error) {
	if s.forwarder == nil {
		return nil, errors.New("forwarding is disabled")
	}
	return s.forwarder.Upstreams()
}

// owns reports whether the server listens on an address, or on the port of all addresses of this host, to which the
// address belongs.
func (s *Server) owns(addr netip.AddrPort) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listeners[addr] != nil {
		return true
	}
	for l := range s.listeners {
		if l.Port() == addr.Port() && l.Addr().IsUnspecified() && isLocal(addr.Addr()) {
			return true
		}
	}
	return false
}

func isLocal(a netip.Addr) bool {
	if a.IsLoopback() || a.IsUnspecified() {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(addrs, func(n net.Addr) bool {
		p, err := netip.ParsePrefix(n.String())
		return err == nil && p.Addr() == a.WithZone("")
	})
}

// Stats contains counts since the start of the server.
type Stats struct {
	UDP, TCP uint64 // received messages
	Dropped  uint64 // received messages without a reply: too short, or not a query
	Refused  uint64 // TCP connections beyond the limits
	// Rcodes contains the number of replies for each response code, by the code's name.
	Rcodes map[string]uint64
}

type counters struct {
	udp, tcp, dropped, refused atomic.Uint64
	rcodes                     [24]atomic.Uint64
}

// Stats returns the counts.
func (s *Server) Stats() Stats {
	c := &s.counters
	st := Stats{UDP: c.udp.Load(), TCP: c.tcp.Load(), Dropped: c.dropped.Load(), Refused: c.refused.Load(),
		Rcodes: map[string]uint64{}}
	for code := range c.rcodes {
		if n := c.rcodes[code].Load(); n > 0 {
			st.Rcodes[rcodeName(code)] = n
		}
	}
	return st
}

// rcodeName returns the name of a response code. Code 16 has two meanings; the other one, BADSIG, concerns only servers
// with TSIG.
func rcodeName(code int) string {
	if code == dns.RcodeBadVers {
		return "BADVERS"
	}
	return dns.RcodeToString[code]
}

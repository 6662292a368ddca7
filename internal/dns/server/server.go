// Package server turns DNS messages into questions for dns/answer, and replies back into messages.
//
// A [Server] listens on any number of addresses, over UDP and TCP each; [Server.Listen] and
// [Server.Close] add and remove them while it runs, since each task of the process runtime has its own.
// The way of a message:
//
//	udp, tcp   read a message and who sent it
//	handle     check it, have it decided (dns/answer) or resolved (dns/forward)
//	encode     write the decision as a message, as large as the client takes
//
// It promises that every well-formed query gets one reply, that a malformed one gets FORMERR or nothing, and
// that no input makes the process crash, hang, or grow without bound: the bounds are the constants of this
// package. Answers from the directory are given at once by the goroutine that read the query; only names
// that are forwarded wait elsewhere.
//
// server knows sockets and messages. Which records a name has is for dns/answer to say, and which client may
// ask what beyond our own zones for its [Config].
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
	// maxQuery is the longest message that is read: many times what a question with EDNS options takes. A
	// longer one over UDP is cut, hence malformed; over TCP it ends the connection.
	maxQuery = 4096
	// maxResolving is how many forwarded questions may be under way; more are answered from the cache or
	// with SERVFAIL.
	maxResolving = 1000
	// writeTimeout bounds the time between a decision and the client having it.
	writeTimeout = 2 * time.Second
)

// Config is what a server is made of.
type Config struct {
	Authority *answer.Authority
	// Forward says who resolves the names that are not ours; nil means nobody. Its Own is set here.
	Forward *forward.Config
	// MayRecurse says which clients may have other names resolved; nil means those on loopback addresses.
	MayRecurse func(client netip.Addr) bool
	// Answered, if set, is told of each reply that dns/answer has decided, before it is sent. It must not
	// block and not keep the reply.
	Answered func(client netip.Addr, r *answer.Reply)
	// Stale, if set, says that the directory may be behind the state that others act on, so that answers are to
	// be short-lived. It must not block.
	Stale func() bool
	Log   *slog.Logger // nil means slog.Default
}

// Server answers DNS. Safe for use by many at once.
type Server struct {
	cfg       Config
	forwarder *forward.Forwarder // nil: names that are not ours are refused
	cookies   cookies
	resolving chan struct{} // a slot for each forwarded question
	replies   sync.Pool     // of *answer.Reply
	counters  counters
	conns     connLimit

	ctx  context.Context
	stop context.CancelFunc

	mu        sync.Mutex
	listeners map[netip.AddrPort]*listener
	stopped   bool
}

// New makes a server that listens nowhere yet.
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

// Listen answers on an address, over UDP and TCP, from now on, and returns the address with the port that
// it got: addr is host:port with an IP address or nothing as host, and port 0 for any free one. The error
// says who holds the address when that can be known.
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

// Close stops answering on an address that Listen returned; when it returns, the address is free and nothing
// more is sent from it. An address that is not listened on is no error.
func (s *Server) Close(addr netip.AddrPort) {
	s.mu.Lock()
	l := s.listeners[addr]
	delete(s.listeners, addr)
	s.mu.Unlock()
	if l != nil {
		l.close()
	}
}

// Shutdown stops answering everywhere, and gives up what is being forwarded.
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

// Addrs lists the addresses that are listened on, in order.
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

// Upstreams lists the resolvers that other names are forwarded to now; the error says why there are none.
func (s *Server) Upstreams() ([]netip.AddrPort, error) {
	if s.forwarder == nil {
		return nil, errors.New("forwarding is off")
	}
	return s.forwarder.Upstreams()
}

// owns reports whether an address is one of ours: listened on itself, or local to a host all of whose
// addresses are listened on.
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

// Stats are counts since the start.
type Stats struct {
	UDP, TCP uint64 // messages read
	Dropped  uint64 // of these, not replied to: too short, or no queries
	Refused  uint64 // connections over the limit
	// Rcodes counts the replies by their response code's name.
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

// rcodeName is the name of a response code; 16 is two in one, of which servers without TSIG have one.
func rcodeName(code int) string {
	if code == dns.RcodeBadVers {
		return "BADVERS"
	}
	return dns.RcodeToString[code]
}

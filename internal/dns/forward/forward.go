// Package forward resolves names outside our zones by asking upstream resolvers, on behalf of clients that may recurse.
//
// [Forwarder.Resolve] answers from a bounded cache, joins an equal question that is already pending, or asks the
// upstream resolvers. These are the configured ones, or those of the host's resolv.conf, which is read again whenever
// it changes. The forwarder asks over UDP, and retries over TCP if the answer is truncated. It asks the resolver that
// answered most recently before the others, and each resolver at most twice, within totalTimeout.
//
// The forwarder never asks its own server: it omits an upstream that is one of the server's listening addresses. A loop
// through another resolver ends by itself, because a question that comes back joins the pending one and shares its
// timeout.
//
// The package knows resolvers, questions and time. It does not know the directory, clients or their transports.
package forward

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"
)

const (
	// totalTimeout bounds the resolution of one question. Stub resolvers time out after 5 seconds (resolv.conf(5)).
	totalTimeout = 5 * time.Second
	// udpSize is the EDNS buffer size, which avoids fragmentation (DNS flag day 2020).
	udpSize = 1232
)

// attemptTimeouts are the timeouts for one resolver in the first and in the second round.
var attemptTimeouts = [...]time.Duration{time.Second, 2 * time.Second}

// Config configures a [Forwarder].
type Config struct {
	// Upstreams are the resolvers to ask. If it is empty, the forwarder asks the host's resolvers.
	Upstreams []netip.AddrPort
	// ResolvConf is the file with the host's resolvers; "" means /etc/resolv.conf. If it names the stub resolver of
	// systemd-resolved, SystemdResolvConf is the file with the actual resolvers; "" means
	// /run/systemd/resolve/resolv.conf.
	ResolvConf, SystemdResolvConf string
	// Own reports whether the server itself listens on an address. Nil means that it listens on none.
	Own func(netip.AddrPort) bool
}

// Question is a question of class IN. Name is in presentation form with a trailing dot.
type Question struct {
	Name string
	Type uint16
	// DO and CD are the client's DNSSEC bits (RFC 4035, section 3.2), which are passed to the upstream.
	DO, CD bool
}

// Failure is the error of a question that no upstream has answered. The server replies with SERVFAIL, and with the code
// and the reason as an extended error (RFC 8914).
type Failure struct {
	Code   uint16
	Reason string
}

// Error returns the reason.
func (f *Failure) Error() string { return f.Reason }

// Forwarder resolves questions by asking upstream resolvers. It is safe for concurrent use.
type Forwarder struct {
	cfg     Config
	host    hostList
	cache   cache
	pending singleflight.Group             // the questions that await the reply of an upstream
	best    atomic.Pointer[netip.AddrPort] // the resolver that answered most recently
	ctx     context.Context
	stop    context.CancelFunc
}

// New returns a forwarder. Close releases its resources.
func New(cfg Config) *Forwarder {
	if cfg.Own == nil {
		cfg.Own = func(netip.AddrPort) bool { return false }
	}
	f := &Forwarder{cfg: cfg, cache: newCache(cacheEntries)}
	f.host = hostList{
		resolvConf: cmp.Or(cfg.ResolvConf, "/etc/resolv.conf"),
		systemd:    cmp.Or(cfg.SystemdResolvConf, "/run/systemd/resolve/resolv.conf"),
	}
	f.ctx, f.stop = context.WithCancel(context.Background())
	return f
}

// Close cancels the pending questions.
func (f *Forwarder) Close() { f.stop() }

// Resolve resolves a question. If ctx is already done, Resolve answers from the cache only. The caller may change the
// returned message. It spells the name as the question does, its TTLs are the remaining ones, and it has no OPT record.
// Its response code is NOERROR or NXDOMAIN; every other result is an error, a *[Failure] or ctx.Err().
func (f *Forwarder) Resolve(ctx context.Context, q Question) (*dns.Msg, error) {
	key := q.key()
	if m := f.cache.get(key, time.Now()); m != nil {
		return withSpelling(m, q.Name), nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	result := f.pending.DoChan(key, func() (any, error) {
		if m := f.cache.get(key, time.Now()); m != nil {
			return m, nil // an equal question ended after the lookup above
		}
		ctx, cancel := context.WithTimeout(f.ctx, totalTimeout)
		defer cancel()
		m, err := f.ask(ctx, q)
		if err != nil {
			return nil, err
		}
		f.cache.add(key, m, time.Now())
		return m, nil
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case res := <-result:
		if res.Err != nil {
			return nil, res.Err
		}
		return withSpelling(res.Val.(*dns.Msg).Copy(), q.Name), nil
	}
}

// key returns the key of the question in the cache and among the pending questions.
func (q Question) key() string {
	return fmt.Sprintf("%s %d %t %t", strings.ToLower(q.Name), q.Type, q.DO, q.CD)
}

// withSpelling changes the owner names in m that equal name, so that they have its upper and lower case. It returns m.
func withSpelling(m *dns.Msg, name string) *dns.Msg {
	for _, rr := range m.Answer {
		if h := rr.Header(); strings.EqualFold(h.Name, name) {
			h.Name = name
		}
	}
	return m
}

// Upstreams returns the resolvers that the forwarder would ask now; the one that answered most recently comes first. If
// there are none, it returns an error with the reason.
func (f *Forwarder) Upstreams() ([]netip.AddrPort, error) {
	from, servers := "the configuration", f.cfg.Upstreams
	if len(servers) == 0 {
		var err error
		if from, servers, err = f.host.current(); err != nil {
			return nil, err
		}
	}
	var usable []netip.AddrPort
	best := f.best.Load()
	for _, s := range servers {
		switch {
		case f.cfg.Own(s):
		case best != nil && *best == s:
			usable = append([]netip.AddrPort{s}, usable...)
		default:
			usable = append(usable, s)
		}
	}
	if len(usable) == 0 {
		return nil, fmt.Errorf("%s names no resolver other than this server", from)
	}
	return usable, nil
}

// ask asks the upstreams one after the other. If any of them did not reply, it asks them all once more.
func (f *Forwarder) ask(ctx context.Context, q Question) (*dns.Msg, error) {
	servers, err := f.Upstreams()
	if err != nil {
		return nil, &Failure{dns.ExtendedErrorCodeOther, "no upstream resolver: " + err.Error()}
	}
	var last error
	for _, timeout := range attemptTimeouts {
		noReply := false
		for _, server := range servers {
			m, err := askOne(ctx, server, q, timeout)
			if err == nil {
				f.best.Store(&server)
				return m, nil
			}
			last = fmt.Errorf("upstream %s: %w", server, err)
			if ctx.Err() != nil {
				return nil, &Failure{dns.ExtendedErrorCodeNoReachableAuthority, last.Error()}
			}
			noReply = noReply || !errors.As(err, new(unusableReply))
		}
		if !noReply {
			return nil, &Failure{dns.ExtendedErrorCodeOther, last.Error()}
		}
	}
	return nil, &Failure{dns.ExtendedErrorCodeNoReachableAuthority, last.Error()}
}

// unusableReply is the error of a reply with another response code than NOERROR or NXDOMAIN.
type unusableReply string

func (u unusableReply) Error() string { return "replied with " + string(u) }

// askOne asks one resolver. It asks with EDNS first, and without it if the resolver does not support EDNS (RFC 6891,
// section 6.2.2).
func askOne(ctx context.Context, server netip.AddrPort, q Question, timeout time.Duration) (*dns.Msg, error) {
	m := new(dns.Msg).SetQuestion(q.Name, q.Type)
	m.CheckingDisabled = q.CD
	m.SetEdns0(udpSize, q.DO)
	r, err := exchange(ctx, server, m, timeout)
	if err == nil && (r.Rcode == dns.RcodeFormatError || r.Rcode == dns.RcodeNotImplemented) {
		m.Extra = nil
		r, err = exchange(ctx, server, m, timeout)
	}
	if err != nil {
		return nil, err
	}
	if r.Rcode != dns.RcodeSuccess && r.Rcode != dns.RcodeNameError {
		return nil, unusableReply(dns.RcodeToString[r.Rcode])
	}
	r.Extra = withoutOPT(r.Extra)
	return r, nil
}

// exchange sends a message over UDP, and again over TCP if the reply is truncated.
func exchange(ctx context.Context, server netip.AddrPort, m *dns.Msg, timeout time.Duration) (*dns.Msg, error) {
	c := dns.Client{Net: "udp", Timeout: timeout, UDPSize: udpSize}
	r, _, err := c.ExchangeContext(ctx, m, server.String())
	if err == nil && r.Truncated {
		c.Net = "tcp"
		r, _, err = c.ExchangeContext(ctx, m, server.String())
	}
	if err != nil {
		return nil, err
	}
	// The client has compared the id. A reply must also have the same question (RFC 5452, section 9.1).
	if len(r.Question) != 1 || !strings.EqualFold(r.Question[0].Name, m.Question[0].Name) ||
		r.Question[0].Qtype != m.Question[0].Qtype || !r.Response {
		return nil, errors.New("the reply is to a different question")
	}
	return r, nil
}

func withoutOPT(extra []dns.RR) []dns.RR {
	var rest []dns.RR
	for _, rr := range extra {
		if rr.Header().Rrtype != dns.TypeOPT {
			rest = append(rest, rr)
		}
	}
	return rest
}

// Package forward asks other resolvers for names that are not ours, on behalf of clients that may ask.
//
// [Forwarder.Resolve] answers from a bounded cache, joins a question that is already under way, or asks the
// upstream resolvers: those of the configuration, or those of the host, read again whenever its
// resolv.conf changes. It asks over UDP, again over TCP when an answer is cut short, the resolver that
// answered last before the others, each one twice, for [totalTimeout] at the most.
//
// It never asks itself: an upstream that is one of our own listening addresses is left out. A loop through
// another resolver ends by itself, since a question that comes back joins the one under way and shares its
// time-out.
//
// forward knows resolvers, questions and time. It does not know the directory, clients or their transports.
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
	// totalTimeout bounds one question: stub resolvers give up after 5 seconds (resolv.conf(5)).
	totalTimeout = 5 * time.Second
	// udpSize is the EDNS buffer size that avoids fragments (DNS flag day 2020).
	udpSize = 1232
)

// tryTimeouts are how long one resolver is waited for, in the first round and in the second.
var tryTimeouts = [...]time.Duration{time.Second, 2 * time.Second}

// Config says whom to ask.
type Config struct {
	// Upstreams are the resolvers to ask; none means the host's.
	Upstreams []netip.AddrPort
	// ResolvConf lists the host's resolvers, "" means /etc/resolv.conf. Where it names the stub of
	// systemd-resolved, SystemdResolvConf has the real list, "" means /run/systemd/resolve/resolv.conf.
	ResolvConf, SystemdResolvConf string
	// Own reports whether an address is one that this process listens on; nil means that none is.
	Own func(netip.AddrPort) bool
}

// Question is what to resolve, in class IN. Name is in presentation form with a dot at its end.
type Question struct {
	Name string
	Type uint16
	// DO and CD are the client's DNSSEC wishes (RFC 4035, section 3.2), passed on.
	DO, CD bool
}

// Failure is why a question has no answer. The server sends it as SERVFAIL with the code and the reason as
// an extended error (RFC 8914).
type Failure struct {
	Code   uint16
	Reason string
}

// Error is the reason.
func (f *Failure) Error() string { return f.Reason }

// Forwarder asks upstream resolvers. Safe for use by many at once.
type Forwarder struct {
	cfg     Config
	host    hostList
	cache   cache
	flights singleflight.Group
	best    atomic.Pointer[netip.AddrPort] // the resolver that answered last
	ctx     context.Context
	stop    context.CancelFunc
}

// New makes a forwarder. Close ends it.
func New(cfg Config) *Forwarder {
	if cfg.Own == nil {
		cfg.Own = func(netip.AddrPort) bool { return false }
	}
	f := &Forwarder{cfg: cfg, cache: newCache(cacheEntries)}
	f.host = hostList{
		main:    cmp.Or(cfg.ResolvConf, "/etc/resolv.conf"),
		systemd: cmp.Or(cfg.SystemdResolvConf, "/run/systemd/resolve/resolv.conf"),
	}
	f.ctx, f.stop = context.WithCancel(context.Background())
	return f
}

// Close gives up the questions under way.
func (f *Forwarder) Close() { f.stop() }

// Resolve answers a question; when ctx is done already, from the cache only. The message is the caller's own: its names are spelled as in the question,
// its TTLs are what is left of them, and it has no OPT record. Its rcode is NOERROR or NXDOMAIN; everything
// else is an error, a *[Failure] or ctx's.
func (f *Forwarder) Resolve(ctx context.Context, q Question) (*dns.Msg, error) {
	key := q.key()
	if m := f.cache.get(key, time.Now()); m != nil {
		return spelled(m, q.Name), nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	flight := f.flights.DoChan(key, func() (any, error) {
		if m := f.cache.get(key, time.Now()); m != nil {
			return m, nil // from a question that ended between our look at the cache and this
		}
		ctx, cancel := context.WithTimeout(f.ctx, totalTimeout)
		defer cancel()
		m, err := f.ask(ctx, q)
		if err != nil {
			return nil, err
		}
		f.cache.put(key, m, time.Now())
		return m, nil
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case res := <-flight:
		if res.Err != nil {
			return nil, res.Err
		}
		return spelled(res.Val.(*dns.Msg).Copy(), q.Name), nil
	}
}

// key is what the cache and the questions under way go by.
func (q Question) key() string {
	return fmt.Sprintf("%s %d %t %t", strings.ToLower(q.Name), q.Type, q.DO, q.CD)
}

// spelled writes the records of the asked name with the case of the question. It changes m.
func spelled(m *dns.Msg, name string) *dns.Msg {
	for _, rr := range m.Answer {
		if h := rr.Header(); strings.EqualFold(h.Name, name) {
			h.Name = name
		}
	}
	return m
}

// Upstreams lists the resolvers that a question would be asked of now, the one that answered last first. When
// there is none, the error says why.
func (f *Forwarder) Upstreams() ([]netip.AddrPort, error) {
	from, servers := "the configuration", f.cfg.Upstreams
	if len(servers) == 0 {
		var err error
		if from, servers, err = f.host.read(); err != nil {
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
		return nil, fmt.Errorf("%s names no resolver but this server", from)
	}
	return usable, nil
}

// ask asks the upstreams one after the other, and once more when any of them did not answer.
func (f *Forwarder) ask(ctx context.Context, q Question) (*dns.Msg, error) {
	servers, err := f.Upstreams()
	if err != nil {
		return nil, &Failure{dns.ExtendedErrorCodeOther, "no upstream resolver: " + err.Error()}
	}
	var last error
	for _, timeout := range tryTimeouts {
		silent := false
		for _, server := range servers {
			m, err := f.askOne(ctx, server, q, timeout)
			if err == nil {
				f.best.Store(&server)
				return m, nil
			}
			last = fmt.Errorf("upstream %s: %w", server, err)
			if ctx.Err() != nil {
				return nil, &Failure{dns.ExtendedErrorCodeNoReachableAuthority, last.Error()}
			}
			silent = silent || !errors.As(err, new(unusable))
		}
		if !silent {
			return nil, &Failure{dns.ExtendedErrorCodeOther, last.Error()}
		}
	}
	return nil, &Failure{dns.ExtendedErrorCodeNoReachableAuthority, last.Error()}
}

// unusable is a reply that is no answer.
type unusable string

func (u unusable) Error() string { return "answered " + string(u) }

// askOne asks one resolver, with EDNS first, without when the resolver does not know it (RFC 6891, section
// 6.2.2), over TCP when the answer did not fit.
func (f *Forwarder) askOne(ctx context.Context, server netip.AddrPort, q Question, timeout time.Duration) (*dns.Msg, error) {
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
		return nil, unusable(dns.RcodeToString[r.Rcode])
	}
	r.Extra = withoutOPT(r.Extra)
	return r, nil
}

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
	// The id was compared; a reply to another question is not one (RFC 5452, section 9.1).
	if len(r.Question) != 1 || !strings.EqualFold(r.Question[0].Name, m.Question[0].Name) ||
		r.Question[0].Qtype != m.Question[0].Qtype || !r.Response {
		return nil, errors.New("answered another question")
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

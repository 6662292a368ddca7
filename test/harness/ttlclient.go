package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sd "github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/miekg/dns"
)

// TTLClient sends requests to a service all the time, each over a connection of its own, to one of the addresses that
// it was last told, which it keeps for their TTL and no longer. So it notices every address that it should not have
// been given, and every one that was taken away too early.
type TTLClient struct {
	name string
	// resolve asks for the addresses of the service and for how long they hold.
	resolve func(ctx context.Context) (addrs []netip.AddrPort, ttl time.Duration, err error)
	// path is what the addresses are asked for.
	path string

	sent       atomic.Int64
	unanswered atomic.Int64 // times when nobody could be asked: the server was down
	mu         sync.Mutex
	troubles   []Trouble
}

// Trouble is a request that failed, or an answer that was empty.
type Trouble struct {
	At    time.Time
	Empty bool
	What  string
}

// String is one line for readers.
func (t Trouble) String() string { return t.At.Format("15:04:05.000 ") + t.What }

// work is a page of the worker's that costs it little.
const work = "/work?n=10"

// pace is how long a client waits between two requests: some hundred a second from all of them together.
const pace = 20 * time.Millisecond

// run sends requests until ctx ends.
func (c *TTLClient) run(ctx context.Context) {
	var addrs []netip.AddrPort
	var until time.Time
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !time.Now().Before(until) {
			fresh, ttl, err := c.resolve(ctx)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				c.unanswered.Add(1)
				continue
			case len(fresh) == 0:
				c.note(true, "an empty answer")
				continue
			}
			addrs, until = fresh, time.Now().Add(ttl)
		}
		at := addrs[rand.IntN(len(addrs))]
		if err := visit(ctx, "http://"+at.String()+c.path); err != nil && ctx.Err() == nil {
			c.note(false, fmt.Sprintf("%s, to be used until %s: %v", at, until.Format("15:04:05.000"), err))
		}
		c.sent.Add(1)
	}
}

func (c *TTLClient) note(empty bool, what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.troubles = append(c.troubles, Trouble{time.Now(), empty, c.name + ": " + what})
}

// newConnections makes each request over a connection of its own.
var newConnections = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}

// visit gets a page.
func visit(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := newConnections.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	return err
}

// Current is the server that clients ask: the one that runs now.
type Current struct{ atomic.Pointer[Server] }

// ByA asks DNS for addresses.
func ByA(s *Current, name string) *TTLClient {
	c := &TTLClient{name: "A " + name, path: work}
	c.resolve = func(ctx context.Context) (addrs []netip.AddrPort, ttl time.Duration, err error) {
		reply, err := exchange(ctx, s, name, dns.TypeA)
		if err != nil {
			return nil, 0, err
		}
		for _, rr := range reply.Answer {
			if a, ok := rr.(*dns.A); ok {
				ip, _ := netip.AddrFromSlice(a.A.To4())
				addrs = append(addrs, netip.AddrPortFrom(ip, 5000))
				ttl = time.Duration(a.Hdr.Ttl) * time.Second
			}
		}
		return addrs, ttl, nil
	}
	return c
}

// BySRV asks DNS for hosts and ports, and then for the addresses of one of the hosts, as clients do that do not read
// the additional section.
func BySRV(s *Current, name string) *TTLClient {
	c := &TTLClient{name: "SRV " + name, path: work}
	c.resolve = func(ctx context.Context) (addrs []netip.AddrPort, ttl time.Duration, err error) {
		reply, err := exchange(ctx, s, name, dns.TypeSRV)
		if err != nil || len(reply.Answer) == 0 {
			return nil, 0, err
		}
		srv := reply.Answer[rand.IntN(len(reply.Answer))].(*dns.SRV)
		host, err := exchange(ctx, s, srv.Target, dns.TypeA)
		if err != nil {
			return nil, 0, err
		}
		for _, rr := range host.Answer {
			if a, ok := rr.(*dns.A); ok {
				ip, _ := netip.AddrFromSlice(a.A.To4())
				addrs = append(addrs, netip.AddrPortFrom(ip, srv.Port))
				ttl = time.Duration(min(a.Hdr.Ttl, srv.Hdr.Ttl)) * time.Second
			}
		}
		return addrs, ttl, nil
	}
	return c
}

func exchange(ctx context.Context, s *Current, name string, typ uint16) (*dns.Msg, error) {
	client := dns.Client{Timeout: 2 * time.Second}
	reply, _, err := client.ExchangeContext(ctx, new(dns.Msg).SetQuestion(dns.Fqdn(name), typ), s.Load().Info.DNS[0])
	if err == nil && reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError {
		err = errors.New(dns.RcodeToString[reply.Rcode])
	}
	return reply, err
}

// ByDiscovery asks DiscoverInstances, and keeps what it says for a second.
func ByDiscovery(s *Current, namespace, service string) *TTLClient {
	c := &TTLClient{name: "DiscoverInstances " + service, path: work}
	c.resolve = func(ctx context.Context) (addrs []netip.AddrPort, ttl time.Duration, err error) {
		out, err := s.Load().CloudMap().DiscoverInstances(ctx, &sd.DiscoverInstancesInput{NamespaceName: &namespace, ServiceName: &service},
			func(o *sd.Options) { o.RetryMaxAttempts = 1 })
		if err != nil {
			return nil, 0, err
		}
		for _, i := range out.Instances {
			port, _ := strconv.ParseUint(i.Attributes["AWS_INSTANCE_PORT"], 10, 16)
			addrs = append(addrs, netip.AddrPortFrom(netip.MustParseAddr(i.Attributes["AWS_INSTANCE_IPV4"]), uint16(max(port, 5000))))
		}
		return addrs, time.Second, nil
	}
	return c
}

// BySystem has a task ask, the sample backend, which looks the worker up for each request by the resolv.conf of its
// system. A lookup that nobody answers is no trouble; an empty answer, or a worker that is not there, is.
func BySystem(backend netip.AddrPort) *TTLClient {
	c := &TTLClient{name: "the backend at " + backend.String(), path: "/health"}
	c.resolve = func(ctx context.Context) ([]netip.AddrPort, time.Duration, error) {
		switch err := visit(ctx, "http://"+backend.String()+"/"); {
		case err == nil, ctx.Err() != nil:
		case strings.Contains(err.Error(), "no such host"):
			c.note(true, err.Error())
		case strings.Contains(err.Error(), "does not resolve"):
			return nil, 0, err
		default:
			c.note(false, err.Error())
		}
		return []netip.AddrPort{backend}, 0, nil // it is there itself
	}
	return c
}

// Watchers run clients until their end is called.
type Watchers struct {
	t       testing.TB
	clients []*TTLClient
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// StartWatchers starts clients.
func StartWatchers(t testing.TB, clients ...*TTLClient) *Watchers {
	w := &Watchers{t: t, clients: clients}
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(t.Context())
	for _, c := range clients {
		w.running.Go(func() { c.run(ctx) })
	}
	t.Cleanup(w.End)
	return w
}

// End ends them; it can be called again.
func (w *Watchers) End() {
	w.cancel()
	w.running.Wait()
}

// Counts sums up what the clients have seen so far.
func (w *Watchers) Counts() (sent, unanswered int64) {
	for _, c := range w.clients {
		sent += c.sent.Load()
		unanswered += c.unanswered.Load()
	}
	return sent, unanswered
}

// Troubles takes what went wrong since the last call.
func (w *Watchers) Troubles() (all []Trouble) {
	for _, c := range w.clients {
		c.mu.Lock()
		all = append(all, c.troubles...)
		c.troubles = nil
		c.mu.Unlock()
	}
	return all
}

// None holds that nothing went wrong since the last look.
func (w *Watchers) None(during string) {
	w.t.Helper()
	all := w.Troubles()
	for _, t := range all[:min(len(all), 10)] {
		w.t.Errorf("%s: %v", during, t)
	}
	if len(all) > 10 {
		w.t.Errorf("%s: %d more", during, len(all)-10)
	}
}

package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
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

// TTLClient sends requests to a service without pause, each over a new connection, to one of the addresses in the last
// answer, which it uses for their TTL and no longer. A request fails if the answer had an address that it should not
// have had, or if a task was stopped before the answer expired.
type TTLClient struct {
	name string
	// resolve returns the addresses of the service and their TTL.
	resolve func(ctx context.Context) (addrs []netip.AddrPort, ttl time.Duration, err error)
	// path is the path of the requests.
	path string
	// ignoresTTL is set for addresses that stay valid: every failed request counts.
	ignoresTTL bool

	sent       atomic.Int64
	unanswered atomic.Int64 // lookups without an answer: the server was down
	mu         sync.Mutex
	failures   []Failure
}

// Failure is a request that failed, or an answer that was empty.
type Failure struct {
	At    time.Time
	Empty bool // an empty answer
	What  string
}

// String returns one line for the log of a test.
func (f Failure) String() string { return f.At.Format("15:04:05.000 ") + f.What }

// workPath is a page of the sample worker that takes little work.
const workPath = "/work?n=10"

// requestInterval is the time between two requests of one client. All clients together send some hundred per second.
const requestInterval = 20 * time.Millisecond

// run sends requests until ctx is done.
func (c *TTLClient) run(ctx context.Context) {
	var addrs []netip.AddrPort
	var until time.Time
	tick := time.NewTicker(requestInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if asked := time.Now(); !asked.Before(until) {
			fresh, ttl, err := c.resolve(ctx)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				c.unanswered.Add(1)
				continue
			case len(fresh) == 0:
				c.addFailure(time.Now(), true, "an empty answer")
				continue
			}
			// The TTL runs from the time at which the server sent the answer, which is not known here. It is not before
			// the question. Counting from the arrival would use an address for too long when this process is slow.
			addrs, until = fresh, asked.Add(ttl)
		}
		at := addrs[rand.IntN(len(addrs))]
		var conn connectTime
		err := httpGet(httptrace.WithClientTrace(ctx, conn.trace()), "http://"+at.String()+c.path)
		if err != nil && ctx.Err() == nil && (c.ignoresTTL || conn.ended.Before(until)) {
			c.addFailure(conn.ended, false, fmt.Sprintf("%s, valid until %s: %v", at, until.Format("15:04:05.000"),
				err))
		}
		c.sent.Add(1)
	}
}

// addFailure records a failure.
func (c *TTLClient) addFailure(at time.Time, empty bool, what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures = append(c.failures, Failure{at, empty, c.name + ": " + what})
}

// oneRequestPerConnection is an HTTP client that opens a new connection for each request, so that no request meets a
// connection that its server is about to close.
var oneRequestPerConnection = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}

// connectTime records when an attempt to connect ended.
type connectTime struct{ ended time.Time }

// trace returns hooks that record the time.
//
// A client that honors TTLs opens no connection after an answer has expired. On a busy machine this process may have
// to wait for a CPU between its look at the clock and the connection. A failed request is therefore the server's fault
// only if the attempt to connect ended, with or without a connection, before the answer expired.
func (c *connectTime) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{ConnectDone: func(string, string, error) { c.ended = time.Now() }}
}

// httpGet reads a page and returns an error unless its status is 200.
func httpGet(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := oneRequestPerConnection.Do(req)
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

// CurrentServer is the server that clients ask. A test replaces it when it restarts the server.
type CurrentServer struct{ atomic.Pointer[Server] }

// NewAClient returns a client that asks DNS for A records.
func NewAClient(s *CurrentServer, name string) *TTLClient {
	c := &TTLClient{name: "A " + name, path: workPath}
	c.resolve = func(ctx context.Context) (addrs []netip.AddrPort, ttl time.Duration, err error) {
		reply, err := queryOnce(ctx, s, name, dns.TypeA)
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

// NewSRVClient returns a client that asks DNS for SRV records, and then for the addresses of one of the targets, as
// clients do that do not read the additional section.
func NewSRVClient(s *CurrentServer, name string) *TTLClient {
	c := &TTLClient{name: "SRV " + name, path: workPath}
	c.resolve = func(ctx context.Context) (addrs []netip.AddrPort, ttl time.Duration, err error) {
		reply, err := queryOnce(ctx, s, name, dns.TypeSRV)
		if err != nil || len(reply.Answer) == 0 {
			return nil, 0, err
		}
		srv := reply.Answer[rand.IntN(len(reply.Answer))].(*dns.SRV)
		host, err := queryOnce(ctx, s, srv.Target, dns.TypeA)
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

// queryOnce sends one query to the current server.
func queryOnce(ctx context.Context, s *CurrentServer, name string, typ uint16) (*dns.Msg, error) {
	client := dns.Client{Timeout: time.Minute}
	reply, _, err := client.ExchangeContext(ctx, new(dns.Msg).SetQuestion(dns.Fqdn(name), typ), s.Load().Info.DNS[0])
	if err == nil && reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError {
		err = errors.New(dns.RcodeToString[reply.Rcode])
	}
	return reply, err
}

// NewDiscoveryClient returns a client that calls DiscoverInstances and uses the addresses for one second.
func NewDiscoveryClient(s *CurrentServer, namespace, service string) *TTLClient {
	c := &TTLClient{name: "DiscoverInstances " + service, path: workPath}
	c.resolve = func(ctx context.Context) (addrs []netip.AddrPort, ttl time.Duration, err error) {
		out, err := s.Load().CloudMap().DiscoverInstances(ctx,
			&sd.DiscoverInstancesInput{NamespaceName: &namespace, ServiceName: &service},
			func(o *sd.Options) { o.RetryMaxAttempts = 1 })
		if err != nil {
			return nil, 0, err
		}
		for _, i := range out.Instances {
			port, _ := strconv.ParseUint(i.Attributes["AWS_INSTANCE_PORT"], 10, 16)
			addrs = append(addrs, netip.AddrPortFrom(netip.MustParseAddr(i.Attributes["AWS_INSTANCE_IPV4"]),
				uint16(max(port, 5000))))
		}
		return addrs, time.Second, nil
	}
	return c
}

// NewBackendClient returns a client that sends requests to a task of the sample backend, which looks up the worker for
// each request with the resolver of its system. A lookup without an answer is not a failure; an empty answer, or a
// worker that does not answer, is one.
func NewBackendClient(backend netip.AddrPort) *TTLClient {
	c := &TTLClient{name: "the backend at " + backend.String(), path: "/health", ignoresTTL: true}
	c.resolve = func(ctx context.Context) ([]netip.AddrPort, time.Duration, error) {
		switch err := httpGet(ctx, "http://"+backend.String()+"/"); {
		case err == nil, ctx.Err() != nil:
		case strings.Contains(err.Error(), "no such host"):
			c.addFailure(time.Now(), true, err.Error())
		case strings.Contains(err.Error(), "resolve worker."):
			return nil, 0, err
		default:
			c.addFailure(time.Now(), false, err.Error())
		}
		return []netip.AddrPort{backend}, 0, nil // then run asks for the backend's own health
	}
	return c
}

// ClientGroup is a group of clients that run until Stop is called.
type ClientGroup struct {
	t       testing.TB
	clients []*TTLClient
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// StartClients starts clients, and stops them at the end of the test.
func StartClients(t testing.TB, clients ...*TTLClient) *ClientGroup {
	t.Helper()
	w := &ClientGroup{t: t, clients: clients}
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(t.Context())
	for _, c := range clients {
		w.running.Go(func() { c.run(ctx) })
	}
	t.Cleanup(w.Stop)
	return w
}

// Stop stops the clients. It may be called more than once.
func (w *ClientGroup) Stop() {
	w.cancel()
	w.running.Wait()
}

// Counts returns the number of requests sent, and of lookups without an answer, so far.
func (w *ClientGroup) Counts() (sent, unanswered int64) {
	for _, c := range w.clients {
		sent += c.sent.Load()
		unanswered += c.unanswered.Load()
	}
	return sent, unanswered
}

// TakeFailures returns the failures since its last call.
func (w *ClientGroup) TakeFailures() (all []Failure) {
	for _, c := range w.clients {
		c.mu.Lock()
		all = append(all, c.failures...)
		c.failures = nil
		c.mu.Unlock()
	}
	return all
}

// CheckNoFailures fails the test if there were failures since the last call of TakeFailures or CheckNoFailures.
func (w *ClientGroup) CheckNoFailures(during string) {
	w.t.Helper()
	all := w.TakeFailures()
	for _, failure := range all[:min(len(all), 10)] {
		w.t.Errorf("%s: %v", during, failure)
	}
	if len(all) > 10 {
		w.t.Errorf("%s: %d more", during, len(all)-10)
	}
}

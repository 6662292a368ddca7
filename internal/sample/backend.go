package sample

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"
)

const (
	// workTimeout limits one request to the worker, including the DNS lookup.
	workTimeout = 5 * time.Second
	// maxResponse is the maximum size of the worker's response, in bytes.
	maxResponse = 64 << 10
)

// Backend returns the HTTP handler of the backend.
//
//	GET /         calls the worker; responds "Worker Message: … From: <address>", or 502 with the reason
//	GET /health   200
//
// The worker is worker.$NAMESPACE (default corp) on port $WORKER_PORT (default 5000). The name is resolved by the DNS
// server $ROLLCALL_DNS (host:port), or by the system's if that is not set.
func Backend(getenv func(string) string) (http.Handler, error) {
	port, err := strconv.ParseUint(orDefault(getenv("WORKER_PORT"), defaultPort), 10, 16)
	if err != nil {
		return nil, fmt.Errorf("WORKER_PORT must be a port number: %w", err)
	}
	worker := &workerClient{
		// With the final dot, the resolver does not append the search domains of this host's resolv.conf.
		name:     "worker." + orDefault(getenv("NAMESPACE"), "corp") + ".",
		port:     uint16(port),
		server:   orDefault(getenv("ROLLCALL_DNS"), "the system's DNS server"),
		resolver: resolverAt(getenv("ROLLCALL_DNS")),
		http: &http.Client{Transport: &http.Transport{
			// A kept-alive connection could lead to a task that has left DNS. There is no Proxy, because a proxy would
			// resolve the name itself.
			DisableKeepAlives: true,
		}},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), workTimeout)
		defer cancel()
		message, from, err := worker.call(ctx)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprintf(w, "Worker Message: %s From: %s\n", message, from)
	})
	mux.HandleFunc("GET /health", health)
	return mux, nil
}

// resolverAt returns a resolver that queries the DNS server at hostport, or the system's if hostport is empty. It is
// Go's resolver, which has no cache, so each request uses the current answer.
func resolverAt(hostport string) *net.Resolver {
	r := &net.Resolver{PreferGo: true}
	if hostport != "" {
		r.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, hostport)
		}
	}
	return r
}

// workerClient calls a worker at one of the addresses in DNS.
type workerClient struct {
	name     string // absolute
	port     uint16
	server   string // the DNS server, for error texts
	resolver *net.Resolver
	http     *http.Client
}

// call resolves the worker's name and requests work from one of its addresses.
func (c *workerClient) call(ctx context.Context) (message string, from netip.Addr, err error) {
	addrs, err := c.resolver.LookupNetIP(ctx, "ip", c.name)
	if err != nil {
		reason := err.Error()
		// The text of a DNSError contains the server of resolv.conf, even if another server was queried.
		if dns, ok := errors.AsType[*net.DNSError](err); ok {
			reason = dns.Err
		}
		return "", netip.Addr{}, fmt.Errorf("resolve %s at %s: %s", c.name, c.server, reason)
	}
	from = addrs[rand.IntN(len(addrs))].Unmap()
	message, err = c.requestWork(ctx, netip.AddrPortFrom(from, c.port))
	if err != nil {
		return "", from, fmt.Errorf("request work from %s at %s: %w", c.name, from, err)
	}
	return message, from, nil
}

// requestWork requests work from the worker at an address.
func (c *workerClient) requestWork(ctx context.Context, at netip.AddrPort) (message string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at.String()+"/work", nil)
	if err != nil {
		return "", err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("unexpected status %s", res.Status)
	}
	var work Work
	if err := json.NewDecoder(io.LimitReader(res.Body, maxResponse)).Decode(&work); err != nil {
		return "", fmt.Errorf("decode the response: %w", err)
	}
	return work.Message, nil
}

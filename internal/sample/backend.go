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
	// workTimeout bounds one request to the worker, its name's lookup included.
	workTimeout = 5 * time.Second
	// maxAnswer bounds what is read of the worker's answer, in bytes.
	maxAnswer = 64 << 10
)

// Backend is the backend's HTTP interface.
//
//	GET /         asks the worker; "Worker Message: … From: <the address that DNS gave>", or 502 and why not
//	GET /health   200
//
// The worker is worker.$NAMESPACE (corp) on port $WORKER_PORT (5000), asked of the DNS server $ROLLCALL_DNS
// (host:port), or of the system's own where that is not set.
func Backend(getenv func(string) string) (http.Handler, error) {
	port, err := strconv.ParseUint(orDefault(getenv("WORKER_PORT"), defaultPort), 10, 16)
	if err != nil {
		return nil, fmt.Errorf("WORKER_PORT must be a port number: %w", err)
	}
	worker := &workerClient{
		// The last dot keeps the search domains of this host's resolv.conf out of it.
		name:     "worker." + orDefault(getenv("NAMESPACE"), "corp") + ".",
		port:     uint16(port),
		server:   orDefault(getenv("ROLLCALL_DNS"), "the system's DNS server"),
		resolver: resolverAt(getenv("ROLLCALL_DNS")),
		http: &http.Client{Transport: &http.Transport{
			// A kept connection would go on to a task that has left DNS; a proxy would ask DNS itself.
			DisableKeepAlives: true,
		}},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), workTimeout)
		defer cancel()
		message, from, err := worker.ask(ctx)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprintf(w, "Worker Message: %s From: %s\n", message, from)
	})
	mux.HandleFunc("GET /health", health)
	return mux, nil
}

// resolverAt asks the DNS server at hostport, or the system's where that is empty. It is Go's own resolver,
// which keeps no cache, so every request sees what DNS says now.
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

// workerClient asks whichever worker DNS names.
type workerClient struct {
	name     string // absolute
	port     uint16
	server   string // the DNS server, for error texts
	resolver *net.Resolver
	http     *http.Client
}

// ask has the work done by one of the addresses that the name has at this moment.
func (c *workerClient) ask(ctx context.Context) (message string, from netip.Addr, err error) {
	addrs, err := c.resolver.LookupNetIP(ctx, "ip", c.name)
	if err != nil {
		why := err.Error()
		// The text of a DNSError names the server of resolv.conf, also where another one was asked.
		if dns, ok := errors.AsType[*net.DNSError](err); ok {
			why = dns.Err
		}
		return "", netip.Addr{}, fmt.Errorf("%s does not resolve: %s says: %s", c.name, c.server, why)
	}
	from = addrs[rand.IntN(len(addrs))].Unmap()
	message, err = c.work(ctx, netip.AddrPortFrom(from, c.port))
	if err != nil {
		return "", from, fmt.Errorf("%s is at %s, which did not do the work: %w", c.name, from, err)
	}
	return message, from, nil
}

// work asks the worker at this address.
func (c *workerClient) work(ctx context.Context, at netip.AddrPort) (message string, err error) {
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
		return "", fmt.Errorf("it answered %s", res.Status)
	}
	var work Work
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&work); err != nil {
		return "", fmt.Errorf("its answer is not the JSON of a worker: %w", err)
	}
	return work.Message, nil
}

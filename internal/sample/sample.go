// Package sample contains the sample services that the demo and the examples deploy: a backend that finds a worker by
// its DNS name and requests work from it.
//
// Both are roles of the rollcall binary, so that a task definition can run them on a machine without other programs:
//
//	rollcall sample flask-worker    counts primes and returns JSON
//	rollcall sample flask-backend   resolves worker.$NAMESPACE and calls one of its addresses
//	rollcall sample check URL       sends one GET, as a container health check; expands $NAME in the URL
//
// They read their configuration from the environment of their task (ROLLCALL_ADDRESS, ROLLCALL_PORT_5000, ROLLCALL_DNS)
// and use nothing else of Rollcall. The same programs in Python are in examples/flask.
//
// The backend also verifies DNS answers. It resolves the name for each request, caches neither answers nor connections,
// and calls exactly one address, so that a wrong address causes an error instead of a retry.
package sample

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// shutdownGrace is the time for requests in flight to finish after SIGTERM. It is less than the 30 s that ECS waits
// between SIGTERM and SIGKILL (stopTimeout).
const shutdownGrace = 25 * time.Second

// ErrUsage is wrapped by the error of [Run] if the arguments do not name a role. The command line then exits with
// status 2.
var ErrUsage = errors.New("usage: rollcall sample flask-worker | flask-backend | check URL")

// Run runs the role that args name. A service runs until ctx is done or the process receives SIGTERM or SIGINT; then it
// stops accepting connections, finishes the requests in flight and returns nil. A check returns nil if the URL returns
// a 2xx or 3xx status. getenv (os.Getenv) returns environment variables. A service prints one line to out when it
// listens.
func Run(ctx context.Context, args []string, getenv func(string) string, out io.Writer) error {
	switch {
	case len(args) == 1 && args[0] == "flask-worker":
		return serve(ctx, args[0], getenv, out, Worker(getenv))
	case len(args) == 1 && args[0] == "flask-backend":
		backend, err := Backend(getenv)
		if err != nil {
			return err
		}
		return serve(ctx, args[0], getenv, out, backend)
	case len(args) == 2 && args[0] == "check":
		return Check(ctx, os.Expand(args[1], getenv)) // because an image may have no shell
	case len(args) == 0:
		return ErrUsage
	}
	return fmt.Errorf("unknown role %q: %w", strings.Join(args, " "), ErrUsage)
}

// serve serves h on the task's address until ctx is done or a signal arrives.
func serve(ctx context.Context, name string, getenv func(string) string, out io.Writer, h http.Handler) error {
	ctx, ignoreSignals := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer ignoreSignals()

	at, err := listenAddress(getenv)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", at)
	if err != nil {
		return fmt.Errorf("%s: %w; set ROLLCALL_ADDRESS and ROLLCALL_PORT_5000 to use another address", name, err)
	}
	fmt.Fprintf(out, "%s listens on http://%s\n", name, ln.Addr())

	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	select {
	case err := <-served:
		return fmt.Errorf("%s: %w", name, err)
	case <-ctx.Done():
	}

	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		return fmt.Errorf("%s: requests still in flight after %v: %w", name, shutdownGrace, err)
	}
	return nil
}

// listenAddress returns the address to listen on. A task that listened on all addresses would respond for the other
// tasks on this host.
func listenAddress(getenv func(string) string) (string, error) {
	addr, err := ownAddress(getenv)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(addr.String(), orDefault(getenv("ROLLCALL_PORT_5000"), defaultPort)), nil
}

func ownAddress(getenv func(string) string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(orDefault(getenv("ROLLCALL_ADDRESS"), "127.0.0.1"))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("ROLLCALL_ADDRESS must be an IP address: %w", err)
	}
	return addr, nil
}

// defaultPort is the container port in the task definitions of the samples.
const defaultPort = "5000"

func orDefault(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// health responds to the container's health check. A process that responds is healthy.
func health(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, "ok")
}

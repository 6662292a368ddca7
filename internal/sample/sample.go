// Package sample is the small social network that the demo and the examples deploy: a backend that asks a
// worker, found by its name in DNS, to do some work.
//
// Both are roles of the rollcall binary itself, so that a task definition can run them where nothing else is
// installed:
//
//	rollcall sample flask-worker    counts primes; answers JSON
//	rollcall sample flask-backend   looks up worker.$NAMESPACE and asks one of its addresses
//	rollcall sample check URL       one GET, for a container's health check; $NAMEs in it are variables
//
// They learn everything from the environment that every task has (ROLLCALL_ADDRESS, ROLLCALL_PORT_5000,
// ROLLCALL_DNS) and know nothing else of Rollcall: the same programs in Python stand in examples/flask.
//
// The backend is also the most honest witness of what DNS says. It looks the name up for every request, keeps
// neither answers nor connections, and asks one address only: an address that DNS should not have given shows
// as an error instead of being tried around.
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

// shutdownGrace bounds how long requests in flight may take once the service has been told to stop. It lies
// below the 30 s that ECS waits between SIGTERM and SIGKILL (stopTimeout).
const shutdownGrace = 25 * time.Second

// ErrUsage is wrapped by the error of [Run] when the arguments name no role; the command line answers it with
// exit status 2.
var ErrUsage = errors.New("usage: rollcall sample flask-worker | flask-backend | check URL")

// Run does what args ask for: a role, and what belongs to it. A service runs until ctx ends or the process
// gets SIGTERM or SIGINT; then it accepts no more connections, finishes the requests in flight and returns nil.
// A check returns nil when the URL answers with a 2xx or 3xx status. Variables are read through getenv
// (os.Getenv), and out gets one line when a service listens.
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
		return Check(ctx, os.Expand(args[1], getenv)) // an image may have no shell to do it
	case len(args) == 0:
		return ErrUsage
	}
	return fmt.Errorf("unknown role %q: %w", strings.Join(args, " "), ErrUsage)
}

// serve answers with h on the task's own address until it is told to stop.
func serve(ctx context.Context, name string, getenv func(string) string, out io.Writer, h http.Handler) error {
	ctx, ignoreSignals := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer ignoreSignals()

	at, err := listenAddress(getenv)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", at)
	if err != nil {
		return fmt.Errorf("%s: %w; ROLLCALL_ADDRESS and ROLLCALL_PORT_5000 choose another place", name, err)
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

// listenAddress is the one address that the task may listen on: a task on every address would answer for the
// other tasks of this host.
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

// health answers the container's health check: a process that can answer is healthy.
func health(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, "ok")
}

// Package engineapi connects to the machine's Docker Engine. It also holds what every package that uses the engine
// needs: which of its errors can be retried, and the labels and the owner id by which Rollcall recognizes the
// containers, networks, volumes and images that it has created.
//
// Start with [Dial]. The package does not know tasks.
package engineapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/fault"
)

// CallTimeout limits one call to the engine, so that an engine that hangs does not block a task forever.
const CallTimeout = 30 * time.Second

// Dial connects to the engine and negotiates an API version. host is a URL such as unix:///run/docker.sock. If host is
// empty, Dial uses what the docker command uses: $DOCKER_HOST, or /var/run/docker.sock.
func Dial(ctx context.Context, host string) (*client.Client, error) {
	opts := []client.Opt{client.FromEnv}
	if host != "" {
		opts = append(opts, client.WithHost(host))
	}
	engine, err := client.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("docker: %w", err)
	}
	if _, err := engine.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		_ = engine.Close()
		return nil, fmt.Errorf("docker: no engine answers at %s: %w", engine.DaemonHost(), err)
	}
	return engine, nil
}

// Ping returns nil if an engine answers at host within five seconds.
func Ping(ctx context.Context, host string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	engine, err := Dial(ctx, host)
	if err != nil {
		return err
	}
	return engine.Close()
}

// Error wraps an error of the engine. If the engine is unreachable, the result is fault.Unavailable: the caller can
// retry.
func Error(err error) error {
	if Unreachable(err) {
		return &fault.Error{Kind: fault.Unavailable, What: "Docker Engine", Msg: "does not answer; retrying",
			Err: err}
	}
	return fmt.Errorf("docker: %w", err)
}

// StartError wraps an error that keeps a container from starting. reason is the stopped reason that ECS uses for it. If
// the engine is unreachable, the result is fault.Unavailable, otherwise fault.Invalid.
func StartError(reason string, err error) error {
	if Unreachable(err) {
		return Error(err)
	}
	return fault.New(fault.Invalid, "container", "%s: %s", reason, Message(err))
}

// Unreachable reports whether an error means that the engine did not answer, rather than that it refused.
func Unreachable(err error) bool {
	var socket *net.OpError
	return client.IsErrConnectionFailed(err) || errors.As(err, &socket) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// Message returns the text of an error of the engine without the prefix that its client adds.
func Message(err error) string {
	return strings.TrimPrefix(err.Error(), "Error response from daemon: ")
}

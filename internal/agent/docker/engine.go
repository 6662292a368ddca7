package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/fault"
)

// How long the engine has for a call: an engine that hangs must not hold a task's step for ever. Starting a container is
// given as long as ECS's agent gives it (ECS_CONTAINER_START_TIMEOUT).
const (
	callTimeout  = 30 * time.Second
	startTimeout = 3 * time.Minute
)

// dial finds the engine and agrees with it on an API version. host is a URL such as unix:///run/docker.sock; empty is
// what docker's own command would use: $DOCKER_HOST, or /var/run/docker.sock.
func dial(ctx context.Context, host string) (*client.Client, error) {
	opts := []client.Opt{client.FromEnv}
	if host != "" {
		opts = append(opts, client.WithHost(host))
	}
	engine, err := client.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("docker: %w", err)
	}
	if _, err := engine.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		engine.Close()
		return nil, fmt.Errorf("docker: no engine answers at %s: %w", engine.DaemonHost(), err)
	}
	return engine, nil
}

// Answers says why there is no engine to be used at a host; nil means that there is one.
func Answers(ctx context.Context, host string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	engine, err := dial(ctx, host)
	if err != nil {
		return err
	}
	return engine.Close()
}

// engineError makes an error of the engine's one of ours: what is out of reach can be tried again.
func engineError(err error) error {
	if unreachable(err) {
		return &fault.Error{Kind: fault.Unavailable, What: "Docker Engine", Msg: "it does not answer; it is tried again", Err: err}
	}
	return fmt.Errorf("docker: %w", err)
}

func unreachable(err error) bool {
	var socket *net.OpError
	return client.IsErrConnectionFailed(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &socket)
}

// startError is engineError for what keeps a container from starting: told is ECS's reason for it.
func startError(told string, err error) error {
	if unreachable(err) {
		return engineError(err)
	}
	return fault.New(fault.Invalid, "container", "%s: %s", told, engineMessage(err))
}

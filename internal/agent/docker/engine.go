package docker

import (
	"context"
	"fmt"

	"github.com/moby/moby/client"
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

package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
	"github.com/bakingclouds/rollcall/internal/agent/docker/network"
	"github.com/bakingclouds/rollcall/internal/agent/docker/role"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	mobynetwork "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// TestResolver asks port 53 of a network's gateway from inside a container on it. The error says what stands between, and
// what to do.
func (r *Runtime) TestResolver(ctx context.Context, n network.Network) error {
	image, err := r.images.Program(ctx)
	if err != nil {
		return err
	}
	server := n.Gateway().String() + ":53"
	address, held, err := r.leases.Address(n.Prefix)
	if err != nil {
		return err
	}
	defer held.Drop() // nobody was told of it
	name := "rollcall-test-" + r.owner[:min(len(r.owner), 12)]
	remove := func() error {
		_, err := r.engine.ContainerRemove(context.WithoutCancel(ctx), name, client.ContainerRemoveOptions{Force: true})
		if errdefs.IsNotFound(err) {
			return nil
		}
		return err
	}
	if err := remove(); err != nil { // of an earlier run that was killed
		return err
	}
	_, err = r.engine.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name:       name,
		Config:     &container.Config{Image: image, Cmd: []string{"rollcall", role.ResolveTest, server}, Labels: r.labels("", "", n.VPC)},
		HostConfig: &container.HostConfig{NetworkMode: container.NetworkMode(r.networkName(n))},
		NetworkingConfig: &mobynetwork.NetworkingConfig{EndpointsConfig: map[string]*mobynetwork.EndpointSettings{
			r.networkName(n): {IPAMConfig: &mobynetwork.EndpointIPAMConfig{IPv4Address: address}},
		}},
	})
	if err != nil {
		return engineapi.StartError("the self-test cannot be made", err)
	}
	defer remove()
	done := r.engine.ContainerWait(ctx, name, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	if _, err := r.engine.ContainerStart(ctx, name, client.ContainerStartOptions{}); err != nil {
		return engineapi.StartError("the self-test cannot be started", err)
	}
	select {
	case err := <-done.Error:
		return engineapi.Error(err)
	case <-ctx.Done():
		return ctx.Err()
	case end := <-done.Result:
		if end.StatusCode == 0 {
			return nil
		}
	}
	said, err := r.said(ctx, name)
	if err != nil {
		return err
	}
	return fmt.Errorf("%s; a firewall of this machine drops what containers send to it: let UDP and TCP port 53 in from interface %s "+
		"(ufw allow in on %s to any port 53; firewall-cmd --permanent --zone=trusted --add-interface=%s)",
		said, network.BridgeName(r.owner, n), network.BridgeName(r.owner, n), network.BridgeName(r.owner, n))
}

// said is what a container has printed, in one line.
func (r *Runtime) said(ctx context.Context, name string) (string, error) {
	logs, err := r.engine.ContainerLogs(ctx, name, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		return "", engineapi.Error(err)
	}
	defer logs.Close()
	var text bytes.Buffer
	if _, err := stdcopy.StdCopy(&text, &text, io.LimitReader(logs, 4<<10)); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", engineapi.Error(err)
	}
	return strings.Join(strings.Split(strings.TrimSpace(text.String()), "\n"), "; "), nil
}

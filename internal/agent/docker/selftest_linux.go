package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	mobynetwork "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
	"github.com/bakingclouds/rollcall/internal/agent/docker/network"
	"github.com/bakingclouds/rollcall/internal/agent/docker/role"
)

// testResolver sends DNS queries from a container on a network to port 53 of the network's gateway. The error contains
// what has failed and how to allow the queries.
func (r *Runtime) testResolver(ctx context.Context, n network.Network) error {
	imageID, err := r.images.Program(ctx)
	if err != nil {
		return err
	}
	address, lease, err := r.leases.Address(n.Prefix)
	if err != nil {
		return err
	}
	defer lease.Release() // no client knows the address, so it needs no quarantine
	name := "rollcall-test-" + engineapi.ShortOwner(r.owner)
	if err := r.removeSelfTest(ctx, name); err != nil { // one that an earlier server has left
		return err
	}
	networkName := r.networkName(n)
	_, err = r.engine.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name: name,
		Config: &container.Config{
			Image: imageID, Labels: r.labels("", "", n.VPC),
			Cmd: []string{"rollcall", role.ResolveTest, n.Gateway().String() + ":53"},
		},
		HostConfig: &container.HostConfig{NetworkMode: container.NetworkMode(networkName)},
		NetworkingConfig: &mobynetwork.NetworkingConfig{EndpointsConfig: map[string]*mobynetwork.EndpointSettings{
			networkName: {IPAMConfig: &mobynetwork.EndpointIPAMConfig{IPv4Address: address}},
		}},
	})
	if err != nil {
		return engineapi.StartError("cannot create the self-test", err)
	}
	defer func() { _ = r.removeSelfTest(ctx, name) }() // the next self-test tries again
	status, err := r.runSelfTest(ctx, name)
	if err != nil || status == 0 {
		return err
	}
	output, err := r.outputOf(ctx, name)
	if err != nil {
		return err
	}
	bridge := network.BridgeName(r.owner, n)
	return fmt.Errorf("%s; a firewall on this machine drops queries from containers; "+
		"allow UDP and TCP port 53 from interface %s "+
		"(ufw allow in on %s to any port 53; firewall-cmd --permanent --zone=trusted --add-interface=%s)",
		output, bridge, bridge, bridge)
}

// runSelfTest starts the self-test and returns its exit status.
func (r *Runtime) runSelfTest(ctx context.Context, name string) (status int64, err error) {
	end := r.engine.ContainerWait(ctx, name, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	if _, err := r.engine.ContainerStart(ctx, name, client.ContainerStartOptions{}); err != nil {
		return 0, engineapi.StartError("cannot start the self-test", err)
	}
	select {
	case err := <-end.Error:
		return 0, engineapi.Error(err)
	case <-ctx.Done():
		return 0, ctx.Err()
	case result := <-end.Result:
		return result.StatusCode, nil
	}
}

// removeSelfTest removes the container of a self-test, if it exists, also after ctx has ended.
func (r *Runtime) removeSelfTest(ctx context.Context, name string) error {
	_, err := r.engine.ContainerRemove(context.WithoutCancel(ctx), name, client.ContainerRemoveOptions{Force: true})
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// outputOf returns what a container has printed, its lines joined by semicolons.
func (r *Runtime) outputOf(ctx context.Context, name string) (string, error) {
	logs, err := r.engine.ContainerLogs(ctx, name, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		return "", engineapi.Error(err)
	}
	defer logs.Close()
	var text bytes.Buffer
	_, err = stdcopy.StdCopy(&text, &text, io.LimitReader(logs, 4<<10))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) { // the limit may cut the last frame
		return "", engineapi.Error(err)
	}
	return strings.Join(strings.Split(strings.TrimSpace(text.String()), "\n"), "; "), nil
}

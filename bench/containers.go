package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	mobynetwork "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/bakingclouds/rollcall/internal/agent/docker"
	"github.com/bakingclouds/rollcall/internal/agent/docker/network"
)

// labelData is the label with the data folder on everything that Rollcall creates in an engine.
const labelData = "com.bakingclouds.rollcall.data"

// measureContainers starts a service whose tasks are containers, all at once, and measures the time from the decision
// to start each task until DNS answers with it. The baseline only creates and starts as many identical containers
// (image, limits, mounts, and an address on a network of the same kind), all at once.
func measureContainers(ctx context.Context, b *bench) ([]row, error) {
	engine, err := client.New(client.FromEnv)
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	if _, err := engine.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		b.say("  skipping: no container engine is available: %v", err)
		return []row{{what: "Containers: skipped, no engine available", ours: "–", bound: "no engine available"}}, nil
	}
	binary, err := buildStatic(ctx)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(filepath.Dir(binary))
	m := &containers{bench: b, engine: engine, binary: binary}

	// Start a few first, so that the image exists for both sides, and to copy the options that Rollcall uses.
	b.say("  starting a few containers first")
	if _, err := m.rollcallTurn(ctx, 2); err != nil {
		return nil, err
	}
	b.say("  %d containers at once, %d turns", b.containers, b.containerTurns)
	var ours, bare []startedTasks
	got, err := compare(b.containerTurns,
		func() (float64, error) {
			one, err := m.rollcallTurn(ctx, b.containers)
			ours = append(ours, one)
			return one.Median, err
		},
		func() (float64, error) {
			one, err := m.baselineTurn(ctx, b.containers)
			bare = append(bare, one)
			return one.Median, err
		})
	if err != nil {
		return nil, err
	}
	var p99, p99Bare, ratios, signaled []float64
	for turn := range ours {
		p99, p99Bare = append(p99, ours[turn].P99), append(p99Bare, bare[turn].P99)
		ratios = append(ratios, ours[turn].P99/bare[turn].P99)
		signaled = append(signaled, ours[turn].Signaled)
	}
	const share = 1.1 // Rollcall adds at most a tenth
	return []row{{
		what: fmt.Sprintf("Containers (%d at once): start to in DNS, against the engine only, median", b.containers),
		ours: number(got.ours) + " ms", baseline: number(got.baseline) + " ms", figure: got.ratio,
		target: target{atMost, share, ""},
		bound:  "the engine: it creates a few at a time, on all cores",
	}, {
		what: "  99th percentile", ours: number(median(p99)) + " ms", baseline: number(median(p99Bare)) + " ms",
		figure: median(ratios),
		target: target{atMost, share, ""}, bound: "as above, for the last container",
	}, {
		what: "  StopTask to SIGTERM, address in no answer, median", ours: number(median(signaled)) + " ms",
		figure: median(signaled),
		target: target{atMost, 100, " ms"}, bound: "fsync: five transactions, one after the other",
	}}, nil
}

// containers is the state that the turns share.
type containers struct {
	*bench
	engine  *client.Client
	binary  string
	example *container.InspectResponse // a container that Rollcall created
}

// buildStatic builds the program of the runtime's own image in a new folder.
func buildStatic(ctx context.Context) (binary string, err error) {
	mod, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	dir, err := os.MkdirTemp("", "rollcall-bench-")
	if err != nil {
		return "", err
	}
	binary = filepath.Join(dir, "rollcall")
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w", "-o", binary,
		"./cmd/rollcall")
	build.Dir = filepath.Dir(strings.TrimSpace(string(mod)))
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return "", fmt.Errorf("build rollcall: %w: %s", err, out)
	}
	return binary, nil
}

// rollcallTurn runs one turn of Rollcall.
func (m *containers) rollcallTurn(ctx context.Context, count int) (got startedTasks, err error) {
	dir, err := os.MkdirTemp("", "rollcall-bench-")
	if err != nil {
		return got, err
	}
	defer os.RemoveAll(dir)
	p, err := start(ctx, "tasks-docker", roleArgs{Dir: dir, Instances: count, Profile: m.profile, Binary: m.binary}, &got)
	if err != nil {
		return got, errors.Join(err, m.sweep(dir))
	}
	if m.example == nil {
		m.example, err = m.inspectAny(ctx, dir)
	}
	return got, errors.Join(err, p.stop(), m.sweep(dir))
}

// inspectAny returns the engine's description of a container of a data folder.
func (m *containers) inspectAny(ctx context.Context, dir string) (*container.InspectResponse, error) {
	list, err := m.engine.ContainerList(ctx, client.ContainerListOptions{
		Filters: make(client.Filters).Add("label", labelData+"="+dir)})
	if err != nil {
		return nil, err
	}
	if len(list.Items) == 0 {
		return nil, errors.New("the engine lists no containers of the tasks")
	}
	one, err := m.engine.ContainerInspect(ctx, list.Items[0].ID, client.ContainerInspectOptions{})
	return &one.Container, err
}

// sweep removes the network of a turn, and containers that the engine was still creating when the turn ended, which it
// may list only now.
func (m *containers) sweep(dir string) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	filter := make(client.Filters).Add("label", labelData+"="+dir)
	for {
		if err = m.sweepOnce(ctx, filter); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Second):
		}
	}
}

func (m *containers) sweepOnce(ctx context.Context, filter client.Filters) error {
	left, err := m.engine.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filter})
	if err != nil {
		return err
	}
	for _, c := range left.Items {
		if _, err := m.engine.ContainerRemove(ctx, c.ID,
			client.ContainerRemoveOptions{Force: true, RemoveVolumes: true}); err != nil {
			return err
		}
	}
	networks, err := m.engine.NetworkList(ctx, client.NetworkListOptions{Filters: filter})
	if err != nil {
		return err
	}
	for _, n := range networks.Items {
		if _, err := m.engine.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// baselineTurn runs one turn of the baseline.
func (m *containers) baselineTurn(ctx context.Context, count int) (got startedTasks, err error) {
	dir, err := os.MkdirTemp("", "rollcall-bench-")
	if err != nil {
		return got, err
	}
	defer os.RemoveAll(dir)
	defer func() { err = errors.Join(err, m.sweep(dir)) }()
	var claims network.Claims
	defer claims.Close()
	net, err := freeNetwork(ctx, &claims, dir)
	if err != nil {
		return got, err
	}
	labels := map[string]string{labelData: dir}
	made, err := m.engine.NetworkCreate(ctx, filepath.Base(dir), client.NetworkCreateOptions{
		Driver: "bridge", Labels: labels,
		IPAM: &mobynetwork.IPAM{Config: []mobynetwork.IPAMConfig{{Subnet: net.Prefix, Gateway: net.Gateway()}}},
	})
	if err != nil {
		return got, err
	}
	options, err := m.baselineOptions(dir, labels)
	if err != nil {
		return got, err
	}
	var mu sync.Mutex
	var took []float64
	var all errgroup.Group
	address := net.Gateway()
	began := time.Now()
	for n := range count {
		address = address.Next()
		at := address
		all.Go(func() error {
			one := options
			one.Name = fmt.Sprintf("%s-%d", filepath.Base(dir), n)
			one.NetworkingConfig = &mobynetwork.NetworkingConfig{EndpointsConfig: map[string]*mobynetwork.EndpointSettings{
				filepath.Base(dir): {NetworkID: made.ID, IPAMConfig: &mobynetwork.EndpointIPAMConfig{IPv4Address: at}},
			}}
			c, err := m.engine.ContainerCreate(ctx, one)
			if err != nil {
				return err
			}
			if _, err := m.engine.ContainerStart(ctx, c.ID, client.ContainerStartOptions{}); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, float64(time.Since(began))/float64(time.Millisecond))
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		return got, err
	}
	return startedTasks{PerSecond: float64(count) / time.Since(began).Seconds(), Median: median(took),
		P99: quantile(took, 0.99)}, nil
}

// baselineOptions returns the options of the container that Rollcall created, with a separate resolv.conf.
func (m *containers) baselineOptions(dir string, labels map[string]string) (client.ContainerCreateOptions, error) {
	config, host := *m.example.Config, *m.example.HostConfig
	config.Labels, config.Hostname = labels, ""
	host.NetworkMode = container.NetworkMode(filepath.Base(dir))
	host.Mounts = append(host.Mounts[:0:0], host.Mounts...)
	for i, at := range host.Mounts {
		if filepath.Base(at.Source) == "resolv.conf" { // the original was removed with its task
			host.Mounts[i].Source = filepath.Join(dir, "resolv.conf")
			if err := os.WriteFile(host.Mounts[i].Source, []byte("nameserver 127.0.0.1\n"), 0o644); err != nil {
				return client.ContainerCreateOptions{}, err
			}
		}
	}
	return client.ContainerCreateOptions{Config: &config, HostConfig: &host}, nil
}

// freeNetwork returns a network that no interface on this machine uses.
func freeNetwork(ctx context.Context, claims *network.Claims, dir string) (network.Network, error) {
	taken, err := network.InUse(ctx, dir, "")
	if err != nil {
		return network.Network{}, err
	}
	return claims.Claim(network.Slices("", network.DefaultRange, netip.Prefix{}), taken)
}

func runDockerTasks(ctx context.Context, args roleArgs, ready func(any)) error {
	var claims network.Claims
	defer claims.Close()
	net, err := freeNetwork(ctx, &claims, args.Dir)
	if err != nil {
		return err
	}
	rt, err := docker.New(ctx, docker.Config{
		Dir: args.Dir, Binary: args.Binary, Networks: []network.Network{net}, HostAddress: net.Gateway(),
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	return runTasks(ctx, args, rt, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), roleTimeout)
		defer cancel()
		sandboxes, err := rt.Sandboxes(ctx)
		var all errgroup.Group
		for _, sandbox := range sandboxes {
			all.Go(func() error { return rt.Remove(ctx, sandbox.TaskID) })
		}
		return errors.Join(err, all.Wait(), rt.Close()) // sweep removes the rest
	}, ready)
}

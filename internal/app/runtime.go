package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bakingclouds/rollcall/internal/agent"
	"github.com/bakingclouds/rollcall/internal/agent/docker"
	"github.com/bakingclouds/rollcall/internal/agent/process"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// nodeRuntime is a runtime that this package starts and stops.
type nodeRuntime interface {
	agent.Runtime
	// Usage measures containers, by their runtime ids.
	Usage(runtimeIDs []string) map[string]agent.Usage
	// Shutdown gives back what the runtime holds when its last task is gone, and closes it.
	Shutdown(context.Context) error
}

// chooseRuntime says what auto means on this machine, and why.
func chooseRuntime(ctx context.Context) (kind, why string) {
	if runtime.GOOS != "linux" {
		return RuntimeNone, "tasks run on Linux only; this is " + runtime.GOOS
	}
	if err := docker.Answers(ctx, ""); err != nil {
		return RuntimeProcess, err.Error()
	}
	return RuntimeDocker, "a Docker Engine answers"
}

// openRuntime finds the runtime and tells placement what this node runs.
func (a *App) openRuntime(ctx context.Context) error {
	a.runtimeWhy = "as --runtime says"
	if a.cfg.Runtime == RuntimeAuto {
		a.cfg.Runtime, a.runtimeWhy = chooseRuntime(ctx)
	}
	var rt nodeRuntime
	var err error
	switch a.cfg.Runtime {
	case RuntimeProcess:
		rt, err = process.New(ctx, process.Config{Dir: a.cfg.DataDir, HostAddress: a.cfg.NodeAddress, Logger: a.log})
	case RuntimeDocker:
		rt, err = a.openDocker(ctx)
	}
	if err != nil {
		return err
	}
	if rt != nil {
		a.runtime = rt
		a.cleanup(func() { a.closeRuntime(rt) })
	}
	_, err = store.Update(ctx, a.db, func(tx *store.Tx) (struct{}, error) {
		n := a.node(time.Time{})
		if old, ok := task.FindNode(tx, a.cfg.Node); ok {
			n.Registered, n.Slices = old.RegisteredAt(), old.Slices
		}
		task.PutNode(tx, n)
		return struct{}{}, nil
	})
	if err != nil {
		return fmt.Errorf("say what node %s runs: %w", a.cfg.Node, err)
	}
	return nil
}

// openDocker takes this node's part of each VPC and runs tasks there.
func (a *App) openDocker(ctx context.Context) (nodeRuntime, error) {
	taken, err := docker.TakenHere(ctx, a.cfg.DataDir, "")
	if err != nil {
		return nil, err
	}
	networks, err := store.Update(ctx, a.db, func(tx *store.Tx) ([]docker.Network, error) { return a.claimNetworks(tx, taken) })
	if err != nil {
		return nil, fmt.Errorf("give node %s its part of the VPCs' networks: %w", a.cfg.Node, err)
	}
	a.networks = networks
	a.recursers.Store(&networks)
	return docker.New(ctx, docker.Config{Dir: a.cfg.DataDir, Networks: networks, HostAddress: a.hostAddress(), Logger: a.log})
}

// claimNetworks gives this node a slice of each VPC: the one that it had, or the first that neither another node has nor
// anything else on this machine.
func (a *App) claimNetworks(tx *store.Tx, taken []docker.Taken) ([]docker.Network, error) {
	node := a.node(time.Time{})
	for _, n := range task.Nodes(tx) {
		if n.Name == a.cfg.Node {
			node = *n
			continue
		}
		for _, s := range n.Slices {
			for _, p := range []netip.Prefix{s.Prefix, s.Prefix6} {
				if p.IsValid() {
					taken = append(taken, docker.Taken{Prefix: p, By: "node " + n.Name})
				}
			}
		}
	}
	var networks []docker.Network
	var slices []task.Slice
	for _, v := range a.cfg.taskNetworks() {
		all := docker.Slices(v.VPC, v.Prefix, v.Prefix6)
		n, err := docker.Claim(a.cfg.DataDir, had(node.Slices, all), taken)
		if err != nil {
			n, err = docker.Claim(a.cfg.DataDir, all, taken)
		}
		if err != nil {
			return nil, fmt.Errorf("the network %v of %s: %w", v.Prefix, vpcFlag(v.VPC), err)
		}
		networks = append(networks, n)
		slices = append(slices, task.Slice{VPC: n.VPC, Prefix: n.Prefix, Prefix6: n.Prefix6})
	}
	node.Slices = slices
	task.PutNode(tx, node)
	return networks, nil
}

// had are the slices, of all of a VPC, that a node has.
func had(of []task.Slice, all []docker.Network) (kept []docker.Network) {
	for _, n := range all {
		for _, s := range of {
			if s.VPC == n.VPC && s.Prefix == n.Prefix && s.Prefix6 == n.Prefix6 {
				kept = append(kept, n)
			}
		}
	}
	return kept
}

func vpcFlag(id string) string {
	if id == "" {
		return "tasks (declare another one: --vpc vpc-local=10.77.0.0/16)"
	}
	return "--vpc " + id
}

// hostAddress is where tasks in bridge and host mode are reached: as --node-address says, else the address that this
// machine reaches others from, else its own on the first VPC's network.
func (a *App) hostAddress() netip.Addr {
	if a.cfg.NodeAddress.IsValid() {
		return a.cfg.NodeAddress
	}
	// Connecting a UDP socket sends nothing; it asks the kernel for the route (to TEST-NET-1, RFC 5737).
	if conn, err := net.Dial("udp4", "192.0.2.1:9"); err == nil {
		defer conn.Close()
		if at := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(); !at.IsLoopback() && !at.IsUnspecified() {
			return at
		}
	}
	return a.networks[0].Gateway()
}

// closeRuntime lets go of the tasks, or ends them and what they ran on.
func (a *App) closeRuntime(rt nodeRuntime) {
	if !a.stopTasks {
		if err := rt.Close(); err != nil {
			a.log.Error("letting go of the tasks failed", "err", err)
		}
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := errors.Join(endTasks(ctx, rt), rt.Shutdown(ctx)); err != nil {
		a.log.Error("stopping the tasks failed; some may still run", "err", err)
	}
}

// endTasks ends every task of this node.
func endTasks(ctx context.Context, rt agent.Runtime) error {
	boxes, err := rt.Sandboxes(ctx)
	if err != nil {
		return err
	}
	var g errgroup.Group
	for _, box := range boxes {
		g.Go(func() error {
			for _, c := range box.Containers {
				if err := rt.StopContainer(ctx, box.TaskID, c.Name, 5*time.Second); err != nil {
					return err
				}
			}
			return rt.Remove(ctx, box.TaskID)
		})
	}
	return g.Wait()
}

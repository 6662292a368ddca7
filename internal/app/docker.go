package app

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent/docker"
	"github.com/bakingclouds/rollcall/internal/agent/docker/network"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// newDocker claims this node's slice of each VPC, and opens the Docker runtime, whose tasks get addresses in it.
func (a *App) newDocker(ctx context.Context) (nodeRuntime, error) {
	inUse, err := network.InUse(ctx, a.cfg.DataDir, "")
	if err != nil {
		return nil, err
	}
	claims := &network.Claims{}
	a.cleanup(claims.Close)
	node := a.node(time.Time{})
	networks, err := store.Update(ctx, a.db, func(tx *store.Tx) ([]network.Network, error) {
		return claimNetworks(tx, node, a.cfg.taskNetworks(), claims, inUse)
	})
	if err != nil {
		return nil, fmt.Errorf("claim a part of each VPC's network for node %s: %w", a.cfg.Node, err)
	}
	var prefixes []netip.Prefix
	for _, n := range networks {
		prefixes = append(prefixes, n.Prefix, n.Prefix6)
	}
	a.taskNetworks.Store(&prefixes)
	return docker.New(ctx, docker.Config{
		Dir: a.cfg.DataDir, Networks: networks, HostAddress: a.hostAddress(networks[0]), Logger: a.log,
	})
}

// claimNetworks claims a slice of each VPC's network for a node, and writes them to its row: the slice that it had, or
// the first one that neither another node nor anything else on this machine uses.
func claimNetworks(
	tx *store.Tx, node task.Node, vpcs []network.Network, claims *network.Claims, inUse []network.Used,
) ([]network.Network, error) {
	nodes := task.Nodes(tx)
	if i := slices.IndexFunc(nodes, func(n *task.Node) bool { return n.Name == node.Name }); i >= 0 {
		node = *nodes[i]
	}
	inUse = append(slices.Clip(inUse), slicesOfOtherNodes(nodes, node.Name)...)
	had := node.Slices
	node.Slices = nil
	var networks []network.Network
	for _, v := range vpcs {
		all := network.Slices(v.VPC, v.Prefix, v.Prefix6)
		n, err := claims.Claim(ownSlices(all, had), inUse)
		if err != nil {
			n, err = claims.Claim(all, inUse)
		}
		if err != nil {
			return nil, fmt.Errorf("the network %v of %s: %w", v.Prefix, describeVPC(v.VPC), err)
		}
		networks = append(networks, n)
		node.Slices = append(node.Slices, task.Slice{VPC: n.VPC, Prefix: n.Prefix, Prefix6: n.Prefix6})
	}
	task.PutNode(tx, node)
	return networks, nil
}

// slicesOfOtherNodes returns the slices of all nodes except self.
func slicesOfOtherNodes(nodes []*task.Node, self string) (used []network.Used) {
	for _, n := range nodes {
		if n.Name == self {
			continue
		}
		for _, s := range n.Slices {
			for _, p := range []netip.Prefix{s.Prefix, s.Prefix6} {
				if p.IsValid() {
					used = append(used, network.Used{Prefix: p, By: "node " + n.Name})
				}
			}
		}
	}
	return used
}

// ownSlices returns those of a VPC's slices that a node had.
func ownSlices(all []network.Network, had []task.Slice) (kept []network.Network) {
	for _, n := range all {
		if slices.Contains(had, task.Slice{VPC: n.VPC, Prefix: n.Prefix, Prefix6: n.Prefix6}) {
			kept = append(kept, n)
		}
	}
	return kept
}

// describeVPC returns the name by which the operator knows a VPC, for an error message.
func describeVPC(id string) string {
	if id == "" {
		return "tasks (declare another one: --vpc vpc-local=10.77.0.0/16)"
	}
	return "--vpc " + id
}

// hostAddress returns the address of tasks in bridge and host mode: that of --node-address, otherwise the one from
// which this machine reaches other machines, otherwise its own on the first VPC's network.
func (a *App) hostAddress(first network.Network) netip.Addr {
	if a.cfg.NodeAddress.IsValid() {
		return a.cfg.NodeAddress
	}
	// Connecting a UDP socket sends nothing; it looks up the route (to TEST-NET-1, RFC 5737).
	if conn, err := net.Dial("udp4", "192.0.2.1:9"); err == nil {
		defer conn.Close()
		if at := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(); !at.IsLoopback() && !at.IsUnspecified() {
			return at
		}
	}
	return first.Gateway()
}

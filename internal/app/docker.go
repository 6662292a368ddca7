package app

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/bakingclouds/rollcall/internal/agent/docker/network"

	"github.com/bakingclouds/rollcall/internal/agent/docker"
	"github.com/bakingclouds/rollcall/internal/store"
	"github.com/bakingclouds/rollcall/internal/task"
)

// newDocker claims this node's slice of each VPC and opens the Docker runtime, which runs tasks there.
func (a *App) newDocker(ctx context.Context) (nodeRuntime, error) {
	taken, err := network.InUse(ctx, a.cfg.DataDir, "")
	if err != nil {
		return nil, err
	}
	claims := &network.Claims{}
	a.cleanup(claims.Close)
	networks, err := store.Update(ctx, a.db, func(tx *store.Tx) ([]network.Network, error) { return a.claimNetworks(tx, claims, taken) })
	if err != nil {
		return nil, fmt.Errorf("give node %s its part of the VPCs' networks: %w", a.cfg.Node, err)
	}
	var prefixes []netip.Prefix
	for _, n := range networks {
		prefixes = append(prefixes, n.Prefix, n.Prefix6)
	}
	a.taskNetworks.Store(&prefixes)
	return docker.New(ctx, docker.Config{Dir: a.cfg.DataDir, Networks: networks, HostAddress: a.hostAddress(networks[0]), Logger: a.log})
}

// claimNetworks gives this node a slice of each VPC: the one that it had, or the first that neither another node has nor
// anything else on this machine.
func (a *App) claimNetworks(tx *store.Tx, claims *network.Claims, taken []network.Used) ([]network.Network, error) {
	node := a.node(time.Time{})
	for _, n := range task.Nodes(tx) {
		if n.Name == a.cfg.Node {
			node = *n
			continue
		}
		for _, s := range n.Slices {
			for _, p := range []netip.Prefix{s.Prefix, s.Prefix6} {
				if p.IsValid() {
					taken = append(taken, network.Used{Prefix: p, By: "node " + n.Name})
				}
			}
		}
	}
	var networks []network.Network
	var slices []task.Slice
	for _, v := range a.cfg.taskNetworks() {
		all := network.Slices(v.VPC, v.Prefix, v.Prefix6)
		n, err := claims.Claim(had(node.Slices, all), taken)
		if err != nil {
			n, err = claims.Claim(all, taken)
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
func had(of []task.Slice, all []network.Network) (kept []network.Network) {
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
func (a *App) hostAddress(first network.Network) netip.Addr {
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
	return first.Gateway()
}

// taskNetworks are the VPCs' networks that containers get addresses of: the first of each kind. Where no VPC is declared,
// they are in one of our choice.
func (c *Config) taskNetworks() []network.Network {
	if len(c.VPCs) == 0 {
		return []network.Network{{Prefix: network.DefaultRange}}
	}
	var all []network.Network
	for _, v := range c.VPCs {
		n := network.Network{VPC: v.ID}
		for _, p := range v.Networks {
			switch {
			case p.Addr().Is4() && !n.Prefix.IsValid():
				n.Prefix = p
			case p.Addr().Is6() && !n.Prefix6.IsValid():
				n.Prefix6 = p
			}
		}
		if n.Prefix.IsValid() {
			all = append(all, n)
		}
	}
	return all
}

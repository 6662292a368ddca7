// Package network manages the Docker networks of VPCs on this machine.
//
// A VPC's address range is divided into slices, one for each node ([Slices]). A node claims a slice that overlaps no
// other network of its machine ([Claims], given [InUse]) and creates a Docker network with the slice's addresses
// ([Ensure]). The first address of a slice is the gateway: the machine's address on the bridge, where its tasks find
// DNS. On Linux, a [MetadataLink] serves the ECS task metadata endpoint at the bridge of each network.
//
// The package does not know tasks and assigns no addresses to them. It does not know the store either: the caller
// passes the slices of other nodes to [Claims.Claim].
package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"

	"github.com/containerd/errdefs"
	mobynetwork "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/bakingclouds/rollcall/internal/agent/docker/engineapi"
)

// MetadataAddress is where ECS tasks find their credentials and metadata (Amazon ECS Developer Guide, "Task IAM role").
// The AWS SDKs accept credentials over plain HTTP only from this address and from loopback.
var MetadataAddress = netip.MustParseAddr("169.254.170.2")

// bridgeOption is the engine's option that names the bridge interface of a network.
const bridgeOption = "com.docker.network.bridge.name"

// Name returns the engine's name for a VPC's network. owner is the owner id of the data folder.
func Name(owner string, n Network) string {
	name := "rollcall-" + engineapi.ShortOwner(owner)
	if n.VPC != "" {
		name += "-" + n.VPC
	}
	return name
}

// BridgeName returns the name of the machine's bridge interface on a network. Users need it for firewall rules. Linux
// limits names of interfaces to 15 characters, so it is a hash of the network's name.
func BridgeName(owner string, n Network) string {
	sum := sha256.Sum256([]byte(Name(owner, n)))
	return "rc-" + hex.EncodeToString(sum[:5])
}

// Ensure creates a VPC's network unless it already exists. A network of this data folder with other addresses is
// replaced if no container is connected to it.
func Ensure(ctx context.Context, engine *client.Client, owner string, n Network, labels map[string]string) error {
	name := Name(owner, n)
	existing, err := engine.NetworkInspect(ctx, name, client.NetworkInspectOptions{})
	switch {
	case err == nil && existing.Network.Labels[engineapi.LabelOwner] != owner:
		return fmt.Errorf(
			"docker: network %s does not belong to Rollcall; rename it or remove it (docker network rm %s)",
			name, name)
	case err == nil && hasAddresses(existing.Network.IPAM, n):
		return nil
	case err == nil && len(existing.Network.Containers) > 0:
		return fmt.Errorf("docker: network %s does not have the addresses %v, and containers are connected to it; "+
			"stop its tasks, or restore the VPC's earlier CIDR block", name, n.Prefix)
	case err == nil:
		if _, err := engine.NetworkRemove(ctx, name, client.NetworkRemoveOptions{}); err != nil &&
			!errdefs.IsNotFound(err) {
			return fmt.Errorf("docker: replace network %s: %w", name, err)
		}
	case !errdefs.IsNotFound(err):
		return fmt.Errorf("docker: inspect network %s: %w", name, err)
	}
	ipam := &mobynetwork.IPAM{Config: []mobynetwork.IPAMConfig{{Subnet: n.Prefix, Gateway: n.Gateway()}}}
	ipv6 := n.Prefix6.IsValid()
	if ipv6 {
		ipam.Config = append(ipam.Config, mobynetwork.IPAMConfig{Subnet: n.Prefix6, Gateway: n.gateway6()})
	}
	_, err = engine.NetworkCreate(ctx, name, client.NetworkCreateOptions{
		Driver: "bridge", EnableIPv6: &ipv6, IPAM: ipam, Labels: labels,
		Options: map[string]string{bridgeOption: BridgeName(owner, n)},
	})
	if err != nil {
		return fmt.Errorf("docker: create network %s with addresses %v: %w", name, n.Prefix, err)
	}
	return nil
}

func hasAddresses(existing mobynetwork.IPAM, want Network) bool {
	subnets := map[netip.Prefix]bool{}
	for _, c := range existing.Config {
		subnets[c.Subnet] = true
	}
	if want.Prefix6.IsValid() {
		return len(subnets) == 2 && subnets[want.Prefix] && subnets[want.Prefix6]
	}
	return len(subnets) == 1 && subnets[want.Prefix]
}

// InUse returns the networks of this machine: those of its interfaces, and those of the engine at host. It leaves out
// the networks of the data folder, so that a server that starts again can claim its earlier slice.
func InUse(ctx context.Context, dataDir, host string) ([]Used, error) {
	owner, err := engineapi.Owner(dataDir)
	if err != nil {
		return nil, err
	}
	engine, err := engineapi.Dial(ctx, host)
	if err != nil {
		return nil, err
	}
	defer func() { _ = engine.Close() }()
	list, err := engine.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil {
		return nil, fmt.Errorf("docker: list networks: %w", err)
	}
	ownBridges := map[string]bool{}
	var used []Used
	for _, n := range list.Items {
		if n.Labels[engineapi.LabelOwner] == owner {
			ownBridges[n.Options[bridgeOption]] = true
			continue
		}
		for _, c := range n.IPAM.Config {
			if c.Subnet.IsValid() {
				used = append(used, Used{c.Subnet.Masked(), "Docker's network " + n.Name})
			}
		}
	}
	onInterfaces, err := interfaceNetworks(ownBridges)
	return append(used, onInterfaces...), err
}

// interfaceNetworks returns the networks of the machine's interfaces, without loopback and link-local ones.
func interfaceNetworks(except map[string]bool) ([]Used, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list network interfaces: %w", err)
	}
	var used []Used
	for _, i := range interfaces {
		if except[i.Name] {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // the interface has disappeared since it was listed
		}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err == nil && !p.Addr().IsLinkLocalUnicast() && !p.Addr().IsLoopback() {
				used = append(used, Used{p.Masked(), "interface " + i.Name})
			}
		}
	}
	return used, nil
}

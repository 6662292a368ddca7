package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// networkName is what the engine calls a VPC's network of a data folder.
func networkName(owner string, n Network) string {
	name := "rollcall-" + owner[:min(len(owner), 12)]
	if n.VPC != "" {
		name += "-" + n.VPC
	}
	return name
}

// bridgeName is the network interface of this machine on a network, which a firewall may have to be told of. Linux takes
// 15 characters.
func bridgeName(owner string, n Network) string {
	sum := sha256.Sum256([]byte(networkName(owner, n)))
	return "rc-" + hex.EncodeToString(sum[:5])
}

// ensureNetwork makes a VPC's network, or finds it as it should be. One of ours with other addresses is replaced, if no
// container is on it.
func ensureNetwork(ctx context.Context, engine *client.Client, owner string, n Network, labels map[string]string) error {
	name := networkName(owner, n)
	have, err := engine.NetworkInspect(ctx, name, client.NetworkInspectOptions{})
	switch {
	case err == nil && have.Network.Labels[labelOwner] != owner:
		return fmt.Errorf("docker: the network %s is not Rollcall's own; rename or remove it (docker network rm %s)", name, name)
	case err == nil && sameAddresses(have.Network.IPAM, n):
		return nil
	case err == nil && len(have.Network.Containers) > 0:
		return fmt.Errorf("docker: the network %s has other addresses than %v, and tasks run on it; stop them, or give the VPC its network back", name, n.Prefix)
	case err == nil:
		if _, err := engine.NetworkRemove(ctx, name, client.NetworkRemoveOptions{}); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("docker: replace the network %s: %w", name, err)
		}
	case !errdefs.IsNotFound(err):
		return fmt.Errorf("docker: look for the network %s: %w", name, err)
	}
	ipam := &network.IPAM{Config: []network.IPAMConfig{{Subnet: n.Prefix, Gateway: n.Gateway()}}}
	six := n.Prefix6.IsValid()
	if six {
		ipam.Config = append(ipam.Config, network.IPAMConfig{Subnet: n.Prefix6, Gateway: n.gateway6()})
	}
	_, err = engine.NetworkCreate(ctx, name, client.NetworkCreateOptions{
		Driver: "bridge", EnableIPv6: &six, IPAM: ipam, Labels: labels,
		Options: map[string]string{"com.docker.network.bridge.name": bridgeName(owner, n)},
	})
	if err != nil {
		return fmt.Errorf("docker: make the network %s of %v: %w", name, n.Prefix, err)
	}
	return nil
}

func sameAddresses(have network.IPAM, want Network) bool {
	subnets := map[netip.Prefix]bool{}
	for _, c := range have.Config {
		subnets[c.Subnet] = true
	}
	if want.Prefix6.IsValid() {
		return len(subnets) == 2 && subnets[want.Prefix] && subnets[want.Prefix6]
	}
	return len(subnets) == 1 && subnets[want.Prefix]
}

// TakenHere are the networks of this machine: of its interfaces, and of the engine, except for those of a data folder's
// own. Who starts with the addresses of an earlier run finds them free.
func TakenHere(ctx context.Context, dir, host string) ([]Taken, error) {
	owner, err := ownerOf(dir)
	if err != nil {
		return nil, err
	}
	engine, err := dial(ctx, host)
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	list, err := engine.NetworkList(ctx, client.NetworkListOptions{})
	if err != nil {
		return nil, fmt.Errorf("docker: list the networks: %w", err)
	}
	own := map[string]bool{} // interfaces
	var taken []Taken
	for _, n := range list.Items {
		if n.Labels[labelOwner] == owner {
			own[n.Options["com.docker.network.bridge.name"]] = true
			continue
		}
		for _, c := range n.IPAM.Config {
			if c.Subnet.IsValid() {
				taken = append(taken, Taken{c.Subnet.Masked(), "Docker's network " + n.Name})
			}
		}
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list the network interfaces: %w", err)
	}
	for _, i := range interfaces {
		if own[i.Name] {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has just gone
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLinkLocalUnicast() && !p.Addr().IsLoopback() {
				taken = append(taken, Taken{p.Masked(), "interface " + i.Name})
			}
		}
	}
	return taken, nil
}

// engineMessage is an engine's error without what its client puts before it.
func engineMessage(err error) string {
	return strings.TrimPrefix(err.Error(), "Error response from daemon: ")
}

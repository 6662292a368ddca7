package app

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/bakingclouds/rollcall/internal/agent/docker/network"
)

// VPC is a set of networks whose clients a private namespace answers, with the ids of its subnets.
type VPC struct {
	ID       string
	Networks []netip.Prefix
	Subnets  []string
}

// ParseVPC parses ID=10.1.0.0/16,fd00:a::/64,subnet-1.
func ParseVPC(s string) (VPC, error) {
	id, rest, ok := strings.Cut(s, "=")
	if !ok || id == "" || rest == "" {
		return VPC{}, fmt.Errorf("--vpc %q must be ID=NETWORK,…,SUBNET-ID,…, such as vpc-a=10.1.0.0/16,subnet-1", s)
	}
	v := VPC{ID: id}
	for part := range strings.SplitSeq(rest, ",") {
		switch p, err := netip.ParsePrefix(part); {
		case err == nil:
			v.Networks = append(v.Networks, p.Masked())
		case strings.HasPrefix(part, "subnet-"):
			v.Subnets = append(v.Subnets, part)
		default:
			return VPC{}, fmt.Errorf("--vpc %q: %q must be a network such as 10.1.0.0/16 or a subnet id such as subnet-1",
				s, part)
		}
	}
	return v, nil
}

// overlaps returns a network of v that shares addresses with one of another VPC.
func (v VPC) overlaps(other VPC) (netip.Prefix, bool) {
	for _, n := range v.Networks {
		if slices.ContainsFunc(other.Networks, n.Overlaps) {
			return n, true
		}
	}
	return netip.Prefix{}, false
}

// validateVPCs checks that each client is in one VPC. The first VPC may overlap the others, since it has the clients
// that they leave.
func (c *Config) validateVPCs(found *problems) {
	for i, v := range c.VPCs {
		for k, other := range c.VPCs[:i] {
			if other.ID == v.ID {
				found.add("--vpc %s is set twice; name all its networks in one flag", v.ID)
			} else if n, overlap := v.overlaps(other); overlap && k > 0 {
				found.add("--vpc %s and --vpc %s both contain %v; a client can be in only one VPC", other.ID, v.ID, n)
			}
		}
	}
	for _, n := range c.taskNetworks() {
		if n.Prefix6.IsValid() && 128-n.Prefix6.Bits() < 32-n.Prefix.Bits() {
			found.add("--vpc %s: the IPv6 network %v has fewer addresses than the IPv4 network %v", n.VPC, n.Prefix6, n.Prefix)
		}
	}
}

// loopback are the networks of clients on this machine, including its process tasks.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// noClients is a network without clients.
var noClients = []netip.Prefix{netip.MustParsePrefix("255.255.255.255/32")}

// networks returns the networks of the clients in a VPC, and the exceptions from them. If no VPC is declared, every id
// is valid, and all clients are in it: nil. Otherwise the clients on this machine are in the first VPC, except for
// those that another VPC contains.
func (c *Config) networks(_, vpc string) (in, except []netip.Prefix) {
	if len(c.VPCs) == 0 {
		return nil, nil
	}
	for i, v := range c.VPCs {
		switch {
		case v.ID != vpc:
		case i > 0:
			return v.Networks, nil
		default:
			for _, other := range c.VPCs[1:] {
				except = append(except, other.Networks...)
			}
			return append(slices.Clone(v.Networks), loopback...), except
		}
	}
	return noClients, nil
}

// knowsVPC reports whether a namespace can be created for a VPC.
func (c *Config) knowsVPC(vpc string) bool {
	return len(c.VPCs) == 0 || slices.ContainsFunc(c.VPCs, func(v VPC) bool { return v.ID == vpc })
}

// vpcOf returns the VPC of subnets: the first that has one of them, otherwise the first VPC, or "" if none is declared.
func (c *Config) vpcOf(subnets []string) string {
	for _, v := range c.VPCs {
		if slices.ContainsFunc(v.Subnets, func(s string) bool { return slices.Contains(subnets, s) }) {
			return v.ID
		}
	}
	if len(c.VPCs) > 0 {
		return c.VPCs[0].ID
	}
	return ""
}

// taskNetworks returns the networks in which containers get addresses: of each VPC the first IPv4 and the first IPv6
// network. If no VPC is declared, it returns a default network.
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

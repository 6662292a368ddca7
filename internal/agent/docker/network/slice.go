package network

import (
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
)

// Network is a VPC's network on this machine: this node's slice of the VPC's addresses.
type Network struct {
	VPC     string       // id of the VPC; empty if no VPCs are declared
	Prefix  netip.Prefix // IPv4
	Prefix6 netip.Prefix // IPv6; invalid if the VPC has no IPv6 addresses
}

// Gateway returns the machine's IPv4 address on the network, where tasks find DNS.
func (n Network) Gateway() netip.Addr { return n.Prefix.Addr().Next() }

// gateway6 returns the machine's IPv6 address on the network, or an invalid address.
func (n Network) gateway6() netip.Addr {
	if !n.Prefix6.IsValid() {
		return netip.Addr{}
	}
	return n.Prefix6.Addr().Next()
}

// Address6 returns the IPv6 address that belongs to an IPv4 address of the network: the one at the same offset. It is
// invalid if the network has no IPv6 addresses.
func (n Network) Address6(a netip.Addr) netip.Addr {
	if !n.Prefix6.IsValid() {
		return netip.Addr{}
	}
	offset := ipv4Number(a) - ipv4Number(n.Prefix.Addr())
	return add(n.Prefix6.Addr(), big.NewInt(int64(offset)))
}

// DefaultRange is divided into slices if no VPC is declared. It is a part of 10.0.0.0/8 (RFC 1918) that neither Docker
// nor usual home and office networks use by default.
var DefaultRange = netip.MustParsePrefix("10.213.0.0/16")

// A slice's prefix is sliceBits longer than its VPC's, for 64 nodes, but at most longestSlice bits, so that a small VPC
// still has room for 29 tasks on each node.
const (
	sliceBits    = 6
	longestSlice = 27
)

// Slices divides a VPC into slices and returns them in the order of their addresses. An IPv6 range is divided into as
// many parts as the IPv4 range, and must have at least as many addresses. v6 may be invalid.
func Slices(vpc string, v4, v6 netip.Prefix) []Network {
	bits := max(v4.Bits(), min(v4.Bits()+sliceBits, longestSlice))
	more := bits - v4.Bits()
	all := make([]Network, 0, 1<<more)
	for i := range int64(1) << more {
		n := Network{VPC: vpc, Prefix: subnet(v4, bits, i)}
		if v6.IsValid() {
			n.Prefix6 = subnet(v6, v6.Bits()+more, i)
		}
		all = append(all, n)
	}
	return all
}

// subnet returns the i-th subnet of p with the given prefix length.
func subnet(p netip.Prefix, bits int, i int64) netip.Prefix {
	size := new(big.Int).Lsh(big.NewInt(1), uint(p.Addr().BitLen()-bits))
	return netip.PrefixFrom(add(p.Masked().Addr(), size.Mul(size, big.NewInt(i))), bits)
}

// add returns the address at an offset from a.
func add(a netip.Addr, offset *big.Int) netip.Addr {
	bytes := a.AsSlice()
	sum := new(big.Int).SetBytes(bytes)
	sum.Add(sum, offset).FillBytes(bytes)
	b, _ := netip.AddrFromSlice(bytes)
	return b
}

func ipv4Number(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// Used is a network that a slice must not overlap.
type Used struct {
	Prefix netip.Prefix
	By     string // for error messages: "interface eth0", "Docker's network x", "node b"
}

// choose returns the first slice that overlaps no used network and that claim accepts. The error names a network that
// is in the way.
func choose(slicesOfVPC []Network, used []Used, claim func(Network) bool) (Network, error) {
	conflict := "another Rollcall that is starting"
	for _, n := range slicesOfVPC {
		i := slices.IndexFunc(used, func(u Used) bool {
			return u.Prefix.Overlaps(n.Prefix) || n.Prefix6.IsValid() && u.Prefix.Overlaps(n.Prefix6)
		})
		if i >= 0 {
			conflict = fmt.Sprintf("%v of %s", used[i].Prefix, used[i].By)
		} else if claim(n) {
			return n, nil
		}
	}
	if len(slicesOfVPC) == 0 {
		return Network{}, errors.New("the VPC has no addresses")
	}
	return Network{}, fmt.Errorf(
		"no part of the VPC is free on this machine; one of the networks that overlap it is %s; "+
			"give the VPC another CIDR block", conflict)
}

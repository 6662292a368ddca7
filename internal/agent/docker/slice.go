package docker

import (
	"fmt"
	"math/big"
	"net/netip"
	"slices"
)

// Network is a VPC's network on this machine: this node's slice of the VPC's addresses.
type Network struct {
	VPC     string       // its id; empty where VPCs are not declared
	Prefix  netip.Prefix // IPv4
	Prefix6 netip.Prefix // IPv6; invalid where the VPC has none
}

// Gateway is the machine's own address on the network, where its tasks find DNS.
func (n Network) Gateway() netip.Addr { return n.Prefix.Addr().Next() }

// gateway6 is the machine's own IPv6 address on the network; invalid where it has none.
func (n Network) gateway6() netip.Addr {
	if !n.Prefix6.IsValid() {
		return netip.Addr{}
	}
	return n.Prefix6.Addr().Next()
}

// address6 is the IPv6 address that goes with an IPv4 one: as far from the first; invalid where the network has none.
func (n Network) address6(a netip.Addr) netip.Addr {
	if !n.Prefix6.IsValid() {
		return netip.Addr{}
	}
	return at(n.Prefix6.Addr(), int64(asInt(a)-asInt(n.Prefix.Addr())))
}

// DefaultRange is where networks come from when no VPC is declared: a part of 10/8 (RFC 1918) that neither Docker nor the
// usual home and office networks take by default.
var DefaultRange = netip.MustParsePrefix("10.213.0.0/16")

// sliceBits is how much longer a slice's prefix is than that of its VPC: 64 nodes.
const sliceBits = 6

// longestSlice is the longest a slice is, so that a small VPC still gives each node some tasks: 29.
const longestSlice = 27

// Slices are all slices of a VPC, in order. An IPv6 network is cut as many times as the IPv4 one, and must have at least as
// many addresses.
func Slices(vpc string, v4, v6 netip.Prefix) []Network {
	bits := max(v4.Bits(), min(v4.Bits()+sliceBits, longestSlice))
	more := bits - v4.Bits()
	all := make([]Network, 0, 1<<more)
	for i := range int64(1) << more {
		n := Network{VPC: vpc, Prefix: nth(v4, bits, i)}
		if v6.IsValid() {
			n.Prefix6 = nth(v6, v6.Bits()+more, i)
		}
		all = append(all, n)
	}
	return all
}

// nth is the part of a prefix, of so many bits, with a number.
func nth(p netip.Prefix, bits int, i int64) netip.Prefix {
	size := p.Addr().BitLen()
	step := new(big.Int).Lsh(big.NewInt(1), uint(size-bits))
	return netip.PrefixFrom(atBig(p.Masked().Addr(), step.Mul(step, big.NewInt(i))), bits)
}

// at is the address so far behind another.
func at(a netip.Addr, offset int64) netip.Addr { return atBig(a, big.NewInt(offset)) }

func atBig(a netip.Addr, offset *big.Int) netip.Addr {
	bytes := a.AsSlice()
	sum := new(big.Int).SetBytes(bytes)
	sum.Add(sum, offset).FillBytes(bytes)
	b, _ := netip.AddrFromSlice(bytes)
	return b
}

func asInt(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// Taken is a network that others have, and who.
type Taken struct {
	Prefix netip.Prefix
	By     string // "interface eth0", "Docker network x", "node b"
}

// choose picks the first slice that overlaps nothing that is taken and that hold gets; the error names what is in the way.
func choose(slicesOfVPC []Network, taken []Taken, hold func(Network) bool) (Network, error) {
	inTheWay := "another Rollcall that is starting"
	for _, n := range slicesOfVPC {
		i := slices.IndexFunc(taken, func(t Taken) bool {
			return t.Prefix.Overlaps(n.Prefix) || n.Prefix6.IsValid() && t.Prefix.Overlaps(n.Prefix6)
		})
		if i >= 0 {
			inTheWay = fmt.Sprintf("%v of %s", taken[i].Prefix, taken[i].By)
		} else if hold(n) {
			return n, nil
		}
	}
	if len(slicesOfVPC) == 0 {
		return Network{}, fmt.Errorf("it has no addresses")
	}
	return Network{}, fmt.Errorf("no part of it is free on this machine: in the way is %s, among others; give the VPC another network", inTheWay)
}

package network

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestSlices(t *testing.T) {
	for _, tc := range []struct {
		v4, v6      string
		count       int
		first, last string
	}{
		{
			"10.213.0.0/16", "", 64,
			"10.213.0.0/22 gateway 10.213.0.1",
			"10.213.252.0/22 gateway 10.213.252.1",
		},
		{
			"10.0.0.0/8", "fd00:a::/64", 64,
			"10.0.0.0/14 fd00:a::/70 gateway 10.0.0.1 fd00:a::1",
			"10.252.0.0/14 fd00:a:0:0:fc00::/70 gateway 10.252.0.1 fd00:a::fc00:0:0:1",
		},
		{
			"192.168.7.0/24", "", 8,
			"192.168.7.0/27 gateway 192.168.7.1",
			"192.168.7.224/27 gateway 192.168.7.225",
		},
		{
			"192.168.7.0/28", "fd00::/96", 1,
			"192.168.7.0/28 fd00::/96 gateway 192.168.7.1 fd00::1",
			"192.168.7.0/28 fd00::/96 gateway 192.168.7.1 fd00::1",
		},
	} {
		var v6 netip.Prefix
		if tc.v6 != "" {
			v6 = netip.MustParsePrefix(tc.v6)
		}
		all := Slices("vpc-a", netip.MustParsePrefix(tc.v4), v6)
		text := func(n Network) string {
			if !n.Prefix6.IsValid() {
				return fmt.Sprintf("%v gateway %v", n.Prefix, n.Gateway())
			}
			return fmt.Sprintf("%v %v gateway %v %v", n.Prefix, n.Prefix6, n.Gateway(), n.gateway6())
		}
		if len(all) != tc.count {
			t.Fatalf("%s has %d slices, want %d", tc.v4, len(all), tc.count)
		}
		if got := text(all[0]); got != tc.first {
			t.Errorf("first slice of %s is %s, want %s", tc.v4, got, tc.first)
		}
		if got := text(all[len(all)-1]); got != tc.last {
			t.Errorf("last slice of %s is %s, want %s", tc.v4, got, tc.last)
		}
	}
}

// TestSlicesAreDisjoint checks for any VPC that its slices lie within it and do not overlap, and that the gateway's
// IPv6 address belongs to its IPv4 address.
func TestSlicesAreDisjoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		second := byte(rapid.IntRange(0, 255).Draw(t, "second byte"))
		bits, bits6 := rapid.IntRange(8, 28).Draw(t, "bits"), rapid.IntRange(48, 104).Draw(t, "bits6")
		v4 := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, second, 0, 0}), bits).Masked()
		v6 := netip.PrefixFrom(netip.MustParseAddr("fd00:1234::"), bits6).Masked()
		all := Slices("", v4, v6)
		for i, n := range all {
			if !v4.Contains(n.Prefix.Addr()) || !v6.Contains(n.Prefix6.Addr()) || n.Prefix.Bits() < v4.Bits() {
				t.Fatalf("slice %v %v is not in %v %v", n.Prefix, n.Prefix6, v4, v6)
			}
			if i > 0 && (all[i-1].Prefix.Overlaps(n.Prefix) || all[i-1].Prefix6.Overlaps(n.Prefix6)) {
				t.Fatalf("slices %v %v and %v %v overlap", all[i-1].Prefix, all[i-1].Prefix6, n.Prefix, n.Prefix6)
			}
			if a := n.Address6(n.Gateway()); a != n.gateway6() || !n.Prefix6.Contains(a) {
				t.Fatalf("the IPv6 address of %v is %v, want %v", n.Gateway(), a, n.gateway6())
			}
		}
	})
}

func TestChoose(t *testing.T) {
	vpc := Slices("", netip.MustParsePrefix("10.0.0.0/16"), netip.Prefix{})
	used := []Used{
		{netip.MustParsePrefix("10.0.0.0/24"), "interface eth0"},
		{netip.MustParsePrefix("10.0.4.0/22"), "node b"},
	}
	first, second := "10.0.8.0/22", "10.0.12.0/22"
	accept := func(Network) bool { return true }
	if n, err := choose(vpc, used, accept); err != nil || n.Prefix.String() != first {
		t.Errorf("first free slice: %v, %v; want %s", n.Prefix, err, first)
	}
	claimed := func(n Network) bool { return n.Prefix.String() != first }
	if n, err := choose(vpc, used, claimed); err != nil || n.Prefix.String() != second {
		t.Errorf("first slice that is neither used nor claimed: %v, %v; want %s", n.Prefix, err, second)
	}
	for _, tc := range []struct {
		name   string
		slices []Network
		used   []Used
		want   string
	}{
		{"all used", vpc, []Used{{netip.MustParsePrefix("10.0.0.0/8"), "interface wg0"}},
			"10.0.0.0/8 of interface wg0"},
		{"all claimed", vpc, nil, "another Rollcall"},
		{"no slices", nil, nil, "no addresses"},
	} {
		_, err := choose(tc.slices, tc.used, func(Network) bool { return false })
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want an error with %q", tc.name, err, tc.want)
		}
	}
}

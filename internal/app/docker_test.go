package app

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/bakingclouds/rollcall/internal/agent/docker/network"
	"github.com/bakingclouds/rollcall/internal/task"
)

// TestSlicesOfOtherNodes checks that a node stays out of the networks of other nodes, but not out of those that it has.
func TestSlicesOfOtherNodes(t *testing.T) {
	nodes := []*task.Node{
		{Name: "a", Slices: []task.Slice{{VPC: "v", Prefix: netip.MustParsePrefix("10.0.0.0/22")}}},
		{Name: "b", Slices: []task.Slice{
			{VPC: "v", Prefix: netip.MustParsePrefix("10.0.4.0/22"), Prefix6: netip.MustParsePrefix("fd00::/70")},
			{VPC: "w", Prefix: netip.MustParsePrefix("10.1.0.0/22")},
		}},
		{Name: "c"},
	}
	for self, want := range map[string]string{
		"a": "[{10.0.4.0/22 node b} {fd00::/70 node b} {10.1.0.0/22 node b}]",
		"b": "[{10.0.0.0/22 node a}]",
		"d": "[{10.0.0.0/22 node a} {10.0.4.0/22 node b} {fd00::/70 node b} {10.1.0.0/22 node b}]",
	} {
		if got := fmt.Sprint(slicesOfOtherNodes(nodes, self)); got != want {
			t.Errorf("slicesOfOtherNodes for %s = %s, want %s", self, got, want)
		}
	}
}

// TestOwnSlices checks that a node gets the slice that it had, as long as the VPC still has the slice.
func TestOwnSlices(t *testing.T) {
	v4, v6 := netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("fd00::/64")
	all := network.Slices("v", v4, v6)
	third := task.Slice{VPC: "v", Prefix: all[2].Prefix, Prefix6: all[2].Prefix6}
	for _, tc := range []struct {
		name string
		had  []task.Slice
		want int
	}{
		{"nothing before", nil, 0},
		{"the third", []task.Slice{third}, 1},
		{"the same of another VPC", []task.Slice{{VPC: "w", Prefix: third.Prefix, Prefix6: third.Prefix6}}, 0},
		{"one before the VPC had IPv6", []task.Slice{{VPC: "v", Prefix: third.Prefix}}, 0},
		{"one of other size", []task.Slice{{VPC: "v", Prefix: v4, Prefix6: v6}}, 0},
	} {
		got := ownSlices(all, tc.had)
		if len(got) != tc.want || tc.want == 1 && got[0] != all[2] {
			t.Errorf("%s: ownSlices = %v, want %d slices", tc.name, got, tc.want)
		}
	}
}

package app

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// declare returns a function that adds VPCs, in the notation of --vpc, to a configuration.
func declare(specs ...string) func(*Config) {
	return func(c *Config) {
		for _, s := range specs {
			v, err := ParseVPC(s)
			if err != nil {
				panic(err)
			}
			c.VPCs = append(c.VPCs, v)
		}
	}
}

func TestParseVPC(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"vpc-a=10.1.2.3/16,fd00:a::/64,subnet-1", "{vpc-a [10.1.0.0/16 fd00:a::/64] [subnet-1]}"},
		{"vpc-a=10.1.0.0/16", "{vpc-a [10.1.0.0/16] []}"},
		{"vpc-a=subnet-1,subnet-2", "{vpc-a [] [subnet-1 subnet-2]}"},
		{"", "error"},
		{"vpc-a", "error"},
		{"=10.0.0.0/8", "error"},
		{"vpc-a=", "error"},
		{"vpc-a=10.0.0.0", "error"},
		{"vpc-a=10.0.0.0/33", "error"},
		{"vpc-a=10.0.0.0/8,,subnet-1", "error"},
	} {
		v, err := ParseVPC(tc.text)
		got := fmt.Sprint(v)
		if err != nil {
			got = "error"
			if !strings.Contains(err.Error(), "--vpc") {
				t.Errorf("ParseVPC(%q): the error %v does not name the flag", tc.text, err)
			}
		}
		if got != tc.want {
			t.Errorf("ParseVPC(%q) = %s, %v; want %s", tc.text, got, err, tc.want)
		}
	}
}

// TestNetworks checks which clients are in a VPC.
func TestNetworks(t *testing.T) {
	c := Default()
	if in, except := c.networks("us-east-1", "vpc-any"); in != nil || except != nil || !c.knowsVPC("vpc-any") {
		t.Errorf("without --vpc: networks = %v except %v, want nil for all clients", in, except)
	}
	declare("a=10.0.0.0/8", "b=127.20.0.0/16")(&c)
	for _, tc := range []struct {
		vpc, client string
		want        bool
	}{
		{"a", "10.1.2.3", true},
		{"a", "127.0.0.1", true}, // this machine
		{"a", "::1", true},
		{"a", "127.20.0.1", false}, // of b
		{"a", "192.0.2.1", false},
		{"b", "127.20.0.1", true},
		{"b", "127.0.0.1", false},
		{"b", "10.1.2.3", false},
		{"c", "10.1.2.3", false}, // not declared
		{"c", "127.0.0.1", false},
	} {
		in, except := c.networks("us-east-1", tc.vpc)
		contain := func(networks []netip.Prefix) bool {
			return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(netip.MustParseAddr(tc.client)) })
		}
		if got := contain(in) && !contain(except); got != tc.want {
			t.Errorf("client %s in VPC %s: %v, want %v", tc.client, tc.vpc, got, tc.want)
		}
	}
	if !c.knowsVPC("b") || c.knowsVPC("c") {
		t.Errorf("knowsVPC: b %v, c %v; want only the declared b", c.knowsVPC("b"), c.knowsVPC("c"))
	}
}

func TestVPCOf(t *testing.T) {
	for _, tc := range []struct {
		vpcs, subnets []string
		want          string
	}{
		{nil, []string{"subnet-1"}, ""},
		{[]string{"a=subnet-1", "b=subnet-2"}, []string{"subnet-1"}, "a"},
		{[]string{"a=subnet-1", "b=subnet-2"}, []string{"subnet-2"}, "b"},
		{[]string{"a=subnet-1", "b=subnet-2"}, []string{"subnet-9", "subnet-2"}, "b"},
		{[]string{"a=subnet-1", "b=subnet-2"}, []string{"subnet-2", "subnet-1"}, "a"}, // the first VPC wins
		{[]string{"a=subnet-1", "b=subnet-2"}, []string{"subnet-9"}, "a"},
		{[]string{"a=subnet-1", "b=subnet-2"}, nil, "a"},
	} {
		var c Config
		declare(tc.vpcs...)(&c)
		if got := c.vpcOf(tc.subnets); got != tc.want {
			t.Errorf("VPCs %v, subnets %v: vpcOf = %q, want %q", tc.vpcs, tc.subnets, got, tc.want)
		}
	}
}

func TestTaskNetworks(t *testing.T) {
	for _, tc := range []struct {
		vpcs []string
		want string
	}{
		{nil, "[{ 10.213.0.0/16 invalid Prefix}]"},
		{[]string{"a=10.1.0.0/16"}, "[{a 10.1.0.0/16 invalid Prefix}]"},
		{[]string{"a=fd00:1::/64,10.1.0.0/16,10.2.0.0/16,fd00:2::/64"}, "[{a 10.1.0.0/16 fd00:1::/64}]"},
		{[]string{"a=fd00:1::/64", "b=10.2.0.0/16,subnet-1"}, "[{b 10.2.0.0/16 invalid Prefix}]"}, // a has no IPv4 network
		{[]string{"a=subnet-1"}, "[]"},
	} {
		var c Config
		declare(tc.vpcs...)(&c)
		if got := fmt.Sprint(c.taskNetworks()); got != tc.want {
			t.Errorf("VPCs %v: taskNetworks = %s, want %s", tc.vpcs, got, tc.want)
		}
	}
}

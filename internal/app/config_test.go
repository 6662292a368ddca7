package app

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		name string
		set  func(*Config)
		want string // in the error; empty: there is none
	}{
		{"the default", func(*Config) {}, ""},
		{"account", func(c *Config) { c.Account = "12" }, "--account"},
		{"region", func(c *Config) { c.Region = strings.Repeat("a", 33) }, "--region"},
		{"node", func(c *Config) { c.Node = "a/b" }, "--node"},
		{"no DNS", func(c *Config) { c.DNS = nil }, "--dns"},
		{"runtime", func(c *Config) { c.Runtime = "podman" }, "--runtime"},
		{"a VPC without addresses for containers", func(c *Config) {
			c.Runtime, c.VPCs = RuntimeDocker, []VPC{{ID: "vpc-a", Subnets: []string{"subnet-1"}}}
		}, "--vpc vpc-a="},
		{"upstream", func(c *Config) { c.Upstreams = []string{"192.0.2.1", "resolver"} }, "--upstream"},
		{"API without a port", func(c *Config) { c.API = "127.0.0.1" }, "--api"},
		{"API for others, runtime unsaid", func(c *Config) { c.API = "0.0.0.0:7070" }, "--runtime process"},
		{"API for others, meant", func(c *Config) { c.API, c.Runtime = "0.0.0.0:7070", "process" }, ""},
		{"drain cap", func(c *Config) { c.DrainCap = -1 }, "--drain-cap"},
		{"a VPC twice", vpcs("a=10.0.0.0/8", "a=192.168.0.0/16"), "given twice"},
		{"cut out of the first", vpcs("a=10.0.0.0/8", "b=10.1.0.0/16", "c=10.2.0.0/16"), ""},
		{"one address in two others", vpcs("a=10.0.0.0/8", "b=10.1.0.0/16", "c=10.1.2.0/24"), "--vpc b and --vpc c"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := Default()
			tc.set(&c)
			err := c.Validate()
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Validate = %v, want %q", err, tc.want)
			}
		})
	}
}

func vpcs(specs ...string) func(*Config) {
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
	v, err := ParseVPC("vpc-a=10.1.2.3/16,fd00:a::/64,subnet-1")
	want := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00:a::/64")}
	if err != nil || v.ID != "vpc-a" || !slices.Equal(v.Networks, want) || !slices.Equal(v.Subnets, []string{"subnet-1"}) {
		t.Errorf("%+v, %v", v, err)
	}
	for _, bad := range []string{"", "vpc-a", "=10.0.0.0/8", "vpc-a=", "vpc-a=10.0.0.0", "vpc-a=10.0.0.0/33", "vpc-a=10.0.0.0/8,,subnet-1"} {
		if _, err := ParseVPC(bad); err == nil || !strings.Contains(err.Error(), "--vpc") {
			t.Errorf("ParseVPC(%q): %v, want an error that names the flag", bad, err)
		}
	}
}

// TestNetworks holds who is in a VPC: its networks, and this machine in the first.
func TestNetworks(t *testing.T) {
	c := Default()
	if in, _ := c.networks("us-east-1", "vpc-any"); in != nil || !c.knowsVPC("vpc-any") {
		t.Errorf("without --vpc: %v, want everybody", in)
	}
	vpcs("a=10.0.0.0/8", "b=127.20.0.0/16")(&c)
	for _, tc := range []struct {
		vpc, client string
		want        bool
	}{
		{"a", "10.1.2.3", true}, {"a", "127.0.0.1", true}, {"a", "::1", true}, {"a", "127.20.0.1", false}, {"a", "192.0.2.1", false},
		{"b", "127.20.0.1", true}, {"b", "127.0.0.1", false}, {"b", "10.1.2.3", false},
		{"c", "10.1.2.3", false}, {"c", "127.0.0.1", false},
	} {
		in, except := c.networks("us-east-1", tc.vpc)
		holds := func(ps []netip.Prefix) bool {
			return slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Contains(netip.MustParseAddr(tc.client)) })
		}
		if got := holds(in) && !holds(except); got != tc.want {
			t.Errorf("%s in %s: %v, want %v", tc.client, tc.vpc, got, tc.want)
		}
	}
	if c.knowsVPC("c") {
		t.Error("a VPC that is not declared is known")
	}
}

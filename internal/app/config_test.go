package app

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// TestValidate changes settings of the default configuration. The error must contain want; an empty want expects none.
func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"default", func(*Config) {}, ""},
		{"no data folder", func(c *Config) { c.DataDir = "" }, "--data"},
		{"account with 2 digits", func(c *Config) { c.Account = "12" }, "--account"},
		{"account with letters", func(c *Config) { c.Account = "00000000000a" }, "--account"},
		{"region of 33 letters", func(c *Config) { c.Region = strings.Repeat("a", 33) }, "--region"},
		{"region with a space", func(c *Config) { c.Region = "us east" }, "--region"},
		{"node with a slash", func(c *Config) { c.Node = "a/b" }, "--node"},
		{"negative CPU", func(c *Config) { c.NodeCPU = -1 }, "--node-cpu -1"},
		{"negative memory", func(c *Config) { c.NodeMemory = -1 }, "--node-memory -1"},
		{"negative grace", func(c *Config) { c.NodeGrace = -1 }, "--node-grace"},
		{"negative drain cap", func(c *Config) { c.DrainCap = -1 }, "--drain-cap"},
		{"no DNS", func(c *Config) { c.DNS = nil }, "--dns"},
		{"invalid upstream", func(c *Config) { c.Upstreams = []string{"192.0.2.1", "resolver"} }, "--upstream"},

		{"unknown runtime", func(c *Config) { c.Runtime = "podman" }, "--runtime"},
		{"API without port", func(c *Config) { c.API = "127.0.0.1" }, "--api"},
		{"API on localhost", func(c *Config) { c.API = "localhost:7070" }, ""},
		{"API on IPv6 loopback", func(c *Config) { c.API = "[::1]:7070" }, ""},
		{"public API, automatic runtime", func(c *Config) { c.API = "0.0.0.0:7070" }, "--runtime process"},
		{"public API on a host name, automatic runtime", func(c *Config) { c.API = "example.org:7070" }, "--runtime process"},
		{"public API, chosen runtime", func(c *Config) { c.API, c.Runtime = "0.0.0.0:7070", RuntimeProcess }, ""},

		{"VPC twice", declare("a=10.0.0.0/8", "a=192.168.0.0/16"), "set twice"},
		{"VPCs inside the first", declare("a=10.0.0.0/8", "b=10.1.0.0/16", "c=10.2.0.0/16"), ""},
		{"overlap of two other VPCs", declare("a=10.0.0.0/8", "b=10.1.0.0/16", "c=10.1.2.0/24"), "--vpc b and --vpc c"},
		{"IPv6 smaller than IPv4", declare("a=10.0.0.0/16,fd00::/120"), "fewer addresses"},
		{"IPv6 as large as IPv4", declare("a=10.0.0.0/24,fd00::/120"), ""},
		{"Docker without an IPv4 network", func(c *Config) {
			c.Runtime = RuntimeDocker
			declare("vpc-a=subnet-1")(c)
		}, "--vpc vpc-a="},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := Default()
			tc.change(&c)
			err := c.Validate()
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Validate = %v, want %q", err, tc.want)
			}
		})
	}
}

// TestValidateReturnsEveryProblem checks that the user learns all invalid settings from one start.
func TestValidateReturnsEveryProblem(t *testing.T) {
	c := Default()
	c.Account, c.DNS, c.API, c.NodeGrace = "", nil, "", -1
	err := c.Validate()
	for _, want := range []string{"--account", "--dns", "--api", "--node-grace"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate = %v, want it to contain %s", err, want)
		}
	}
}

func TestUpstreams(t *testing.T) {
	c := Config{Upstreams: []string{"192.0.2.1", "192.0.2.2:5353", "2001:db8::1", "[2001:db8::2]:5353"}}
	got, err := c.upstreams()
	want := []netip.AddrPort{
		netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("192.0.2.2:5353"),
		netip.MustParseAddrPort("[2001:db8::1]:53"), netip.MustParseAddrPort("[2001:db8::2]:5353"),
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("upstreams = %v, %v; want %v", got, err, want)
	}
}

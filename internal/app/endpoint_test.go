package app

import (
	"net/netip"
	"testing"
)

// TestTaskAPI checks where tasks reach the API, and whether it must listen there in addition to --api.
func TestTaskAPI(t *testing.T) {
	const loopback, gateway = "127.0.0.1", "10.213.0.1"
	for _, tc := range []struct {
		name, api, node string
		want            string
		more            bool
	}{
		{"processes reach loopback", "127.0.0.1:7070", loopback, "127.0.0.1:7070", false},
		{"processes reach IPv6 loopback", "[::1]:7070", loopback, "[::1]:7070", false},
		{"processes reach every address", "0.0.0.0:7070", loopback, "127.0.0.1:7070", false},
		{"processes reach a public address", "192.0.2.1:7070", loopback, "192.0.2.1:7070", false},
		{"containers need another listener", "127.0.0.1:7070", gateway, "10.213.0.1:7070", true},
		{"containers need another listener, IPv6", "[::1]:7070", gateway, "10.213.0.1:7070", true},
		{"containers reach every address", "[::]:7070", gateway, "10.213.0.1:7070", false},
		{"containers reach a public address", "192.0.2.1:7070", gateway, "192.0.2.1:7070", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			at, more := taskAPI(netip.MustParseAddrPort(tc.api), netip.MustParseAddr(tc.node))
			if at.String() != tc.want || more != tc.more {
				t.Errorf("taskAPI = %v, %v; want %s, %v", at, more, tc.want, tc.more)
			}
		})
	}
}

// TestMayRecurse checks whose queries for other names are forwarded.
func TestMayRecurse(t *testing.T) {
	a := &App{}
	check := func(client string, want bool) {
		t.Helper()
		if got := a.mayRecurse(netip.MustParseAddr(client)); got != want {
			t.Errorf("mayRecurse(%s) = %v, want %v", client, got, want)
		}
	}
	check("127.0.0.1", true)
	check("::1", true)
	check("10.213.0.5", false) // no container networks yet
	a.taskNetworks.Store(&[]netip.Prefix{netip.MustParsePrefix("10.213.0.0/22"), {}, netip.MustParsePrefix("fd00::/70")})
	check("10.213.0.5", true)
	check("10.213.4.5", false) // another node's slice
	check("fd00::5", true)
	check("192.0.2.1", false)
}

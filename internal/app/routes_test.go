package app

import (
	"net"
	"testing"
)

// TestFromThisMachine checks which connections may read the metrics.
func TestFromThisMachine(t *testing.T) {
	for _, tc := range []struct {
		name, remote, local string
		want                bool
	}{
		{"loopback", "127.0.0.1:40000", "127.0.0.1:7070", true},
		{"another loopback address", "127.64.0.9:40000", "127.0.0.1:7070", true},
		{"loopback over IPv6", "[::1]:40000", "[::1]:7070", true},
		{"this machine at its LAN address", "192.0.2.5:40000", "192.0.2.5:7070", true},
		{"the same in an IPv6 socket", "[::ffff:192.0.2.5]:40000", "192.0.2.5:7070", true},
		{"another machine", "192.0.2.6:40000", "192.0.2.5:7070", false},
		{"another machine over IPv6", "[2001:db8::6]:40000", "[2001:db8::5]:7070", false},
		{"no address", "", "192.0.2.5:7070", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			local, err := net.ResolveTCPAddr("tcp", tc.local)
			if err != nil {
				t.Fatal(err)
			}
			if got := fromThisMachine(tc.remote, local); got != tc.want {
				t.Errorf("fromThisMachine(%q, %q) = %v, want %v", tc.remote, tc.local, got, tc.want)
			}
		})
	}
}

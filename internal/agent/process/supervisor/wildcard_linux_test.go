package supervisor

import (
	"net/netip"
	"testing"

	"github.com/bakingclouds/rollcall/internal/agent/addrlease"
	"github.com/bakingclouds/rollcall/internal/agent/process/procfs"
)

func TestAnswersForSiblings(t *testing.T) {
	ephemeral := addrlease.PortRange{Low: 32768, High: 60999}
	for _, tc := range []struct {
		network, local string
		listens        bool
		want           bool
	}{
		{"tcp", "0.0.0.0:80", true, true},
		{"tcp", "0.0.0.0:40000", true, true}, // also a port that the kernel chose
		{"tcp6", "[::]:80", true, true},
		{"tcp6", "[::ffff:0.0.0.0]:80", true, true},
		{"tcp", "0.0.0.0:80", false, false},
		{"tcp", "127.64.1.2:80", true, false},
		{"tcp6", "[::1]:80", true, false},
		{"udp", "0.0.0.0:53", true, true},
		{"udp", "0.0.0.0:53", false, false},
		{"udp", "0.0.0.0:40000", true, false}, // a client that waits for replies
		{"udp6", "[::]:40000", true, false},
		{"udp", "0.0.0.0:50000", true, true}, // declared
		{"udp", "127.64.1.2:53", true, false},
	} {
		s := procfs.Socket{Network: tc.network, Local: netip.MustParseAddrPort(tc.local), Listens: tc.listens}
		if got := answersForSiblings(s, ephemeral, func(port uint16) bool { return port == 50000 }); got != tc.want {
			t.Errorf("%v, listens %v: %v, want %v", s, tc.listens, got, tc.want)
		}
	}
}

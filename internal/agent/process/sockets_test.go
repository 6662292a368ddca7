package process

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/bakingclouds/rollcall/internal/agent/addrlease"
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
		s := socket{network: tc.network, local: netip.MustParseAddrPort(tc.local), listens: tc.listens}
		if got := answersForSiblings(s, ephemeral, func(port uint16) bool { return port == 50000 }); got != tc.want {
			t.Errorf("%v, listens %v: %v, want %v", s, tc.listens, got, tc.want)
		}
	}
}

func TestParseSockets(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the lines were copied from a little-endian machine")
	}
	const tcp = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1B9E 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4021 1 0000000000000000 100 0 0 10 0
   1: 0201407F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 4022 1 0000000000000000 20 0 0 10 -1
   2: garbage
`
	const udp6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  12: 00000000000000000000000000000000:0035 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4023 2 0000000000000000 0
  13: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4024 2 0000000000000000 0
`
	got := slices.Concat(parseSockets("tcp", tcp), parseSockets("udp6", udp6))
	want := []socket{
		{"tcp", netip.MustParseAddrPort("127.0.0.1:7070"), true, 4021},
		{"tcp", netip.MustParseAddrPort("127.64.1.2:8080"), false, 4022},
		{"udp6", netip.MustParseAddrPort("[::]:53"), true, 4023},
		{"udp6", netip.MustParseAddrPort("[::1]:53"), true, 4024},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

package procfs

import (
	"encoding/binary"
	"net/netip"
	"os"
	"slices"
	"testing"
)

// TestParseSockets parses files like those in /proc/net.
func TestParseSockets(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the files were copied from a little-endian machine")
	}
	var got []Socket
	for _, network := range []string{"tcp", "udp6"} {
		file, err := os.Open("testdata/" + network)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		sockets, err := parseSockets(network, file)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, sockets...)
	}
	want := []Socket{
		{"tcp", netip.MustParseAddrPort("127.0.0.1:7070"), true, 4021},
		{"tcp", netip.MustParseAddrPort("127.64.1.2:8081"), true, 4022},
		{"udp6", netip.MustParseAddrPort("[::]:53"), true, 4023},
		{"udp6", netip.MustParseAddrPort("[::1]:53"), true, 4024},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

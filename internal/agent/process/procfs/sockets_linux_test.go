package procfs

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestParseSockets(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the lines were copied from a little-endian machine")
	}
	const tcp = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1B9E 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4021 1 0000000000000000 100 0 0 10 0
   1: garbage
   2: 0201407F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4022 1 0000000000000000 20 0 0 10 -1
   3: 0201407F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 4025 1 0000000000000000 20 0 0 10 -1
`
	const udp6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  12: 00000000000000000000000000000000:0035 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4023 2 0000000000000000 0
  13: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4024 2 0000000000000000 0
`
	var got []Socket
	for _, file := range []struct{ network, text string }{{"tcp", tcp}, {"udp6", udp6}} {
		sockets, err := parseSockets(file.network, strings.NewReader(file.text))
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

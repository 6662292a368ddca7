package role

import (
	"net"
	"strings"
	"testing"
)

// TestResolveTest: a server that answers anything at all is there; one that is silent, or not there, is not.
func TestResolveTest(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	var said strings.Builder
	if status := resolveTest(silent.LocalAddr().String(), &said); status != 1 || !strings.Contains(said.String(), "over udp: ") || !strings.Contains(said.String(), "over tcp: ") {
		t.Errorf("a silent server: %d, %s", status, &said)
	}
	refuses, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer refuses.Close()
	go func() {
		for buf := make([]byte, 512); ; {
			n, from, err := refuses.ReadFrom(buf)
			if err != nil {
				return
			}
			buf[2], buf[3] = buf[2]|0x80, buf[3]&0xf0|5 // QR, REFUSED (RFC 1035, section 4.1.1)
			if _, err := refuses.WriteTo(buf[:n], from); err != nil {
				return
			}
		}
	}()
	if err := query("udp", refuses.LocalAddr().String()); err != nil {
		t.Errorf("a server that refuses has answered: %v", err)
	}
}
